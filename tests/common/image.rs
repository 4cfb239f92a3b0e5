//! Images made here: layers, configs, and the archives and layouts of real tools around them.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::tarball::Tar;
use super::{hex, sha256};

/// Media types.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image: a config and its layers.
#[derive(Clone)]
pub struct Image {
    /// The config's bytes.
    pub config: Vec<u8>,
    /// Layers, lowest first: tars that a layout gets as gzip, or, where `kind` says what they are, any
    /// bytes, stored as they are.
    pub layers: Vec<Vec<u8>>,
    /// The media type of layers that are stored as they are.
    pub kind: Option<String>,
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
        let mut config = config(&diff_ids);
        config["architecture"] = architecture.into();
        config["os"] = os.into();
        Self { config: text(&config), layers, kind: None }
    }

    /// An image of these layers, stored uncompressed.
    pub fn plain(layers: &[Vec<u8>]) -> Self {
        Self { kind: Some(OCI_LAYER.into()), ..Self::of(layers.to_vec()) }
    }

    /// Two small layers, stored uncompressed.
    pub fn small() -> Self {
        Self::plain(&[layer("one"), layer("two")])
    }

    /// The same image with its layers stored through `pack`.
    pub fn packed(mut self, suffix: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        self.layers = self.layers.iter().map(|l| pack(l)).collect();
        self.kind = Some(format!("{OCI_LAYER}+{suffix}"));
        self
    }

    /// The layers as a layout stores them.
    fn stored(&self) -> Vec<Vec<u8>> {
        let store = |layer: &Vec<u8>| match self.kind {
            Some(_) => layer.clone(),
            None => gzip(layer),
        };
        self.layers.iter().map(store).collect()
    }

    /// The manifest over the layers as a layout stores them.
    pub fn manifest(&self) -> Value {
        let kind = self.kind.clone().unwrap_or(format!("{OCI_LAYER}+gzip"));
        let layers: Vec<Value> = self.stored().iter().map(|l| desc(&kind, l)).collect();
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": desc(OCI_CONFIG, &self.config), "layers": layers})
    }

    /// The same layers with another config.
    pub fn with_config(&self, config: &Value) -> Self {
        Self { config: text(config), ..self.clone() }
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

/// A config for layers with these diff ids.
pub fn config(diff_ids: &[String]) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-02T03:04:05Z",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": diff_ids.iter().map(|_| json!({"created_by": "made here"})).collect::<Vec<_>>(),
    })
}

/// A descriptor of bytes.
pub fn desc(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// JSON bytes.
pub fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// A layer of a few files.
pub fn layer(seed: &str) -> Vec<u8> {
    let body = seed.repeat(200);
    Tar::new().dir("etc/").file(format!("etc/{seed}"), body.as_bytes()).end()
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

    /// One image whose layers are `0/layer.tar`, `1/layer.tar`, …, as docker saved them.
    pub fn foldered(image: &Image, tag: &str) -> Self {
        let mut archive = Self::one(image, json!([tag]));
        let inside = |name: &str| name.replace(".tar", "/layer.tar");
        for (name, _) in &mut archive.members {
            *name = inside(name);
        }
        for name in archive.items[0]["Layers"].as_array_mut().expect("layers") {
            *name = inside(name.as_str().expect("a name")).into();
        }
        archive
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
        desc(media_type, bytes)
    }

    /// Adds the config and the layers of an image.
    pub fn image(&mut self, image: &Image) {
        for bytes in image.stored().iter().chain([&image.config]) {
            self.blob("", bytes);
        }
    }

    /// Adds an image and describes its manifest.
    pub fn manifest(&mut self, image: &Image) -> Value {
        self.image(image);
        self.blob(OCI_MANIFEST, &text(&image.manifest()))
    }

    /// Adds a document of any kind and names it.
    pub fn point(&mut self, document: &Value, name: &str) {
        let media_type = document["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        let desc = self.blob(media_type, &text(document));
        self.name(&desc, Some(name));
    }

    /// Adds an index over children and describes it.
    pub fn index(&mut self, children: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        self.blob(OCI_INDEX, &text(&index))
    }

    /// Adds something of a kind, such as a signature, that refers to a manifest, and describes it.
    pub fn referrer(&mut self, subject: &Value, kind: &str) -> Value {
        let (media_type, digest, size) =
            (&subject["mediaType"], &subject["digest"], &subject["size"]);
        let body = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
            "config": self.blob("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.blob(kind, kind.as_bytes())],
            "subject": {"mediaType": media_type, "digest": digest, "size": size},
        });
        self.blob(OCI_MANIFEST, &text(&body))
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
        text(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}))
    }

    /// Every file of the layout, index.json last.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let blobs = self.blobs.iter().map(|(hex, b)| (format!("blobs/sha256/{hex}"), b.clone()));
        let marker = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let tables = [("oci-layout".into(), marker), ("index.json".into(), self.index_json())];
        blobs.chain(tables).collect()
    }

    /// All but index.json, as a tar that goes on.
    pub fn body(&self) -> Tar {
        let mut members = self.members();
        members.pop();
        members.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes))
    }

    /// The OCI archive.
    pub fn tar(&self) -> Vec<u8> {
        self.body().file("index.json", self.index_json()).end()
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
