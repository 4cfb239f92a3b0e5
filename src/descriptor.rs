//! A pointer to content: type, digest, size, and all other fields.
//!
//! It reads no bytes. OCI image-spec `descriptor.md`; unknown fields survive in their order.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::media_type::MediaType;
use crate::platform::Platform;

/// Largest size a JSON number carries exactly: 2^53.
pub const MAX_SIZE: u64 = 1 << 53;

/// Most bytes of annotations on one descriptor.
const MAX_ANNOTATIONS: usize = 64 << 10;

/// Full image name, as containerd, Docker and BuildKit write it.
pub const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// Tag or name, as everybody writes it.
pub const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";
/// The subject of a referrer that Docker 29 saved beside its image.
pub const ANNOTATION_SUBJECT: &str = "io.containerd.manifest.subject";
/// What an entry is to the image beside it: `attestation-manifest`.
pub const ANNOTATION_REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The fields that every descriptor has.
const REQUIRED: [&str; 3] = ["mediaType", "digest", "size"];

/// A pointer to bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// What the bytes are meant to be.
    pub media_type: MediaType,
    /// What they hash to.
    pub digest: Digest,
    /// How many there are, in bytes.
    pub size: u64,
    /// `platform`, `annotations`, `urls` and fields we do not know, in their order.
    pub rest: Rest,
}

/// The fields of a descriptor that are not required. Most descriptors have none, and a run may hold
/// millions.
#[derive(Clone, Default)]
pub struct Rest(Option<Box<Map<String, Value>>>);

impl Deref for Rest {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Rest {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Rest {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl FromIterator<(String, Value)> for Rest {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        let map: Map<String, Value> = fields.into_iter().collect();
        Self((!map.is_empty()).then(|| Box::new(map)))
    }
}

impl Descriptor {
    /// A descriptor with nothing but the three required fields.
    pub fn new(media_type: impl Into<MediaType>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, rest: Rest::default() }
    }

    /// The descriptor of `bytes`.
    pub fn of(media_type: impl Into<MediaType>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Reads a descriptor out of a document.
    ///
    /// # Errors
    /// `Malformed` when a required field is absent or breaks its grammar, when inline `data` does
    /// not match, or when its annotations are larger than 64 KiB.
    pub fn from_value(value: &Value) -> Result<Self> {
        let Value::Object(map) = value else {
            let found = json::kind(value);
            return Err(Error::malformed(format!("expected a descriptor, found {found}")));
        };
        let text = |key: &str| match map.get(key) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(Error::malformed(format!("descriptor without {key}"))),
        };
        let digest: Digest = text("digest")?.parse()?;
        let size =
            map.get("size").and_then(Value::as_u64).filter(|&size| size <= MAX_SIZE).ok_or_else(
                || {
                    let found = map.get("size").map_or("nothing".into(), Value::to_string);
                    Error::malformed(format!(
                        "invalid size of {digest}: {}",
                        crate::text::escape(&found)
                    ))
                },
            )?;
        let others = map.iter().filter(|(key, _)| !REQUIRED.contains(&key.as_str()));
        let rest: Rest = others.map(|(key, value)| (key.clone(), value.clone())).collect();
        if rest.get("annotations").is_some_and(|a| a.to_string().len() > MAX_ANNOTATIONS) {
            return Err(Error::malformed(format!("annotations of {digest} exceed 64 KiB")));
        }
        Ok(Self { media_type: text("mediaType").unwrap_or_default().into(), digest, size, rest })
    }

    /// The descriptor as a JSON object, required fields first.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("mediaType".into(), self.media_type.as_str().into());
        map.insert("digest".into(), self.digest.to_string().into());
        map.insert("size".into(), self.size.into());
        map.extend(self.rest.iter().map(|(key, value)| (key.clone(), value.clone())));
        Value::Object(map)
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.rest.get("annotations")?.get(key)?.as_str()
    }

    /// Sets one annotation.
    pub fn annotate(&mut self, key: &str, value: &str) {
        let slot = self.rest.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        if let Value::Object(map) = slot {
            map.insert(key.into(), value.into());
        }
    }

    /// Removes one annotation, and the map when nothing is left in it.
    pub fn unannotate(&mut self, key: &str) {
        if self.rest.is_empty() {
            return;
        }
        if let Some(Value::Object(map)) = self.rest.get_mut("annotations") {
            map.shift_remove(key);
            if map.is_empty() {
                self.rest.shift_remove("annotations");
            }
        }
    }

    /// The platform of the image it points at, when said.
    pub fn platform(&self) -> Option<Platform> {
        Platform::from_fields(self.rest.get("platform")?.as_object()?)
    }

    /// What kind of artifact it points at, when said.
    pub fn artifact_type(&self) -> Option<&str> {
        self.rest.get("artifactType")?.as_str()
    }

    /// Whether it points at an attestation inside an image's own index (BuildKit).
    pub fn is_attestation(&self) -> bool {
        self.annotation(ANNOTATION_REFERENCE_TYPE).is_some()
            || self.platform().is_some_and(|p| p.is_unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_survive_in_order() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{digest}","size":1,"z":1,"annotations":{{"k":"v"}},"a":[2]}}"#
        );
        let value = json::parse(text.as_bytes()).unwrap();
        let desc = Descriptor::from_value(&value).unwrap();
        assert_eq!(desc.to_value().to_string(), text);
        assert_eq!(desc.annotation("k"), Some("v"));
    }

    #[test]
    fn sizes_that_are_no_sizes_are_refused() {
        let digest = Digest::of(b"x");
        for size in
            ["-1", "1.0", "1e3", "9007199254740993", "18446744073709551616", "\"1\"", "null"]
        {
            let text = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#);
            let value = json::parse(text.as_bytes()).unwrap();
            assert!(Descriptor::from_value(&value).is_err(), "{size}");
        }
    }
}
