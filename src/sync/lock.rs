//! The lock file: every reference of a run with its digest.
//!
//! It is JSON of one form only, sorted, so that the same images give the same bytes; docs/FORMATS.md
//! has the fields. It pins companions too: a signature that came later is not part of what was locked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::manifest::MAX_ENTRIES;
use crate::media_type::MediaType;
use crate::reference::Reference;

/// The version of the form.
const VERSION: u64 = 1;
/// Largest size that JSON carries exactly.
const MAX_SIZE: u64 = crate::descriptor::MAX_SIZE;

/// One reference, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The digest of its manifest or index at the source.
    pub digest: Digest,
    /// What that document is.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// Where it was found: a repository, or a place.
    pub source: String,
}

/// All references of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Images by their full names.
    pub images: BTreeMap<Reference, Pinned>,
    /// Signatures, attestations and other companions that travelled with them.
    pub companions: BTreeSet<Digest>,
}

impl Lock {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let image = |(name, pinned): (&Reference, &Pinned)| {
            let mut map = Map::new();
            map.insert("reference".into(), name.to_string().into());
            map.insert("digest".into(), pinned.digest.to_string().into());
            map.insert("mediaType".into(), pinned.media_type.as_str().into());
            map.insert("size".into(), pinned.size.into());
            map.insert("source".into(), pinned.source.clone().into());
            Value::Object(map)
        };
        let mut map = Map::new();
        map.insert("imgpackLock".into(), VERSION.into());
        map.insert("images".into(), self.images.iter().map(image).collect());
        let companions = self.companions.iter().map(ToString::to_string);
        map.insert("companions".into(), companions.collect::<Value>());
        let mut bytes = serde_json::to_vec_pretty(&Value::Object(map)).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// `Malformed`; `Unsupported` for a version that is not ours.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let body = json::object(bytes)?;
        match body.get("imgpackLock").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => {
                return Err(Error::unsupported(format!("lock file of version {other}")));
            }
            None => return Err(Error::malformed("not a lock file")),
        }
        let mut lock = Self::default();
        for (at, item) in list(&body, "images")?.iter().enumerate() {
            let (name, pinned) = pinned(item).map_err(|e| e.at(format!("images[{at}]")))?;
            if lock.images.insert(name.clone(), pinned).is_some() {
                return Err(Error::malformed(format!("{name} is locked twice")));
            }
        }
        for (at, item) in list(&body, "companions")?.iter().enumerate() {
            let digest = item.as_str().unwrap_or_default().parse();
            lock.companions.insert(digest.map_err(|e: Error| e.at(format!("companions[{at}]")))?);
        }
        Ok(lock)
    }
}

fn list<'b>(body: &'b Map<String, Value>, key: &str) -> Result<&'b [Value]> {
    match body.get(key) {
        None => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= 100 * MAX_ENTRIES => Ok(items),
        Some(other) => {
            Err(Error::malformed(format!("{key}: expected an array, found {}", json::kind(other))))
        }
    }
}

fn pinned(item: &Value) -> Result<(Reference, Pinned)> {
    let text = |key: &str| {
        let missing = || Error::malformed(format!("entry without {key}"));
        item.get(key).and_then(Value::as_str).ok_or_else(missing)
    };
    let name: Reference = text("reference")?.parse()?;
    let digest: Digest = text("digest")?.parse()?;
    if name.tag().is_none() && name.digest() != Some(&digest) {
        return Err(Error::malformed(format!("{name} has no tag and not its digest")));
    }
    let size = item.get("size").and_then(Value::as_u64).filter(|size| *size <= MAX_SIZE);
    let size = size.ok_or_else(|| Error::malformed(format!("{name} has no size")))?;
    let media_type = text("mediaType")?.into();
    Ok((name, Pinned { digest, media_type, size, source: text("source")?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let mut lock = Lock::default();
        for name in ["quay.io/a:1", "nginx:1.27"] {
            let pinned = Pinned {
                digest: Digest::of(name.as_bytes()),
                media_type: crate::media_type::OCI_INDEX.into(),
                size: 7,
                source: "somewhere".into(),
            };
            lock.images.insert(name.parse().unwrap(), pinned);
        }
        lock.companions.insert(Digest::of(b"signature"));
        lock
    }

    #[test]
    fn what_is_written_is_read_and_written_again_the_same() {
        let bytes = lock().to_bytes();
        let again = Lock::parse(&bytes).unwrap();
        assert_eq!(again, lock());
        assert_eq!(again.to_bytes(), bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("{\n  \"imgpackLock\": 1,\n  \"images\": [\n    {\n      \"reference\": \"docker.io/library/nginx:1.27\""), "{text}");
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        let good = String::from_utf8(lock().to_bytes()).unwrap();
        for (bad, kind) in [
            ("{}".to_owned(), "not a lock file"),
            (good.replace("\"imgpackLock\": 1", "\"imgpackLock\": 2"), "version 2"),
            (good.replace("sha256:", "sha1:"), "invalid digest"),
            (good.replace("quay.io/a:1", "docker.io/library/nginx:1.27"), "locked twice"),
            (good.replace("quay.io/a:1", "quay.io/a"), "has no tag"),
            (good.replace("\"size\": 7", "\"size\": -7"), "has no size"),
            (good.replace("\"mediaType\"", "\"x\""), "without mediaType"),
            (good.replace("[\n    {", "{\"a\": {").replace("}\n  ]", "}}"), ""),
            (good[..good.len() / 2].to_owned(), "invalid JSON"),
        ] {
            let error = Lock::parse(bad.as_bytes()).unwrap_err();
            assert!(error.what().contains(kind), "{kind}: {error}");
        }
    }
}
