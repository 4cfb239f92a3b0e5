//! Upload sessions: files that grow in the store until they are blobs.
//!
//! It knows no request and no manifest. A session is one file, named by its id and its repository, so that
//! it survives the process; the length of the file is the offset of the upload. OCI distribution-spec,
//! "Pushing blobs".

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard};

use ring::rand::{SecureRandom, SystemRandom};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::dir::{self, Dir, DirEntry, DirLock};
use crate::locks::lock;
use crate::serve::names::RepositoryName;
use crate::transport::store::UPLOADS;

mod session;

use session::Common;
pub use session::{Claimed, Session, Stop};

/// Sessions at once; each costs an empty file at least.
const MAX_SESSIONS: usize = 4096;
/// When there are so many, those go that nobody touched for so many seconds: clients that only try
/// whether they may push leave them behind.
const IDLE: i64 = 3600;
/// Hex digits of the repository in the name of a file.
const WHOSE: usize = 16;

/// The sessions of a store.
pub struct Uploads {
    common: Arc<Common>,
    blobs: [Dir; 2],
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    random: SystemRandom,
    sync: bool,
    /// Keeps `prune` and other servers away while we live.
    _lock: DirLock,
}

impl Uploads {
    /// Takes over the sessions that an earlier process left.
    ///
    /// # Errors
    /// `Busy` when another process serves the store, `Io`.
    pub fn open(root: &Dir, sync: bool) -> Result<Self> {
        let common = Common::new(root.sub_create(UPLOADS)?);
        let dir = &common.dir;
        let lock = dir.lock(true, 1)?;
        let blobs = [Algorithm::Sha256, Algorithm::Sha512]
            .map(|algorithm| root.sub_create(&format!("blobs/{}", algorithm.name())));
        let [first, second] = blobs;
        let blobs = [first?, second?];
        if sync {
            root.sub("blobs")?.sync()?;
            root.sync()?;
        }
        let mut sessions = HashMap::new();
        for file in dir.names()? {
            let Ok(file) = String::from_utf8(file) else { continue };
            let Some(DirEntry::File(size)) = dir.stat(&file)? else { continue };
            match file.split_once('.') {
                Some((id, whose)) if whose.len() == WHOSE => {
                    let session = Session::new(common.clone(), id, &file, size);
                    sessions.insert(id.to_owned(), Arc::new(session));
                }
                // A document that a killed process was writing.
                _ => dir.remove_file(&file)?,
            }
        }
        let (sessions, random) = (Mutex::new(sessions), SystemRandom::new());
        Ok(Self { common, blobs, sessions, random, sync, _lock: lock })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        lock(&self.sessions)
    }

    /// Begins an upload to a repository.
    ///
    /// # Errors
    /// `Busy` when there are too many already, `Io`.
    pub fn begin(&self, name: &RepositoryName, algorithm: Algorithm) -> Result<Arc<Session>> {
        let id = self.unheard_of()?;
        let file = format!("{id}.{}", whose(name));
        if self.count() >= MAX_SESSIONS {
            self.purge(IDLE)?;
        }
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_SESSIONS {
            let what = format!("there are already {MAX_SESSIONS} unfinished uploads");
            return Err(Error::new(Kind::Busy, what));
        }
        self.common.dir.create_file(&file)?;
        let session = Session::new(self.common.clone(), &id, &file, 0);
        let session = session.hashing(algorithm);
        let session = Arc::new(session);
        sessions.insert(id, session.clone());
        Ok(session)
    }

    /// A session of a repository.
    pub fn find(&self, name: &RepositoryName, id: &str) -> Option<Arc<Session>> {
        let session = self.sessions().get(id).cloned()?;
        (session.file() == format!("{id}.{}", whose(name))).then_some(session)
    }

    /// Ends a session; its bytes are gone.
    ///
    /// # Errors
    /// `Io`.
    pub fn cancel(&self, claimed: Claimed<'_>) -> Result<()> {
        self.sessions().remove(claimed.session().id());
        self.common.dir.remove_file(claimed.session().file())?;
        claimed.end();
        Ok(())
    }

    /// Checks that a session is the blob of this digest, and flushes it.
    ///
    /// # Errors
    /// [`Stop::Mismatch`] when it is another, [`Stop::Failed`] when the medium failed: the session is
    /// gone then, since what the system failed to write once it takes for written.
    pub fn prove<'s>(
        &self,
        mut claimed: Claimed<'s>,
        digest: &Digest,
    ) -> Result<VerifiedUpload<'s>, Stop> {
        let found = claimed.digest(digest.algorithm())?;
        let flushed = if self.sync { claimed.flush() } else { Ok(()) };
        if found == *digest && flushed.is_ok() {
            return Ok(VerifiedUpload { claimed, digest: *digest });
        }
        self.cancel(claimed)?;
        flushed.and(Err(Stop::Mismatch(found)))
    }

    /// Makes a session the blob that it is. Its size in bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(&self, VerifiedUpload { claimed, digest }: VerifiedUpload<'_>) -> Result<u64> {
        let (session, size) = (claimed.session(), claimed.offset());
        self.name(session.file(), &digest)?;
        self.sessions().remove(session.id());
        claimed.end();
        Ok(size)
    }

    /// Writes a document as a blob.
    ///
    /// # Errors
    /// `Io`; nothing is there then.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        let name = self.unheard_of()?;
        let path = self.common.dir.join(&name);
        let mut file = self.common.dir.create_file(&name)?;
        let written = file.write_all(bytes).map_err(|e| Error::io(&path, "writing", &e));
        let flushed = written.and_then(|()| match self.sync {
            true => dir::sync_file(&file, &path),
            false => Ok(()),
        });
        let named = flushed.and_then(|()| self.name(&name, digest));
        if named.is_err() {
            let _ = self.common.dir.remove_file(&name);
        }
        named
    }

    /// A name that nobody can guess, and nothing has.
    fn unheard_of(&self) -> Result<String> {
        let mut bytes = [0; 16];
        let failed = |_| Error::new(Kind::Other, "the system gives no random numbers");
        self.random.fill(&mut bytes).map_err(failed)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Gives a flushed file the name of its digest.
    fn name(&self, file: &str, digest: &Digest) -> Result<()> {
        let blobs = &self.blobs[usize::from(digest.algorithm() == Algorithm::Sha512)];
        self.common.dir.rename(file, blobs, &digest.hex())?;
        if self.sync { blobs.sync() } else { Ok(()) }
    }

    /// What time it is, to the file system: seconds that its files can be compared with.
    ///
    /// # Errors
    /// `Io`.
    pub fn now(&self) -> Result<i64> {
        let name = self.unheard_of()?;
        let file = self.common.dir.create_file(&name)?;
        let meta =
            file.metadata().map_err(|e| Error::io(&self.common.dir.join(&name), "looking at", &e));
        self.common.dir.remove_file(&name)?;
        Ok(meta?.mtime())
    }

    /// Ends sessions that nobody touched for `age` seconds. How many they were.
    ///
    /// # Errors
    /// `Io`.
    pub fn purge(&self, age: i64) -> Result<usize> {
        let now = self.now()?;
        let all: Vec<Arc<Session>> = self.sessions().values().cloned().collect();
        let mut purged = 0;
        for session in all {
            let Some(claimed) = session.try_claim() else { continue };
            let Some((file, _)) = self.common.dir.file(session.file())? else { continue };
            let path = self.common.dir.join(session.file());
            let meta = file.metadata().map_err(|e| Error::io(&path, "looking at", &e))?;
            if now.saturating_sub(meta.mtime()) >= age {
                self.cancel(claimed)?;
                purged += 1;
            }
        }
        Ok(purged)
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.sessions().len()
    }
}

/// A session that has a digest, flushed.
pub struct VerifiedUpload<'s> {
    claimed: Claimed<'s>,
    digest: Digest,
}

/// The repository in the name of a session's file.
fn whose(name: &RepositoryName) -> String {
    Digest::of(name.as_str().as_bytes()).hex()[..WHOSE].to_owned()
}

#[cfg(test)]
mod tests;
