//! The bytes of a blob to be uploaded: any part, any number of times, from one reader.
//!
//! It knows no requests. The reader it is given fails at its end when the blob is not what its digest
//! says; the last bytes are handed out only after that end was reached, so that a registry never
//! receives the whole of a wrong blob.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::locks::lock;

/// How much of what was read last stays in memory, in bytes. A cut loses what lay in the buffers of
/// the network; with this the reader need not start anew for it.
const RECENT: usize = 4 << 20;

/// Opens a blob from its beginning. The reader must fail at its end when the bytes were not those of
/// the digest.
pub type BlobOpener<'a> = dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync + 'a;

/// A blob to be sent.
pub(super) struct BlobFeed<'f, 'a> {
    open: &'f BlobOpener<'a>,
    size: u64,
    inner: Mutex<Inner<'a>>,
}

struct Inner<'a> {
    reader: Option<Box<dyn Read + Send + 'a>>,
    /// How far the reader is.
    at: u64,
    /// The last bytes before `at`.
    recent: VecDeque<u8>,
    /// The reader's own failure; nothing is handed out after it.
    failed: Option<Error>,
    /// Bytes handed out, each time counted.
    sent: u64,
    /// One past the furthest byte handed out since the last `forget`.
    reached: u64,
}

impl<'f, 'a> BlobFeed<'f, 'a> {
    pub(super) fn new(size: u64, open: &'f BlobOpener<'a>) -> Self {
        let inner = Inner {
            reader: None,
            at: 0,
            recent: VecDeque::new(),
            failed: None,
            sent: 0,
            reached: 0,
        };
        Self { open, size, inner: Mutex::new(inner) }
    }

    /// A reader of the bytes from `from` up to `to`.
    pub(super) fn part(&self, from: u64, to: u64) -> BlobPart<'_, 'f, 'a> {
        BlobPart { feed: self, at: from, end: to.min(self.size) }
    }

    /// Reads a blob without bytes to its end, since no request will.
    ///
    /// # Errors
    /// Those of the reader.
    pub(super) fn check_empty(&self) -> Result<()> {
        let mut inner = self.inner();
        let result = inner.seek(0, self.open).and_then(|()| inner.end(self.size));
        inner.keep(result)
    }

    /// What the reader itself failed with: then it is no matter of the network.
    pub(super) fn failure(&self) -> Option<Error> {
        self.inner().failed.clone()
    }

    /// Bytes handed out so far, repeated ones included.
    pub(super) fn sent(&self) -> u64 {
        self.inner().sent
    }

    /// How far the registry can have come at most.
    pub(super) fn reached(&self) -> u64 {
        self.inner().reached
    }

    /// A new session has received nothing yet.
    pub(super) fn forget(&self) {
        self.inner().reached = 0;
    }

    fn inner(&self) -> MutexGuard<'_, Inner<'a>> {
        lock(&self.inner)
    }
}

impl<'a> Inner<'a> {
    /// Makes sure that the byte at `from` is the next to be read or among the recent ones.
    fn seek(&mut self, from: u64, open: &BlobOpener<'a>) -> Result<()> {
        let oldest = self.at - self.recent.len() as u64;
        if self.reader.is_none() || from < oldest {
            self.reader = None;
            self.recent.clear();
            self.at = 0;
            self.reader = Some(open()?);
        }
        let mut buffer = vec![0; if from > self.at { 256 << 10 } else { 0 }];
        while self.at < from {
            let left = usize::try_from(from - self.at).unwrap_or(usize::MAX);
            let want = left.min(buffer.len());
            self.pull(&mut buffer[..want])?;
        }
        Ok(())
    }

    /// Reads on; never nothing.
    fn pull(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(reader) = &mut self.reader else {
            return Err(Error::corrupt("the blob is not open"));
        };
        let n = loop {
            match reader.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        if n == 0 {
            return Err(Error::corrupt(format!("the blob ends after {} bytes", self.at)));
        }
        self.at += n as u64;
        let fresh = &buffer[..n];
        let fresh = &fresh[fresh.len().saturating_sub(RECENT)..];
        let surplus = (self.recent.len() + fresh.len()).saturating_sub(RECENT);
        self.recent.drain(..surplus.min(self.recent.len()));
        self.recent.extend(fresh);
        Ok(n)
    }

    /// Reads the end of file, which is where the reader says whether all was right.
    fn end(&mut self, size: u64) -> Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        loop {
            match reader.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    return Err(Error::corrupt(format!("the blob is longer than {size} bytes")));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn read(
        &mut self,
        from: u64,
        buffer: &mut [u8],
        size: u64,
        open: &BlobOpener<'a>,
    ) -> Result<usize> {
        self.seek(from, open)?;
        if from < self.at {
            let back = usize::try_from(self.at - from).unwrap_or(usize::MAX);
            let skip = self.recent.len().saturating_sub(back);
            let (front, tail) = self.recent.as_slices();
            let from =
                if skip < front.len() { &front[skip..] } else { &tail[skip - front.len()..] };
            let n = from.len().min(buffer.len());
            buffer[..n].copy_from_slice(&from[..n]);
            return Ok(n);
        }
        let n = self.pull(buffer)?;
        if self.at >= size {
            self.end(size)?;
        }
        Ok(n)
    }

    /// Remembers a failure.
    fn keep<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.failed = Some(e.clone());
        }
        result
    }
}

/// A part of a blob.
pub(super) struct BlobPart<'p, 'f, 'a> {
    feed: &'p BlobFeed<'f, 'a>,
    at: u64,
    end: u64,
}

impl Read for BlobPart<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at.min(self.end)).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let mut inner = self.feed.inner();
        if let Some(failed) = &inner.failed {
            return Err(failed.clone().into());
        }
        let read = inner.read(self.at, &mut buffer[..want], self.feed.size, self.feed.open);
        let n = inner.keep(read)?;
        self.at += n as u64;
        inner.sent += n as u64;
        inner.reached = inner.reached.max(self.at);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn parts_come_from_one_reader_while_they_lie_close_together() {
        let blob = bytes(RECENT * 3 + 17);
        let opened = AtomicUsize::new(0);
        let open = || -> Result<Box<dyn Read + Send + '_>> {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(&blob[..]))
        };
        let feed = BlobFeed::new(blob.len() as u64, &open);
        let end = blob.len();
        for (from, to, opens) in [
            (0, 1000, 1),
            (1000, RECENT, 1),
            // Still in memory.
            (500, RECENT + 1, 1),
            // Ahead: what lies between is read past.
            (2 * RECENT, end, 1),
            (end - RECENT, end, 1),
            (end - RECENT - 1, end, 2),
            (0, 10, 3),
        ] {
            let mut got = Vec::new();
            feed.part(from as u64, to as u64).read_to_end(&mut got).unwrap();
            assert_eq!(got, blob[from..to], "{from}..{to}");
            assert_eq!(opened.load(Ordering::Relaxed), opens, "{from}..{to}");
        }
        assert_eq!(feed.reached(), end as u64);
    }

    #[test]
    fn the_last_bytes_of_a_wrong_blob_are_withheld() {
        struct Bad<'a>(&'a [u8]);
        impl Read for Bad<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(Error::corrupt("another digest").into()),
                    n => Ok(n),
                }
            }
        }
        let blob = bytes(100_000);
        let open = || -> Result<Box<dyn Read + Send + '_>> { Ok(Box::new(Bad(&blob))) };
        let feed = BlobFeed::new(100_000, &open);
        let mut got = Vec::new();
        assert!(feed.part(0, 100_000).read_to_end(&mut got).is_err());
        assert!(got.len() < 100_000);
        assert_eq!(feed.failure().unwrap().what(), "another digest");
        let empty: Box<BlobOpener<'_>> = Box::new(|| Ok(Box::new(Bad(&[]))));
        assert_eq!(BlobFeed::new(0, &*empty).check_empty().unwrap_err().what(), "another digest");
    }

    #[test]
    fn a_blob_of_another_length_is_refused() {
        let blob = bytes(1000);
        let open = || -> Result<Box<dyn Read + Send + '_>> { Ok(Box::new(&blob[..])) };
        for (size, said) in [(999, "longer than 999"), (1001, "ends after 1000")] {
            let feed = BlobFeed::new(size, &open);
            let err = feed.part(0, size).read_to_end(&mut Vec::new()).unwrap_err();
            assert!(err.to_string().contains(said), "{err}");
        }
    }
}
