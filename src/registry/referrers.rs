//! Referrers of an image: the referrers API, and the tag schema as its fallback.
//!
//! It knows nothing of signatures. OCI distribution-spec 1.1 "Listing Referrers", "Referrers Tag Schema".

use std::collections::HashSet;

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
use crate::registry::hosted::{HostedRepository, TagOrDigest};
use crate::registry::list;

/// How often to rewrite an index that others change at the same time.
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

/// A manifest that was pushed and whose registry keeps no track of what it refers to.
#[derive(Clone, Debug)]
pub struct Unlisted {
    /// What it refers to.
    pub subject: Digest,
    /// How the index of that subject's tag is to list it.
    pub entry: Descriptor,
}

/// What the index lists that stands in for the API, under a tag.
pub(crate) fn tagged(place: &HostedRepository, subject: &Digest) -> Result<Vec<Descriptor>> {
    Ok(from_tag(place, subject)?.map(|(found, _)| found).unwrap_or_default())
}

/// What the API says; `None` when there is none.
pub(crate) fn from_api(
    place: &HostedRepository,
    subject: &Digest,
) -> Result<Option<Vec<Descriptor>>> {
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
    let mut seen = HashSet::new();
    all.into_iter().filter(|d| seen.insert(d.digest)).take(MAX).collect()
}

/// What the tag's index lists, and the `ETag` it came with.
fn from_tag(
    place: &HostedRepository,
    subject: &Digest,
) -> Result<Option<(Vec<Descriptor>, Option<String>)>> {
    let tag = fallback_tag(subject);
    let Some(found) = place.manifest(TagOrDigest::Tag(&tag))? else { return Ok(None) };
    // GitLab takes such a tag for the digest itself and gives the subject back.
    let is_index = found.descriptor.media_type.role() == Role::Index;
    if found.descriptor.digest == *subject || !is_index {
        return Ok(None);
    }
    Ok(entries(&found.bytes).map(|all| (unique(all), found.etag)))
}

/// How the index of its subject's tag is to list a manifest; nothing for one that refers to nothing.
pub(crate) fn entry(media_type: &str, bytes: &[u8], digest: &Digest) -> Option<Unlisted> {
    if !may_refer(media_type) {
        return None;
    }
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
    let entry = Descriptor::from_value(&fields).ok()?;
    Some(Unlisted { subject: subject.digest, entry })
}

/// Completes the index of a subject's tag, for registries without the API; everything that it lists then.
pub(crate) fn maintain(
    place: &HostedRepository,
    subject: &Digest,
    entries: &[Descriptor],
) -> Result<HashSet<Digest>> {
    let tag = fallback_tag(subject);
    for _ in 0..RACES {
        let (mut all, etag) = from_tag(place, subject)?.unwrap_or_default();
        let mut listed: HashSet<Digest> = all.iter().map(|d| d.digest).collect();
        let before = all.len();
        all.extend(entries.iter().filter(|entry| listed.insert(entry.digest)).cloned());
        if all.len() == before {
            return Ok(listed);
        }
        let bytes = manifest::index(&all);
        let digest = Digest::of(&bytes);
        let index = media_type::OCI_INDEX;
        // Where nothing tells one state from the next, the last writer wins.
        let wanted = TagOrDigest::Tag(&tag);
        let etag = etag.as_deref();
        let put = place.put_manifest(wanted, index, &bytes, &digest, etag, &|_| Ok(false))?;
        if put != Put::Raced {
            return Ok(listed);
        }
    }
    let what = format!("tag {tag} keeps being changed by others");
    Err(Error::new(crate::error::Kind::Busy, what).input(place.name()))
}

/// Whether a type is one whose subject counts.
fn may_refer(media_type: &str) -> bool {
    MediaType::from(media_type).role().is_parent()
}
