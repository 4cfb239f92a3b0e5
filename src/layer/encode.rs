//! Writes a stream compressed as asked.
//!
//! It must not know what the bytes mean or where they go.

use std::io::{self, Write};

use zstd::stream::raw::CParameter;

use super::compression::Compression;
use super::gzip::Gzip;
use crate::encoding::Encoding;

/// Input bytes per zstd job. Part of the output format: jobs are where the compressor starts over.
/// The library's own choice (8 MiB at level 3) would cost three times the memory.
const ZSTD_JOB: u32 = 4 << 20;

/// A compressing writer. The same input and [`Compression`] give the same bytes on any number of
/// cores; another version of a compression library may give others.
///
/// Call it from a plain thread: gzip then compresses on rayon's pool while the caller reads on. On a
/// thread of the pool itself it compresses in place, since waiting there could wait for ever.
///
/// Memory: gzip holds at most 8 blocks of 1 MiB with their output (4 on 2 threads, about 10 MiB), and
/// per thread a compressor of under 1 MiB (9 MiB from level 10 on). zstd takes about 30 MiB at level
/// 3, 50 MiB at level 9 and 215 MiB at level 19 with 2 threads; up to level 9, twice that with more.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Gzip(Box<Gzip<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Starts a stream on `writer`.
    ///
    /// # Errors
    ///
    /// `Usage` for a level out of range, `Unsupported` for an encoding that is only read.
    pub fn new(writer: W, compression: Compression) -> io::Result<Self> {
        let level = compression.checked_level()?;
        Ok(Self(match compression.encoding {
            Encoding::Gzip => Inner::Gzip(Box::new(Gzip::new(writer, level)?)),
            Encoding::Zstd => Inner::Zstd(zstd_encoder(writer, level, zstd_workers(level))?),
            // `checked_level` has refused the formats that are only read.
            Encoding::Plain | Encoding::Xz | Encoding::Bzip2 => Inner::Plain(writer),
        }))
    }

    /// The writer itself, where what is written goes to it as it is; `None` when it is compressed.
    pub fn plain(&mut self) -> Option<&mut W> {
        match &mut self.0 {
            Inner::Plain(writer) => Some(writer),
            Inner::Gzip(_) | Inner::Zstd(_) => None,
        }
    }

    /// Ends the stream and gives the writer back. Dropping the encoder instead leaves a truncated
    /// stream.
    ///
    /// # Errors
    ///
    /// Whatever the writer fails with.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Plain(writer) => Ok(writer),
            Inner::Gzip(gzip) => gzip.finish(),
            Inner::Zstd(zstd) => zstd.finish(),
        }
    }
}

/// As many workers as cores, within memory: each takes a hundred MiB at the highest levels.
fn zstd_workers(level: i32) -> u32 {
    let most = if level > 9 { 2 } else { 4 };
    rayon::current_num_threads().clamp(1, most) as u32
}

/// zstd without workers writes other bytes than with any number of them, so there is always one.
pub(super) fn zstd_encoder<W: Write>(
    writer: W,
    level: i32,
    workers: u32,
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut zstd = zstd::stream::write::Encoder::new(writer, level)?;
    zstd.set_parameter(CParameter::NbWorkers(workers.max(1)))?;
    zstd.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
    zstd.include_checksum(true)?;
    Ok(zstd)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(writer) => writer.write(data),
            Inner::Gzip(gzip) => gzip.write(data),
            Inner::Zstd(zstd) => zstd.write(data),
        }
    }

    /// Flushes what is compressed already, without cutting a block short: where callers flush must
    /// not show in the output.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(writer) => writer.flush(),
            Inner::Gzip(gzip) => gzip.flush(),
            Inner::Zstd(zstd) => zstd.get_mut().flush(),
        }
    }
}
