//! Parts of files: read by position, from any thread, short reads and interruptions handled.
//!
//! Inputs are read, never mapped: a stick that is pulled out gives an error with a path, not a
//! signal.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::io::tar::Skip;

/// A range of one file.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file, kept open.
    pub file: Arc<File>,
    /// Its name, for messages.
    pub path: Arc<PathBuf>,
    /// First byte, 0-based.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
    /// What its file was like when it was found out where they lie; unless their name says what they are.
    pub indexed: Option<Stamp>,
}

/// Which file it is and when it was written: where that is the same, the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 and nanoseconds, of its content.
    pub modified: (i64, i64),
    /// The same of anything about it.
    pub changed: (i64, i64),
}

impl Extent {
    /// The whole of a file of `size` bytes.
    pub fn whole(file: File, path: &Path, size: u64) -> Self {
        let (file, path) = (Arc::new(file), Arc::new(path.to_path_buf()));
        Self { file, path, offset: 0, size, indexed: None }
    }

    /// The same, from now on only as long as its file is what it is now.
    ///
    /// # Errors
    /// `Io`.
    pub fn indexed(mut self) -> Result<Self> {
        self.indexed = Some(self.stamp()?);
        Ok(self)
    }

    /// What its file is like now.
    ///
    /// # Errors
    /// `Io`.
    pub fn stamp(&self) -> Result<Stamp> {
        let meta = self.file.metadata().map_err(|e| Error::io(&self.path, "looking at", &e))?;
        Ok(Stamp {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// A reader over the stretch.
    pub fn reader(&self) -> ExtentReader {
        ExtentReader { extent: self.clone(), done: 0 }
    }

    /// Up to `most` first bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn head(&self, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads an [`Extent`] from its first byte to its last.
pub struct ExtentReader {
    extent: Extent,
    done: u64,
}

impl Skip for ExtentReader {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let left = self.extent.size - self.done;
        if n > left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.done += n;
        Ok(())
    }
}

impl Read for ExtentReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.extent.size - self.done;
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let at = self.extent.offset + self.done;
        let got = loop {
            match self.extent.file.read_at(&mut buf[..want], at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let err = Error::unreadable(&self.extent.path, &e);
                    return Err(err.at(format!("offset {at}")).into());
                }
                Ok(got) => break got,
            }
        };
        if got == 0 {
            let path = self.extent.path.display().to_string();
            let err = Error::corrupt("truncated while reading").input(path);
            return Err(err.at(format!("offset {at}")).into());
        }
        self.done += got as u64;
        Ok(got)
    }
}
