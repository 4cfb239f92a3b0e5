//! Deleting tags, manifests and blobs, where that is allowed.
//!
//! OCI distribution-spec, "Content Management".

use http::{StatusCode, header};
use serde_json::json;

use crate::digest::Digest;
use crate::serve::Registry;
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::names::Name;
use crate::serve::request::Request;
use crate::serve::route::Wanted;
use crate::serve::writable::Writable;

/// `DELETE manifests/<tag or digest>`.
pub(super) fn manifest(
    registry: &Registry,
    writable: &Writable,
    request: &Request,
    name: &Name,
    (path, wanted): (&str, &Wanted),
) -> Answer {
    if !writable.settings().delete {
        return not_allowed("GET, HEAD, PUT");
    }
    let removed = match wanted {
        Wanted::Tag(tag) => writable.untag(name, tag),
        Wanted::Digest(digest) => writable.remove(name, digest),
    };
    match removed {
        Ok(true) => Answer::new(StatusCode::ACCEPTED),
        Ok(false) => {
            let found = registry.catalogue().find(path, request.ns().as_deref());
            if found.is_some_and(|found| found.manifest(wanted).is_some()) {
                let fault = Fault::new(Code::Denied, "it lies in a place that is only read");
                return fault.into();
            }
            Fault::new(Code::ManifestUnknown, "no such manifest")
                .about(json!({"name": path}))
                .into()
        }
        Err(e) => e.into(),
    }
}

/// `DELETE blobs/<digest>`.
pub(super) fn blob(writable: &Writable, name: &Name, digest: &Digest) -> Answer {
    if !writable.settings().delete {
        return not_allowed("GET, HEAD");
    }
    match writable.remove_blob(name, digest) {
        Ok(true) => Answer::new(StatusCode::ACCEPTED),
        Ok(false) => {
            let about = json!({"digest": digest.to_string()});
            Fault::new(Code::BlobUnknown, "no such blob").about(about).into()
        }
        Err(e) => e.into(),
    }
}

fn not_allowed(allowed: &str) -> Answer {
    let fault = Fault::new(Code::Unsupported, "nothing can be deleted from this registry");
    Answer::from(fault).with(header::ALLOW, allowed)
}
