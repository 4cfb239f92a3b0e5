//! Reads bzip2: every stream up to the end of the input.
//!
//! It must not know what the bytes mean. Writing bzip2 is not offered.

use std::io::{self, Read};

use bzip2::{Decompress, Status};

use super::input::{PeekableInput, truncated};
use crate::encoding::Encoding;
use crate::error::Error;

/// A bzip2 decoder.
pub(super) struct Bunzip2<R> {
    input: PeekableInput<R>,
    state: State,
}

enum State {
    Between { first: bool },
    Inside(Decompress),
    Ended,
}

impl<R: Read> Bunzip2<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { input: PeekableInput::new(reader), state: State::Between { first: true } }
    }

    fn next(&mut self, first: bool) -> io::Result<State> {
        if !first {
            if self.input.fill()?.first() == Some(&0) {
                self.input.skip_zeros()?;
                if !self.input.fill()?.is_empty() {
                    return Err(Error::malformed("other bytes follow the bzip2 data").into());
                }
            }
            if self.input.fill()?.is_empty() {
                return Ok(State::Ended);
            }
        }
        let magic = self.input.peek(3)?;
        if magic.len() < 3 && b"BZh".starts_with(magic) {
            return Err(truncated(Encoding::Bzip2));
        }
        if !magic.starts_with(b"BZh") {
            return Err(Error::malformed(if first {
                "not a bzip2 stream"
            } else {
                "other bytes follow the bzip2 data"
            })
            .into());
        }
        Ok(State::Inside(Decompress::new(false)))
    }
}

impl<R: Read> Read for Bunzip2<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let decode = match &mut self.state {
                State::Between { first } => {
                    let first = *first;
                    self.state = self.next(first)?;
                    continue;
                }
                State::Inside(decode) => decode,
                State::Ended => return Ok(0),
            };
            let chunk = self.input.fill()?;
            let ended = chunk.is_empty();
            let before = (decode.total_in(), decode.total_out());
            let status = decode.decompress(chunk, out).map_err(|err| match err {
                // The library does not tell a wrong checksum from a broken block; blocks are
                // checksummed, so a change of bytes is the likely cause of either.
                bzip2::Error::Data => Error::corrupt("the bzip2 data is damaged"),
                _ => Error::malformed("not a bzip2 stream"),
            })?;
            let taken = (decode.total_in() - before.0) as usize;
            let given = (decode.total_out() - before.1) as usize;
            self.input.consume(taken);
            match status {
                Status::StreamEnd => self.state = State::Between { first: false },
                Status::MemNeeded => {
                    return Err(Error::malformed("no memory for the bzip2 decoder").into());
                }
                _ if taken == 0 && given == 0 && ended => {
                    return Err(truncated(Encoding::Bzip2));
                }
                _ if taken == 0 && given == 0 => {
                    return Err(Error::malformed("the bzip2 data makes no progress").into());
                }
                _ => {}
            }
            if given > 0 {
                return Ok(given);
            }
        }
    }
}
