//! An unnamed temporary file for content that comes before its turn.
//!
//! It must not know what it holds.
//!
//! The file is made on first use and unlinked at once, so nothing stays behind after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

pub(super) struct Spool {
    dir: PathBuf,
    file: Option<File>,
    len: u64,
}

impl Spool {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, file: None, len: 0 }
    }

    /// Bytes so far, which is where the next ones go.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds all of `content`, but never grows beyond `max` bytes.
    pub(super) fn append(&mut self, content: &mut dyn Read, max: u64) -> Result<()> {
        let at = self.len;
        let room = max.saturating_sub(at);
        let dir = self.dir.clone();
        let file = self.file()?;
        file.seek(SeekFrom::Start(at)).map_err(|e| Error::io(&dir, "seeking", &e))?;
        // Holes read as zeros; writing them sparsely would save room but not time.
        let n = io::copy(&mut content.take(room.saturating_add(1)), file)?;
        if n > room {
            let what = format!("the file system is larger than the limit of {max} bytes");
            return Err(Error::unsupported(what));
        }
        self.len += n;
        Ok(())
    }

    /// Copies `len` bytes from `from` to `out`.
    pub(super) fn copy(&mut self, from: u64, len: u64, out: &mut dyn Write) -> Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(from))?;
        if io::copy(&mut file.take(len), out)? < len {
            return Err(Error::corrupt("a layer changed between two reads"));
        }
        Ok(())
    }

    /// Fills `buf` from `from`.
    pub(super) fn read_at(&self, from: u64, buf: &mut [u8]) -> Result<()> {
        let file = self
            .file
            .as_ref()
            .ok_or_else(|| Error::from(io::Error::from(io::ErrorKind::UnexpectedEof)))?;
        file.read_exact_at(buf, from)
            .map_err(|e| Error::io(&self.dir, "reading a temporary file in", &e))
    }

    fn file(&mut self) -> Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(create(&self.dir)?);
        }
        self.file.as_mut().ok_or_else(|| Error::new(crate::Kind::Io, "no temporary file"))
    }
}

fn create(dir: &std::path::Path) -> Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".imgpack-{}-{n}.tmp", std::process::id()));
        let mut how = OpenOptions::new();
        match how.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(&path, "removing a temporary file", &e))?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(&path, "creating a temporary file", &e)),
        }
    }
}
