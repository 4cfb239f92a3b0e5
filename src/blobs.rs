//! BlobDir: `blobs/<algorithm>/<hex>`, the one way blobs are kept on disk.
//!
//! It knows nothing of manifests or names. A blob is written in a scratch directory on the same file
//! system, verified while it is written, flushed, and only then renamed to the name of its digest.
//! OCI image-spec `image-layout.md`.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::dir::{self, Dir, DirEntry};
use crate::io::output::Named;
use crate::io::parts::Extent;
use crate::io::pump;
use crate::io::scratch::Scratch;
use crate::locks::lock;
use crate::partial::{Fetched, Partials};
use crate::transport::Blob;
use crate::verify::Verified;

/// From this size on a blob is flushed as soon as it is written, beside the others' work.
const EAGER: u64 = 1 << 20;
/// Up to this many small files are flushed one by one; beyond, the file system is flushed once.
const FEW: usize = 32;

/// Fails before any hashing when a blob has not the size its descriptor says.
///
/// # Errors
/// `Corrupt`.
pub fn check_size(desc: &Descriptor, size: u64) -> Result<()> {
    if size == desc.size {
        return Ok(());
    }
    let (digest, claimed) = (desc.digest, desc.size);
    Err(Error::corrupt(format!("{digest} is {size} bytes, its descriptor says {claimed}")))
}

/// Whether the file of a blob has its size and, when the run rechecks, its digest. What has not is
/// written anew and replaced, which is said.
///
/// # Errors
/// `Malformed` when something else lies under its name, `Io`.
pub fn is_sound(root: &Dir, name: &str, desc: &Descriptor, ctx: &Context) -> Result<bool> {
    let Some((file, size)) = root.file(name)? else { return Ok(false) };
    let path = root.join(name);
    let checked = check_size(desc, size).and_then(|()| {
        if ctx.recheck {
            let bytes = Box::new(Extent::whole(file, &path, size).reader());
            let mut reader = Verified::new(bytes, desc, String::new(), ctx).quiet();
            std::io::copy(&mut reader, &mut std::io::sink())?;
        }
        Ok(())
    });
    match checked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == Kind::Corrupt => {
            ctx.warn(&format!("{}: {}; it is replaced", path.display(), e.what()));
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// The blobs beneath a directory.
pub struct BlobDir {
    root: Arc<Dir>,
}

impl BlobDir {
    /// The blobs beneath `root`, which need not have any yet.
    pub fn new(root: Arc<Dir>) -> Self {
        Self { root }
    }

    /// Size of a blob, when it is there.
    ///
    /// # Errors
    /// `Malformed` when something else lies under its name, `Io`.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.file(digest)?.map(|(_, size)| size))
    }

    /// Opens a blob, with its size.
    ///
    /// # Errors
    /// As [`BlobDir::size`].
    pub fn file(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        self.root.file(&digest.blob_path())
    }

    /// Digests of all blobs, with their sizes, in order; names that are not digests are skipped.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let name = format!("blobs/{}", algorithm.name());
            let Some(DirEntry::Dir) = self.root.stat(&name)? else { continue };
            let dir = self.root.sub(&name)?;
            for file in dir.names()? {
                let Some(digest) =
                    std::str::from_utf8(&file).ok().and_then(|h| Digest::from_hex(h).ok())
                else {
                    continue;
                };
                if let Some(DirEntry::File(size)) = dir.stat(&digest.hex())? {
                    found.push((digest, size));
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        let dir = self.root.sub(&format!("blobs/{}", digest.algorithm().name()))?;
        dir.remove_file(&digest.hex())
    }
}

/// Blobs on their way into a [`BlobDir`]: written and verified, not yet named.
pub struct Staging {
    root: Arc<Dir>,
    scratch: Arc<Scratch>,
    /// Where blobs that come over a network grow; made for the first of them.
    partials: OnceLock<Partials>,
    staged: Mutex<HashMap<Digest, Staged>>,
    sync: bool,
}

struct Staged {
    file: Where,
    flushed: bool,
}

impl Staged {
    /// Whether another run can give it its name first.
    fn may_be_taken(&self) -> bool {
        matches!(&self.file, Where::Partial(fetched) if !fetched.is_held())
    }
}

/// Where a staged blob lies.
enum Where {
    /// Under a name in the scratch directory.
    Scratch(String),
    /// Among the partial files: a run that is killed before the end leaves it to the next.
    Partial(Fetched),
}

impl Staging {
    /// Staging beside the blobs of `root`.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(root: Arc<Dir>, sync: bool) -> Result<Self> {
        let scratch = Arc::new(Scratch::create(root.sub_create(".")?)?);
        Ok(Self { root, scratch, partials: OnceLock::new(), staged: Mutex::default(), sync })
    }

    /// The scratch directory, for blobs in the making.
    pub fn scratch(&self) -> Arc<Scratch> {
        self.scratch.clone()
    }

    fn staged(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Staged>> {
        lock(&self.staged)
    }

    /// Whether a blob is staged.
    pub fn has(&self, digest: &Digest) -> bool {
        self.staged().contains_key(digest)
    }

    /// Writes a blob, or takes over the file that already holds it.
    ///
    /// # Errors
    /// Those of its reader, and `Io`; nothing is staged then.
    pub fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let digest = blob.descriptor().digest;
        if self.has(&digest) {
            return Ok(());
        }
        let file = match self.take_over(blob)? {
            Some(name) => Where::Scratch(name),
            None => match self.fetch(blob)? {
                Some(fetched) => Where::Partial(fetched),
                None => Where::Scratch(self.write(blob)?),
            },
        };
        let mut item = Staged { file, flushed: !self.sync };
        if self.sync && blob.descriptor().size >= EAGER {
            self.flush(&item)?;
            item.flushed = true;
        }
        self.staged().insert(digest, item);
        Ok(())
    }

    /// The directory and the name of a staged blob.
    fn whereabouts<'a>(&'a self, item: &'a Staged) -> Result<(&'a Dir, &'a str)> {
        match &item.file {
            Where::Scratch(name) => Ok((self.scratch.dir(), name)),
            Where::Partial(fetched) => Ok((self.partials()?.dir(), &fetched.name)),
        }
    }

    fn partials(&self) -> Result<&Partials> {
        if let Some(partials) = self.partials.get() {
            return Ok(partials);
        }
        let opened = Partials::open(&self.root)?;
        Ok(self.partials.get_or_init(|| opened))
    }

    fn flush(&self, item: &Staged) -> Result<()> {
        let (dir, name) = self.whereabouts(item)?;
        if let Some((file, _)) = dir.file(name)? {
            dir::sync_file(&file, &dir.join(name))?;
        }
        Ok(())
    }

    /// Fetches what comes over a network into a file that survives the run.
    fn fetch(&self, blob: &Blob<'_>) -> Result<Option<Fetched>> {
        if blob.remote() { self.partials()?.fetch(blob) } else { Ok(None) }
    }

    fn take_over(&self, blob: &Blob<'_>) -> Result<Option<String>> {
        let Some((theirs, name)) = blob.spare() else { return Ok(None) };
        // Renamed in our own scratch directory too: whoever made the file may clean up its name.
        let mine = format!("t-{}", blob.descriptor().digest.hex());
        match theirs.dir().rename(&name, self.scratch.dir(), &mine) {
            Ok(()) => Ok(Some(mine)),
            // Another file system: copy instead.
            Err(_) => Ok(None),
        }
    }

    fn write(&self, blob: &Blob<'_>) -> Result<String> {
        let (file, name) = self.scratch.file()?;
        let path = self.scratch.path(&name);
        let mut to = Named { file, path };
        let result = blob
            .open()
            .and_then(|mut reader| pump::copy(&mut reader, &mut to).map_err(Error::from));
        let result = result.and_then(|_| dir::close(to.file, &to.path));
        if let Err(e) = result {
            let _ = self.scratch.dir().remove_file(&name);
            return Err(e);
        }
        Ok(name)
    }

    /// Gives everything staged its name: first all bytes are on the medium, then the names.
    ///
    /// # Errors
    /// `Io`.
    pub fn commit(&self) -> Result<()> {
        let staged = self.flushed()?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let name = format!("blobs/{}", algorithm.name());
            let of = |d: &Digest| d.algorithm() == algorithm;
            if staged.iter().any(|(d, _)| of(d)) {
                let target = self.root.sub_create(&name)?;
                for (digest, item) in staged.iter().filter(|(d, _)| of(d)) {
                    let (dir, name) = self.whereabouts(item)?;
                    match dir.rename(name, &target, &digest.hex()) {
                        // Another run fetched the same blob, found it whole and gave it its name.
                        Err(e) if item.may_be_taken() && target.file(&digest.hex())?.is_some() => {
                            drop(e);
                        }
                        done => done?,
                    }
                }
            } else if self.root.stat(&name)?.is_none() {
                continue;
            }
            // Even when nothing was added: a name that was found there may be that of a process that
            // was killed before it flushed the directory.
            if self.sync {
                self.root.sub(&name)?.sync()?;
                self.root.sub("blobs")?.sync()?;
                self.root.sync()?;
            }
        }
        Ok(())
    }

    /// Gives everything staged a name directly in `target`, manifest.json last.
    ///
    /// # Errors
    /// `Io`.
    pub fn commit_as(&self, target: &Dir, name: impl Fn(&Digest) -> String) -> Result<()> {
        let mut named: Vec<(String, Staged)> =
            self.flushed()?.into_iter().map(|(digest, item)| (name(&digest), item)).collect();
        named.sort_by_key(|(name, _)| (name == "manifest.json", name.clone()));
        for (name, item) in named {
            let (dir, staged) = self.whereabouts(&item)?;
            dir.rename(staged, target, &name)?;
        }
        if self.sync { target.sync() } else { Ok(()) }
    }

    /// Everything staged, its bytes on the medium, in order of digest.
    fn flushed(&self) -> Result<Vec<(Digest, Staged)>> {
        let mut staged: Vec<(Digest, Staged)> = self.staged().drain().collect();
        staged.sort_unstable_by_key(|(digest, _)| *digest);
        let unflushed: Vec<&Staged> =
            staged.iter().map(|(_, s)| s).filter(|s| !s.flushed).collect();
        if unflushed.len() > FEW {
            self.root.sync_all()?;
        } else {
            for item in unflushed {
                self.flush(item)?;
            }
        }
        Ok(staged)
    }
}
