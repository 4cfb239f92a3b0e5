//! What lies at a path: something, nothing, or what cannot be told.
//!
//! A medium that fails, a right that is lacking and a server that is gone are errors, never "nothing":
//! whoever takes an unreadable place for an empty one removes what was copied from it.

use std::fs::{FileType, Metadata};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// What lies at `path`, links followed; `None` when nothing does.
///
/// # Errors
/// `Io`.
pub fn at(path: &Path) -> Result<Option<FileType>> {
    known(path, std::fs::metadata(path))
}

/// What lies at `path` itself, which may be a link; `None` when nothing does.
///
/// # Errors
/// `Io`.
pub fn itself(path: &Path) -> Result<Option<FileType>> {
    known(path, std::fs::symlink_metadata(path))
}

/// Whether something lies at `path`, links followed.
///
/// # Errors
/// `Io`.
pub fn exists(path: &Path) -> Result<bool> {
    Ok(at(path)?.is_some())
}

/// Whether a directory lies at `path`, links followed.
///
/// # Errors
/// `Io`.
pub fn is_dir(path: &Path) -> Result<bool> {
    Ok(at(path)?.is_some_and(|found| found.is_dir()))
}

/// Whether a regular file lies at `path`, links followed.
///
/// # Errors
/// `Io`.
pub fn is_file(path: &Path) -> Result<bool> {
    Ok(at(path)?.is_some_and(|found| found.is_file()))
}

/// Whether a system call failed because nothing is there, or can be: some file systems say `EINVAL` to
/// names that they cannot hold.
pub fn is_absence(error: &io::Error) -> bool {
    let absence = [Errno::NOENT, Errno::NOTDIR, Errno::NAMETOOLONG, Errno::INVAL];
    absence.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What went wrong on a walk through a directory.
pub fn walking(base: &Path, error: &walkdir::Error) -> Error {
    let path = error.path().unwrap_or(base);
    match error.io_error() {
        Some(error) => Error::io(path, "listing", error),
        None => {
            Error::malformed("a link leads back to where it lies").input(path.display().to_string())
        }
    }
}

fn known(path: &Path, found: io::Result<Metadata>) -> Result<Option<FileType>> {
    match found {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(e) if is_absence(&e) => Ok(None),
        Err(e) => Err(Error::io(path, "looking at", &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn only_what_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let looped = dir.path().join("loop");
        std::os::unix::fs::symlink(&looped, &looped).unwrap();
        assert!(is_file(&file).unwrap() && !is_dir(&file).unwrap() && is_dir(dir.path()).unwrap());
        for absent in ["gone", "file/below", &"x".repeat(300)] {
            assert!(!exists(&dir.path().join(absent)).unwrap(), "{absent}");
        }
        assert!(itself(&looped).unwrap().unwrap().is_symlink());
        assert_eq!(exists(&looped).unwrap_err().kind(), Kind::Io);
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOTCONN, Errno::STALE, Errno::TIMEDOUT] {
            assert!(!is_absence(&errno.into()), "{errno}");
        }
    }
}
