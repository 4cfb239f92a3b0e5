//! Uploading a blob: a session, its requests, and resuming after errors.
//!
//! It hashes nothing: the reader it is given fails at its end when the bytes are not the blob's, and the
//! session is then cancelled. OCI distribution-spec, "Pushing blobs". The parts: `begin` opens sessions
//! and mounts, `steps` sends, `plan` decides how much at once, `location` and `answer` parse responses,
//! `feed` provides the bytes, `session` remembers sessions across runs.

mod answer;
mod begin;
mod feed;
mod location;
mod plan;
mod session;
mod steps;
mod target;

#[cfg(test)]
mod tests;

use crate::descriptor::Descriptor;
use crate::error::{Error, Kind, Result};
use crate::progress::Event;
use crate::registry::download;
use crate::registry::http::{Body, HttpRequest, Method, Response};
use crate::registry::retry::Backoff;

use feed::BlobFeed;
use plan::UploadPlan;
use session::{Claim, Remembered};

pub use begin::{MountOutcome, RemoteSession, mount};
pub use feed::BlobOpener;
pub use plan::HostCapabilities;
pub use target::Target;

/// How often an upload is restarted before it is given up.
const ANEW: u32 = 5;
/// Sessions of smaller blobs, in bytes, are not worth a file.
const REMEMBERED: u64 = 1 << 20;

/// Uploads a blob that the registry is believed to lack, in a session that was opened already where
/// there is one. How many bytes of it were sent, repeated ones included.
///
/// # Errors
/// Those of the reader; `Denied`, `Missing` for a repository that must be made first, `Unsupported`,
/// `Corrupt` when the registry hashes the same bytes to something else, `Unreachable`, `Interrupted`.
pub fn upload(
    target: &Target<'_>,
    desc: &Descriptor,
    begun: Option<RemoteSession>,
    open: &BlobOpener<'_>,
) -> Result<u64> {
    let settings = target.settings;
    let mut upload = Upload {
        target: *target,
        desc,
        feed: BlobFeed::new(desc.size, open),
        plan: UploadPlan::new(settings.style, desc.size, target.learned),
        backoff: Backoff::new(settings),
        claim: claim(target, desc),
        anew: 0,
        resumes: true,
        redone: false,
    };
    upload.run(begun)?;
    Ok(upload.feed.sent())
}

/// The right to remember this blob's session, where it is worth it and nobody else has it.
fn claim(target: &Target<'_>, desc: &Descriptor) -> Option<Claim> {
    let state = target.settings.state.as_ref().filter(|_| desc.size > REMEMBERED)?;
    match Claim::take(state, target.host, target.path, &desc.digest) {
        Ok(claim) => claim,
        Err(e) => {
            let text = format!("the upload of {} cannot be remembered: {e}", desc.digest);
            target.ctx.progress.event(Event::Detail(&text));
            None
        }
    }
}

/// Ends a session that nothing was sent to.
pub fn forgo(target: &Target<'_>, session: &RemoteSession) {
    cancel(target, &session.location);
}

/// Ends a session; whatever the registry says to that.
fn cancel(target: &Target<'_>, location: &str) {
    let sent = target.wire.send(&HttpRequest {
        method: Method::Delete,
        url: location,
        headers: &[],
        body: Body::Empty,
        scopes: &target.scopes(),
        again: false,
    });
    if let Ok(response) = sent {
        response.finish();
    }
}

/// What is to be done after a step.
enum Next {
    /// The next step.
    On,
    /// Nothing: the blob is there.
    Done,
    /// Begin with a new session, because of this.
    Anew(Error),
}

/// One blob on its way.
struct Upload<'a, 'o> {
    target: Target<'a>,
    desc: &'a Descriptor,
    feed: BlobFeed<'a, 'o>,
    plan: UploadPlan,
    backoff: Backoff,
    claim: Option<Claim>,
    /// How often it was restarted.
    anew: u32,
    /// Whether what the registry says to have is built upon after a cut.
    resumes: bool,
    /// Whether it was sent again because the registry computed a wrong digest.
    redone: bool,
}

impl Upload<'_, '_> {
    fn run(&mut self, begun: Option<RemoteSession>) -> Result<()> {
        if self.desc.size == 0 {
            self.feed.check_empty()?;
        }
        let mut session = match self.open(begun) {
            Ok(Some(session)) => session,
            Ok(None) => return self.finished(),
            Err(e) => return Err(e),
        };
        loop {
            let next = self.target.ctx.check().and_then(|()| self.step(&mut session));
            let next = match next {
                Ok(Next::Anew(cause)) => self.again(&session, cause).map(|new| session = new),
                Ok(Next::On) => Ok(()),
                Ok(Next::Done) => return self.finished(),
                Err(e) => Err(e),
            };
            if let Err(e) = next {
                self.abandon(&session, &e);
                return Err(e);
            }
            self.remember(&session);
        }
    }

    /// The session to work on: one of an earlier run, the one that was begun, or a new one; `None` when
    /// the blob is there.
    fn open(&mut self, begun: Option<RemoteSession>) -> Result<Option<RemoteSession>> {
        if let Some(known) = self.claim.as_ref().and_then(Claim::known).cloned() {
            if let Some(unit) = known.unit {
                self.plan.limit(unit, u64::MAX);
            }
            let mut session = RemoteSession::new(known.location);
            session.touched = true;
            session.resumed = true;
            // How much went out in the other run nobody knows.
            session.bound = self.desc.size;
            match self.status(&mut session)? {
                Some(at) if at <= self.desc.size => {
                    let text = format!("resuming {} at byte {at}", self.desc.digest);
                    self.target.ctx.progress.event(Event::Detail(&text));
                    session.acked = at;
                    if let Some(begun) = begun {
                        forgo(&self.target, &begun);
                    }
                    return Ok(Some(session));
                }
                // It may have been completed, and only that not noted.
                _ if self.present()? => {
                    if let Some(begun) = begun {
                        forgo(&self.target, &begun);
                    }
                    return Ok(None);
                }
                _ => cancel(&self.target, &session.location),
            }
        }
        match begun {
            Some(session) => Ok(Some(self.begun(session))),
            None => self.begin().map(Some),
        }
    }

    fn begin(&mut self) -> Result<RemoteSession> {
        let session = begin::post(&self.target, &self.desc.digest)?;
        Ok(self.begun(session))
    }

    fn begun(&mut self, session: RemoteSession) -> RemoteSession {
        self.feed.forget();
        self.plan.at_least(session.least);
        self.remember(&session);
        session
    }

    /// Restarts after a session that failed.
    fn again(&mut self, session: &RemoteSession, cause: Error) -> Result<RemoteSession> {
        cancel(&self.target, &session.location);
        self.anew += 1;
        let limit = ANEW.min(self.target.settings.retries) + u32::from(self.redone);
        if self.anew > limit {
            return Err(cause.note(format!("restarted {limit} times")));
        }
        let text = format!("{cause}; sending {} again from its first byte", self.desc.digest);
        self.target.ctx.progress.event(Event::Detail(&text));
        self.begin()
    }

    /// Whether the registry has the blob by now.
    fn present(&self) -> Result<bool> {
        let (wire, path) = (self.target.wire, self.target.path);
        let [scope] = self.target.scopes();
        match download::blob_size(wire, path, scope, &self.desc.digest) {
            Ok(size) => Ok(size.is_some()),
            Err(e) if matches!(e.kind(), Kind::Interrupted | Kind::Unreachable) => Err(e),
            Err(_) => Ok(false),
        }
    }

    /// The blob is there.
    #[allow(clippy::unnecessary_wraps)] // the end of a run is a result
    fn finished(&mut self) -> Result<()> {
        self.plan.worked(self.target.learned);
        if let Some(claim) = &mut self.claim {
            claim.forget();
        }
        Ok(())
    }

    /// Gives up: a session that a later run can go on with is kept.
    fn abandon(&mut self, session: &RemoteSession, err: &Error) {
        let later = matches!(err.kind(), Kind::Interrupted | Kind::Unreachable);
        if later && self.claim.as_ref().is_some_and(|claim| claim.known().is_some()) {
            return;
        }
        cancel(&self.target, &session.location);
        if let Some(claim) = &mut self.claim {
            claim.forget();
        }
    }

    fn remember(&mut self, session: &RemoteSession) {
        let Some(claim) = &mut self.claim else { return };
        let (host, path) = (self.target.host, self.target.path);
        // Nothing is remembered of a session elsewhere: that place would have to be trusted later.
        let location = if session.location.starts_with('/') {
            Some(session.location.clone())
        } else {
            location::below(&session.location, host, path)
        };
        match location {
            Some(location) => {
                let state = Remembered { location, unit: self.plan.unit() };
                if claim.save(&state).is_err() {
                    self.claim = None;
                }
            }
            None => {
                claim.forget();
                self.claim = None;
            }
        }
    }

    /// The error for a response.
    fn fault(&self, method: &str, response: Response) -> Error {
        self.target.wire.fault(&format!("{method} upload of {}", self.desc.digest), response)
    }
}
