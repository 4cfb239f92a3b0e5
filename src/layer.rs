//! Compression of layers and archives: detecting, decoding and encoding it.
//!
//! Bytes in, bytes out. It must not know JSON, digests, image names, media types, the network or the
//! terminal; which encoding a stream has is read from the stream itself.
//!
//! Formats: RFC 1952 (gzip), RFC 8878 (zstd), the xz file format 1.2, and bzip2 as its own tool
//! writes it. Errors travel as [`Error`] inside `io::Error`, so `Error::from` takes them back out.

use std::io::{self, Read};

mod compression;
mod encode;
mod gunzip;
mod gzip;
mod input;
mod output;
mod peek;
mod permit;
mod unbzip2;
mod unxz;
mod unzstd;

#[cfg(test)]
mod tests;

pub use crate::encoding::{Encoding, SNIFF_LEN};
pub use compression::{Compression, output_encoding};
pub use encode::Encoder;
pub use peek::{Peeked, sniffed};

/// What a decoder may cost, whatever the stream claims about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Most decoded bytes one stream may give.
    pub max_output: u64,
    /// Largest zstd window or xz dictionary, in bytes, that memory is set aside for.
    pub max_window: u64,
}

impl Default for StreamLimits {
    /// 64 GiB of output; 128 MiB of window, which is what `zstd --long` and `zstd -22` need.
    fn default() -> Self {
        Self { max_output: 64 << 30, max_window: 128 << 20 }
    }
}

/// The decoded bytes of `reader`, all members and frames up to its end.
///
/// Zero bytes after the last gzip member, xz stream or bzip2 stream are padding, as `tar` and tape
/// tools leave it; anything else there is an error, so nothing in a stream goes unread. An error
/// repeats on every later read: a failed stream never looks like a finished one.
///
/// Decoding takes about 9 MiB at most, except for windows above 8 MiB: those need up to
/// `limits.max_window`, and only one thread of the process decodes such a stream at a time.
///
/// # Errors
///
/// None today for opening. Reads fail with `Malformed` (a broken format, a truncated stream, trailing
/// bytes, a limit), `Corrupt` (a checksum inside the stream does not match), `Unsupported` (a zstd
/// dictionary, an unknown xz filter or check), or with whatever `reader` failed with.
pub fn decoder<'a>(
    encoding: Encoding,
    reader: impl Read + Send + 'a,
    limits: &StreamLimits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let most = limits.max_output;
    Ok(match encoding {
        Encoding::Plain => Box::new(output::DecodedStream::new(reader, most)),
        Encoding::Gzip => Box::new(output::DecodedStream::new(gunzip::Gunzip::new(reader), most)),
        Encoding::Zstd => Box::new(output::DecodedStream::new(
            unzstd::Unzstd::new(reader, limits.max_window),
            most,
        )),
        Encoding::Xz => {
            Box::new(output::DecodedStream::new(unxz::Unxz::new(reader, limits.max_window), most))
        }
        Encoding::Bzip2 => {
            Box::new(output::DecodedStream::new(unbzip2::Bunzip2::new(reader), most))
        }
    })
}
