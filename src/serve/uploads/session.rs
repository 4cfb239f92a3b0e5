//! One upload session: bytes appended in order by one request at a time, hashed as they come.
//!
//! It knows no repository. Whoever works on a session has claimed it; another request waits a moment,
//! since the one before may just have been cut off, and is then turned away.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::io::dir::{self, Dir};
use crate::io::parts::Extent;

/// Bytes that are hashed and written at once.
const PIECE: usize = 128 << 10;
/// So many bytes at a time are flushed while more come, so that little is left to flush at the end.
const AHEAD: u64 = 16 << 20;
/// How long a request waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why an upload did not go on.
#[derive(Debug)]
pub enum Stop {
    /// The session is gone.
    Unknown,
    /// Another request is at work on it.
    Busy,
    /// The bytes do not follow those that are there: it has so many.
    Order(u64),
    /// The request has more or fewer bytes than it said; none were taken.
    Size,
    /// What was uploaded has another digest: this one.
    Mismatch(Digest),
    /// The client went away; what arrived is kept.
    Cut,
    /// It could not be written; what arrived before is kept.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An upload that was begun.
pub struct Session {
    dir: Arc<Dir>,
    id: String,
    file: String,
    offset: AtomicU64,
    state: Mutex<State>,
    sync: bool,
}

struct State {
    /// What arrived so far, hashed; nothing when it must be read again.
    hasher: Option<(Algorithm, Hasher)>,
    /// It became a blob, or was cancelled.
    ended: bool,
}

impl Session {
    /// A session of `offset` bytes in the file `file`.
    pub(super) fn new(dir: Arc<Dir>, id: &str, file: &str, offset: u64, sync: bool) -> Self {
        let state = Mutex::new(State { hasher: None, ended: false });
        let offset = AtomicU64::new(offset);
        Self { dir, id: id.to_owned(), file: file.to_owned(), offset, state, sync }
    }

    /// The same, its first byte still to come, hashed with `algorithm`.
    pub(super) fn hashing(mut self, algorithm: Algorithm) -> Self {
        let hasher = Some((algorithm, Hasher::new(algorithm)));
        self.state = Mutex::new(State { hasher, ended: false });
        self
    }

    /// Its name in requests.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// How many bytes arrived.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// The right to work on it.
    ///
    /// # Errors
    /// [`Stop::Busy`], [`Stop::Unknown`] when it has ended.
    pub fn claim(&self) -> Result<Claimed<'_>, Stop> {
        let start = Instant::now();
        loop {
            if let Some(claimed) = self.try_claim() {
                return if claimed.state.ended { Err(Stop::Unknown) } else { Ok(claimed) };
            }
            if start.elapsed() >= PATIENCE {
                return Err(Stop::Busy);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn try_claim(&self) -> Option<Claimed<'_>> {
        match self.state.try_lock() {
            Ok(state) => Some(Claimed { session: self, state }),
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut state = poisoned.into_inner();
                // Whoever had it may have hashed what it did not write.
                state.hasher = None;
                Some(Claimed { session: self, state })
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The right to work on a session, until dropped.
pub struct Claimed<'s> {
    session: &'s Session,
    state: MutexGuard<'s, State>,
}

impl<'s> Claimed<'s> {
    /// Which one.
    pub fn session(&self) -> &'s Session {
        self.session
    }

    /// How many bytes arrived.
    pub fn offset(&self) -> u64 {
        self.session.offset()
    }

    pub(super) fn end(mut self) {
        self.state.ended = true;
    }

    fn open(&mut self) -> Result<(File, PathBuf), Stop> {
        let path = self.session.dir.join(&self.session.file);
        if self.session.dir.stat(&self.session.file)?.is_none() {
            return Err(Stop::Unknown);
        }
        let file = self.session.dir.append_file(&self.session.file)?;
        let length = file.metadata().map_err(|e| Error::io(&path, "looking at", &e))?.len();
        if length != self.offset() {
            // What a failed write left behind; or somebody else cut it, and it is hashed again.
            if length < self.offset() {
                self.state.hasher = None;
            }
            self.cut(&file, &path, self.offset().min(length))?;
        }
        Ok((file, path))
    }

    fn cut(&self, file: &File, path: &Path, length: u64) -> Result<()> {
        file.set_len(length).map_err(|e| Error::io(path, "truncating", &e))?;
        self.session.offset.store(length, Ordering::Release);
        Ok(())
    }

    /// Appends what a request sends: all of it, exactly `length` bytes when that is said, which follow
    /// what is there when `start` says so.
    ///
    /// # Errors
    /// [`Stop`]; what is there is then what it was, or with [`Stop::Cut`] and [`Stop::Failed`] longer.
    pub fn append(
        &mut self,
        start: Option<u64>,
        length: Option<u64>,
        body: &mut dyn Read,
    ) -> Result<(), Stop> {
        let before = self.offset();
        if start.is_some_and(|start| start != before) {
            return Err(Stop::Order(before));
        }
        let (file, path) = self.open()?;
        let mut ahead = Ahead { flushing: None, at: before, failed: None };
        let taken = self.take(length, body, (&file, &path), &mut ahead);
        if let Err(e) = ahead.join() {
            // The medium lost bytes that it will not say again it lost.
            self.state.ended = true;
            return Err(e.into());
        }
        taken
    }

    fn take(
        &mut self,
        length: Option<u64>,
        body: &mut dyn Read,
        (mut file, path): (&File, &Path),
        ahead: &mut Ahead,
    ) -> Result<(), Stop> {
        let before = self.offset();
        let mut buffer = vec![0; PIECE];
        loop {
            let (got, end) = fill(body, &mut buffer);
            let piece = &buffer[..got];
            let after = self.offset() + got as u64;
            if length.is_some_and(|length| after - before > length) {
                return self.refuse(file, path, before);
            }
            if let Err(e) = file.write_all(piece) {
                let _ = self.cut(file, path, self.offset());
                return Err(Error::io(path, "writing", &e).into());
            }
            if let Some((_, hasher)) = &mut self.state.hasher {
                hasher.update(piece);
            }
            self.session.offset.store(after, Ordering::Release);
            match end {
                End::More if self.session.sync => ahead.go_on(after, file, path),
                End::More => {}
                End::Cut => return Err(Stop::Cut),
                End::Whole if length.is_some_and(|length| after - before != length) => {
                    return self.refuse(file, path, before);
                }
                End::Whole => return Ok(()),
            }
        }
    }

    /// Takes back what a request sent that was not as long as it said.
    fn refuse(&mut self, file: &File, path: &Path, before: u64) -> Result<(), Stop> {
        if self.offset() != before {
            self.state.hasher = None;
        }
        self.cut(file, path, before)?;
        Err(Stop::Size)
    }

    /// The digest of everything that arrived; read again when it was not hashed on the way.
    pub(super) fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, Stop> {
        match self.state.hasher.take() {
            Some((hashed, hasher)) if hashed == algorithm => return Ok(hasher.finish()),
            _ => {}
        }
        let (file, path) = self.open()?;
        let mut hasher = Hasher::new(algorithm);
        let mut reader = Extent::whole(file, &path, self.offset()).reader();
        let mut buffer = vec![0; PIECE];
        loop {
            let got = reader.read(&mut buffer).map_err(|e| Error::io(&path, "reading", &e))?;
            if got == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..got]);
        }
    }

    /// Flushes what arrived to the medium.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        let (file, path) = self.open()?;
        Ok(dir::sync_file(&file, &path)?)
    }
}

/// A thread that flushes what was written while more comes.
struct Ahead {
    flushing: Option<JoinHandle<Result<()>>>,
    /// Up to here it was told to flush.
    at: u64,
    /// What went wrong.
    failed: Option<Error>,
}

impl Ahead {
    fn go_on(&mut self, written: u64, file: &File, path: &Path) {
        if written - self.at < AHEAD || self.flushing.as_ref().is_some_and(|f| !f.is_finished()) {
            return;
        }
        self.wait();
        // Where no more files can be opened all of it is flushed at the end.
        let Ok(clone) = file.try_clone() else { return };
        let path = path.to_path_buf();
        self.flushing = Some(std::thread::spawn(move || dir::sync_file(&clone, &path)));
        self.at = written;
    }

    fn wait(&mut self) {
        match self.flushing.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(e))) => self.failed = Some(e),
            Some(Err(_)) => {
                let what = "flushing was given up";
                self.failed = Some(Error::new(crate::error::Kind::Other, what));
            }
        }
    }

    /// Hears what became of it all: the system tells of a failure once only.
    fn join(mut self) -> Result<()> {
        self.wait();
        self.failed.map_or(Ok(()), Err)
    }
}

enum End {
    /// The buffer is full.
    More,
    /// That was all.
    Whole,
    /// It broke off.
    Cut,
}

/// Reads until a buffer is full or the body ends.
fn fill(body: &mut dyn Read, buffer: &mut [u8]) -> (usize, End) {
    let mut got = 0;
    while got < buffer.len() {
        match body.read(&mut buffer[got..]) {
            Ok(0) => return (got, End::Whole),
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return (got, End::Cut),
        }
    }
    (got, End::More)
}
