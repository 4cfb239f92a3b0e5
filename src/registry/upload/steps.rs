//! The requests of one upload: PATCH, the closing PUT, and asking for the offset.
//!
//! Each step checks its response and returns what comes next; `upload` keeps the order. An offset claimed
//! by the registry is accepted only if it is plausible: not less than claimed before, not more than sent.

use std::io::Read;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::registry::http::{Body, HttpRequest, Method, Response};
use crate::registry::retry::passes;
use crate::registry::upload::answer;
use crate::registry::upload::begin::RemoteSession;
use crate::registry::upload::plan::COMMON;
use crate::registry::upload::{Next, Upload, location};

/// How often a registry that answers the question how far it is with 503 and the like is asked again.
const ASKED: u32 = 3;

impl Upload<'_, '_> {
    /// Sends what is to be sent next.
    pub(super) fn step(&mut self, session: &mut RemoteSession) -> Result<Next> {
        if self.plan.put() && session.acked == 0 {
            self.put_whole(session)
        } else if session.acked < self.desc.size {
            self.patch(session)
        } else {
            self.close(session)
        }
    }

    /// Sends the next bytes.
    fn patch(&mut self, session: &mut RemoteSession) -> Result<Next> {
        let (size, from) = (self.desc.size, session.acked);
        self.plan.at_least(session.least);
        let length = self.plan.length(size - from);
        let mut headers = Vec::new();
        // The whole in one piece is a stream, which some take who take no chunks.
        let whole = length == size && !session.touched;
        if !whole {
            headers.push(("content-range", format!("{from}-{}", from + length - 1)));
        }
        let before = self.feed.sent();
        let url = session.location.clone();
        let sent = self.send(Method::Patch, &url, headers, from, length);
        session.touched = true;
        let handed = self.feed.sent() - before;
        let response = match sent {
            Ok(response) => response,
            Err(e) => return self.cut(session, handed, length, self.network(e)?, None),
        };
        match response.status {
            // Its Range is ignored: ECR's does not advance, and a success is a success.
            200..=299 => {
                session.follow(&self.target, &response)?;
                response.finish();
                session.acked += length;
                self.backoff.progress();
                self.plan.moved();
                Ok(Next::On)
            }
            413 => {
                let fault = self.fault("PATCH", response);
                if self.plan.shrink(length) { Ok(Next::On) } else { Err(fault) }
            }
            416 => {
                let fault = self.fault("PATCH", response);
                self.out_of_step(session, length, whole, fault)
            }
            // Another writer, perhaps an old connection of this run, is still active on it.
            409 => {
                let fault = self.fault("PATCH", response);
                self.cut(session, handed, length, fault, None)
            }
            status if passes(status) => {
                let after = response.retry_after();
                let fault = self.fault("PATCH", response);
                self.cut(session, handed, length, fault, after)
            }
            _ => self.patch_refused(session, length, whole, response),
        }
    }

    /// A PATCH was refused for good.
    fn patch_refused(
        &mut self,
        session: &mut RemoteSession,
        length: u64,
        whole: bool,
        mut response: Response,
    ) -> Result<Next> {
        let refusal = answer::refusal(&mut response);
        let status = response.status;
        let fault = self.fault("PATCH", response);
        if answer::one_patch(&refusal) {
            // Going on after a cut would be a second one.
            self.resumes = false;
            return if self.plan.one_patch() { Ok(Next::Anew(fault)) } else { Err(fault) };
        }
        if answer::out_of_step(&refusal) {
            return self.out_of_step(session, length, whole, fault);
        }
        if answer::wrong_digest(&refusal) {
            return self.redo(fault);
        }
        let gone = answer::gone(status, &refusal);
        let first = session.acked == 0;
        match status {
            401 | 403 => Err(fault),
            // Artifactory loses a session now and then; twice in a row is no accident.
            _ if gone && (!first || self.anew == 0) => Ok(Next::Anew(fault)),
            _ if first && self.plan.no_patch() => Ok(Next::Anew(fault)),
            _ if gone => Ok(Next::Anew(fault)),
            // It keeps sessions, but not in a way that can be gone on with.
            _ if session.resumed && self.resumes => {
                self.resumes = false;
                Ok(Next::Anew(fault))
            }
            _ => Err(fault),
        }
    }

    /// A PATCH broke off: finds out what of it arrived.
    fn cut(
        &mut self,
        session: &mut RemoteSession,
        handed: u64,
        length: u64,
        cause: Error,
        after: Option<Duration>,
    ) -> Result<Next> {
        self.backoff.wait(after, &cause.to_string(), self.target.ctx)?;
        if !self.resumes {
            return Ok(Next::Anew(cause));
        }
        session.resumed = true;
        let reached = self.feed.reached().max(session.bound);
        match self.status(session)? {
            Some(at) if at > session.acked && at <= reached => {
                session.acked = at;
                self.backoff.progress();
                self.plan.moved();
                Ok(Next::On)
            }
            Some(at) if at == session.acked => {
                self.plan.cut_in_vain(handed, length);
                Ok(Next::On)
            }
            _ => Ok(Next::Anew(cause)),
        }
    }

    /// The registry expects other bytes than those it was sent, or fewer at once.
    fn out_of_step(
        &mut self,
        session: &mut RemoteSession,
        length: u64,
        whole: bool,
        cause: Error,
    ) -> Result<Next> {
        session.resumed = true;
        let reached = self.feed.reached().max(session.bound);
        let at = self.status(session)?.filter(|_| self.resumes);
        match at {
            Some(at) if at > session.acked && at <= reached => {
                session.acked = at;
                self.plan.moved();
                Ok(Next::On)
            }
            // GHCR says the same of a piece that is too large.
            at if !whole && length > COMMON && self.plan.limit(COMMON, length) => Ok(match at {
                Some(at) if at == session.acked => Next::On,
                _ => Next::Anew(cause),
            }),
            _ => {
                self.backoff.wait(None, &cause.to_string(), self.target.ctx)?;
                self.resumes = false;
                Ok(Next::Anew(cause))
            }
        }
    }

    /// How many bytes the registry has; `None` when the session is gone or it will not say.
    pub(super) fn status(&mut self, session: &mut RemoteSession) -> Result<Option<u64>> {
        let mut asked = 0;
        loop {
            let url = session.location.clone();
            let sent = self.target.wire.send(&HttpRequest {
                method: Method::Get,
                url: &url,
                headers: &[],
                body: Body::Empty,
                scopes: &self.target.scopes(),
                again: false,
            });
            asked += 1;
            let (cause, after) = match sent {
                Ok(response) if matches!(response.status, 200 | 202 | 204) => {
                    session.follow(&self.target, &response)?;
                    let at = answer::received(&response);
                    response.finish();
                    return Ok(Some(at));
                }
                Ok(response) if passes(response.status) && asked < ASKED => {
                    let after = response.retry_after();
                    (self.fault("GET", response), after)
                }
                Ok(response) => {
                    response.finish();
                    return Ok(None);
                }
                Err(e) => (self.network(e)?, None),
            };
            self.backoff.wait(after, &cause.to_string(), self.target.ctx)?;
        }
    }

    /// Closes a session whose bytes are all there.
    fn close(&mut self, session: &mut RemoteSession) -> Result<Next> {
        let url = location::with_digest(&session.location, &self.desc.digest);
        let sent = self.target.wire.send(&HttpRequest {
            method: Method::Put,
            url: &url,
            headers: &[("content-type", OCTETS.into())],
            body: Body::Empty,
            scopes: &self.target.scopes(),
            again: false,
        });
        self.closed(sent, session)
    }

    /// Sends all bytes with the closing PUT.
    fn put_whole(&mut self, session: &mut RemoteSession) -> Result<Next> {
        let url = location::with_digest(&session.location, &self.desc.digest);
        let sent = self.send(Method::Put, &url, Vec::new(), 0, self.desc.size);
        session.touched = true;
        match sent {
            Ok(response) if response.status == 413 => {
                let fault = self.fault("PUT", response);
                if self.plan.shrink(self.desc.size) { Ok(Next::On) } else { Err(fault) }
            }
            Ok(response) if matches!(response.status, 400 | 404 | 405 | 411 | 415 | 501) => {
                let mut response = response;
                let refusal = answer::refusal(&mut response);
                let fault = self.fault("PUT", response);
                if answer::wrong_digest(&refusal) {
                    self.redo(fault)
                } else if self.plan.no_put() || refusal.has("BLOB_UPLOAD_UNKNOWN") {
                    Ok(Next::Anew(fault))
                } else {
                    Err(fault)
                }
            }
            // A session that was cut off in a PUT is not one to go on with.
            sent => match self.closed(sent, session)? {
                Next::On => Ok(Next::Anew(Error::new(
                    Kind::Unreachable,
                    format!("the upload of {} broke off", self.desc.digest),
                ))),
                next => Ok(next),
            },
        }
    }

    /// Looks at what came of a closing PUT. `On` when it may be repeated.
    fn closed(&mut self, sent: Result<Response>, session: &RemoteSession) -> Result<Next> {
        let mut response = match sent {
            Ok(response) if matches!(response.status, 200..=299) => {
                response.finish();
                return Ok(Next::Done);
            }
            Ok(response) => response,
            Err(e) => {
                let cause = self.network(e)?;
                self.backoff.wait(None, &cause.to_string(), self.target.ctx)?;
                return Ok(if self.present()? { Next::Done } else { Next::On });
            }
        };
        let status = response.status;
        if passes(status) {
            let after = response.retry_after();
            let cause = self.fault("PUT", response);
            self.backoff.wait(after, &cause.to_string(), self.target.ctx)?;
            return Ok(if self.present()? { Next::Done } else { Next::On });
        }
        let refusal = answer::refusal(&mut response);
        let fault = self.fault("PUT", response);
        let gone = answer::gone(status, &refusal);
        match status {
            400 | 409 | 416 if answer::wrong_digest(&refusal) || answer::out_of_step(&refusal) => {
                self.redo(fault)
            }
            416 => self.redo(fault),
            _ if gone && self.present()? => Ok(Next::Done),
            _ if gone => Ok(Next::Anew(fault)),
            400 if session.resumed => self.redo(fault),
            _ => Err(fault),
        }
    }

    /// The registry hashed the bytes to something else: once more from the beginning, nothing resumed.
    fn redo(&mut self, cause: Error) -> Result<Next> {
        if std::mem::replace(&mut self.redone, true) {
            return Err(cause.kind_as(Kind::Corrupt));
        }
        self.resumes = false;
        Ok(Next::Anew(cause))
    }

    /// Sends a request with bytes of the blob.
    fn send(
        &self,
        method: Method,
        url: &str,
        mut headers: Vec<(&'static str, String)>,
        from: u64,
        length: u64,
    ) -> Result<Response> {
        headers.push(("content-type", OCTETS.into()));
        let open = || -> Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new(self.feed.part(from, from + length)))
        };
        let body =
            if length == 0 { Body::Empty } else { Body::Stream { size: length, open: &open } };
        let sent = self.target.wire.send(&HttpRequest {
            method,
            url,
            headers: &headers,
            body,
            scopes: &self.target.scopes(),
            again: false,
        });
        // A reader that failed leaves half a request behind; what came of that does not matter.
        match self.feed.failure() {
            Some(failure) => Err(failure),
            None => sent,
        }
    }

    /// A failure of the network is given back as the cause of the next try; any other ends the upload.
    fn network(&self, err: Error) -> Result<Error> {
        let own = self.feed.failure().is_some();
        if own || err.kind() != Kind::Unreachable { Err(err) } else { Ok(err) }
    }
}

/// The type of bytes that are nothing but bytes.
const OCTETS: &str = "application/octet-stream";
