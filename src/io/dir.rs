//! A directory held open; everything beneath it is reached through it.
//!
//! It knows nothing of images. Paths given here are made of digests and fixed names, never of
//! strings from an archive; even so every open resolves beneath the held directory (openat2 with
//! `RESOLVE_BENEATH`), takes only regular files and never blocks, so that a directory on a stick
//! cannot lead us to a fifo, a device or a file elsewhere.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What a directory holds under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirEntry {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Dir,
    /// Something that is no content: link, fifo, device, socket.
    Special,
}

/// A kernel lock on a directory; it dies with the process.
#[derive(Debug)]
pub struct DirLock {
    fd: OwnedFd,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        let _ = fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

impl Dir {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// `Missing` when there is none, `Io` otherwise.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|e| os(path, "opening", e))?;
        Ok(Self { fd, path: path.to_path_buf() })
    }

    /// Opens a directory, made with its parents when absent.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, "creating the directory", &e))?;
        Self::open(path)
    }

    /// Where it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something beneath, for messages.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn at(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..128 {
            match fs::openat2(&self.fd, name, flags, mode, beneath) {
                // The kernel saw a rename beside the walk and could not be sure.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(name, flags, mode),
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    /// For kernels without openat2: one component at a time, following no link.
    fn walk(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut parts: Vec<&str> = name.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(Errno::XDEV);
        }
        let Some(last) = parts.pop() else { return fs::openat(&self.fd, ".", flags, mode) };
        let mut at = self.fd.try_clone().map_err(|_| Errno::MFILE)?;
        let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for part in parts {
            at = fs::openat(&at, part, step, Mode::empty())?;
        }
        fs::openat(&at, last, flags | OFlags::NOFOLLOW, mode)
    }

    /// Opens a directory beneath.
    ///
    /// # Errors
    /// `Missing` when absent, `Malformed` when it leads out, `Io`.
    pub fn sub(&self, name: &str) -> Result<Self> {
        let fd = self
            .at(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|e| os(&self.join(name), "opening", e))?;
        Ok(Self { fd, path: self.join(name) })
    }

    /// Opens a directory beneath, made with its parents when absent.
    ///
    /// # Errors
    /// As [`Dir::sub`].
    pub fn sub_create(&self, name: &str) -> Result<Self> {
        let mut at = Self { fd: self.clone_fd()?, path: self.path.clone() };
        for part in name.split('/').filter(|part| *part != ".") {
            match fs::mkdirat(&at.fd, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => at = at.sub(part)?,
                Err(e) => return Err(os(&at.join(part), "creating the directory", e)),
            }
        }
        Ok(at)
    }

    fn clone_fd(&self) -> Result<OwnedFd> {
        self.fd.try_clone().map_err(|e| Error::io(&self.path, "opening", &e))
    }

    /// Opens a regular file for reading, with its size; `None` when there is none.
    ///
    /// # Errors
    /// `Malformed` when it is no regular file or leads out, `Io`.
    pub fn file(&self, name: &str) -> Result<Option<(File, u64)>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let path = self.join(name);
        // A socket cannot be opened at all; a fifo or a device opens, and is refused by its type.
        let fd = match self.at(name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::NXIO) => return Err(special(&path)),
            Err(e) => return Err(os(&path, "opening", e)),
        };
        let stat = fs::fstat(&fd).map_err(|e| os(&path, "opening", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(special(&path));
        }
        Ok(Some((File::from(fd), u64::try_from(stat.st_size).unwrap_or_default())))
    }

    /// Reads a whole small file; `None` when there is none.
    ///
    /// # Errors
    /// `Malformed` when it is larger than `limit` bytes, and as [`Dir::file`].
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.file(name)? else { return Ok(None) };
        let path = self.join(name);
        if size > limit {
            let what = format!("{size} bytes, more than the limit of {limit}");
            return Err(Error::malformed(what).input(path.display().to_string()));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(&path, "reading", &e))?;
        if bytes.len() as u64 > limit {
            return Err(Error::malformed("changed while reading").input(path.display().to_string()));
        }
        Ok(Some(bytes))
    }

    /// What lies under a name, links not followed; `None` when nothing does.
    ///
    /// # Errors
    /// `Io`.
    pub fn stat(&self, name: &str) -> Result<Option<DirEntry>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    DirEntry::File(u64::try_from(stat.st_size).unwrap_or_default())
                }
                FileType::Directory => DirEntry::Dir,
                _ => DirEntry::Special,
            })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(os(&self.join(name), "looking at", e)),
        }
    }

    /// Whether `name` still is the open file or directory `what`.
    ///
    /// # Errors
    /// `Io`.
    pub fn holds(&self, name: &str, what: impl AsFd) -> Result<bool> {
        let held = fs::fstat(what).map_err(|e| os(&self.join(name), "looking at", e))?;
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(os(&self.join(name), "looking at", e)),
        }
    }

    /// Names directly beneath, in no order.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let fail = |e| os(&self.path, "listing", e);
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Creates a file that must not exist. `name` is one component.
    ///
    /// # Errors
    /// `Io`.
    pub fn create_file(&self, name: &str) -> Result<File> {
        self.create_as(name, 0o666)
    }

    fn create_as(&self, name: &str, mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = self
            .at(name, flags, Mode::from_raw_mode(mode))
            .map_err(|e| os(&self.join(name), "creating", e))?;
        Ok(File::from(fd))
    }

    /// Opens a file for appending, made when absent. `name` is one component.
    ///
    /// # Errors
    /// `Io`.
    pub fn append_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
        let fd = self
            .at(name, flags, Mode::from_raw_mode(0o666))
            .map_err(|e| os(&self.join(name), "opening", e))?;
        Ok(File::from(fd))
    }

    /// Replaces a file whole: written beside, flushed, renamed. `name` is one component. Only one
    /// process may do so at a time; what a killed one left is written over by the next.
    ///
    /// # Errors
    /// `Io`; the old file is then still there.
    pub fn replace(&self, name: &str, bytes: &[u8], sync: bool) -> Result<()> {
        self.replace_as(name, bytes, sync, 0o666)
    }

    /// [`Dir::replace`] for a secret: only its owner may read it.
    ///
    /// # Errors
    /// As [`Dir::replace`].
    pub fn replace_private(&self, name: &str, bytes: &[u8], sync: bool) -> Result<()> {
        self.replace_as(name, bytes, sync, 0o600)
    }

    fn replace_as(&self, name: &str, bytes: &[u8], sync: bool, mode: u32) -> Result<()> {
        let temporary = format!(".imgpack-{name}.part");
        let path = self.join(name);
        let _ = self.remove_file(&temporary);
        let result = (|| {
            let mut file = self.create_as(&temporary, mode)?;
            file.write_all(bytes).map_err(|e| Error::io(&path, "writing", &e))?;
            if sync {
                sync_file(&file, &path)?;
            }
            close(file, &path)?;
            self.rename(&temporary, self, name)?;
            if sync { self.sync() } else { Ok(()) }
        })();
        if result.is_err() {
            let _ = self.remove_file(&temporary);
        }
        result
    }

    /// Renames `from` here to `to` in another directory of the same file system. One component each.
    ///
    /// # Errors
    /// `Io`.
    pub fn rename(&self, from: &str, target: &Self, to: &str) -> Result<()> {
        fs::renameat(&self.fd, from, &target.fd, to)
            .map_err(|e| os(&target.join(to), "renaming into place", e))
    }

    /// Removes a file; nothing to remove is fine. `name` is one component.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(os(&self.join(name), "removing", e)),
        }
    }

    /// Removes a directory of plain files with everything in it. `name` is one component.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_flat(&self, name: &str) -> Result<()> {
        let Some(DirEntry::Dir) = self.stat(name)? else { return Ok(()) };
        let dir = self.sub(name)?;
        for file in dir.names()? {
            let _ = fs::unlinkat(&dir.fd, file.as_slice(), AtFlags::empty());
        }
        match fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(os(&dir.path, "removing", e)),
        }
    }

    /// Removes a directory that is empty. `name` is one component.
    ///
    /// # Errors
    /// `Io`, also when something is in it.
    pub fn remove_empty(&self, name: &str) -> Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(os(&self.join(name), "removing", e)),
        }
    }

    /// Flushes the directory itself: names in it survive a power loss.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&self) -> Result<()> {
        match fs::fsync(&self.fd) {
            // Some file systems have nothing to flush for a directory.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(flush_failed(os(&self.path, "flushing", e))),
        }
    }

    /// Flushes the whole file system the directory is on.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_all(&self) -> Result<()> {
        fs::syncfs(&self.fd).map_err(|e| flush_failed(os(&self.path, "flushing", e)))
    }

    /// Bytes that may still be written there: for root that is all there are.
    ///
    /// # Errors
    /// `Io`.
    pub fn free(&self) -> Result<u64> {
        let stat = fs::fstatvfs(&self.fd).map_err(|e| os(&self.path, "looking at", e))?;
        let blocks =
            if rustix::process::geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
        Ok(blocks.saturating_mul(stat.f_frsize))
    }

    /// Takes a kernel lock on the directory, shared or exclusive, waiting up to `wait` seconds.
    ///
    /// # Errors
    /// `Busy` naming the holders when it is taken, `Io` where locks do not work.
    pub fn lock(&self, exclusive: bool, wait: u64) -> Result<DirLock> {
        // A lock belongs to an open file description, so each lock opens the directory again.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, ".", flags, Mode::empty())
            .map_err(|e| os(&self.path, "opening", e))?;
        let operation = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        let start = std::time::Instant::now();
        loop {
            match fs::flock(&fd, operation) {
                Ok(()) => return Ok(DirLock { fd }),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if start.elapsed().as_secs() >= wait => {
                    let holders = self.holders();
                    let what = format!("in use by another process{holders}");
                    return Err(Error::new(Kind::Busy, what).input(self.path.display().to_string()));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(20)),
                Err(e @ (Errno::NOLCK | Errno::OPNOTSUPP | Errno::BADF | Errno::NOSYS)) => {
                    return Err(os(&self.path, "this file system cannot lock files", e));
                }
                Err(e) => return Err(os(&self.path, "locking", e)),
            }
        }
    }

    /// Who holds locks on this directory, as the kernel lists them.
    fn holders(&self) -> String {
        let (Ok(stat), Ok(table)) = (fs::fstat(&self.fd), std::fs::read_to_string("/proc/locks"))
        else {
            return String::new();
        };
        let inode = format!(":{}", stat.st_ino);
        let mut pids: Vec<&str> = table
            .lines()
            .filter(|line| !line.contains("->"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|f| f.len() > 5 && f[1] == "FLOCK" && f[5].ends_with(&inode))
            .map(|f| f[4])
            .collect();
        pids.sort_unstable();
        pids.dedup();
        if pids.is_empty() { String::new() } else { format!(" (pid {})", pids.join(", ")) }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Flushes a file's data and size to the medium.
///
/// # Errors
/// `Io`: after a failed flush the written pages may count as clean, so nothing is tried again.
pub fn sync_file(file: &File, path: &Path) -> Result<()> {
    match fs::fsync(file) {
        Ok(()) => Ok(()),
        Err(e) => Err(flush_failed(os(path, "flushing", e))),
    }
}

/// Closes a file and hears of errors that only then appear (network file systems, quotas).
///
/// # Errors
/// `Io`.
pub fn close(file: File, path: &Path) -> Result<()> {
    nix::unistd::close(file)
        .map_err(|e| Error::io(path, "closing", &std::io::Error::from_raw_os_error(e as i32)))
}

fn flush_failed(err: Error) -> Error {
    err.context("do not trust this medium")
}

fn special(path: &Path) -> Error {
    Error::malformed("not a regular file").input(path.display().to_string())
}

/// An `Errno` on `path` as our error.
pub fn os(path: &Path, doing: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Error::no_such_file(path),
        Errno::XDEV if doing == "opening" => {
            Error::malformed("a link leads out of the directory").input(path.display().to_string())
        }
        Errno::LOOP => Error::malformed("a symbolic link where a file belongs")
            .input(path.display().to_string()),
        errno => Error::io(path, doing, &errno.into()),
    }
}
