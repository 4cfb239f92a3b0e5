//! Manifests and indexes in the shapes that are met in the field, with everything they name pushed.
//!
//! It expects nothing of a server but that blobs can be pushed. image-spec 1.1.

use serde_json::{Value, json};

use super::{Case, Miss};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A manifest as it is sent.
#[derive(Clone, Debug)]
pub struct Shape {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Shape {
    /// Of a document that says its media type.
    pub fn of(json: &Value) -> Self {
        let media_type = json["mediaType"].as_str().unwrap_or_default().to_owned();
        Self { media_type, bytes: serde_json::to_vec_pretty(json).unwrap_or_default() }
    }
}

/// A descriptor of bytes.
pub fn descriptor(case: &Case, media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": case.digest(bytes), "size": bytes.len()})
}

/// A descriptor of bytes that are pushed.
pub fn pushed(case: &Case, media_type: &str, bytes: &[u8]) -> Result<Value, Miss> {
    case.push(bytes)?;
    Ok(descriptor(case, media_type, bytes))
}

/// A config that is pushed.
fn config(case: &Case, seed: u64, layers: usize) -> Result<Value, Miss> {
    let diff_ids: Vec<_> = (0..layers as u64).map(|n| case.digest(&case.bytes(n, 40))).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "author": format!("{seed}"),
        "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    pushed(case, CONFIG, config.to_string().as_bytes())
}

/// An image with layers of a media type, everything beneath it pushed; different for every seed.
pub fn image_of(case: &Case, seed: u64, layers: &[&str]) -> Result<Value, Miss> {
    let config = config(case, seed, layers.len())?;
    let mut all = Vec::new();
    for (at, media_type) in layers.iter().enumerate() {
        all.push(pushed(case, media_type, &case.bytes(seed * 100 + at as u64, 300))?);
    }
    Ok(json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": all}))
}

/// An image with two layers.
pub fn image(case: &Case, seed: u64) -> Result<Value, Miss> {
    image_of(case, seed, &[LAYER, LAYER])
}

/// The same as docker writes it.
pub fn docker(case: &Case, seed: u64) -> Result<Value, Miss> {
    let mut image = image_of(case, seed, &["application/vnd.docker.image.rootfs.diff.tar.gzip"])?;
    image["mediaType"] = json!(DOCKER);
    image["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    Ok(image)
}

/// An artifact of a type: no image's config, one blob or none.
pub fn artifact(case: &Case, kind: &str, blobs: usize) -> Result<Value, Miss> {
    let empty = pushed(case, EMPTY, b"{}")?;
    let mut layers = Vec::new();
    for at in 0..blobs as u64 {
        layers.push(pushed(case, "application/vnd.example.data", &case.bytes(9000 + at, 200))?);
    }
    Ok(json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": empty,
        "layers": layers}))
}

/// An index of images that are pushed.
pub fn index(case: &Case, seed: u64, kind: &str, list: &str) -> Result<Value, Miss> {
    let mut entries = Vec::new();
    for (at, architecture) in ["amd64", "arm64"].iter().enumerate() {
        let seed = seed * 10 + at as u64;
        let json = if kind == DOCKER { docker(case, seed)? } else { image(case, seed)? };
        let mut entry = put(case, &Shape::of(&json))?;
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entries.push(entry);
    }
    Ok(json!({"schemaVersion": 2, "mediaType": list, "manifests": entries}))
}

/// Pushes a manifest under its digest and says its descriptor.
pub fn put(case: &Case, shape: &Shape) -> Result<Value, Miss> {
    let digest = case.digest(&shape.bytes);
    case.put(&digest, &shape.media_type, &shape.bytes)?.is(201)?;
    Ok(descriptor(case, &shape.media_type, &shape.bytes))
}

/// Pushes an image under a tag.
pub fn tagged(case: &Case, tag: &str, seed: u64) -> Result<Shape, Miss> {
    let shape = Shape::of(&image(case, seed)?);
    case.put(tag, &shape.media_type, &shape.bytes)?.is(201)?;
    Ok(shape)
}

/// An image grown to a size by an annotation.
pub fn grown(case: &Case, size: usize) -> Result<Shape, Miss> {
    let mut json = image(case, 1)?;
    json["annotations"] = json!({"filler": ""});
    let bare = Shape::of(&json).bytes.len();
    json["annotations"]["filler"] = json!("x".repeat(size.saturating_sub(bare)));
    Ok(Shape::of(&json))
}

/// Something that names a subject.
pub fn about(mut json: Value, subject: &Value) -> Value {
    json["subject"] = subject.clone();
    json
}
