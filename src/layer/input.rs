//! The compressed side of a decoder: a buffer that can be peeked into.
//!
//! It must not know any format.

use std::io::{self, Read};

use crate::encoding::Encoding;
use crate::error::{Cause, Error};

/// Compressed bytes per read of the source.
const CAPACITY: usize = 64 << 10;

/// A buffered source.
pub(super) struct PeekableInput<R> {
    reader: R,
    buffer: Box<[u8]>,
    pos: usize,
    len: usize,
    ended: bool,
}

impl<R: Read> PeekableInput<R> {
    pub(super) fn new(reader: R) -> Self {
        let buffer = vec![0; CAPACITY].into_boxed_slice();
        Self { reader, buffer, pos: 0, len: 0, ended: false }
    }

    /// The bytes at hand; empty only at the end of the source.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(&self.buffer[self.pos..self.len])
    }

    /// At least the next `want` bytes, or all that are left of the source.
    pub(super) fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        debug_assert!(want <= CAPACITY, "a peek is a few bytes");
        if self.len - self.pos < want && self.pos > 0 {
            self.buffer.copy_within(self.pos..self.len, 0);
            self.len -= self.pos;
            self.pos = 0;
        }
        while self.len - self.pos < want && !self.ended {
            match self.reader.read(&mut self.buffer[self.len..]) {
                Ok(0) => self.ended = true,
                Ok(n) => self.len += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(&self.buffer[self.pos..self.len])
    }

    /// Takes `n` of the bytes just shown.
    pub(super) fn consume(&mut self, n: usize) {
        self.pos = (self.pos + n).min(self.len);
    }

    /// Takes one byte.
    pub(super) fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.fill()?.first().copied();
        self.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// Takes zero bytes up to the next other byte or the end, and says how many there were.
    pub(super) fn skip_zeros(&mut self) -> io::Result<u64> {
        let mut zeros = 0;
        loop {
            let chunk = self.fill()?;
            let here = chunk.iter().take_while(|&&byte| byte == 0).count();
            let more = here > 0 && here == chunk.len();
            self.consume(here);
            zeros += here as u64;
            if !more {
                return Ok(zeros);
            }
        }
    }

    /// Takes `n` bytes and says whether they were all there.
    pub(super) fn skip(&mut self, mut n: u64) -> io::Result<bool> {
        while n > 0 {
            let here = self.fill()?.len();
            if here == 0 {
                return Ok(false);
            }
            let take = usize::try_from(n).map_or(here, |n| n.min(here));
            self.consume(take);
            n -= take as u64;
        }
        Ok(true)
    }
}

/// The input ended inside a stream.
pub(super) fn truncated(encoding: Encoding) -> io::Error {
    let what = format!("truncated {} stream", encoding.name());
    Error::malformed(what).because(Cause::Truncated).into()
}
