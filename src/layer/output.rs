//! The decoded side of a decoder: the output limit, and errors that are repeated on further reads.
//!
//! It must not know any format.

use std::io::{self, Read};

use crate::error::Error;
use crate::units::binary_size;

/// Wraps a decoder. It is dropped at its end or first error, which gives its memory and its big-window
/// permit back even when the caller keeps the reader.
pub(super) struct DecodedStream<R> {
    state: State<R>,
    left: u64,
    most: u64,
}

enum State<R> {
    Open(R),
    Ended,
    Failed(Error),
}

impl<R: Read> DecodedStream<R> {
    pub(super) fn new(decoder: R, most: u64) -> Self {
        Self { state: State::Open(decoder), left: most, most }
    }

    fn fail(&mut self, err: Error) -> io::Result<usize> {
        self.state = State::Failed(err.clone());
        Err(err.into())
    }
}

impl<R: Read> Read for DecodedStream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let decoder = match &mut self.state {
            State::Open(decoder) => decoder,
            State::Ended => return Ok(0),
            State::Failed(err) => return Err(err.clone().into()),
        };
        if out.is_empty() {
            return Ok(0);
        }
        match decoder.read(out) {
            Ok(0) => {
                self.state = State::Ended;
                Ok(0)
            }
            Ok(n) if n as u64 > self.left => {
                let most = binary_size(self.most);
                self.fail(Error::malformed(format!(
                    "the decoded data is larger than the limit of {most}"
                )))
            }
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => Err(err),
            Err(err) => {
                // The first report keeps what the source said; repeats say the same in our words.
                self.state = State::Failed(Error::from_io(&err));
                Err(err)
            }
        }
    }
}
