//! Verified: a reader that reaches its end only if the content is right.
//!
//! It knows nothing of images. The last read succeeds only when size and digest match, and, where an
//! unpack check rides along, only when the layer unpacks cleanly. Bytes are counted here and nowhere
//! else.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Result};
use crate::io::pump::{self, CHUNK};
use crate::layer;
use crate::locks::lock;
use crate::progress::{Event, Silent};

/// Reads a blob and fails at its end unless it is what its descriptor says.
pub struct Verified<'a> {
    inner: Box<dyn Read + Send + 'a>,
    hasher: Option<Hasher>,
    known: bool,
    expected: Digest,
    size: u64,
    done: u64,
    tap: Option<Tap>,
    second: Option<(Option<Encoding>, Again<'a>)>,
    /// The first bytes are to tell the encoding.
    sniff: bool,
    unpacked: Option<Arc<Unpacked>>,
    claims: Vec<DiffId>,
    ctx: Context,
    place: String,
    failed: Option<Error>,
}

/// Opens the same blob again.
pub type Again<'a> = Box<dyn FnOnce() -> Result<Verified<'a>> + Send + 'a>;

/// Where the diff id found by an unpack check is left.
#[derive(Default, Debug)]
pub struct Unpacked(std::sync::Mutex<Option<DiffId>>);

impl Unpacked {
    /// The diff id, once the blob was read to its end.
    pub fn get(&self) -> Option<DiffId> {
        *lock(&self.0)
    }

    fn set(&self, diff_id: DiffId) {
        *lock(&self.0) = Some(diff_id);
    }
}

impl<'a> Verified<'a> {
    /// Wraps `inner`, which claims to be `desc`; `place` says where it lies, for messages.
    pub fn new(
        inner: Box<dyn Read + Send + 'a>,
        desc: &Descriptor,
        place: String,
        ctx: &Context,
    ) -> Self {
        Self {
            inner,
            hasher: Some(Hasher::new(desc.digest.algorithm())),
            known: false,
            expected: desc.digest,
            size: desc.size,
            done: 0,
            tap: None,
            second: None,
            sniff: false,
            unpacked: None,
            claims: Vec::new(),
            ctx: ctx.clone(),
            place,
            failed: None,
        }
    }

    /// Wraps a file of our own that was hashed while it was written: its size is checked once more,
    /// its bytes are neither hashed nor counted again.
    pub fn known(
        inner: Box<dyn Read + Send + 'a>,
        desc: &Descriptor,
        place: String,
        ctx: &Context,
    ) -> Self {
        Self { hasher: None, known: true, ..Self::new(inner, desc, place, ctx) }
    }

    /// Unpacks the layer beside the reading and leaves its diff id in `unpacked`; without an encoding
    /// the first bytes tell. Nothing is done twice: an uncompressed layer's digest is its diff id.
    /// The end fails unless the diff id is one of `claims`, where any are given.
    #[must_use]
    pub fn unpacking(
        mut self,
        encoding: Option<Encoding>,
        unpacked: Arc<Unpacked>,
        claims: Vec<DiffId>,
    ) -> Self {
        self.claims = claims;
        match encoding {
            Some(encoding) => self.unpack_as(encoding),
            None => self.sniff = true,
        }
        self.unpacked = Some(unpacked);
        self
    }

    fn unpack_as(&mut self, encoding: Encoding) {
        if encoding != Encoding::Plain || self.expected.algorithm() != Algorithm::Sha256 {
            self.tap = Some(Tap::start(encoding, &self.ctx));
        }
    }

    /// The same check without a second thread: once the blob has proved true it is read again, and
    /// unpacked.
    #[must_use]
    pub fn unpacking_after(
        mut self,
        encoding: Option<Encoding>,
        unpacked: Arc<Unpacked>,
        claims: Vec<DiffId>,
        again: Again<'a>,
    ) -> Self {
        self.claims = claims;
        if encoding != Some(Encoding::Plain) || self.expected.algorithm() != Algorithm::Sha256 {
            self.second = Some((encoding, again));
        }
        self.unpacked = Some(unpacked);
        self
    }

    /// The same reader, whose bytes are not counted as progress.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.ctx.progress = Arc::new(Silent);
        self
    }

    fn finish(&mut self) -> Result<()> {
        if self.done != self.size {
            let (expected, done, size) = (self.expected, self.done, self.size);
            let what = format!("{expected} is {done} bytes, its descriptor says {size}");
            return Err(Error::corrupt(what));
        }
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found != self.expected {
            return Err(Error::corrupt(format!("expected {}, found {found}", self.expected)));
        }
        let diff_id = match (self.tap.take(), self.second.take()) {
            (Some(tap), _) => tap.finish()?,
            (None, Some((encoding, again))) => {
                let mut reader = again()?;
                let mut head = [0; SNIFF_LEN];
                let got = pump::fill(&mut reader, &mut head)?;
                let encoding = encoding.unwrap_or_else(|| Encoding::sniff(&head[..got]));
                let whole = (&head[..got]).chain(&mut reader);
                let diff_id = diff_id(encoding, whole, &self.ctx.limits.stream)?;
                // What was unpacked counts only when it was the same bytes.
                pump::copy(&mut reader, &mut io::sink())?;
                diff_id
            }
            (None, None) => DiffId(found),
        };
        if let Some(unpacked) = &self.unpacked {
            if !self.claims.is_empty() && !self.claims.contains(&diff_id) {
                return Err(wrong_diff_id(&self.expected, &self.claims, diff_id));
            }
            unpacked.set(diff_id);
        }
        Ok(())
    }

    fn step(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.ctx.check()?;
        if (self.hasher.is_none() && !self.known) || buf.is_empty() {
            return Ok(0);
        }
        // One byte more than promised is enough to know that there is too much.
        let room = usize::try_from(self.size - self.done + 1).unwrap_or(usize::MAX);
        let want = room.min(buf.len());
        let got = if self.sniff {
            self.sniff = false;
            // All that a magic number needs, however small the pieces in which it comes.
            let first = want.min(SNIFF_LEN);
            let got = pump::fill(&mut self.inner, &mut buf[..first])?;
            if got == SNIFF_LEN {
                self.unpack_as(Encoding::sniff(&buf[..got]));
            } else {
                self.unpack_as(Encoding::Plain);
            }
            got
        } else {
            pump::read_some(&mut self.inner, &mut buf[..want])?
        };
        if got == 0 {
            self.finish()?;
            return Ok(0);
        }
        self.done += got as u64;
        if self.done > self.size {
            let what = format!(
                "{} is longer than the {} bytes of its descriptor",
                self.expected, self.size
            );
            return Err(Error::corrupt(what));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..got]);
        }
        if let Some(tap) = &mut self.tap
            && !tap.feed(&buf[..got])
        {
            // The unpacker gave up early; its own error says why. Read on only to hear it.
            if let Some(tap) = self.tap.take() {
                tap.finish()?;
            }
            return Err(Error::corrupt("the layer ends before its last byte"));
        }
        if !self.known {
            self.ctx.progress.event(Event::Bytes(got as u64));
        }
        Ok(got)
    }
}

impl Read for Verified<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(err) = &self.failed {
            return Err(err.clone().into());
        }
        self.step(buf).map_err(|err| {
            let err = err.at(self.place.clone());
            self.failed = Some(err.clone());
            err.into()
        })
    }
}

/// A layer that does not unpack to what its images claim.
pub fn wrong_diff_id(layer: &Digest, claims: &[DiffId], found: DiffId) -> Error {
    let mut claims: Vec<String> = claims.iter().map(ToString::to_string).collect();
    claims.sort();
    claims.dedup();
    let claims = claims.join(" or ");
    Error::corrupt(format!("layer {layer}: expected diff id {claims}, found {found}"))
}

/// A second thread that unpacks what the reader hands it.
struct Tap {
    chunks: Option<Sender<Vec<u8>>>,
    pending: Vec<u8>,
    worker: Option<JoinHandle<Result<DiffId>>>,
}

impl Tap {
    fn start(encoding: Encoding, ctx: &Context) -> Self {
        let (chunks, receiver) = bounded(3);
        let limits = ctx.limits.stream;
        let worker = std::thread::Builder::new().name("unpack".into()).spawn(move || {
            diff_id(encoding, Chunks { receiver, current: Vec::new(), at: 0 }, &limits)
        });
        Self { chunks: Some(chunks), pending: Vec::new(), worker: worker.ok() }
    }

    fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.pending.capacity() == 0 {
            self.pending.reserve_exact(CHUNK);
        }
        self.pending.extend_from_slice(bytes);
        self.pending.len() < CHUNK || self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        let chunk = std::mem::take(&mut self.pending);
        self.chunks.as_ref().is_some_and(|chunks| chunks.send(chunk).is_ok())
    }

    fn finish(mut self) -> Result<DiffId> {
        self.hand_over();
        self.chunks = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::new(crate::error::Kind::Io, "cannot start a thread")),
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// The receiving end of a tap as a reader.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            (self.current, self.at) = (next, 0);
        }
        let n = buf.len().min(self.current.len() - self.at);
        buf[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Diff id of a layer stream: the digest of every decoded byte, padding included.
///
/// # Errors
/// `Malformed` or `Corrupt` when the stream does not decode.
pub fn diff_id(
    encoding: Encoding,
    from: impl Read + Send,
    limits: &layer::StreamLimits,
) -> Result<DiffId> {
    let mut decoded = layer::decoder(encoding, from, limits)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buf = vec![0; 128 << 10];
    loop {
        match decoded.read(&mut buf) {
            Ok(0) => return Ok(DiffId(hasher.finish())),
            Ok(n) => hasher.update(&buf[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::from(e).context("unpacking the layer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claimed: &[u8], actual: &[u8]) -> Result<Vec<u8>> {
        let desc = Descriptor::of("application/octet-stream", claimed);
        let ctx = Context::default();
        let mut bytes = Vec::new();
        Verified::new(Box::new(actual), &desc, "here".into(), &ctx).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn only_the_promised_bytes_reach_the_end() {
        assert_eq!(read(b"hello", b"hello").unwrap(), b"hello");
        for actual in [&b"hellp"[..], b"hell", b"hello!", b""] {
            let err = read(b"hello", actual).unwrap_err();
            assert_eq!(err.kind(), crate::error::Kind::Corrupt);
            assert_eq!(err.place(), Some("here"));
        }
    }

    #[test]
    fn a_failed_reader_stays_failed() {
        let desc = Descriptor::of("x", b"hello");
        let mut reader =
            Verified::new(Box::new(&b"hellp"[..]), &desc, "x".into(), &Context::default());
        let mut bytes = Vec::new();
        assert!(reader.read_to_end(&mut bytes).is_err());
        assert!(reader.read(&mut [0; 8]).is_err());
    }
}
