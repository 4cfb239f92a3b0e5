//! Pushing blobs: whole, in chunks, as a stream; mounts; the status of an upload.
//!
//! OCI distribution-spec, "Pushing blobs".

use std::io::Read;

use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use serde_json::json;

use super::push::{NOT_HERE, Push};
use super::reply::CONTENT_DIGEST;
use crate::digest::{Algorithm, Digest};
use crate::error::Kind;
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::range;
use crate::serve::request::Request;
use crate::serve::uploads::{Claimed, Session, Stop};

const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Push<'_> {
    /// `POST blobs/uploads/`: a mount, a whole blob, or a session.
    pub(super) fn begin(&self, body: &mut (dyn Read + Send)) -> Answer {
        let mut begun = || -> Result<Answer, Box<Answer>> {
            if let Some(mount) = self.request.query("mount") {
                let digest = parse(&mount)?;
                if self.is_mounted(&digest).map_err(refuse)? {
                    return Ok(self.created(&digest));
                }
            }
            let algorithm = match self.request.query("digest-algorithm").as_deref() {
                None | Some("sha256") => Algorithm::Sha256,
                Some("sha512") => Algorithm::Sha512,
                Some(_) => {
                    let fault = ApiError::new(Code::DigestInvalid, "no such digest algorithm");
                    return Err(refuse(fault));
                }
            };
            let digest = self.request.query("digest").map(|digest| parse(&digest)).transpose()?;
            let algorithm = digest.map_or(algorithm, |digest| digest.algorithm());
            let begun = self.writable.uploads().begin(&self.name, algorithm);
            let session = begun.map_err(|e| match e.kind() {
                Kind::Busy => refuse(ApiError::new(Code::TooManyRequests, e.to_string())),
                _ => refuse(e),
            })?;
            let Some(digest) = digest else {
                return Ok(self.going_on(StatusCode::ACCEPTED, &session));
            };
            let stop = |stop| refuse(self.stopped(stop, &session));
            let mut claimed = session.claim().map_err(stop)?;
            if let Err(why) = claimed.append(None, length(self.request), body) {
                // Nobody knows of this session.
                let _ = self.writable.uploads().cancel(claimed);
                return Err(stop(why));
            }
            self.finish(claimed, &digest).map_err(stop)
        };
        begun().unwrap_or_else(|answer| *answer)
    }

    /// `blobs/uploads/<id>`.
    pub(super) fn session(&self, id: &str, body: &mut (dyn Read + Send)) -> Answer {
        let uploads = self.writable.uploads();
        let Some(session) = uploads.find(&self.name, id) else { return unknown(id) };
        let stop = |stop| self.stopped(stop, &session);
        match self.request.method {
            Method::GET | Method::HEAD => {
                // A request that was cut off may still be writing what arrived of it.
                match session.claim() {
                    Err(Stop::Unknown) => unknown(id),
                    Ok(_) | Err(_) => self.going_on(StatusCode::NO_CONTENT, &session),
                }
            }
            Method::DELETE => match session.claim() {
                Ok(claimed) => match uploads.cancel(claimed) {
                    Ok(()) => Answer::new(StatusCode::NO_CONTENT),
                    Err(e) => e.into(),
                },
                Err(e) => stop(e),
            },
            Method::PATCH => match session.claim().and_then(|mut c| self.take(&mut c, body)) {
                Ok(()) => self.going_on(StatusCode::ACCEPTED, &session),
                Err(e) => stop(e),
            },
            Method::PUT => {
                let Some(digest) = self.request.query("digest") else {
                    return ApiError::new(Code::DigestInvalid, "the digest is missing").into();
                };
                let digest = match parse(&digest) {
                    Ok(digest) => digest,
                    Err(answer) => return *answer,
                };
                let mut put = || {
                    let mut claimed = session.claim()?;
                    self.take(&mut claimed, body)?;
                    self.finish(claimed, &digest)
                };
                put().unwrap_or_else(stop)
            }
            _ => {
                let allowed = [Method::GET, Method::PATCH, Method::PUT, Method::DELETE];
                Answer::not_allowed(NOT_HERE, &allowed)
            }
        }
    }

    /// Appends what the request sends, where it says.
    fn take(&self, claimed: &mut Claimed<'_>, body: &mut (dyn Read + Send)) -> Result<(), Stop> {
        let sized = length(self.request);
        match self.request.header(header::CONTENT_RANGE).map(range::chunk) {
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

    fn finish(&self, claimed: Claimed<'_>, digest: &Digest) -> Result<Answer, Stop> {
        self.writable.commit(&self.name, claimed, digest)?;
        Ok(self.created(digest))
    }

    /// Whether a blob could be mounted: it is in the store, or a place that is served has it.
    fn is_mounted(&self, digest: &Digest) -> crate::Result<bool> {
        let ns = self.request.ns();
        let naming = self.registry.catalogue().naming();
        let from = self.request.query("from").filter(|from| !from.is_empty());
        let source = match &from {
            Some(from) => match naming.target(from, ns.as_deref()) {
                Some(source) => Some(source),
                None => return Ok(false),
            },
            None => None,
        };
        if self.writable.mount(&self.name, digest, source.as_ref())? {
            return Ok(true);
        }
        from.map_or(Ok(false), |from| self.adopt(&from, digest))
    }

    fn created(&self, digest: &Digest) -> Answer {
        let answer = Answer::new(StatusCode::CREATED).with(CONTENT_DIGEST, &digest.to_string());
        self.location(answer, &format!("blobs/{digest}"))
    }

    /// Where the session goes on, and from which byte.
    fn going_on(&self, status: StatusCode, session: &Session) -> Answer {
        self.placed(Answer::new(status), session)
    }

    fn placed(&self, answer: Answer, session: &Session) -> Answer {
        // Of nothing the last byte would be the one before the first; `0-0` is what clients read.
        let last = session.offset().saturating_sub(1);
        let answer = answer.with(header::RANGE, &format!("0-{last}")).with(UPLOAD, session.id());
        self.location(answer, &format!("blobs/uploads/{}", session.id()))
    }

    fn stopped(&self, stop: Stop, session: &Session) -> Answer {
        let invalid = |what: &str| ApiError::new(Code::BlobUploadInvalid, what);
        match stop {
            Stop::Unknown => unknown(session.id()),
            Stop::Busy => {
                let fault = invalid("another request is working on this upload");
                self.placed(fault.status(StatusCode::CONFLICT).into(), session)
            }
            Stop::Order(offset) => {
                let fault =
                    ApiError::new(Code::RangeInvalid, format!("the upload has {offset} bytes"));
                self.placed(fault.into(), session)
            }
            Stop::Size => {
                let fault =
                    ApiError::new(Code::SizeInvalid, "the body has another length than announced");
                self.placed(fault.status(StatusCode::BAD_REQUEST).into(), session)
            }
            Stop::Mismatch(found) => {
                let fault = ApiError::new(Code::DigestInvalid, "the bytes have a different digest");
                fault.about(json!({"found": found.to_string()})).into()
            }
            Stop::Cut => self.placed(invalid("the body was cut off").into(), session),
            Stop::Failed(error) => error.into(),
        }
    }
}

fn parse(digest: &str) -> Result<Digest, Box<Answer>> {
    let bad = |_| refuse(ApiError::new(Code::DigestInvalid, "the digest is not valid"));
    digest.parse().map_err(bad)
}

fn refuse(why: impl Into<Answer>) -> Box<Answer> {
    Box::new(why.into())
}

/// What a request says that it sends, in bytes.
fn length(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

fn unknown(id: &str) -> Answer {
    ApiError::new(Code::BlobUploadUnknown, "no such upload").about(json!({"id": id})).into()
}
