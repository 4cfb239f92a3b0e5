//! Downloads that survive the run: files named by the digest of what they are to become.
//!
//! It knows no network. What a killed run fetched is verified again from the disk, never trusted; the
//! rest alone is asked of the source. A file is locked while it grows, so two runs never write one.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::dir::{Dir, DirLock};
use crate::io::parts::Extent;
use crate::io::pump::{self, CHUNK};
use crate::transport::Blob;

/// The directory's name, beside what is being written.
pub const NAME: &str = ".imgpack-partial";

/// How often to reopen a file that other runs keep removing.
const TRIES: usize = 10;

/// Most whole files that are kept open for their locks. Another run may take one of those beyond, and then
/// verifies it and gives it its name just the same.
const MAX_HELD: usize = 256;

/// Seconds to wait for a run that is just removing the directory.
const PATIENCE: u64 = 5;

/// The partial files beneath a directory.
pub struct Partials {
    parent: Dir,
    dir: Dir,
    /// Shared by every run that uses the directory: nobody removes it from under another.
    lock: Option<DirLock>,
    /// Files that are kept open.
    held: Arc<AtomicUsize>,
}

/// A file that is whole and verified. It stays locked until this is dropped, unless there are too many.
pub struct Fetched {
    /// Its name in [`Partials::dir`].
    pub name: String,
    held: Option<Held>,
}

impl Fetched {
    /// Whether no other run can take it.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

/// An open file, counted.
struct Held {
    count: Arc<AtomicUsize>,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Partials {
    /// Those beneath `parent`, whose directory is made when it is absent.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(parent: &Dir) -> Result<Self> {
        let parent = parent.sub_create(".")?;
        loop {
            let dir = parent.sub_create(NAME)?;
            // Where locks do not work there is nobody else either.
            let lock = dir.lock(false, PATIENCE).ok();
            // Between making and locking it another run may have found it empty, and removed it.
            if parent.holds(NAME, &dir)? {
                return Ok(Self { parent, dir, lock, held: Arc::default() });
            }
        }
    }

    /// The directory that the files are in.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Fetches a blob, going on from what is there. When the bytes prove wrong the whole of it is
    /// fetched once more. Nothing when another run is fetching the same blob.
    ///
    /// # Errors
    /// Those of the blob's reader, and `Io`; what was fetched stays, unless it was wrong.
    pub fn fetch(&self, blob: &Blob<'_>) -> Result<Option<Fetched>> {
        let desc = blob.descriptor();
        let name = file_name(&desc.digest);
        let Some(file) = self.claim(&name)? else { return Ok(None) };
        match self.grow(blob, &file, &name) {
            Err(e) if e.kind() == Kind::Corrupt => {
                let ctx = blob.context();
                ctx.warn(&format!("{}; fetching it once more", e.what()));
                self.cut(&file, &name)?;
                if let Err(e) = self.grow(blob, &file, &name) {
                    if e.kind() == Kind::Corrupt {
                        let _ = self.dir.remove_file(&name);
                    }
                    return Err(e);
                }
            }
            other => other?,
        }
        let before = self.held.fetch_add(1, Ordering::Relaxed);
        let held = Held { count: self.held.clone(), _file: file };
        Ok(Some(Fetched { name, held: (before < MAX_HELD).then_some(held) }))
    }

    /// Opens a partial file and locks it; nothing when another run has it.
    fn claim(&self, name: &str) -> Result<Option<File>> {
        for _ in 0..TRIES {
            let file = self.dir.append_file(name)?;
            match file.try_lock() {
                // Between opening and locking another run may have given it its final name.
                Ok(()) if !self.dir.holds(name, &file)? => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // Where locks do not work there is nobody else either.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Some(file)),
            }
        }
        Ok(None)
    }

    fn cut(&self, file: &File, name: &str) -> Result<()> {
        file.set_len(0).map_err(|e| Error::io(&self.dir.join(name), "truncating", &e))
    }

    fn grow(&self, blob: &Blob<'_>, file: &File, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        let size = blob.descriptor().size;
        let there = file.metadata().map_err(|e| Error::io(&path, "reading", &e))?.len();
        if there > size {
            self.cut(file, name)?;
        }
        let there = if there > size { 0 } else { there };
        let clone = || file.try_clone().map_err(|e| Error::io(&path, "opening", &e));
        let beginning = Extent::whole(clone()?, &path, there);
        let mut reader = blob.open_after(&beginning)?;
        let mut to = clone()?;
        let mut at = 0_u64;
        let mut buf = vec![0; CHUNK];
        loop {
            let got = pump::read_some(&mut reader, &mut buf)?;
            if got == 0 {
                return Ok(());
            }
            // What is there already was read from here.
            let old = usize::try_from(there.saturating_sub(at)).unwrap_or(usize::MAX).min(got);
            to.write_all(&buf[old..got]).map_err(|e| Error::io(&path, "writing", &e))?;
            at += got as u64;
        }
    }

    /// Removes a file that was used.
    pub fn discard(&self, name: &str) {
        let _ = self.dir.remove_file(name);
    }

    /// Bytes of a blob that an earlier run fetched beneath `parent`.
    pub fn there(parent: &Dir, digest: &Digest) -> u64 {
        let file = parent.file(&format!("{NAME}/{}", file_name(digest)));
        file.ok().flatten().map_or(0, |(_, size)| size)
    }

    /// Every partial file beneath `parent` that no run is writing, with its bytes; removed unless
    /// `dry_run`.
    ///
    /// # Errors
    /// `Io`.
    pub fn sweep(parent: &Dir, dry_run: bool) -> Result<Vec<(Digest, u64)>> {
        let mut swept = Vec::new();
        if parent.stat(NAME)?.is_none() {
            return Ok(swept);
        }
        let mut all = Self::open(parent)?;
        drop(all.lock.take());
        // A run that has more files than it keeps open needs the others too.
        let Ok(_alone) = all.dir.lock(true, 0) else { return Ok(swept) };
        for name in all.dir.names()? {
            let Ok(name) = String::from_utf8(name) else { continue };
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            let Some((file, size)) = all.dir.file(&name)? else { continue };
            if file.try_lock().is_ok() {
                if !dry_run {
                    all.dir.remove_file(&name)?;
                }
                swept.push((digest, size));
            }
        }
        swept.sort_unstable();
        Ok(swept)
    }
}

impl Drop for Partials {
    /// Removes the directory when it is empty and no other run uses it.
    fn drop(&mut self) {
        drop(self.lock.take());
        if let Ok(_alone) = self.dir.lock(true, 0) {
            let _ = self.parent.remove_empty(NAME);
        }
    }
}

/// `<hex>` for both algorithms: their lengths differ.
fn file_name(digest: &Digest) -> String {
    digest.hex()
}
