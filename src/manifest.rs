//! Manifests and indexes: a parsed view of the children beside the raw bytes.
//!
//! It never writes a document it could keep: bytes are rewritten only when a child changed. OCI
//! image-spec `manifest.md` and `image-index.md`, Docker `manifest-v2-2.md`; a body that reads as two
//! kinds is refused (CVE-2021-41190).

use serde_json::{Map, Value};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::media_type::{self, MediaType, Role};

/// Most bytes of a manifest, an index or a config.
pub const MAX_DOCUMENT: u64 = 8 << 20;
/// Most layers of one image.
pub const MAX_LAYERS: usize = 1_000;
/// Most entries of one index.
pub const MAX_ENTRIES: usize = 10_000;

/// A parsed parent.
#[derive(Clone, Debug)]
pub struct Document {
    /// The media type: the body's own, else the descriptor's, else found by shape.
    pub media_type: MediaType,
    /// Its children.
    pub kind: DocumentKind,
    /// What it refers to (a signature names the image it signs).
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is, when it says so.
    pub artifact_type: Option<String>,
}

/// The two kinds of parent.
#[derive(Clone, Debug)]
pub enum DocumentKind {
    /// Points at manifests.
    Index(Vec<Descriptor>),
    /// Points at a config (absent in OCI artifact manifests) and layers.
    Manifest {
        /// The config.
        config: Option<Descriptor>,
        /// Lowest layer first.
        layers: Vec<Descriptor>,
    },
}

impl Document {
    /// Parses a manifest or an index.
    ///
    /// # Errors
    /// `Malformed` when the body breaks its format, says another type than `claimed`, or could be
    /// read as another kind; `Unsupported` for Docker's schema 1.
    pub fn parse(bytes: &[u8], claimed: &MediaType) -> Result<Self> {
        Self::read(bytes, claimed, MAX_ENTRIES)
    }

    /// Parses the table of a place, an index of up to `most` entries.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn table(bytes: &[u8], most: usize) -> Result<Self> {
        Self::read(bytes, &media_type::OCI_INDEX.into(), most)
    }

    fn read(bytes: &[u8], claimed: &MediaType, most: usize) -> Result<Self> {
        let body = json::object(bytes)?;
        if claimed.role() == Role::Schema1 || body.contains_key("fsLayers") {
            return Err(Error::unsupported(
                "Docker schema 1 manifests are obsolete; push the image again with a current tool",
            ));
        }
        let own = match body.get("mediaType") {
            None => None,
            Some(Value::String(text)) => Some(MediaType::from(text.as_str())),
            Some(_) => return Err(Error::malformed("mediaType is not a string")),
        };
        let media_type = Self::bind(own, claimed, &body)?;
        let kind = match media_type.role() {
            Role::Index => {
                forbid(&body, &["config", "layers", "fslayers", "history", "blobs"], "an index")?;
                let entries = descriptors(&body, "manifests", most)?;
                DocumentKind::Index(entries)
            }
            _ if media_type.as_str() == media_type::OCI_ARTIFACT => {
                forbid(&body, &["manifests", "config", "layers"], "an artifact manifest")?;
                DocumentKind::Manifest {
                    config: None,
                    layers: descriptors(&body, "blobs", MAX_LAYERS)?,
                }
            }
            _ => {
                forbid(&body, &["manifests", "fslayers", "history"], "a manifest")?;
                let config = body
                    .get("config")
                    .ok_or_else(|| Error::malformed("manifest without a config"))
                    .and_then(Descriptor::from_value)
                    .map_err(|e| e.at("config"))?;
                if !body.contains_key("layers") {
                    return Err(Error::malformed("manifest without layers"));
                }
                let layers = descriptors(&body, "layers", MAX_LAYERS)?;
                DocumentKind::Manifest { config: Some(config), layers }
            }
        };
        let subject = match body.get("subject") {
            None | Some(Value::Null) => None,
            Some(value) => Some(Descriptor::from_value(value).map_err(|e| e.at("subject"))?),
        };
        let artifact_type = body.get("artifactType").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { media_type, kind, subject, artifact_type })
    }

    /// The one media type that descriptor and body agree on, or that fits the shape.
    fn bind(
        own: Option<MediaType>,
        claimed: &MediaType,
        body: &Map<String, Value>,
    ) -> Result<MediaType> {
        let is_parent = |t: &MediaType| matches!(t.role(), Role::Index | Role::Manifest);
        match own {
            Some(own) if is_parent(&own) => {
                // Index and manifest must not be swapped; the families (Docker, OCI) may differ,
                // as go-containerregistry writes them.
                if is_parent(claimed) && claimed.role() != own.role() {
                    return Err(Error::malformed(format!(
                        "ambiguous: its descriptor says {claimed}, the document says {own}"
                    )));
                }
                Ok(own)
            }
            Some(own) if !own.as_str().is_empty() => {
                let own = crate::text::escape(own.as_str()).into_owned();
                Err(Error::malformed(format!("{own:?} is neither a manifest nor an index")))
            }
            _ if is_parent(claimed) => Ok(claimed.clone()),
            _ => match (body.contains_key("manifests"), body.contains_key("config")) {
                (true, false) => Ok(media_type::OCI_INDEX.into()),
                (false, true) => Ok(media_type::OCI_MANIFEST.into()),
                _ => Err(Error::malformed("neither a manifest nor an index")),
            },
        }
    }

    /// What an index lists; nothing for a manifest.
    pub fn into_entries(self) -> Vec<Descriptor> {
        match self.kind {
            DocumentKind::Index(entries) => entries,
            DocumentKind::Manifest { .. } => Vec::new(),
        }
    }

    /// The children in document order.
    pub fn children(&self) -> Vec<&Descriptor> {
        match &self.kind {
            DocumentKind::Index(entries) => entries.iter().collect(),
            DocumentKind::Manifest { config, layers } => config.iter().chain(layers).collect(),
        }
    }

    /// Whether its config is an image's config, so that layers and diff ids must agree.
    pub fn is_image(&self) -> bool {
        match &self.kind {
            DocumentKind::Manifest { config: Some(config), layers } => {
                let typed = config.media_type.role() == Role::Config;
                (typed || self.is_untyped()) && layers.iter().all(|l| is_layer_like(&l.media_type))
            }
            _ => false,
        }
    }

    /// Whether it is an image only if its config reads as one: the config's type says nothing, as that of
    /// old images on Docker Hub, which docker pulls to this day.
    pub fn is_untyped(&self) -> bool {
        match &self.kind {
            DocumentKind::Manifest { config: Some(config), layers } => {
                config.media_type.as_str() == media_type::OCTET_STREAM
                    && layers.iter().any(|l| l.media_type.role() == Role::Layer)
            }
            _ => false,
        }
    }
}

/// Types under which file system layers have been found.
fn is_layer_like(media_type: &MediaType) -> bool {
    matches!(media_type.role(), Role::Layer | Role::ForeignLayer)
        || media_type.as_str().starts_with("application/tar")
}

fn descriptors(body: &Map<String, Value>, key: &str, most: usize) -> Result<Vec<Descriptor>> {
    match body.get(key) {
        // Go writes an empty list as null.
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() > most => {
            Err(Error::malformed(format!("{} {key}, more than the limit of {most}", items.len())))
        }
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(i, item)| Descriptor::from_value(item).map_err(|e| e.at(format!("{key}[{i}]"))))
            .collect(),
        Some(other) => {
            let found = json::kind(other);
            Err(Error::malformed(format!("{key}: expected an array, found {found}")))
        }
    }
}

fn forbid(body: &Map<String, Value>, keys: &[&str], what: &str) -> Result<()> {
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
    for (key, value) in body {
        if keys.contains(&key.to_lowercase().as_str()) && !empty(value) {
            let key = crate::text::escape(key);
            return Err(Error::malformed(format!("ambiguous: {what} with {key:?}")));
        }
    }
    Ok(())
}

/// The same document with some children replaced: `replace` maps a position among the children to
/// its new descriptor, `None` drops the entry (of an index only). Field order is kept.
///
/// # Errors
/// `Malformed` when `bytes` is not the document it was when its children were read.
pub fn rewrite(bytes: &[u8], replace: &[Option<Descriptor>]) -> Result<Vec<u8>> {
    let mut body = json::object(bytes)?;
    let mut new = replace.iter();
    let mut take = |old: &Value| -> Option<Value> {
        let desc = new.next()?.as_ref()?;
        let Value::Object(old) = old else { return None };
        // Replace in place, so that the order of fields stays what it was.
        let mut merged = old.clone();
        merged.insert("mediaType".into(), desc.media_type.as_str().into());
        merged.insert("digest".into(), desc.digest.to_string().into());
        merged.insert("size".into(), desc.size.into());
        for key in old.keys() {
            if !matches!(key.as_str(), "mediaType" | "digest" | "size")
                && !desc.rest.contains_key(key)
            {
                merged.shift_remove(key);
            }
        }
        merged.extend(desc.rest.iter().map(|(key, value)| (key.clone(), value.clone())));
        Some(Value::Object(merged))
    };
    if let Some(config) = body.get_mut("config")
        && let Some(value) = take(config)
    {
        *config = value;
    }
    for key in ["manifests", "layers", "blobs"] {
        if let Some(Value::Array(items)) = body.get_mut(key) {
            *items = items.iter().filter_map(&mut take).collect();
        }
    }
    Ok(json::go_compact(&Value::Object(body)))
}

/// The manifest of a Docker archive's image, byte for byte as containerd synthesises it on import
/// (observed in containerd 2.1 and docker 29), so that the ID is the same before and after.
pub fn synthesise(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let brief = |d: &Descriptor| Descriptor::new(d.media_type.clone(), d.digest, d.size).to_value();
    let mut map = Map::new();
    map.insert("schemaVersion".into(), 2.into());
    map.insert("mediaType".into(), media_type::DOCKER_MANIFEST.into());
    map.insert("config".into(), brief(config));
    map.insert("layers".into(), layers.iter().map(brief).collect());
    json::go_compact(&Value::Object(map))
}

/// An index over `entries`.
pub fn index(entries: &[Descriptor]) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("schemaVersion".into(), 2.into());
    map.insert("mediaType".into(), media_type::OCI_INDEX.into());
    map.insert("manifests".into(), entries.iter().map(Descriptor::to_value).collect());
    json::go_compact(&Value::Object(map))
}

/// An OCI manifest of an image made here.
pub fn image(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("schemaVersion".into(), 2.into());
    map.insert("mediaType".into(), media_type::OCI_MANIFEST.into());
    map.insert("config".into(), config.to_value());
    map.insert("layers".into(), layers.iter().map(Descriptor::to_value).collect());
    json::go_compact(&Value::Object(map))
}

/// Chain ids of a stack of diff ids, as the graph drivers name their layers.
pub fn chain_ids(diff_ids: &[crate::digest::DiffId]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.0,
            Some(last) => Digest::of(format!("{last} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(media_type: &str, text: &str) -> Descriptor {
        Descriptor::of(media_type, text.as_bytes())
    }

    #[test]
    fn one_body_never_reads_as_two_kinds() {
        let config = desc(media_type::OCI_CONFIG, "c").to_value();
        let both = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{config}],"manifests":[{config}]}}"#
        );
        for claimed in [media_type::OCI_MANIFEST, media_type::OCI_INDEX, "application/x"] {
            assert!(Document::parse(both.as_bytes(), &claimed.into()).is_err(), "{claimed}");
        }
        let manifest = image(&desc(media_type::OCI_CONFIG, "c"), &[]);
        assert!(Document::parse(&manifest, &media_type::OCI_INDEX.into()).is_err());
        assert!(Document::parse(&manifest, &media_type::OCI_MANIFEST.into()).is_ok());
    }

    #[test]
    fn rewriting_nothing_changes_nothing_but_white_space() {
        let config = desc(media_type::OCI_CONFIG, "c");
        let layers = [desc(media_type::OCI_LAYER, "l")];
        let bytes = image(&config, &layers);
        let same = rewrite(&bytes, &[Some(config.clone()), Some(layers[0].clone())]).unwrap();
        assert_eq!(same, bytes);
        let new = desc(media_type::OCI_LAYER, "m");
        let changed = rewrite(&bytes, &[Some(config), Some(new.clone())]).unwrap();
        let parsed = Document::parse(&changed, &media_type::OCI_MANIFEST.into()).unwrap();
        assert_eq!(parsed.children()[1], &new);
    }
}
