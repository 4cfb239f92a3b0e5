//! Deleting tags, manifests and blobs, where that is allowed.
//!
//! OCI distribution-spec, "Content Management".

use http::{Method, StatusCode};
use serde_json::json;

use super::push::{Push, READS};
use crate::digest::Digest;
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::route::ManifestReference;

/// Why nothing is.
const NEVER: &str = "this registry does not allow deletion";

impl Push<'_> {
    /// `DELETE manifests/<tag or digest>`.
    pub(super) fn delete(&self, wanted: &ManifestReference) -> Answer {
        if !self.writable.settings().delete {
            return Answer::not_allowed(NEVER, &[READS, &[Method::PUT]].concat());
        }
        let removed = match wanted {
            ManifestReference::Tag(tag) => self.writable.untag(&self.name, tag),
            ManifestReference::Digest(digest) => self.writable.remove(&self.name, digest),
        };
        match removed {
            Ok(true) => Answer::new(StatusCode::ACCEPTED),
            Ok(false) => {
                let found = self.registry.catalogue().find(self.path, self.request.ns().as_deref());
                if found.is_some_and(|found| found.manifest(wanted).is_some()) {
                    let fault = ApiError::new(Code::Denied, "it is in a read-only place");
                    return fault.into();
                }
                ApiError::new(Code::ManifestUnknown, "no such manifest")
                    .about(json!({"name": self.path}))
                    .into()
            }
            Err(e) => e.into(),
        }
    }

    /// `DELETE blobs/<digest>`.
    pub(super) fn delete_blob(&self, digest: &Digest) -> Answer {
        if !self.writable.settings().delete {
            return Answer::not_allowed(NEVER, READS);
        }
        match self.writable.remove_blob(&self.name, digest) {
            Ok(true) => Answer::new(StatusCode::ACCEPTED),
            Ok(false) => {
                let about = json!({"digest": digest.to_string()});
                ApiError::new(Code::BlobUnknown, "no such blob").about(about).into()
            }
            Err(e) => e.into(),
        }
    }
}
