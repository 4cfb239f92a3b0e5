//! A directory that dies with the run: staging for blobs that are not yet verified or not yet named.
//!
//! It lies on the file system of what is being written, so that finished files are renamed into
//! place. It is locked while its process lives; what a killed run left is swept by the next one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Kind, Result};
use crate::io::dir::{Dir, DirLock};
use crate::io::temporary;
use crate::locks::lock;

const PREFIX: &str = ".imgpack-";
const TRIES: usize = 100;

/// A private directory beneath another one.
pub struct Scratch {
    parent: Dir,
    dir: Dir,
    name: String,
    next: AtomicU64,
    _lock: Option<DirLock>,
}

impl Scratch {
    /// Makes a scratch directory in `parent`, after sweeping those of dead runs.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(parent: Dir) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        sweep(&parent);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        parent.remove_flat(&name)?;
        // Between its making and its locking another run may take it for a dead one's and sweep it.
        for _ in 0..TRIES {
            if let Some((dir, lock)) = Self::claim(&parent, &name)? {
                temporary::note(dir.path().to_path_buf());
                return Ok(Self { parent, dir, name, next: AtomicU64::new(0), _lock: lock });
            }
        }
        Err(Error::new(Kind::Busy, "other runs keep removing the scratch directory")
            .input(parent.join(&name).display().to_string()))
    }

    /// Makes one in the directory `path`.
    ///
    /// # Errors
    /// `Io`.
    pub fn within(path: &Path) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::create(Dir::open(path)?)?))
    }

    /// Makes the directory and locks it; nothing when it was swept meanwhile.
    fn claim(parent: &Dir, name: &str) -> Result<Option<(Dir, Option<DirLock>)>> {
        let dir = match parent.sub_create(name) {
            Ok(dir) => dir,
            Err(e) if e.kind() == Kind::Missing => return Ok(None),
            Err(e) => {
                let _ = parent.remove_flat(name);
                return Err(e);
            }
        };
        // Where locks do not work nobody can sweep either.
        let lock = match dir.lock(true, 0) {
            Ok(lock) => Some(lock),
            Err(e) if e.kind() == Kind::Busy => return Ok(None),
            Err(_) => None,
        };
        Ok(parent.holds(name, &dir)?.then_some((dir, lock)))
    }

    /// A new empty file and its name here.
    ///
    /// # Errors
    /// `Io`.
    pub fn file(&self) -> Result<(File, String)> {
        let name = format!("{}", self.next.fetch_add(1, Ordering::Relaxed));
        Ok((self.dir.create_file(&name)?, name))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The directory it lies in.
    pub fn parent(&self) -> &Dir {
        &self.parent
    }

    /// The path of a file here, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.parent.remove_flat(&self.name);
        temporary::forget(self.dir.path());
    }
}

/// Removes scratch directories that nobody holds.
fn sweep(parent: &Dir) {
    for name in parent.names().unwrap_or_default() {
        let Ok(name) = String::from_utf8(name) else { continue };
        let digits = name.strip_prefix(PREFIX).unwrap_or("-");
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        if let Ok(dir) = parent.sub(&name)
            && let Ok(_lock) = dir.lock(true, 0)
        {
            let _ = parent.remove_flat(&name);
        }
    }
}
/// A scratch directory that is made when it is first asked for.
pub struct Lazy {
    path: PathBuf,
    made: Mutex<Option<Arc<Scratch>>>,
}

impl Lazy {
    /// One that will be made in the directory `path`.
    pub fn within(path: PathBuf) -> Self {
        Self { path, made: Mutex::default() }
    }

    /// The directory, the same one each time.
    ///
    /// # Errors
    /// `Io`.
    pub fn get(&self) -> Result<Arc<Scratch>> {
        let mut made = lock(&self.made);
        if let Some(scratch) = &*made {
            return Ok(scratch.clone());
        }
        let scratch = Scratch::within(&self.path)?;
        *made = Some(scratch.clone());
        Ok(scratch)
    }
}
