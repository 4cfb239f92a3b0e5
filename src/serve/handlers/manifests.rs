//! Manifests and indexes, as they were stored, whatever the client says it accepts.

use http::{StatusCode, header};
use serde_json::json;

use super::reply::{CONTENT_DIGEST, NAMESPACE, is_known, no_repository};
use crate::serve::Registry;
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::request::Request;
use crate::serve::route::ManifestReference;

/// `GET` and `HEAD` of a manifest.
pub(super) fn get(
    registry: &Registry,
    request: &Request,
    name: &str,
    wanted: &ManifestReference,
) -> Answer {
    let ns = request.ns();
    let Some(found) = registry.catalogue().find(name, ns.as_deref()) else {
        return no_repository(name);
    };
    let Some(stored) = found.manifest(wanted) else {
        let about = match wanted {
            ManifestReference::Tag(tag) => json!({"name": name, "tag": tag}),
            ManifestReference::Digest(digest) => {
                json!({"name": name, "digest": digest.to_string()})
            }
        };
        return ApiError::new(Code::ManifestUnknown, "no such manifest").about(about).into();
    };
    let desc = stored.descriptor();
    let digest = desc.digest.to_string();
    let answer = match is_known(request, &digest) {
        true => Answer::new(StatusCode::NOT_MODIFIED),
        false => match found.document(&stored) {
            Ok(bytes) => Answer::bytes(desc.media_type.as_str(), bytes),
            Err(error) => return error.into(),
        },
    };
    let answer = match wanted {
        ManifestReference::Digest(_) => {
            answer.with(header::CACHE_CONTROL, "max-age=31536000, immutable")
        }
        ManifestReference::Tag(_) => answer,
    };
    let answer = match ns {
        Some(ns) => answer.with(NAMESPACE, &ns),
        None => answer,
    };
    answer.with(header::ETAG, &format!("\"{digest}\"")).with(CONTENT_DIGEST, &digest)
}
