//! Images made here: layers, configs, and the archives and layouts of real tools around them.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::tarball::Tar;
use super::{hex, sha256};

/// An image: a config and its layers, uncompressed.
#[derive(Clone)]
pub struct Image {
    /// The config's bytes.
    pub config: Vec<u8>,
    /// Layer tars, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    /// An image of `count` layers, different for every `seed`.
    pub fn new(seed: &str, count: usize) -> Self {
        let layers = (0..count).map(|i| layer(&format!("{seed}-{i}"))).collect();
        Self::of(layers)
    }

    /// An image of these layers.
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        Self::for_platform(layers, "linux", "amd64")
    }

    /// An image of these layers for a platform.
    pub fn for_platform(layers: Vec<Vec<u8>>, os: &str, architecture: &str) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|l| sha256(l)).collect();
        let config = json!({
            "architecture": architecture,
            "os": os,
            "created": "2020-01-02T03:04:05Z",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "made here"})).collect::<Vec<_>>(),
        });
        Self { config: text(&config), layers }
    }

    /// The same layers with another config.
    pub fn with_config(&self, config: &Value) -> Self {
        Self { config: text(config), layers: self.layers.clone() }
    }

    /// The config as JSON.
    pub fn config_json(&self) -> Value {
        serde_json::from_slice(&self.config).expect("JSON")
    }

    /// The image ID.
    pub fn id(&self) -> String {
        sha256(&self.config)
    }

    /// Diff ids as they really are.
    pub fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|l| sha256(l)).collect()
    }
}

/// JSON bytes.
pub fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// A layer of a few files.
pub fn layer(seed: &str) -> Vec<u8> {
    let body = seed.repeat(200);
    Tar::new().dir("etc/").file(&format!("etc/{seed}"), body.as_bytes()).end()
}

/// gzip, one member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).expect("memory");
    to.finish().expect("memory")
}

/// zstd, one frame.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

/// xz.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = liblzma::write::XzEncoder::new(Vec::new(), 1);
    to.write_all(bytes).expect("memory");
    to.finish().expect("memory")
}

/// bzip2.
pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    to.write_all(bytes).expect("memory");
    to.finish().expect("memory")
}

/// A Docker archive in parts, so that a test may change one of them.
#[derive(Clone)]
pub struct Docker {
    /// manifest.json.
    pub items: Value,
    /// Everything else: name and bytes.
    pub members: Vec<(String, Vec<u8>)>,
}

impl Docker {
    /// One image, its layers as `0.tar`, `1.tar`, …
    pub fn one(image: &Image, tags: Value) -> Self {
        Self::named(image, tags, "")
    }

    /// One image whose members carry a prefix.
    pub fn named(image: &Image, tags: Value, prefix: &str) -> Self {
        let mut members = Vec::new();
        let mut layers = Vec::new();
        for (i, layer) in image.layers.iter().enumerate() {
            let name = format!("{prefix}{i}.tar");
            members.push((name.clone(), layer.clone()));
            layers.push(name);
        }
        let config = format!("{prefix}{}.json", hex(&image.config));
        members.push((config.clone(), image.config.clone()));
        let items = json!([{"Config": config, "RepoTags": tags, "Layers": layers}]);
        Self { items, members }
    }

    /// The images of another archive too.
    pub fn and(mut self, other: Self) -> Self {
        let (Value::Array(mine), Value::Array(theirs)) = (&mut self.items, other.items) else {
            panic!("arrays")
        };
        mine.extend(theirs);
        self.members.extend(other.members);
        self
    }

    /// The bytes of a member, to be changed.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        let found = self.members.iter_mut().find(|(n, _)| n == name);
        &mut found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Every layer through a compression.
    pub fn compressed(mut self, with: impl Fn(usize, &[u8]) -> Vec<u8>) -> Self {
        let layers = self.members.iter_mut().filter(|(n, _)| n.ends_with(".tar"));
        for (i, (_, bytes)) in layers.enumerate() {
            *bytes = with(i, bytes);
        }
        self
    }

    /// All but manifest.json, as a tar that goes on.
    pub fn body(&self) -> Tar {
        self.members.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes))
    }

    /// The archive, manifest.json last.
    pub fn tar(&self) -> Vec<u8> {
        self.with_table(&text(&self.items))
    }

    /// The archive with these bytes for manifest.json.
    pub fn with_table(&self, table: &[u8]) -> Vec<u8> {
        self.body().file("manifest.json", table).end()
    }
}

/// An OCI layout in parts.
#[derive(Clone, Default)]
pub struct Oci {
    /// Entries of index.json.
    pub entries: Vec<Value>,
    /// Blobs: hex and bytes.
    pub blobs: Vec<(String, Vec<u8>)>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Oci {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a blob and describes it.
    pub fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        if !self.blobs.iter().any(|(h, _)| *h == hex(bytes)) {
            self.blobs.push((hex(bytes), bytes.to_vec()));
        }
        json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
    }

    /// Adds an image with gzip layers and describes its manifest.
    pub fn manifest(&mut self, image: &Image) -> Value {
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let layers: Vec<Value> = image.layers.iter().map(|l| self.blob(kind, &gzip(l))).collect();
        let config = self.blob("application/vnd.oci.image.config.v1+json", &image.config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.blob(MANIFEST, &text(&manifest))
    }

    /// Adds an index over children and describes it.
    pub fn index(&mut self, children: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        self.blob(INDEX, &text(&index))
    }

    /// Names a descriptor in index.json as containerd does; without a name it stays bare.
    pub fn name(&mut self, desc: &Value, name: Option<&str>) {
        let mut entry = desc.clone();
        if let Some(name) = name {
            let tag = name.rsplit(':').next().unwrap_or_default();
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag,
            });
        }
        self.entries.push(entry);
    }

    /// An image with one name.
    pub fn one(image: &Image, name: Option<&str>) -> Self {
        let mut oci = Self::new();
        let desc = oci.manifest(image);
        oci.name(&desc, name);
        oci
    }

    /// index.json.
    pub fn index_json(&self) -> Vec<u8> {
        text(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}))
    }

    /// Every file of the layout.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let blobs = self.blobs.iter().map(|(hex, b)| (format!("blobs/sha256/{hex}"), b.clone()));
        let marker = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let tables = [("index.json".into(), self.index_json()), ("oci-layout".into(), marker)];
        blobs.chain(tables).collect()
    }

    /// The OCI archive.
    pub fn tar(&self) -> Vec<u8> {
        let body = |tar: Tar, (name, bytes): &(String, Vec<u8>)| tar.file(name, bytes);
        self.members().iter().fold(Tar::new(), body).end()
    }

    /// The layout directory.
    pub fn write(&self, dir: &Path) {
        for (name, bytes) in self.members() {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, bytes).expect("a file");
        }
    }
}
