//! What is answered to a request: plain functions from a registry and a request to an answer.
//!
//! No socket, no thread, no clock. OCI distribution-spec; one file for each kind of thing asked for.

use std::io::Read;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::serve::Registry;
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::names::Name;
use crate::serve::page;
use crate::serve::request::Request;
use crate::serve::route::{Route, Stray};

mod blobs;
mod delete;
mod lists;
mod manifests;
mod put;
mod status;
mod uploads;

/// Says which registry an answer is about, to containerd.
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// The digest of what is answered.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// What every answer of the API carries.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers a request whose path was read. `body` is what the client sends, if it is read.
pub fn answer(registry: &Registry, request: &Request, body: &mut (dyn Read + Send)) -> Answer {
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
fn written(registry: &Registry, request: &Request, body: &mut (dyn Read + Send)) -> Answer {
    let (route, method) = (&request.route, &request.method);
    let Some(writable) = registry.writable() else {
        return match route {
            Route::Manifest(..) | Route::Blob(..) | Route::Uploads(_) | Route::Upload(..)
                if [Method::PUT, Method::POST, Method::PATCH, Method::DELETE].contains(method) =>
            {
                let fault = Fault::new(Code::Unsupported, "this registry is read only");
                Answer::from(fault).with(header::ALLOW, "GET, HEAD")
            }
            _ => Answer::not_allowed(&[Method::GET, Method::HEAD]),
        };
    };
    let to = |path: &str| {
        let target = registry.catalogue().naming().target(path, request.ns().as_deref());
        // Only a name that is read back as it was written can be kept in an index.
        let kept = |name: &Name| name.as_str().parse().is_ok_and(|read| Name::of(&read) == *name);
        let fault = || Fault::new(Code::NameInvalid, "no repository can be called so");
        target.filter(kept).ok_or_else(fault)
    };
    let mut answer = || -> Result<Answer, Fault> {
        Ok(match (route, method) {
            (Route::Uploads(path), &Method::POST) => {
                uploads::begin(registry, writable, request, &to(path)?, path, body)
            }
            (Route::Upload(path, id), _) => {
                uploads::session(writable, request, &to(path)?, path, id, body)
            }
            (Route::Manifest(path, wanted), &Method::PUT) => {
                put::manifest(registry, writable, request, &to(path)?, (path, wanted), body)
            }
            (Route::Manifest(path, wanted), &Method::DELETE) => {
                delete::manifest(registry, writable, request, &to(path)?, (path, wanted))
            }
            (Route::Blob(path, digest), &Method::DELETE) => {
                delete::blob(writable, &to(path)?, digest)
            }
            (Route::Uploads(_), _) => Answer::not_allowed(&[Method::POST]),
            (Route::Manifest(..), _) => {
                Answer::not_allowed(&[Method::GET, Method::HEAD, Method::PUT, Method::DELETE])
            }
            (Route::Blob(..), _) => {
                Answer::not_allowed(&[Method::GET, Method::HEAD, Method::DELETE])
            }
            _ => Answer::not_allowed(&[Method::GET, Method::HEAD]),
        })
    };
    answer().unwrap_or_else(Answer::from)
}

/// Where something is now: relative, so that it is right behind any proxy, and in the registry that the
/// client named.
fn location(answer: Answer, request: &Request, path: &str) -> Answer {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let ns = request.ns().map(|ns| format!("?ns={}", encoded(&ns))).unwrap_or_default();
    answer.with(header::LOCATION, &format!("{path}{ns}"))
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
