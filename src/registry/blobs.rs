//! The blobs of a repository: which host a blob is fetched from, and which it is sent to.
//!
//! It transfers no bytes itself: `download` and `upload` do.

use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::registry::http::Wire;
use crate::registry::upload::{self, BlobOpener, MountOutcome, RemoteSession, Target};
use crate::registry::{HostedRepository, Repository, download, remember};

impl Repository {
    /// The size of a blob in bytes; `None` when it is not there. One request.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.first(None, |place| {
            let [scope] = place.looking();
            download::blob_size(&*place.host, &place.path, scope, digest)
        })
        .map_err(|e| e.input_or(self.name()))
    }

    /// Opens a blob at `offset`: so many bytes of it are known already. It goes on by itself after a cut.
    /// Nothing is hashed: whoever reads it to its end compares.
    ///
    /// # Errors
    /// `Missing`, `Denied`, `Unreachable`, `Malformed` when what answers is no registry, `Corrupt` when
    /// the blob has another size there.
    pub fn blob(&self, desc: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let missing = RefCell::new(None);
        let found = self.first(None, |place| {
            let wire: Arc<dyn Wire> = place.host.clone();
            let (settings, ctx) = (place.host.settings(), place.host.context());
            let [scope] = place.looking();
            match download::blob(wire, &place.path, scope, desc, offset, settings, ctx) {
                Err(e) if e.kind() == Kind::Missing => {
                    missing.replace(Some(e));
                    Ok(None)
                }
                other => other.map(Some),
            }
        });
        let gone = || Error::missing(format!("no blob {}", desc.digest));
        found
            .and_then(|found| found.ok_or_else(|| missing.take().unwrap_or_else(gone)))
            .map_err(|e| e.input_or(self.name()))
    }

    /// Makes a blob of the repository `from` on the same registry appear in this one. Where the registry
    /// would not, it is to be uploaded, in the session that may have been opened instead.
    ///
    /// # Errors
    /// `Interrupted`, `Malformed` when the machine's rules do not let the registry be found.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<MountOutcome> {
        self.to(&self.own()?, |target| upload::mount(target, digest, from))
    }

    /// Ends a session that is not needed after all; whatever the registry says to that.
    pub fn forgo(&self, session: &RemoteSession) {
        // A session that stays behind is for the registry to purge.
        let _ = self.own().and_then(|own| {
            self.to(&own, |target| {
                upload::forgo(target, session);
                Ok(())
            })
        });
    }

    /// Uploads a blob that the registry lacks, in `begun` where a session is open; how many bytes of it were sent, repeated ones included.
    /// `open` opens it from its beginning, more than once if need be, and the reader must fail at its end
    /// when the bytes are not the blob's.
    ///
    /// # Errors
    /// Those of the reader; `Denied`, `Missing` for a repository that must be made first, `Unsupported`,
    /// `Corrupt` when the registry hashes the bytes to something else, `Unreachable`, `Interrupted`.
    pub fn upload(
        &self,
        desc: &Descriptor,
        begun: Option<RemoteSession>,
        open: &BlobOpener<'_>,
    ) -> Result<u64> {
        self.to(&self.own()?, |target| upload::upload(target, desc, begun, open))
    }

    /// Does something with this repository as the target of uploads.
    fn to<T>(
        &self,
        place: &HostedRepository,
        act: impl FnOnce(&Target<'_>) -> Result<T>,
    ) -> Result<T> {
        let host = &place.host;
        let key = host.name().to_owned();
        let learned = remember(&self.registries.learned, &key, Arc::default);
        act(&Target {
            wire: &**host,
            host: host.name(),
            path: &place.path,
            settings: host.settings(),
            learned: &learned,
            ctx: host.context(),
        })
        .map_err(|e| e.input_or(self.name()))
    }
}
