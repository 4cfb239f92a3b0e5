//! Reads zstd: every frame up to the end of the input, with a bound on window memory (RFC 8878).
//!
//! It must not know what the bytes mean.
//!
//! Each frame has a window of its own, so each frame header is read here before the library sees it:
//! a stream that opens with a small frame may still ask for 2 TiB in its second.

use std::io::{self, Read};

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::input::{PeekableInput, truncated};
use super::permit::{SMALL_WINDOW, WindowPermit};
use crate::encoding::Encoding;
use crate::error::Error;
use crate::units::binary_size;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Magic, descriptor, window, dictionary id and content size at their longest.
const LONGEST_HEADER: usize = 18;
/// `ZSTD_error_checksum_wrong`; the library's codes are negated error numbers.
const CHECKSUM_WRONG: usize = 0_usize.wrapping_sub(22);

/// A zstd decoder.
pub(super) struct Unzstd<R> {
    input: PeekableInput<R>,
    max_window: u64,
    // Declared before the permit: the memory goes first, then the right to it.
    context: Option<DCtx<'static>>,
    permit: Option<WindowPermit>,
    state: State,
    /// Whether the library has seen the first byte of the frame.
    begun: bool,
}

enum State {
    Between { first: bool },
    Inside,
    Ended,
}

/// What may stand at the start of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Compressed data that looks back at most this many bytes.
    Frame { window: u64 },
    /// Bytes that are not for us.
    Skippable { len: u64 },
}

impl Start {
    /// Reads a frame header; `None` when `bytes` end inside it.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        if magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18] {
            return Ok(rest
                .first_chunk()
                .map(|len| Self::Skippable { len: u64::from(u32::from_le_bytes(*len)) }));
        }
        if *magic != MAGIC {
            return Err(Error::malformed("not a zstd frame"));
        }
        let Some((&descriptor, rest)) = rest.split_first() else { return Ok(None) };
        if descriptor & 0x08 != 0 {
            return Err(Error::malformed("a zstd frame sets a reserved flag"));
        }
        let single = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
        let len = usize::from(!single) + dictionary + size;
        let Some(fields) = rest.get(..len) else { return Ok(None) };
        let id = &fields[usize::from(!single)..][..dictionary];
        if id.iter().any(|&byte| byte != 0) {
            return Err(Error::unsupported("the zstd frame needs a dictionary"));
        }
        let window = if single {
            // The whole content is the window.
            let mut wide = [0; 8];
            wide[..size].copy_from_slice(&fields[len - size..]);
            u64::from_le_bytes(wide) + if size == 2 { 256 } else { 0 }
        } else {
            let base = 1_u64 << (10 + (fields[0] >> 3));
            base + base / 8 * u64::from(fields[0] & 7)
        };
        Ok(Some(Self::Frame { window }))
    }
}

impl<R: Read> Unzstd<R> {
    pub(super) fn new(reader: R, max_window: u64) -> Self {
        let state = State::Between { first: true };
        let input = PeekableInput::new(reader);
        Self { input, max_window, context: None, permit: None, state, begun: false }
    }

    /// At a frame boundary: what comes next. Skips at most one skippable frame per call.
    fn next(&mut self, first: bool) -> io::Result<State> {
        let bytes = self.input.peek(LONGEST_HEADER)?;
        if bytes.is_empty() && !first {
            return Ok(State::Ended);
        }
        let start = Start::parse(bytes).map_err(|err| match (first, bytes.first_chunk()) {
            (false, Some(magic)) if *magic != MAGIC => {
                Error::malformed("other bytes follow the zstd data")
            }
            _ => err,
        })?;
        match start {
            None if !could_be_magic(bytes) => {
                Err(Error::malformed("other bytes follow the zstd data").into())
            }
            None => Err(truncated(Encoding::Zstd)),
            Some(Start::Skippable { len }) => {
                if !self.input.skip(8 + len)? {
                    return Err(truncated(Encoding::Zstd));
                }
                Ok(State::Between { first: false })
            }
            Some(Start::Frame { window }) => {
                self.prepare(window)?;
                Ok(State::Inside)
            }
        }
    }

    /// Makes the context ready for a frame with this window.
    fn prepare(&mut self, window: u64) -> Result<(), Error> {
        if window > self.max_window {
            return Err(Error::malformed(format!(
                "the zstd window of {} is larger than the limit of {}",
                binary_size(window),
                binary_size(self.max_window)
            )));
        }
        if window > SMALL_WINDOW && self.permit.is_none() {
            // What a small frame needed goes before somebody else's big one is waited for.
            self.context = None;
            self.permit = Some(WindowPermit::acquire());
        }
        let mut context = match self.context.take() {
            Some(context) => context,
            None => DCtx::try_create().ok_or_else(|| Error::malformed("no memory for zstd"))?,
        };
        // The library refuses a larger window than it was told, so the two readings of the header
        // cannot differ to our cost. 10 and 31 are its own bounds.
        let log = window.max(1).next_power_of_two().ilog2().clamp(10, 31);
        context.reset(ResetDirective::SessionOnly).map_err(told)?;
        context.set_parameter(DParameter::WindowLogMax(log)).map_err(told)?;
        self.context = Some(context);
        self.begun = false;
        Ok(())
    }

    /// Decodes into `out`; 0 means that the frame gave no bytes this time.
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(permit) = &mut self.permit {
            permit.touch();
        }
        let context = self.context.as_mut().expect("a frame is entered with a context");
        let begun = std::mem::replace(&mut self.begun, true);
        let mut chunk = self.input.fill()?;
        let ended = chunk.is_empty();
        if !begun {
            // A frame that lies there whole is decoded by another part of the library, which takes
            // blocks that this one refuses; it must not matter how the input is cut.
            chunk = &chunk[..chunk.len().min(1)];
        }
        let mut input = InBuffer::around(chunk);
        let mut output = OutBuffer::around(out);
        let hint = context.decompress_stream(&mut output, &mut input).map_err(told)?;
        let (taken, given) = (input.pos(), output.pos());
        self.input.consume(taken);
        if hint == 0 {
            self.state = State::Between { first: false };
            if self.permit.is_some() {
                self.context = None;
                self.permit = None;
            }
        } else if taken == 0 && given == 0 {
            return Err(if ended {
                truncated(Encoding::Zstd)
            } else {
                Error::malformed("the zstd data makes no progress").into()
            });
        }
        Ok(given)
    }
}

/// Whether fewer than four bytes may still become a frame.
fn could_be_magic(bytes: &[u8]) -> bool {
    let n = bytes.len().min(4);
    bytes[..n] == MAGIC[..n]
        || (bytes[0] & 0xf0 == 0x50 && bytes[1..n] == [0x2a, 0x4d, 0x18][..n - 1])
}

fn told(code: usize) -> Error {
    if code == CHECKSUM_WRONG {
        return Error::corrupt("the zstd data does not match its checksum");
    }
    let why = get_error_name(code).to_lowercase();
    Error::malformed(format!("the zstd data is broken: {why}"))
}

impl<R: Read> Read for Unzstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state {
                State::Between { first } => self.state = self.next(first)?,
                State::Inside => {
                    let given = self.decode(out)?;
                    if given > 0 {
                        return Ok(given);
                    }
                }
                State::Ended => return Ok(0),
            }
        }
    }
}
