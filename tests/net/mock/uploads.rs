//! Upload sessions of the test registry: they outlive a broken connection, and say how far they came.
//!
//! A session knows its repository and its bytes. Offsets are checked to the byte; the query of a
//! location has to come back as it was given. distribution-spec 1.1, "Pushing blobs".

use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::super::profiles::{Mount, Patch};
use super::super::server::{Reply, Request};
use super::State;
use crate::common::sha256;

/// A blob in the making.
pub struct Session {
    repository: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    patches: usize,
    /// Whether a request is writing.
    busy: bool,
}

/// What `_state` holds, percent-encoded: a client that decodes and encodes it again changes it.
const STATE: &str = "_state=a%2Fb%2Bc%3D";

fn unknown() -> Reply {
    Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

impl State {
    fn session(&self, name: &str, id: &str) -> Option<Arc<Session>> {
        let sessions = self.sessions.lock().expect("a lock");
        sessions.get(id).filter(|session| session.repository == name).cloned()
    }

    fn forget(&self, id: &str) {
        self.sessions.lock().expect("a lock").remove(id);
    }

    /// An answer that leads on to a session.
    fn onward(&self, request: &Request<'_>, reply: Reply, name: &str, id: &str) -> Reply {
        let path = format!("/v2/{name}/blobs/uploads/{id}?{STATE}");
        reply.with("Location", self.location(request, &path)).with("Docker-Upload-UUID", id)
    }

    fn keep(&self, name: &str, digest: &str, bytes: Vec<u8>) {
        let mut repositories = self.repositories();
        let repository = repositories.entry(name.to_owned()).or_default();
        repository.blobs.insert(digest.to_owned(), Arc::new(bytes));
    }

    fn created(&self, request: &Request<'_>, name: &str, digest: &str) -> Reply {
        let at = self.location(request, &format!("/v2/{name}/blobs/{digest}"));
        Reply::status(201).with("Location", at).with("Docker-Content-Digest", digest)
    }

    /// POST: a mount, a blob in one request, or a session.
    pub(super) fn begin(&self, request: &mut Request<'_>, name: &str) -> Reply {
        if let Some(digest) = request.head.query("mount") {
            if let Some(reply) = self.mount(request, name, &digest) {
                return reply;
            }
        } else if let Some(digest) = request.head.query("digest") {
            let bytes = request.read();
            if sha256(&bytes) != digest {
                return Reply::error(400, "DIGEST_INVALID", "the digest is another");
            }
            self.keep(name, &digest, bytes);
            return self.created(request, name, &digest);
        }
        let id = format!("session-{}", self.number());
        let session = Session { repository: name.to_owned(), inner: Mutex::default() };
        self.sessions.lock().expect("a lock").insert(id.clone(), Arc::new(session));
        let reply = Reply::status(202).with("Range", "0-0");
        let reply = match self.profile.chunk_min {
            Some(least) => reply.with("OCI-Chunk-Min-Length", least),
            None => reply,
        };
        self.onward(request, reply, name, &id)
    }

    /// The answer to a mount, or `None` when it becomes a session.
    fn mount(&self, request: &Request<'_>, name: &str, digest: &str) -> Option<Reply> {
        let from = request.head.query("from");
        match self.profile.mount {
            Mount::Ignored => return None,
            Mount::NeedsFrom if from.is_none() => {
                self.complain("mount without from".to_owned());
                return Some(Reply::error(400, "BLOB_UPLOAD_INVALID", "blob upload invalid"));
            }
            Mount::Refused | Mount::Works | Mount::NeedsFrom => {}
        }
        let mut repositories = self.repositories();
        let source = match &from {
            Some(from) => repositories.get(from),
            None => repositories.values().find(|r| r.blobs.contains_key(digest)),
        };
        if source.is_none() && self.profile.mount == Mount::Refused {
            return Some(Reply::error(401, "UNAUTHORIZED", "project not found"));
        }
        let bytes = source.and_then(|r| r.blobs.get(digest)).cloned()?;
        repositories.entry(name.to_owned()).or_default().blobs.insert(digest.to_owned(), bytes);
        drop(repositories);
        Some(self.created(request, name, digest))
    }

    /// A request to a session.
    pub(super) fn upload(&self, request: &mut Request<'_>, name: &str, id: &str) -> Reply {
        let Some(session) = self.session(name, id) else { return unknown() };
        let method = request.head.method().to_owned();
        if matches!(method.as_str(), "PATCH" | "PUT") && !request.head.target().contains(STATE) {
            self.complain(format!(
                "the query of a location was changed: {}",
                request.head.target()
            ));
            return Reply::error(400, "BLOB_UPLOAD_INVALID", "_state");
        }
        match method.as_str() {
            "GET" if self.profile.session_status => {
                let length = session.inner.lock().expect("a lock").bytes.len();
                let reply = Reply::status(204).with("Range", range(0, length));
                self.onward(request, reply, name, id)
            }
            "GET" => unknown(),
            "DELETE" => {
                self.forget(id);
                Reply::status(204)
            }
            "PATCH" => self.patch(request, &session, name, id),
            "PUT" => self.close(request, &session, name, id),
            _ => Reply::error(405, "UNSUPPORTED", "the operation is unsupported"),
        }
    }

    fn patch(&self, request: &mut Request<'_>, session: &Session, name: &str, id: &str) -> Reply {
        if self.profile.patch == Patch::Never {
            return Reply::error(405, "UNSUPPORTED", "chunked uploads are not supported");
        }
        let refused =
            self.patch_404.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if refused.is_ok() {
            return unknown();
        }
        let ranged = request.head.get("content-range").is_some();
        if !ranged && self.profile.patch == Patch::Ranged && session.patches() > 0 {
            let words = "Stream uploads after first write are not allowed";
            return Reply::error(404, "BLOB_UPLOAD_INVALID", words);
        }
        let length = request.head.length();
        let start = session.length();
        if ranged && length.is_some_and(|n| n > self.profile.chunk_max.unwrap_or(u64::MAX)) {
            return Reply::error(416, "RANGE_INVALID", "chunk too large")
                .with("Range", range(0, start));
        }
        if let Err(reply) = self.append(request, session, name, id) {
            return reply;
        }
        let end = session.length();
        let told = match (self.profile.stuck_range, self.profile.chunk_range) {
            (true, _) => range(0, 1),
            (_, true) => range(start, end),
            _ => range(0, end),
        };
        let reply = Reply::status(self.profile.patch_status).with("Range", told);
        self.onward(request, reply, name, id)
    }

    fn close(&self, request: &mut Request<'_>, session: &Session, name: &str, id: &str) -> Reply {
        let body = request.head.length().is_some_and(|n| n > 0)
            || request.head.get("transfer-encoding").is_some();
        if body && !self.profile.put_body {
            return unknown();
        }
        let Some(digest) = request.head.query("digest") else {
            return Reply::error(400, "DIGEST_INVALID", "no digest");
        };
        if body && let Err(reply) = self.append(request, session, name, id) {
            return reply;
        }
        let bytes = std::mem::take(&mut session.inner.lock().expect("a lock").bytes);
        self.forget(id);
        if sha256(&bytes) != digest {
            return Reply::error(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            );
        }
        self.keep(name, &digest, bytes);
        self.created(request, name, &digest)
    }

    /// Adds a request's body. What came before a cut stays, if the profile keeps sessions.
    fn append(
        &self,
        request: &mut Request<'_>,
        session: &Session,
        name: &str,
        id: &str,
    ) -> Result<(), Reply> {
        let length = session.length();
        if let Some(given) = request.head.get("content-range") {
            let Some((start, end)) = parse(given) else {
                self.complain(format!("Content-Range: {given}"));
                return Err(Reply::error(400, "BLOB_UPLOAD_INVALID", "Content-Range"));
            };
            if request.head.length().is_some_and(|n| n != end + 1 - start) {
                return Err(Reply::error(400, "SIZE_INVALID", "Content-Range and Content-Length"));
            }
            if start != length as u64 {
                let reply = Reply::error(416, "RANGE_INVALID", "out of order");
                let reply = reply.with("Range", range(0, length));
                return Err(self.onward(request, reply, name, id));
            }
        }
        {
            let mut inner = session.inner.lock().expect("a lock");
            if inner.busy {
                return Err(Reply::error(409, "BLOB_UPLOAD_INVALID", "another request is writing"));
            }
            inner.busy = true;
            inner.patches += 1;
        }
        let outcome = session.take(request.body);
        let mut inner = session.inner.lock().expect("a lock");
        inner.busy = false;
        if outcome.is_err() {
            if !self.profile.keeps_sessions {
                inner.bytes.clear();
                drop(inner);
                self.forget(id);
            }
            return Err(Reply { hang_up: true, ..Reply::default() });
        }
        Ok(())
    }
}

impl Session {
    fn length(&self) -> usize {
        self.inner.lock().expect("a lock").bytes.len()
    }

    fn patches(&self) -> usize {
        self.inner.lock().expect("a lock").patches
    }

    fn take(&self, body: &mut dyn Read) -> std::io::Result<()> {
        let mut buf = vec![0; 64 << 10];
        loop {
            let n = body.read(&mut buf)?;
            if n == 0 {
                return Ok(());
            }
            self.inner.lock().expect("a lock").bytes.extend_from_slice(&buf[..n]);
        }
    }
}

/// `start-(end - 1)`; `0-0` for nothing, as distribution says it.
fn range(start: usize, end: usize) -> String {
    format!("{start}-{}", end.saturating_sub(1))
}

/// `a-b`, without `bytes` and without a total.
fn parse(text: &str) -> Option<(u64, u64)> {
    let (start, end) = text.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some((start, end))
}
