//! Standard output and error: data on one, everything else on the other.
//!
//! `println!` panics when its reader goes away and hides a full disk; this does neither.

use std::io::{self, IsTerminal, Write};

use imgpack::{Error, Kind, Result};

/// Writes text to standard output.
///
/// # Errors
/// `Closed` when nobody reads any more, `Io`.
pub(crate) fn print(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn line(text: &str) -> Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

fn bytes(bytes: &[u8]) -> Result<()> {
    io::stdout().lock().write_all(bytes).map_err(|e| failed(&e))
}

/// Flushes standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn flush() -> Result<()> {
    io::stdout().lock().flush().map_err(|e| failed(&e))
}

fn failed(e: &io::Error) -> Error {
    Error::io(std::path::Path::new("standard output"), "writing", e)
}

/// Refuses to write an archive to a terminal.
///
/// # Errors
/// `Usage`.
pub(crate) fn refuse_terminal() -> Result<()> {
    if io::stdout().is_terminal() {
        let what = "refusing to write an archive to a terminal; use -o FILE or redirect";
        return Err(Error::new(Kind::Usage, what));
    }
    Ok(())
}

/// A line on standard error; there is nobody to tell when that fails.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
