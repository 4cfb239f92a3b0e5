//! What answers about repositories have in common.
//!
//! It must not know what was asked.

use http::header::{self, HeaderName};
use serde_json::json;

use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::request::Request;

/// The header that tells containerd which registry an answer is for.
pub(super) const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// The digest of what is answered.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// 404 for a repository.
pub(super) fn no_repository(name: &str) -> Answer {
    ApiError::new(Code::NameUnknown, "no such repository").about(json!({"name": name})).into()
}

/// Whether the client has this digest already.
pub(super) fn is_known(request: &Request, digest: &str) -> bool {
    request.header(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
            .any(|tag| tag == digest || tag == "*")
    })
}
