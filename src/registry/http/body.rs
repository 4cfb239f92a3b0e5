//! Bodies of requests and responses: counted, rate-limited, and interrupted with the run.
//!
//! It knows no URL and no status.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::socket;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::registry::rate::Rate;

/// Fewer bytes per second than this, over the whole of an idle time, are as good as none.
const SLOWEST: u64 = 1 << 10;

fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}

/// A request's body of a known size.
pub(super) struct RequestBodyReader<'a> {
    inner: Box<dyn Read + Send + 'a>,
    left: u64,
    rate: Option<Arc<Rate>>,
    ctx: Context,
}

impl<'a> RequestBodyReader<'a> {
    pub(super) fn new(
        inner: Box<dyn Read + Send + 'a>,
        size: u64,
        rate: Option<Arc<Rate>>,
        ctx: &Context,
    ) -> Self {
        Self { inner, left: size, rate, ctx: ctx.clone() }
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        if count == 0 {
            let what = format!("{} bytes too few to send", self.left);
            return Err(io_error(Error::corrupt(what)));
        }
        if count as u64 == self.left && self.inner.read(&mut [0])? != 0 {
            return Err(io_error(Error::corrupt("more bytes to send than its size says")));
        }
        // The end of a verified stream is what vouches for it, so the last bytes leave only after it.
        Ok(count)
    }
}

impl Read for RequestBodyReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ctx.check().map_err(io_error)?;
        let most = self.rate.as_ref().map_or(usize::MAX, |r| r.piece());
        let len = buf.len().min(most).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buf = &mut buf[..len];
        if buf.is_empty() {
            return Ok(0);
        }
        let count = match socket::piece(|| self.fill(buf)) {
            Some(result) => result?,
            None => {
                // The server has answered and gone. What is still to be sent goes nowhere.
                buf.fill(0);
                buf.len()
            }
        };
        self.left -= count as u64;
        if let Some(rate) = &self.rate {
            rate.spend(count, &self.ctx).map_err(io_error)?;
        }
        Ok(count)
    }
}

/// An answer's body.
pub(super) struct ResponseBodyReader<R> {
    inner: R,
    host: String,
    idle: Duration,
    waited: Duration,
    moved: u64,
    rate: Option<Arc<Rate>>,
    ctx: Context,
}

impl<R: Read> ResponseBodyReader<R> {
    pub(super) fn new(
        inner: R,
        host: String,
        idle: Duration,
        rate: Option<Arc<Rate>>,
        ctx: &Context,
    ) -> Self {
        Self { inner, host, idle, waited: Duration::ZERO, moved: 0, rate, ctx: ctx.clone() }
    }

    fn cut(&self, why: &str) -> io::Error {
        let what = format!("the connection {why} in the middle of an answer");
        io_error(Error::new(Kind::Unreachable, what).input(&self.host))
    }

    /// Counts what came in how much waiting; a trickle that never ends is an end.
    fn pace(&mut self, waited: Duration, count: usize) -> io::Result<()> {
        self.waited += waited;
        self.moved += count as u64;
        if self.waited >= self.idle {
            if count > 0 && self.moved < SLOWEST * self.waited.as_secs() {
                return Err(self.cut("made almost no progress"));
            }
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
        Ok(())
    }
}

impl<R: Read> Read for ResponseBodyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ctx.check().map_err(io_error)?;
        let most = self.rate.as_ref().map_or(usize::MAX, |r| r.piece());
        let len = buf.len().min(most);
        let began = Instant::now();
        let count = match self.inner.read(&mut buf[..len]) {
            Ok(count) => count,
            Err(e) => {
                self.ctx.check().map_err(io_error)?;
                let timeout = e.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
                let why = match (timeout, e.kind()) {
                    (Some(ureq::Error::Timeout(_)), _) => "stood still",
                    (_, io::ErrorKind::ConnectionReset) => "was reset",
                    _ => "was closed",
                };
                return Err(self.cut(why));
            }
        };
        self.pace(began.elapsed(), count)?;
        if let Some(rate) = &self.rate {
            rate.spend(count, &self.ctx).map_err(io_error)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(bytes: &'static [u8], size: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let ctx = Context::default();
        RequestBodyReader::new(Box::new(bytes), size, None, &ctx).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_body_has_exactly_its_size() {
        assert_eq!(send(b"abc", 3).unwrap(), b"abc");
        assert_eq!(send(b"", 0).unwrap(), b"");
        for (bytes, size, want) in [
            (&b"abc"[..], 4, "1 bytes too few to send"),
            (b"abc", 2, "more bytes to send than its size says"),
        ] {
            let err = Error::from_io(&send(bytes, size).unwrap_err());
            assert_eq!((err.kind(), err.what()), (Kind::Corrupt, want));
        }
    }

    #[test]
    fn the_last_bytes_are_kept_when_the_source_takes_them_back() {
        struct Liar(bool);
        impl Read for Liar {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io_error(Error::corrupt("not what its digest says")));
                }
                buf[..3].copy_from_slice(b"abc");
                Ok(3)
            }
        }
        let ctx = Context::default();
        let mut body = RequestBodyReader::new(Box::new(Liar(false)), 3, None, &ctx);
        let err = body.read(&mut [0; 8]).unwrap_err();
        assert_eq!(Error::from_io(&err).what(), "not what its digest says");
    }

    #[test]
    fn a_trickle_is_an_end_and_a_slow_stream_is_not() {
        let ctx = Context::default();
        let idle = Duration::from_secs(60);
        let mut body = ResponseBodyReader::new(io::empty(), "reg.example".into(), idle, None, &ctx);
        for _ in 0..59 {
            body.pace(Duration::from_secs(1), 100).unwrap();
        }
        let err = Error::from_io(&body.pace(Duration::from_secs(1), 100).unwrap_err());
        assert_eq!(err.kind(), Kind::Unreachable);
        let mut body = ResponseBodyReader::new(io::empty(), "reg.example".into(), idle, None, &ctx);
        for _ in 0..200 {
            body.pace(Duration::from_secs(1), 1_500).unwrap();
        }
    }
}
