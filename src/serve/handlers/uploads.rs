//! Pushing blobs: whole, in chunks, as a stream; mounts; how far an upload is.
//!
//! OCI distribution-spec, "Pushing blobs".

use std::io::Read;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use serde_json::json;

use super::{CONTENT_DIGEST, location};
use crate::digest::{Algorithm, Digest};
use crate::error::Kind;
use crate::serve::Registry;
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::names::Name;
use crate::serve::request::Request;
use crate::serve::uploads::{Claimed, Session, Stop};
use crate::serve::writable::Writable;
use crate::serve::{adopt, range};

const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST blobs/uploads/`: a mount, a whole blob, or a session.
pub(super) fn begin(
    registry: &Registry,
    writable: &Writable,
    request: &Request,
    name: &Name,
    path: &str,
    body: &mut (dyn Read + Send),
) -> Answer {
    let mut begun = || -> Result<Answer, Box<Answer>> {
        if let Some(mount) = request.query("mount") {
            let digest = parse(&mount)?;
            if is_mounted(registry, writable, request, name, &digest)? {
                return Ok(created(request, path, &digest));
            }
        }
        let algorithm = match request.query("digest-algorithm").as_deref() {
            None | Some("sha256") => Algorithm::Sha256,
            Some("sha512") => Algorithm::Sha512,
            Some(_) => {
                let fault = Fault::new(Code::DigestInvalid, "no such digest algorithm");
                return Err(refuse(fault));
            }
        };
        let digest = request.query("digest").map(|digest| parse(&digest)).transpose()?;
        let algorithm = digest.map_or(algorithm, |digest| digest.algorithm());
        let session = writable.uploads().begin(name, algorithm).map_err(|e| match e.kind() {
            Kind::Busy => refuse(Fault::new(Code::TooManyRequests, e.to_string())),
            _ => refuse(e),
        })?;
        let Some(digest) = digest else {
            return Ok(going_on(StatusCode::ACCEPTED, request, path, &session));
        };
        let stop = |stop| refuse(stopped(stop, request, path, &session));
        let mut claimed = session.claim().map_err(stop)?;
        if let Err(why) = claimed.append(None, length(request), body) {
            // Nobody knows of this session.
            let _ = writable.uploads().cancel(claimed);
            return Err(stop(why));
        }
        finish(writable, request, name, path, claimed, &digest)
    };
    begun().unwrap_or_else(|answer| *answer)
}

/// `blobs/uploads/<id>`.
pub(super) fn session(
    writable: &Writable,
    request: &Request,
    name: &Name,
    path: &str,
    id: &str,
    body: &mut (dyn Read + Send),
) -> Answer {
    let Some(session) = writable.uploads().find(name, id) else { return unknown(id) };
    let stop = |stop| stopped(stop, request, path, &session);
    match request.method {
        Method::GET | Method::HEAD => {
            // A request that was cut off may still be writing what arrived of it.
            match session.claim() {
                Err(Stop::Unknown) => unknown(id),
                Ok(_) | Err(_) => going_on(StatusCode::NO_CONTENT, request, path, &session),
            }
        }
        Method::DELETE => match session.claim() {
            Ok(claimed) => match writable.uploads().cancel(claimed) {
                Ok(()) => Answer::new(StatusCode::NO_CONTENT),
                Err(e) => e.into(),
            },
            Err(e) => stop(e),
        },
        Method::PATCH => match session.claim().and_then(|mut c| take(request, &mut c, body)) {
            Ok(()) => going_on(StatusCode::ACCEPTED, request, path, &session),
            Err(e) => stop(e),
        },
        Method::PUT => {
            let Some(digest) = request.query("digest") else {
                return Fault::new(Code::DigestInvalid, "the digest is not said").into();
            };
            let mut put = || -> Result<Answer, Box<Answer>> {
                let digest = parse(&digest)?;
                let mut claimed = session.claim().map_err(|e| refuse(stop(e)))?;
                take(request, &mut claimed, body).map_err(|e| refuse(stop(e)))?;
                finish(writable, request, name, path, claimed, &digest)
            };
            put().unwrap_or_else(|answer| *answer)
        }
        _ => Answer::not_allowed(&[Method::GET, Method::PATCH, Method::PUT, Method::DELETE]),
    }
}

/// Appends what a request sends, where it says.
fn take(
    request: &Request,
    claimed: &mut Claimed<'_>,
    body: &mut (dyn Read + Send),
) -> Result<(), Stop> {
    let sized = length(request);
    match request.header(header::CONTENT_RANGE).map(range::chunk) {
        None => claimed.append(None, sized, body),
        Some(None) => Err(Stop::Size),
        Some(Some((first, last))) => {
            let length = (last - first).saturating_add(1);
            if claimed.offset() == first && sized.is_some_and(|sized| sized != length) {
                return Err(Stop::Size);
            }
            claimed.append(Some(first), Some(length), body)
        }
    }
}

fn finish(
    writable: &Writable,
    request: &Request,
    name: &Name,
    path: &str,
    claimed: Claimed<'_>,
    digest: &Digest,
) -> Result<Answer, Box<Answer>> {
    let session = claimed.session();
    let stop = |stop| refuse(stopped(stop, request, path, session));
    writable.commit(name, claimed, digest).map_err(stop)?;
    Ok(created(request, path, digest))
}

/// Whether a blob could be mounted: it is in the store, or a place that is served has it.
fn is_mounted(
    registry: &Registry,
    writable: &Writable,
    request: &Request,
    name: &Name,
    digest: &Digest,
) -> Result<bool, Box<Answer>> {
    let ns = request.ns();
    let naming = registry.catalogue().naming();
    let from = request.query("from").filter(|from| !from.is_empty());
    let source = match &from {
        Some(from) => match naming.target(from, ns.as_deref()) {
            Some(source) => Some(source),
            None => return Ok(false),
        },
        None => None,
    };
    if writable.mount(name, digest, source.as_ref()).map_err(refuse)? {
        return Ok(true);
    }
    let Some(from) = from else { return Ok(false) };
    adopt::blob(registry, writable, (&from, ns.as_deref()), name, digest).map_err(refuse)
}

fn parse(digest: &str) -> Result<Digest, Box<Answer>> {
    let bad = |_| refuse(Fault::new(Code::DigestInvalid, "the digest is not valid"));
    digest.parse().map_err(bad)
}

fn refuse(why: impl Into<Answer>) -> Box<Answer> {
    Box::new(why.into())
}

/// What a request says that it sends, in bytes.
fn length(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

fn created(request: &Request, path: &str, digest: &Digest) -> Answer {
    let answer = Answer::new(StatusCode::CREATED).with(CONTENT_DIGEST, &digest.to_string());
    location(answer, request, &format!("/v2/{path}/blobs/{digest}"))
}

/// Where the session goes on, and from which byte.
fn going_on(status: StatusCode, request: &Request, path: &str, session: &Session) -> Answer {
    placed(Answer::new(status), request, path, session)
}

fn placed(answer: Answer, request: &Request, path: &str, session: &Session) -> Answer {
    // Of nothing the last byte would be the one before the first; `0-0` is what clients read.
    let last = session.offset().saturating_sub(1);
    let answer = answer.with(header::RANGE, &format!("0-{last}")).with(UPLOAD, session.id());
    location(answer, request, &format!("/v2/{path}/blobs/uploads/{}", session.id()))
}

fn unknown(id: &str) -> Answer {
    Fault::new(Code::BlobUploadUnknown, "no such upload").about(json!({"id": id})).into()
}

fn stopped(stop: Stop, request: &Request, path: &str, session: &Session) -> Answer {
    let invalid = |what: &str| Fault::new(Code::BlobUploadInvalid, what);
    match stop {
        Stop::Unknown => unknown(session.id()),
        Stop::Busy => {
            let fault = invalid("another request is at work on this upload");
            placed(fault.status(StatusCode::CONFLICT).into(), request, path, session)
        }
        Stop::Order(offset) => {
            let fault = Fault::new(Code::RangeInvalid, format!("the upload has {offset} bytes"));
            placed(fault.into(), request, path, session)
        }
        Stop::Size => {
            let fault = Fault::new(Code::SizeInvalid, "not as many bytes came as were said");
            placed(fault.status(StatusCode::BAD_REQUEST).into(), request, path, session)
        }
        Stop::Mismatch(found) => {
            let fault = Fault::new(Code::DigestInvalid, "the bytes have another digest");
            fault.about(json!({"found": found.to_string()})).into()
        }
        Stop::Cut => placed(invalid("the body broke off").into(), request, path, session),
        Stop::Failed(error) => error.into(),
    }
}
