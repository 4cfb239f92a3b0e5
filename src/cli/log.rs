//! The log file: one line for each event, with the time, escaped.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use imgpack::locks::lock;
use imgpack::{Error, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A log that is appended to.
pub(crate) struct Log(Mutex<File>);

impl Log {
    /// Opens a log.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        file.map(|f| Self(Mutex::new(f))).map_err(|e| Error::io(path, "opening", &e))
    }

    /// Adds a line.
    pub(crate) fn line(&self, text: &str) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let line = format!("{now} {}\n", imgpack::text::escape_long(text));
        // A log that cannot be written is no reason to fail the run.
        let _ = lock(&self.0).write_all(line.as_bytes());
    }
}
