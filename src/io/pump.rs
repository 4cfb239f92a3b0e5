//! Reading ahead: one thread reads while another consumes, over a few buffers.
//!
//! It knows nothing of what the bytes are. It pays where reading costs as much as consuming: hashing
//! or inflating on one core, writing on the other.

use std::io::{self, Read, Write};

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
    let (full_tx, full_rx) = crossbeam_channel::bounded::<io::Result<Vec<u8>>>(DEPTH);
    let (free_tx, free_rx) = crossbeam_channel::bounded::<Vec<u8>>(DEPTH + 2);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let mut buf = free_rx.try_recv().unwrap_or_default();
                buf.resize(CHUNK, 0);
                let sent = match fill(from, &mut buf) {
                    Ok(0) => return,
                    Ok(n) => {
                        buf.truncate(n);
                        full_tx.send(Ok(buf))
                    }
                    Err(e) => full_tx.send(Err(e)),
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        let mut total = filled as u64;
        for buf in full_rx {
            let buf = buf?;
            to.write_all(&buf)?;
            total += buf.len() as u64;
            let _ = free_tx.try_send(buf);
        }
        Ok(total)
    })
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
