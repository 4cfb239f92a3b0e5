//! Handlers: plain functions from a registry and a request to an answer.
//!
//! No socket, no thread, no clock. OCI distribution-spec; one file for each kind of resource.

use std::io::Read;

use http::Method;
use http::header::{self, HeaderName};
use serde_json::json;

use crate::digest::Digest;
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::names::RepositoryName;
use crate::serve::request::Request;
use crate::serve::route::{self, Route, RouteError};
use crate::serve::writable::Writable;
use crate::serve::{Registry, adopt, page};

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
/// Why most methods are refused.
const NOT_HERE: &str = "the method is not allowed";
/// The methods that change nothing.
const READS: &[Method] = &[Method::GET, Method::HEAD];

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

/// A request that would change something, and what it is about.
struct Push<'r> {
    registry: &'r Registry,
    writable: &'r Writable,
    request: &'r Request,
    /// The repository.
    name: RepositoryName,
    /// The same as the request calls it.
    path: &'r str,
}

impl<'r> Push<'r> {
    fn new(
        registry: &'r Registry,
        writable: &'r Writable,
        request: &'r Request,
        path: &'r str,
    ) -> Result<Self, Fault> {
        let target = registry.catalogue().naming().target(path, request.ns().as_deref());
        // Only a name that is read back as it was written can be kept in an index.
        let kept = |name: &RepositoryName| {
            name.as_str().parse().is_ok_and(|read| RepositoryName::of(&read) == *name)
        };
        let fault = || Fault::new(Code::NameInvalid, "a repository cannot have this name");
        let name = target.filter(kept).ok_or_else(fault)?;
        Ok(Self { registry, writable, request, name, path })
    }

    /// Takes over a blob that the repository `from` has elsewhere; false when it has none.
    fn adopt(&self, from: &str, digest: &Digest) -> crate::Result<bool> {
        let found = self.registry.catalogue().find(from, self.request.ns().as_deref());
        found.map_or(Ok(false), |found| adopt::blob(&found, self.writable, &self.name, digest))
    }

    /// Where something of the repository is now: relative, so that it is right behind any proxy, and in
    /// the registry that the client named.
    fn location(&self, answer: Answer, below: &str) -> Answer {
        let ns = self.request.ns().map(|ns| format!("?{}", route::encoded_query([("ns", ns)])));
        let place = format!("/v2/{}/{below}{}", self.path, ns.unwrap_or_default());
        answer.with(header::LOCATION, &place)
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
    let mut answer = || -> Result<Answer, Fault> {
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
    Answer::from(Fault::new(code, what)).of_api()
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
