//! Handlers: plain functions from a registry and a request to an answer.
//!
//! No socket, no thread, no clock. OCI distribution-spec; one file for each kind of resource.

use std::io::Read;

use http::header;
use http::{Method, StatusCode};
use serde_json::json;

use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::request::Request;
use crate::serve::route::{Route, RouteError};
use crate::serve::{Registry, page};

mod blobs;
mod delete;
mod lists;
mod manifests;
mod push;
mod put;
mod reply;
mod status;
mod uploads;

use push::{NOT_HERE, Push, READS};

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
        (Route::Token, true) => Answer::nothing_here(),
        _ => written(registry, request, body),
    };
    let answer = unless_unread(registry, request, answer);
    match request.route {
        Route::Health
        | Route::Ready
        | Route::Metrics
        | Route::Authority
        | Route::Page(_)
        | Route::Token => answer,
        _ => answer.of_api(),
    }
}

/// The answer, unless it says what nobody knows while a place cannot be read: that something is not there,
/// or all that is there. A mirror that is kept from such a list would be emptied.
fn unless_unread(registry: &Registry, request: &Request, answer: Answer) -> Answer {
    let catalogue = registry.catalogue();
    let absent = answer.status == StatusCode::NOT_FOUND;
    let why = match request.route {
        // Whoever pushes asks this first, and sends what is not here to the store that is written to.
        _ if request.is_head() && registry.writable().is_some() => None,
        Route::Manifest(..) | Route::Blob(..) if absent => catalogue.incomplete(),
        Route::Catalog | Route::Tags(_) | Route::Referrers(..) => catalogue.unread(),
        _ => None,
    };
    match why.filter(|_| request.is_read()) {
        Some(error) => {
            let fault = ApiError::new(Code::Unavailable, format!("cannot be read: {error}"));
            Answer::from(fault).with(header::RETRY_AFTER, "2")
        }
        None => answer,
    }
}

/// What would change something.
fn written(registry: &Registry, request: &Request, body: &mut (dyn Read + Send)) -> Answer {
    let (route, method) = (&request.route, &request.method);
    let allowed = |more: &[Method]| Answer::not_allowed(NOT_HERE, &[READS, more].concat());
    let Some(writable) = registry.writable() else {
        return match route {
            Route::Manifest(..) | Route::Blob(..) | Route::Uploads(_) | Route::Upload(..)
                if [Method::PUT, Method::POST, Method::PATCH, Method::DELETE].contains(method) =>
            {
                Answer::not_allowed("this registry is read only", READS)
            }
            _ => allowed(&[]),
        };
    };
    let push = |path| Push::new(registry, writable, request, path);
    let mut answer = || -> Result<Answer, ApiError> {
        Ok(match (route, method) {
            (Route::Uploads(path), &Method::POST) => push(path)?.begin(body),
            (Route::Upload(path, id), _) => push(path)?.session(id, body),
            (Route::Manifest(path, wanted), &Method::PUT) => push(path)?.manifest(wanted, body),
            (Route::Manifest(path, wanted), &Method::DELETE) => push(path)?.delete(wanted),
            (Route::Blob(path, digest), &Method::DELETE) => push(path)?.delete_blob(digest),
            (Route::Uploads(_), _) => Answer::not_allowed(NOT_HERE, &[Method::POST]),
            (Route::Manifest(..), _) => allowed(&[Method::PUT, Method::DELETE]),
            (Route::Blob(..), _) => allowed(&[Method::DELETE]),
            _ => allowed(&[]),
        })
    };
    answer().unwrap_or_else(Answer::from)
}

/// The answer to a path that asks for nothing.
pub fn stray(stray: RouteError) -> Answer {
    let (code, what) = match stray {
        RouteError::Path => (Code::NameInvalid, "the path is not valid"),
        RouteError::Name => (Code::NameInvalid, "the name of the repository is not valid"),
        RouteError::Digest => (Code::DigestInvalid, "the digest is not valid"),
        RouteError::Tag => (Code::TagInvalid, "the tag is not valid"),
        RouteError::Unknown => return Answer::nothing_here().of_api(),
    };
    Answer::from(ApiError::new(code, what)).of_api()
}
