//! The names and link targets of a tree: the first of them in memory, the others in a temporary file.
//!
//! It must not know what they mean.

use std::path::PathBuf;

use super::spool::Spool;
use crate::error::Result;

/// Most bytes kept in memory: enough for an image of a hundred thousand files.
const MEMORY: u64 = 8 << 20;
const LEN_BITS: u32 = 16;

/// Where a text is: its first byte above, its length in the lowest bits. No name is longer than
/// [`crate::io::tar::MAX_NAME`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text(u64);

impl Text {
    fn new(at: u64, len: usize) -> Self {
        Self(at << LEN_BITS | len as u64)
    }

    fn at(self) -> u64 {
        self.0 >> LEN_BITS
    }

    fn len(self) -> usize {
        (self.0 & ((1 << LEN_BITS) - 1)) as usize
    }

    /// `len` bytes of it from `start`.
    pub(super) fn part(self, start: usize, len: usize) -> Self {
        Self::new(self.at() + start as u64, len)
    }
}

pub(super) struct Texts {
    head: Vec<u8>,
    tail: Spool,
}

impl Texts {
    pub(super) fn new(temp_dir: PathBuf) -> Self {
        Self { head: Vec::new(), tail: Spool::new(temp_dir) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Text> {
        let at = self.head.len() as u64;
        if at + bytes.len() as u64 <= MEMORY {
            self.head.extend_from_slice(bytes);
            return Ok(Text::new(at, bytes.len()));
        }
        let at = MEMORY + self.tail.len();
        self.tail.append(&mut &*bytes, u64::MAX)?;
        Ok(Text::new(at, bytes.len()))
    }

    pub(super) fn read(&self, text: Text) -> Result<Vec<u8>> {
        let mut bytes = vec![0; text.len()];
        match text.at().checked_sub(MEMORY) {
            Some(at) => self.tail.read_at(at, &mut bytes)?,
            None => bytes.copy_from_slice(&self.head[text.at() as usize..][..text.len()]),
        }
        Ok(bytes)
    }

    pub(super) fn is(&self, text: Text, bytes: &[u8]) -> Result<bool> {
        Ok(text.len() == bytes.len() && self.read(text)? == bytes)
    }
}
