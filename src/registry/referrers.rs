//! Referrers of an image: the referrers API, and the tag schema as its fallback.
//!
//! It knows nothing of signatures. OCI distribution-spec 1.1 "Listing Referrers", "Referrers Tag Schema".

use serde_json::Value;

use crate::companion::MAX;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::manifest;
use crate::media_type::{self, MediaType, Role};
use crate::registry::documents::Put;
use crate::registry::host::Redirects;
use crate::registry::{Place, Wanted, list};

/// How often an index that others change too is written anew.
const RACES: usize = 5;

/// The tag of the index that lists what refers to a digest.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let text: String = subject
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    match text.split_once('-') {
        Some((algorithm, hex)) => {
            format!("{algorithm:.32}-{hex:.64}")
        }
        None => text,
    }
}

/// What the index lists that stands in for the API, under a tag.
pub(crate) fn tagged(place: &Place, subject: &Digest) -> Result<Vec<Descriptor>> {
    Ok(from_tag(place, subject)?.map(|(found, _)| found).unwrap_or_default())
}

/// What the API says; `None` when there is none.
pub(crate) fn from_api(place: &Place, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
    let url = format!("/v2/{}/referrers/{subject}", place.path);
    let limit = place.host.settings().max_document;
    let mut all = Vec::new();
    let mut known = true;
    // GHCR redirects to a web page, so nothing but the host itself is heard.
    list::pages(&place.host, &url, &place.looking(), Redirects::Inside, limit, |answer| {
        let entries = (answer.status == 200).then(|| entries(&answer.bytes)).flatten();
        match (answer.status, entries) {
            (200, Some(entries)) => {
                all.extend(entries);
                Ok(all.len() < MAX)
            }
            (401 | 403 | 429 | 500.., _) => {
                let error = place.host.explain("GET referrers", answer.status, &answer.fault());
                Err(error.input(place.name()))
            }
            // Not an index, a redirect, 400, 404, 405, 406: there is no such API.
            _ => {
                known = !all.is_empty();
                Ok(false)
            }
        }
    })?;
    Ok(known.then(|| unique(all)))
}

/// The entries of an index, whatever type the registry says it has; `None` when it is none.
fn entries(bytes: &[u8]) -> Option<Vec<Descriptor>> {
    let value = json::parse(bytes).ok()?;
    match value.get("manifests")? {
        Value::Null => Some(Vec::new()),
        Value::Array(all) => {
            Some(all.iter().filter_map(|v| Descriptor::from_value(v).ok()).collect())
        }
        _ => None,
    }
}

fn unique(all: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut seen = std::collections::HashSet::new();
    all.into_iter().filter(|d| seen.insert(d.digest)).take(MAX).collect()
}

/// What the tag's index lists, and the `ETag` it came with.
fn from_tag(place: &Place, subject: &Digest) -> Result<Option<(Vec<Descriptor>, Option<String>)>> {
    let tag = fallback_tag(subject);
    let Some(found) = place.manifest(Wanted::Tag(&tag))? else { return Ok(None) };
    // GitLab takes such a tag for the digest itself and gives the subject back.
    let is_index = found.descriptor.media_type.role() == Role::Index;
    if found.descriptor.digest == *subject || !is_index {
        return Ok(None);
    }
    Ok(entries(&found.bytes).map(|all| (unique(all), found.etag)))
}

/// The subject of a manifest that was pushed, and how an index lists the manifest.
pub(crate) fn entry(
    media_type: &str,
    bytes: &[u8],
    digest: &Digest,
) -> Option<(Digest, Descriptor)> {
    let value = json::parse(bytes).ok()?;
    let subject = Descriptor::from_value(value.get("subject")?).ok()?;
    let mut fields = Descriptor::new(media_type, *digest, bytes.len() as u64).to_value();
    let own = value.get("artifactType").and_then(Value::as_str).filter(|t| !t.is_empty());
    let config = value.get("config").and_then(|c| c.get("mediaType")).and_then(Value::as_str);
    if let (Some(map), Some(kind)) = (fields.as_object_mut(), own.or(config)) {
        map.insert("artifactType".into(), kind.into());
    }
    let annotations = value.get("annotations").filter(|a| a.is_object());
    if let (Some(map), Some(annotations)) = (fields.as_object_mut(), annotations) {
        map.insert("annotations".into(), annotations.clone());
    }
    Some((subject.digest, Descriptor::from_value(&fields).ok()?))
}

/// Writes a manifest into the index of its subject's tag, for registries without the API.
pub(crate) fn maintain(place: &Place, subject: &Digest, entry: &Descriptor) -> Result<()> {
    let tag = fallback_tag(subject);
    for _ in 0..RACES {
        let (mut all, etag) = from_tag(place, subject)?.unwrap_or_default();
        if all.iter().any(|d| d.digest == entry.digest) {
            return Ok(());
        }
        all.push(entry.clone());
        let bytes = manifest::index(&all);
        let digest = Digest::of(&bytes);
        let index = media_type::OCI_INDEX;
        // Where nothing tells one state from the next, the last writer wins.
        let wanted = Wanted::Tag(&tag);
        let etag = etag.as_deref();
        let put = place.put_manifest(wanted, index, &bytes, &digest, etag, &|_| Ok(false))?;
        if put != Put::Raced {
            return Ok(());
        }
    }
    let what = format!("tag {tag} keeps being changed by others");
    Err(Error::new(crate::error::Kind::Busy, what).input(place.name()))
}

/// Whether a type is one whose subject counts.
pub(crate) fn may_refer(media_type: &str) -> bool {
    MediaType::from(media_type).role().is_parent()
}
