//! A file of our own, mapped: random access to many small pieces without a call for each.
//!
//! Never for inputs: a stick that is pulled out, or a file that somebody cuts short, would end the
//! process with a signal. Only scratch files come here, which nobody else can open by name once their
//! directory is locked to this process.

use std::fs::File;

use crate::error::{Error, Result};

/// The bytes of a scratch file.
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a scratch file that is complete and will not change.
    ///
    /// # Errors
    /// `Io`.
    #[allow(unsafe_code, reason = "the one place; see the SAFETY paragraph")]
    pub fn scratch(file: &File) -> Result<Self> {
        // SAFETY: a map is sound while nobody changes or truncates the file. It lies in a scratch
        // directory that this process made and holds an exclusive lock on; sweeps of other runs pass
        // a locked directory by, and this process writes a scratch file only once, before this call.
        unsafe { memmap2::Mmap::map(file) }.map(Self).map_err(|e| Error::from_io(&e))
    }

    /// A piece of it; `None` when it reaches beyond the end.
    pub fn piece(&self, offset: u64, size: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.0.get(start..end)
    }
}
