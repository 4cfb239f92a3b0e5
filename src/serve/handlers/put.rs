//! Pushing manifests and indexes: by tag, by digest, by digest with tags.
//!
//! OCI distribution-spec, "Pushing Manifests".

use std::io::Read;

use http::StatusCode;
use http::header::{self, HeaderName};
use serde_json::json;

use super::push::Push;
use super::reply::CONTENT_DIGEST;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Kind;
use crate::manifest::Document;
use crate::media_type::MediaType;
use crate::reference::is_tag;
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::request::Request;
use crate::serve::route::ManifestReference;

/// Largest manifest that is taken, in bytes: what every registry must take.
const MAX_MANIFEST: u64 = 4 << 20;
/// Most tags of one push.
const MAX_TAGS: usize = 100;
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

impl Push<'_> {
    /// `PUT manifests/<tag or digest>`.
    pub(super) fn manifest(
        &self,
        wanted: &ManifestReference,
        body: &mut (dyn Read + Send),
    ) -> Answer {
        let mut put = || -> Result<Answer, ApiError> {
            let bytes = read(self.request, body)?;
            let digest = named(wanted, &bytes)?;
            let tags = tags(self.request, wanted)?;
            let claimed = self.request.header(header::CONTENT_TYPE).unwrap_or_default();
            let claimed = MediaType::from(claimed.split(';').next().unwrap_or_default().trim());
            let document = Document::parse(&bytes, &claimed)
                .map_err(|e| ApiError::new(Code::ManifestInvalid, e.to_string()))?;
            let desc = Descriptor::new(document.media_type.clone(), digest, bytes.len() as u64);
            self.publish(&desc, &bytes, &tags)?;
            let shown = digest.to_string();
            let mut answer = Answer::new(StatusCode::CREATED).with(CONTENT_DIGEST, &shown);
            if let Some(subject) = &document.subject {
                answer = answer.with(SUBJECT, &subject.digest.to_string());
            }
            if matches!(wanted, ManifestReference::Digest(_)) {
                answer = tags.iter().fold(answer, |answer, tag| answer.with(TAG, tag));
            }
            Ok(self.location(answer, &format!("manifests/{shown}")))
        };
        put().unwrap_or_else(Answer::from)
    }

    /// Publishes, after blobs that lie elsewhere were taken over.
    fn publish(&self, desc: &Descriptor, bytes: &[u8], tags: &[String]) -> Result<(), ApiError> {
        let mut before = None;
        loop {
            let failed = |e: crate::Error| match e.kind() {
                Kind::Malformed | Kind::Unsupported => {
                    ApiError::new(Code::ManifestInvalid, e.to_string())
                }
                _ => e.into(),
            };
            let published = self.writable.publish(&self.name, desc, bytes, tags);
            let Some(absent) = published.map_err(failed)? else { return Ok(()) };
            let stuck = before.replace(absent) == Some(absent);
            if stuck || !self.adopt(self.path, &absent)? {
                let fault = ApiError::new(
                    Code::ManifestBlobUnknown,
                    "the manifest refers to missing content",
                );
                return Err(fault.about(json!({"digest": absent.to_string()})));
            }
        }
    }
}

/// The body, when it is no larger than a manifest may be.
fn read(request: &Request, body: &mut (dyn Read + Send)) -> Result<Vec<u8>, ApiError> {
    let too_large =
        || ApiError::new(Code::SizeInvalid, format!("a manifest has at most {MAX_MANIFEST} bytes"));
    let said = request.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if said.is_some_and(|said| said > MAX_MANIFEST) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    body.take(MAX_MANIFEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| ApiError::new(Code::ManifestInvalid, "the body was cut off"))?;
    if bytes.len() as u64 > MAX_MANIFEST { Err(too_large()) } else { Ok(bytes) }
}

/// The digest that the manifest is stored under.
fn named(wanted: &ManifestReference, bytes: &[u8]) -> Result<Digest, ApiError> {
    let ManifestReference::Digest(digest) = wanted else { return Ok(Digest::of(bytes)) };
    let found = digest.algorithm().digest(bytes);
    if found == *digest {
        return Ok(found);
    }
    let fault = ApiError::new(Code::DigestInvalid, "the manifest has a different digest");
    Err(fault.about(json!({"found": found.to_string()})))
}

/// The tags it is to have.
fn tags(request: &Request, wanted: &ManifestReference) -> Result<Vec<String>, ApiError> {
    let mut tags: Vec<String> = match wanted {
        ManifestReference::Tag(tag) => vec![tag.clone()],
        ManifestReference::Digest(_) => request.queries("tag").collect(),
    };
    tags.dedup();
    if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
        let fault = ApiError::new(Code::TagInvalid, "the tag is not valid");
        return Err(fault.about(json!({"tag": bad})));
    }
    if tags.len() > MAX_TAGS {
        let fault = ApiError::new(Code::TagInvalid, format!("more than {MAX_TAGS} tags at once"));
        return Err(fault.status(StatusCode::URI_TOO_LONG));
    }
    Ok(tags)
}
