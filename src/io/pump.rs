//! Reading ahead: one thread reads while another consumes, over a few buffers.
//!
//! It knows nothing of what the bytes are. It pays where reading costs as much as consuming: hashing
//! or inflating on one core, writing on the other.

use std::io::{self, Read, Write};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Bytes in one buffer: large enough that a hand-over costs nothing, small enough for a cache.
pub const CHUNK: usize = 256 << 10;
const DEPTH: usize = 4;

/// Copies all of `from` to `to`, reading on a second thread where rayon may use more than one.
/// Returns the number of bytes.
///
/// # Errors
/// The first error of either side.
pub fn copy(
    from: &mut (impl Read + Send + ?Sized),
    to: &mut (impl Write + ?Sized),
) -> io::Result<u64> {
    let mut first = vec![0; CHUNK];
    let filled = fill(from, &mut first)?;
    to.write_all(&first[..filled])?;
    if filled < CHUNK {
        return Ok(filled as u64);
    }
    if rayon::current_num_threads() == 1 {
        return alone(from, to, first, filled as u64);
    }
    let mut total = filled as u64;
    ahead(from, |reader| {
        while let Some(chunk) = reader.chunk()? {
            to.write_all(chunk)?;
            total += chunk.len() as u64;
        }
        Ok(total)
    })
}

/// Calls `then` with a reader that is filled by a second thread; with one thread, with `from` itself.
pub fn reading_ahead<T>(
    from: &mut (impl Read + Send + ?Sized),
    then: impl FnOnce(&mut (dyn Read + Send)) -> T,
) -> T {
    if rayon::current_num_threads() == 1 {
        let mut from = from;
        return then(&mut from);
    }
    ahead(from, |reader| then(reader))
}

fn ahead<T>(from: &mut (impl Read + Send + ?Sized), then: impl FnOnce(&mut Ahead) -> T) -> T {
    let (full, filled) = bounded::<io::Result<Vec<u8>>>(DEPTH);
    let (used, free) = bounded::<Vec<u8>>(DEPTH + 2);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let mut buf = free.try_recv().unwrap_or_default();
                buf.resize(CHUNK, 0);
                let sent = match fill(from, &mut buf) {
                    Ok(0) => return,
                    Ok(n) => {
                        buf.truncate(n);
                        full.send(Ok(buf))
                    }
                    Err(e) => full.send(Err(e)),
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        // Dropped before the scope ends, so that a reader nobody listens to stops.
        then(&mut Ahead { filled, used, current: Vec::new(), at: 0, failed: false })
    })
}

/// What the other thread has read.
struct Ahead {
    filled: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    failed: bool,
}

impl Ahead {
    /// The next buffer as it was filled; nothing at the end.
    fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        // A stream that failed never looks like one that ended.
        if self.failed {
            return Err(io::Error::other("an earlier read failed"));
        }
        let Ok(next) = self.filled.recv() else { return Ok(None) };
        self.failed = next.is_err();
        let last = std::mem::replace(&mut self.current, next?);
        let _ = self.used.try_send(last);
        self.at = 0;
        Ok(Some(&self.current))
    }
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && self.chunk()?.is_none() {
            self.current.clear();
            self.at = 0;
            return Ok(0);
        }
        let n = buf.len().min(self.current.len() - self.at);
        buf[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The rest of a copy on the calling thread.
fn alone(
    from: &mut (impl Read + ?Sized),
    to: &mut (impl Write + ?Sized),
    mut buf: Vec<u8>,
    mut total: u64,
) -> io::Result<u64> {
    loop {
        let filled = fill(from, &mut buf)?;
        to.write_all(&buf[..filled])?;
        total += filled as u64;
        if filled < buf.len() {
            return Ok(total);
        }
    }
}

/// Reads until `buf` is full or the stream ends.
///
/// # Errors
/// Those of the reader, interruptions excepted.
pub fn fill(from: &mut (impl Read + ?Sized), buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match from.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Reads once.
///
/// # Errors
/// Those of the reader, interruptions excepted.
pub fn read_some(from: &mut (impl Read + ?Sized), buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives some bytes and then an error.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("broken"));
            }
            let n = buf.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }
    }

    #[test]
    fn all_bytes_arrive_in_order() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7] {
            let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut out = Vec::new();
            assert_eq!(copy(&mut data.as_slice(), &mut out).unwrap(), size as u64);
            assert_eq!(out, data);
            let mut out = Vec::new();
            reading_ahead(&mut data.as_slice(), |r| r.read_to_end(&mut out)).unwrap();
            assert_eq!(out, data);
        }
    }

    #[test]
    fn a_failure_is_heard_and_never_looks_like_the_end() {
        for size in [0, 10, 3 * CHUNK] {
            assert!(copy(&mut Failing(size), &mut io::sink()).is_err());
            reading_ahead(&mut Failing(size), |r| {
                assert!(r.read_to_end(&mut Vec::new()).is_err());
                assert!(r.read(&mut [0; 8]).is_err());
            });
        }
    }
}
