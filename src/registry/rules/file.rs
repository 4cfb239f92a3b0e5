//! Files of this machine that may be absent.
//!
//! It must not know what they say.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::Path;

use crate::error::{Error, Result};

/// The text of a file; `None` when it is absent.
pub(super) fn text_of(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path, "reading", &e)),
    }
}
