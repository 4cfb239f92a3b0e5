//! One upload session: bytes appended in order by one request at a time, hashed as they come.
//!
//! It knows no repository. A request claims the session while it works on it; another request waits a
//! moment, since the first one may just have been cut off, and is then refused.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::io::bulk::Bulk;
use crate::io::dir::{self, Dir};
use crate::io::parts::Extent;
use crate::io::pump;

/// Bytes that are hashed and written at once where many arrive.
const PIECE: usize = 64 << 10;
/// So many requests at a time are hashed on one thread and written on another, which takes 2 MiB of
/// memory each.
const FEW: usize = 8;
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

/// What all sessions of a store share.
pub(super) struct Common {
    /// Where their files lie.
    pub(super) dir: Dir,
    /// Requests that bring bytes.
    pub(super) arriving: AtomicUsize,
}

impl Common {
    pub(super) fn new(dir: Dir) -> Arc<Self> {
        Arc::new(Self { dir, arriving: AtomicUsize::new(0) })
    }
}

/// An upload that was begun.
pub struct Session {
    common: Arc<Common>,
    id: String,
    file: String,
    offset: AtomicU64,
    state: Mutex<State>,
}

struct State {
    /// What arrived so far, hashed; nothing when it must be read again.
    hasher: Option<(Algorithm, Hasher)>,
    /// It became a blob, or was cancelled.
    ended: bool,
}

impl Session {
    /// A session of `offset` bytes in the file `file`.
    pub(super) fn new(common: Arc<Common>, id: &str, file: &str, offset: u64) -> Self {
        let state = Mutex::new(State { hasher: None, ended: false });
        let offset = AtomicU64::new(offset);
        Self { common, id: id.to_owned(), file: file.to_owned(), offset, state }
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

    /// Appends what arrives to the file.
    fn write(&self, file: &File, arriving: &mut Arriving<'_>) -> io::Result<()> {
        let few = self.common.arriving.fetch_add(1, Ordering::Relaxed) < FEW;
        let mut growing = Growing { bulk: Bulk::new(file, self.offset(), few), session: self };
        let copied = if few {
            pump::copy(arriving, &mut growing)
        } else {
            io::copy(&mut BufReader::with_capacity(PIECE, arriving), &mut growing)
        };
        self.common.arriving.fetch_sub(1, Ordering::Relaxed);
        copied.and_then(|_| growing.flush())
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
        let path = self.session.common.dir.join(&self.session.file);
        if self.session.common.dir.stat(&self.session.file)?.is_none() {
            return Err(Stop::Unknown);
        }
        let file = self.session.common.dir.append_file(&self.session.file)?;
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
        body: &mut (dyn Read + Send),
    ) -> Result<(), Stop> {
        let before = self.offset();
        if start.is_some_and(|start| start != before) {
            return Err(Stop::Order(before));
        }
        let (file, path) = self.open()?;
        let hasher = self.state.hasher.as_mut().map(|(_, hasher)| hasher);
        let mut arriving = Arriving { body, left: length, hasher, end: None };
        if let Err(e) = self.session.write(&file, &mut arriving) {
            // More may have been hashed than was written.
            self.state.hasher = None;
            let _ = self.cut(&file, &path, self.offset());
            return Err(Error::io(&path, "writing", &e).into());
        }
        match arriving.end {
            Some(End::Cut) => Err(Stop::Cut),
            Some(End::Size) => {
                if self.offset() != before {
                    self.state.hasher = None;
                }
                self.cut(&file, &path, before)?;
                Err(Stop::Size)
            }
            Some(End::Whole) | None => Ok(()),
        }
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

/// The file of a session, which notes how far it is.
struct Growing<'s> {
    bulk: Bulk<'s>,
    session: &'s Session,
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.bulk.write(bytes);
        self.session.offset.store(self.bulk.length(), Ordering::Release);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.bulk.flush();
        self.session.offset.store(self.bulk.length(), Ordering::Release);
        written
    }
}

/// The body of a request, hashed on the way. Reading never fails; `end` says how it ended.
struct Arriving<'b> {
    body: &'b mut (dyn Read + Send),
    /// How many bytes are still to come, when that was said.
    left: Option<u64>,
    hasher: Option<&'b mut Hasher>,
    end: Option<End>,
}

enum End {
    /// That was all.
    Whole,
    /// More or fewer bytes than were said.
    Size,
    /// It broke off.
    Cut,
}

impl Arriving<'_> {
    /// Nothing more comes.
    fn ends(&mut self, how: End) -> usize {
        self.end = Some(how);
        0
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.end.is_some() {
            return Ok(0);
        }
        let Ok(n) = pump::read_some(&mut *self.body, buffer) else {
            return Ok(self.ends(End::Cut));
        };
        match &mut self.left {
            Some(left) if n as u64 > *left || (n == 0 && *left > 0) => {
                return Ok(self.ends(End::Size));
            }
            Some(left) => *left -= n as u64,
            None => {}
        }
        if n == 0 {
            return Ok(self.ends(End::Whole));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}
