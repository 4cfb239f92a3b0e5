//! Files and directories, safely: beneath a held directory, replaced whole, locked, read by parts.

pub mod bulk;
pub mod digests;
pub mod dir;
pub mod lanes;
pub mod look;
pub mod map;
pub mod output;
pub mod parts;
pub mod pump;
pub mod scratch;
pub mod tar;
pub mod temporary;

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};

/// Opens a file that the user named for reading. A directory is refused; a fifo or a pipe is read.
///
/// # Errors
/// `Missing`, `Io`.
pub fn open_input(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| dir::os(path, "opening", e))?;
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| Error::io(path, "looking at", &e))?;
    if meta.is_dir() {
        return Err(Error::malformed("is a directory").input(path.display().to_string()));
    }
    Ok(file)
}
