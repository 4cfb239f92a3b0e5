//! Reads gzip: every member, its header and its checksum (RFC 1952).
//!
//! It must not know what the bytes mean.
//!
//! Header and trailer are read here and only the deflate data is left to the library, so that a
//! broken header, a wrong checksum and a cut-off stream are told apart.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Crc;

use super::input::{PeekableInput, truncated};
use crate::encoding::Encoding;
use crate::error::Error;

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// A gzip decoder.
pub(super) struct Gunzip<R> {
    input: PeekableInput<R>,
    inflate: Decompress,
    crc: Crc,
    size: u32,
    state: State,
}

enum State {
    /// Before the first member, which must be there.
    First,
    /// After a member: another one, padding, or the end.
    Between,
    Inside,
    Ended,
}

impl<R: Read> Gunzip<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            input: PeekableInput::new(reader),
            inflate: Decompress::new(false),
            crc: Crc::new(),
            size: 0,
            state: State::First,
        }
    }

    /// After a member: whether another one follows.
    fn another(&mut self) -> io::Result<bool> {
        let next = self.input.peek(2)?;
        if next.is_empty() {
            return Ok(false);
        }
        if next.starts_with(&[0x1f, 0x8b]) {
            return Ok(true);
        }
        if next == [0x1f] {
            return Err(truncated(Encoding::Gzip));
        }
        self.input.skip_zeros()?;
        if self.input.fill()?.is_empty() {
            return Ok(false);
        }
        Err(Error::malformed("other bytes follow the gzip data").into())
    }

    fn member(&mut self) -> io::Result<()> {
        self.crc = Crc::new();
        let magic = [self.byte()?, self.byte()?, self.byte()?];
        if magic != [0x1f, 0x8b, 8] {
            return Err(Error::malformed("not a gzip member").into());
        }
        let flags = self.byte()?;
        if flags & RESERVED != 0 {
            return Err(Error::malformed("a gzip member sets reserved flags").into());
        }
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & FEXTRA != 0 {
            let len = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..len {
                self.byte()?;
            }
        }
        for text in [FNAME, FCOMMENT] {
            if flags & text != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & FHCRC != 0 {
            let want = self.crc.sum() as u16;
            if u16::from_le_bytes([self.byte()?, self.byte()?]) != want {
                return Err(Error::corrupt("a gzip header does not match its checksum").into());
            }
        }
        self.crc = Crc::new();
        self.size = 0;
        self.inflate.reset(false);
        Ok(())
    }

    /// One byte of a header, counted into the header's checksum.
    fn byte(&mut self) -> io::Result<u8> {
        let byte = self.input.byte()?.ok_or_else(|| truncated(Encoding::Gzip))?;
        self.crc.update(&[byte]);
        Ok(byte)
    }

    fn trailer(&mut self) -> io::Result<()> {
        let trailer: [u8; 8] = match self.input.peek(8)?.first_chunk() {
            Some(bytes) => *bytes,
            None => return Err(truncated(Encoding::Gzip)),
        };
        self.input.consume(8);
        let [a, b, c, d, e, f, g, h] = trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err(Error::corrupt("the gzip data does not match its checksum").into());
        }
        if u32::from_le_bytes([e, f, g, h]) != self.size {
            return Err(Error::corrupt("the gzip data does not match its length").into());
        }
        Ok(())
    }

    /// Inflates into `out`; 0 means that the member gave no bytes this time.
    fn inflate(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let chunk = self.input.fill()?;
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let ended = chunk.is_empty();
        let status = self
            .inflate
            .decompress(chunk, out, FlushDecompress::None)
            .map_err(|_| Error::malformed("the deflate data inside the gzip stream is broken"))?;
        let taken = (self.inflate.total_in() - before.0) as usize;
        let given = (self.inflate.total_out() - before.1) as usize;
        self.input.consume(taken);
        self.crc.update(&out[..given]);
        self.size = self.size.wrapping_add(given as u32);
        if status == Status::StreamEnd {
            self.trailer()?;
            self.state = State::Between;
        } else if taken == 0 && given == 0 {
            return Err(if ended {
                truncated(Encoding::Gzip)
            } else {
                Error::malformed("the deflate data inside the gzip stream makes no progress").into()
            });
        }
        Ok(given)
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state {
                State::First => {
                    self.member()?;
                    self.state = State::Inside;
                }
                State::Between => {
                    self.state = if self.another()? { State::First } else { State::Ended };
                }
                State::Inside => {
                    let given = self.inflate(out)?;
                    if given > 0 {
                        return Ok(given);
                    }
                }
                State::Ended => return Ok(0),
            }
        }
    }
}
