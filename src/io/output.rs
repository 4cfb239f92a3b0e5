//! One output file that appears whole or not at all.
//!
//! It knows nothing of archives. The bytes go to a file beside the target, which is flushed and then
//! renamed; a link at the target is never followed and an existing file is kept unless told.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags};

use crate::error::{Error, Kind, Result};
use crate::io::bulk;
use crate::io::dir::{self, Dir, DirEntry};
use crate::io::temporary;

/// Bytes after which the kernel is asked to begin writing.
const WINDOW: u64 = 16 << 20;

/// A file being written under a temporary name.
pub struct OutputFile {
    dir: Dir,
    file: Option<File>,
    temporary: String,
    target: PathBuf,
    name: String,
    force: bool,
    sync: bool,
    written: u64,
    started: u64,
}

impl OutputFile {
    /// Starts writing what will be `target`.
    ///
    /// # Errors
    /// `Conflict` when it exists and `force` is off, or is no regular file; `Io`.
    pub fn create(target: &Path, force: bool, sync: bool) -> Result<Self> {
        let shown = target.display().to_string();
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = target.file_name().and_then(OsStr::to_str).ok_or_else(|| {
            Error::new(Kind::Usage, "not a file name that can be written").input(shown.clone())
        })?;
        let dir = Dir::open(parent)?;
        match dir.stat(name)? {
            None => {}
            Some(DirEntry::File(_)) if force => {}
            Some(DirEntry::File(_)) => return Err(Error::file_exists(target)),
            Some(_) => {
                return Err(
                    Error::new(Kind::Conflict, "exists and is not a regular file").input(shown)
                );
            }
        }
        sweep(&dir, name);
        let temporary = format!("{}{}.part", prefix(name), std::process::id());
        let file = claim(&dir, &temporary)?;
        temporary::note(dir.join(&temporary));
        let (target, name) = (target.to_path_buf(), name.to_string());
        let (written, started) = (0, 0);
        Ok(Self { dir, file: Some(file), temporary, target, name, force, sync, written, started })
    }

    /// The directory it is written in.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Bytes that still fit beside it, when the system says.
    pub fn free(&self) -> Option<u64> {
        self.dir.free().ok()
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Flushes the bytes and gives the file its name.
    ///
    /// # Errors
    /// `Io`, or `Conflict` when somebody else made the target meanwhile; nothing is left then.
    pub fn commit(mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let result = (|| {
            if self.sync {
                dir::sync_file(&file, &self.target)?;
            }
            dir::close(file, &self.target)?;
            if self.force {
                self.dir.rename(&self.temporary, &self.dir, &self.name)?;
            } else {
                self.rename_new()?;
            }
            if self.sync { self.dir.sync() } else { Ok(()) }
        })();
        if result.is_err() {
            let _ = self.dir.remove_file(&self.temporary);
        }
        result
    }

    fn rename_new(&self) -> Result<()> {
        use rustix::io::Errno;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.dir, &self.temporary, &self.dir, &self.name, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(Error::file_exists(&self.target)),
            // FAT and some network file systems know only the plain rename.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.dir.rename(&self.temporary, &self.dir, &self.name)
            }
            Err(e) => Err(dir::os(&self.target, "renaming into place", e)),
        }
    }

    fn start_writeback(&mut self) {
        if !self.sync || self.written - self.started < WINDOW {
            return;
        }
        bulk::start_writeback(self.file(), self.started, self.written);
        self.started = self.written;
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("the file is taken only by commit, which consumes self")
    }

    /// Bytes written so far.
    ///
    /// # Errors
    /// `Io`.
    pub fn position(&self) -> Result<u64> {
        let mut file = self.file();
        file.stream_position().map_err(|e| Error::io(&self.target, "writing", &e))
    }

    /// Writes over what was written earlier.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file().write_all_at(bytes, at).map_err(|e| Error::io(&self.target, "writing", &e))
    }

    /// Takes back everything from `at` on.
    ///
    /// # Errors
    /// `Io`.
    pub fn truncate(&mut self, at: u64) -> Result<()> {
        let mut file = self.file();
        file.set_len(at)
            .and_then(|()| file.seek(SeekFrom::Start(at)))
            .map(|_| ())
            .map_err(|e| Error::io(&self.target, "writing", &e))
    }
}

impl Write for OutputFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file().write(buf).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            io::Error::from(Error::io(&self.target, "writing", &e))
        })?;
        self.written += n as u64;
        self.start_writeback();
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = self.dir.remove_file(&self.temporary);
        }
        temporary::forget(&self.dir.join(&self.temporary));
    }
}

/// A file whose write errors name its path.
pub struct Named {
    /// The file.
    pub file: File,
    /// Its path.
    pub path: PathBuf,
}

impl Write for Named {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            Error::io(&self.path, "writing", &e).into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the temporary file and locks it while we live, so that a later run can tell it from a dead
/// one's. Between the two another run may sweep it; then it is made again.
fn claim(dir: &Dir, temporary: &str) -> Result<File> {
    for _ in 0..100 {
        let file = dir.create_file(temporary)?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(rustix::io::Errno::WOULDBLOCK) {
            let _ = dir.remove_file(temporary);
        } else if dir.holds(temporary, &file)? {
            return Ok(file);
        }
    }
    let shown = dir.join(temporary).display().to_string();
    Err(Error::new(Kind::Busy, "other runs keep removing the temporary file").input(shown))
}

fn prefix(name: &str) -> String {
    let short: String = name.chars().take(100).collect();
    format!(".{short}.imgpack-")
}

/// Removes what killed runs left of the same target: files nobody holds a lock on.
fn sweep(dir: &Dir, name: &str) {
    let prefix = prefix(name);
    for found in dir.names().unwrap_or_default() {
        let Ok(found) = String::from_utf8(found) else { continue };
        if !(found.starts_with(&prefix) && found.ends_with(".part")) {
            continue;
        }
        if let Ok(Some((file, _))) = dir.file(&found)
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = dir.remove_file(&found);
        }
    }
}
