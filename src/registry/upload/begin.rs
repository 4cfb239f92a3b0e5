//! Opening an upload session, or having a blob mounted instead.
//!
//! It sends no bytes of blobs. OCI distribution-spec, "Pushing a blob monolithically" and "Mounting a
//! blob from another repository".

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Kind, Result};
use crate::registry::address;
use crate::registry::auth::scope;
use crate::registry::http::url::Url;
use crate::registry::http::{Body, HttpRequest, Method, Response};
use crate::registry::upload::answer;
use crate::registry::upload::target::Target;

/// A session at the registry.
#[derive(Debug)]
pub struct RemoteSession {
    /// Where it is now; each answer may move it.
    pub(super) location: String,
    /// Bytes that the registry has for sure.
    pub(super) acked: u64,
    /// Whether anything was sent to it.
    pub(super) touched: bool,
    /// Whether something was sent after a cut.
    pub(super) resumed: bool,
    /// How far it can be beyond what was sent in this run.
    pub(super) bound: u64,
    /// The smallest request it takes, but for the last.
    pub(super) least: u64,
}

impl RemoteSession {
    pub(super) fn new(location: String) -> Self {
        Self { location, acked: 0, touched: false, resumed: false, bound: 0, least: 0 }
    }

    /// Takes over what an answer says of the session.
    ///
    /// # Errors
    /// `Malformed` when it is said to be somewhere that is no URL, `Denied` when that would be in the clear
    /// although the registry speaks https.
    pub(super) fn follow(&mut self, target: &Target<'_>, response: &Response) -> Result<()> {
        if let Some(location) = response.header("location") {
            self.location = target.wire.locate(response, location).ok_or_else(|| {
                let shown = crate::text::escape(location);
                Error::malformed(format!("the location of the upload, {shown:?}, is not a URL"))
            })?;
            let secure = |url: &str| Url::parse(url).is_some_and(|url| url.https);
            let plain = Url::parse(&self.location).filter(|url| !url.https);
            if let Some(url) = plain.filter(|_| secure(&response.url))
                && !address::listed(&target.settings.insecure_hosts, &url.authority())
            {
                let what = format!("the upload would continue over plain http at {}", url.shown());
                return Err(Error::new(Kind::Denied, what));
            }
        }
        if let Some(least) = answer::least(response) {
            self.least = least;
        }
        Ok(())
    }
}

/// The result of an attempt to mount.
#[derive(Debug)]
pub enum MountOutcome {
    /// The blob is there.
    Mounted,
    /// The registry would rather have it uploaded.
    Session(RemoteSession),
    /// Neither.
    Refused,
}

/// Opens a session for a blob.
///
/// # Errors
/// `Denied`, `Missing`, `Unsupported`, `Unreachable`, `Malformed`.
pub(super) fn post(target: &Target<'_>, digest: &Digest) -> Result<RemoteSession> {
    let query = match digest.algorithm() {
        Algorithm::Sha256 => "",
        Algorithm::Sha512 => "?digest-algorithm=sha512",
    };
    let response = target.wire.send(&HttpRequest {
        method: Method::Post,
        url: &format!("/v2/{}/blobs/uploads/{query}", target.path),
        headers: &[],
        body: Body::Empty,
        scopes: &target.scopes(),
        again: true,
    })?;
    match response.status {
        200..=299 => session(target, response),
        405 | 501 => {
            let fault = target.wire.fault(&format!("POST upload of {digest}"), response);
            Err(fault.kind_as(Kind::Unsupported).note("the registry does not accept uploads"))
        }
        _ => Err(target.wire.fault(&format!("POST upload of {digest}"), response)),
    }
}

/// Asks for a blob of the repository `from`. Whatever goes wrong, uploading may still work: registries
/// refuse mounts with any status (Harbor 401, Quay 4xx), so only an interruption is an error. A session
/// that is opened instead is for [`upload`](super::upload), or to be cancelled.
///
/// # Errors
/// `Interrupted`.
pub fn mount(target: &Target<'_>, digest: &Digest, from: &str) -> Result<MountOutcome> {
    let [own] = target.scopes();
    let (name, hex) = (digest.algorithm().name(), digest.hex());
    let query = format!("mount={name}%3A{hex}&from={}", from.replace('/', "%2F"));
    let sent = target.wire.send(&HttpRequest {
        method: Method::Post,
        url: &format!("/v2/{}/blobs/uploads/?{query}", target.path),
        headers: &[],
        body: Body::Empty,
        // Some realms look at the first only.
        scopes: &[own, scope::pull(from)],
        again: false,
    });
    match sent {
        Ok(response) if response.status == 201 => {
            response.finish();
            Ok(MountOutcome::Mounted)
        }
        Ok(response) if response.status == 202 => {
            Ok(session(target, response).map_or(MountOutcome::Refused, MountOutcome::Session))
        }
        Ok(response) => {
            response.finish();
            Ok(MountOutcome::Refused)
        }
        Err(e) if e.kind() == Kind::Interrupted => Err(e),
        Err(_) => Ok(MountOutcome::Refused),
    }
}

fn session(target: &Target<'_>, response: Response) -> Result<RemoteSession> {
    if response.header("location").is_none() {
        return Err(Error::malformed("the registry opened an upload without a location"));
    }
    let mut session = RemoteSession::new(String::new());
    session.follow(target, &response)?;
    response.finish();
    Ok(session)
}
