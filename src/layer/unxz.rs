//! Reads xz: every stream up to the end of the input, with a bound on dictionary memory.
//!
//! It must not know what the bytes mean. Writing xz is not offered.
//!
//! A dictionary is set aside only after the memory limit was asked: first the everyday limit, then,
//! with the big-window permit, the caller's. A claimed size alone never allocates past it.

use std::io::{self, Read};

use liblzma::stream::{Action, Error as LzmaError, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::input::{PeekableInput, truncated};
use super::permit::{SMALL_WINDOW, WindowPermit};
use crate::encoding::Encoding;
use crate::error::Error;
use crate::units::binary_size;

/// What a decoder needs beside its dictionary, rounded up.
const BESIDE_DICTIONARY: u64 = 1 << 20;

/// An xz decoder.
pub(super) struct Unxz<R> {
    input: PeekableInput<R>,
    max_window: u64,
    state: State,
}

enum State {
    Between { first: bool },
    Inside(Decoder),
    Ended,
}

struct Decoder {
    // Declared before the permit: the memory goes first, then the right to it.
    stream: Stream,
    permit: Option<WindowPermit>,
}

impl<R: Read> Unxz<R> {
    pub(super) fn new(reader: R, max_window: u64) -> Self {
        Self {
            input: PeekableInput::new(reader),
            max_window,
            state: State::Between { first: true },
        }
    }

    fn next(&mut self, first: bool) -> io::Result<State> {
        if !first {
            // Between streams the format asks for padding in fours; at the end any zeros pass.
            let zeros = self.input.skip_zeros()?;
            if self.input.fill()?.is_empty() {
                return Ok(State::Ended);
            }
            if !zeros.is_multiple_of(4) || self.input.fill()?[0] != 0xfd {
                return Err(Error::malformed("other bytes follow the xz data").into());
            }
        }
        let limit = SMALL_WINDOW.min(self.max_window).saturating_add(BESIDE_DICTIONARY);
        let stream = Stream::new_stream_decoder(limit, TELL_UNSUPPORTED_CHECK)
            .map_err(|e| told(e, first))?;
        Ok(State::Inside(Decoder { stream, permit: None }))
    }
}

/// Raises the memory limit to the caller's, once this thread may use a big window.
fn raise(decoder: &mut Decoder, max_window: u64) -> Result<(), Error> {
    let refused = || {
        let most = binary_size(max_window);
        Error::malformed(format!("the xz dictionary is larger than the limit of {most}"))
    };
    if decoder.permit.is_some() {
        return Err(refused());
    }
    // Fails at once when even this is too little, before anybody has to wait.
    let limit = max_window.saturating_add(BESIDE_DICTIONARY);
    decoder.stream.set_memlimit(limit).map_err(|_| refused())?;
    decoder.permit = Some(WindowPermit::acquire());
    Ok(())
}

fn told(err: LzmaError, first: bool) -> Error {
    match err {
        // The library does not tell a wrong checksum from a broken block.
        LzmaError::Data => Error::corrupt("the xz data is damaged"),
        LzmaError::Format if first => Error::malformed("not an xz stream"),
        LzmaError::Format => Error::malformed("other bytes follow the xz data"),
        LzmaError::Options => Error::unsupported("the xz stream uses an unknown filter"),
        LzmaError::UnsupportedCheck => Error::unsupported("the xz stream uses an unknown check"),
        LzmaError::Mem | LzmaError::MemLimit => Error::malformed("no memory for the xz dictionary"),
        _ => Error::malformed("the xz decoder failed"),
    }
}

impl<R: Read> Read for Unxz<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut first = false;
        loop {
            let decoder = match &mut self.state {
                State::Between { first: at_start } => {
                    first = *at_start;
                    self.state = self.next(first)?;
                    continue;
                }
                State::Inside(decoder) => decoder,
                State::Ended => return Ok(0),
            };
            if let Some(permit) = &mut decoder.permit {
                permit.touch();
            }
            let chunk = self.input.fill()?;
            let ended = chunk.is_empty();
            let stream = &mut decoder.stream;
            let before = (stream.total_in(), stream.total_out());
            let status = stream.process(chunk, out, Action::Run);
            let taken = (stream.total_in() - before.0) as usize;
            let given = (stream.total_out() - before.1) as usize;
            self.input.consume(taken);
            match status {
                Ok(Status::StreamEnd) => self.state = State::Between { first: false },
                Ok(_) if taken == 0 && given == 0 && ended => return Err(truncated(Encoding::Xz)),
                Ok(_) => {}
                Err(LzmaError::MemLimit) => raise(decoder, self.max_window)?,
                Err(err) => return Err(told(err, first).into()),
            }
            if given > 0 {
                return Ok(given);
            }
        }
    }
}
