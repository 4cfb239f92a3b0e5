//! A file of lines that is only appended to: a cache between runs that saves requests.
//!
//! It knows no line. A file that cannot be read counts as empty; one that cannot be written costs only
//! time in the next run.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::io::dir::Dir;
use crate::locks::lock;

/// Largest file that is read, in bytes: some 300 000 lines.
const MAX: u64 = 64 << 20;

/// One file of a directory; without a directory nothing is kept.
pub(super) struct Lines {
    directory: Option<PathBuf>,
    name: &'static str,
    fresh: Mutex<Vec<String>>,
}

impl Lines {
    /// The file, and what it holds.
    pub(super) fn open(directory: Option<PathBuf>, name: &'static str) -> (Self, String) {
        let read = |path: &PathBuf| Dir::open(path).ok()?.read(name, MAX).ok()?;
        let bytes = directory.as_ref().and_then(read).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (Self { directory, name, fresh: Mutex::default() }, text)
    }

    /// Adds a line, without its end.
    pub(super) fn push(&self, line: String) {
        lock(&self.fresh).push(line + "\n");
    }

    /// Writes what is new.
    pub(super) fn save(&self) {
        let fresh = std::mem::take(&mut *lock(&self.fresh));
        let Some(directory) = self.directory.as_ref().filter(|_| !fresh.is_empty()) else { return };
        let written = Dir::create(directory).and_then(|dir| dir.append_file(self.name));
        if let Ok(mut file) = written {
            // One write: lines of two runs do not mix.
            let _ = file.write_all(fresh.concat().as_bytes());
        }
    }
}
