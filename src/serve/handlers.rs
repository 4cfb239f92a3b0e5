//! What is answered to a request: plain functions from a registry and a request to an answer.
//!
//! No socket, no thread, no clock. OCI distribution-spec; one file for each kind of thing asked for.

use std::io::Read;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use serde_json::json;

use crate::serve::Registry;
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::page;
use crate::serve::request::Request;
use crate::serve::route::{Route, Stray};

mod blobs;
mod lists;
mod manifests;
mod status;

/// Says which registry an answer is about, to containerd.
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// The digest of what is answered.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// What every answer of the API carries.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers a request whose path was read. `body` is what the client sends, if it is read.
pub fn answer(registry: &Registry, request: &Request, body: &mut dyn Read) -> Answer {
    let answer = match (&request.route, request.is_read()) {
        (Route::Base, true) => Answer::json(&json!({})),
        (Route::Catalog, true) => lists::catalog(registry, request),
        (Route::Tags(name), true) => lists::tags(registry, request, name),
        (Route::Referrers(name, digest), true) => lists::referrers(registry, request, name, digest),
        (Route::Manifest(name, wanted), true) => manifests::get(registry, request, name, wanted),
        (Route::Blob(name, digest), true) => blobs::get(registry, request, name, digest),
        (Route::Health, true) => status::health(),
        (Route::Ready, true) => status::ready(registry),
        (Route::Metrics, true) => status::metrics(registry),
        (Route::Authority, true) => status::authority(registry),
        (Route::Page(path), true) => page::answer(registry, request, path),
        // Without passwords there are no tokens, and with them `http` makes them.
        (Route::Token, true) => {
            Fault::new(Code::Unknown, "nothing is here").status(StatusCode::NOT_FOUND).into()
        }
        _ => written(registry, request, body),
    };
    match request.route {
        Route::Health
        | Route::Ready
        | Route::Metrics
        | Route::Authority
        | Route::Page(_)
        | Route::Token => answer,
        // A browser must not take for a page what comes from an archive.
        _ => {
            answer.with(API_VERSION, "registry/2.0").with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        }
    }
}

/// What would change something.
fn written(_registry: &Registry, request: &Request, _body: &mut dyn Read) -> Answer {
    let changes =
        matches!(request.method, Method::PUT | Method::POST | Method::PATCH | Method::DELETE);
    match request.route {
        Route::Manifest(..) | Route::Blob(..) | Route::Uploads(_) | Route::Upload(..)
            if changes =>
        {
            let fault = Fault::new(Code::Unsupported, "this registry is read only");
            Answer::from(fault).with(header::ALLOW, "GET, HEAD")
        }
        _ => Answer::not_allowed(&[Method::GET, Method::HEAD]),
    }
}

/// The answer to a path that asks for nothing.
pub fn stray(stray: Stray) -> Answer {
    let fault = match stray {
        Stray::Path => Fault::new(Code::NameInvalid, "the path is not valid"),
        Stray::Name => Fault::new(Code::NameInvalid, "the name of the repository is not valid"),
        Stray::Digest => Fault::new(Code::DigestInvalid, "the digest is not valid"),
        Stray::Tag => Fault::new(Code::TagInvalid, "the tag is not valid"),
        Stray::Unknown => {
            Fault::new(Code::Unknown, "nothing is here").status(StatusCode::NOT_FOUND)
        }
    };
    Answer::from(fault).with(API_VERSION, "registry/2.0")
}

/// 404 for a repository.
fn no_repository(name: &str) -> Answer {
    Fault::new(Code::NameUnknown, "no such repository").about(json!({"name": name})).into()
}

/// Whether the client has this digest already.
fn is_known(request: &Request, digest: &str) -> bool {
    request.header(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
            .any(|tag| tag == digest || tag == "*")
    })
}
