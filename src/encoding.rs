//! How a stream is compressed: the names, and the first bytes that tell them apart.
//!
//! It decodes nothing and never looks at a file name or a media type.

use std::fmt;

/// How many first bytes [`Encoding::sniff`] wants to see; fewer are fine at the end of a stream.
pub const SNIFF_LEN: usize = 10;

/// The compression of a stream, detected from its first bytes, never from a name or media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// gzip, one member or many.
    Gzip,
    /// zstd, with or without skippable frames.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

/// What follows `BZh` and the level: the start of a first block, or the end of an empty stream.
const BZIP2_NEXT: [[u8; 6]; 2] =
    [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];

impl Encoding {
    /// The name users type and read: `none`, `gzip`, `zstd`, `xz`, `bzip2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Recognises the encoding of a stream from its first [`SNIFF_LEN`] bytes.
    pub fn sniff(first: &[u8]) -> Self {
        // A zstd stream may open with a skippable frame: 0x184D2A50 to 0x184D2A5F, little endian.
        let skippable =
            first.len() >= 4 && first[0] & 0xf0 == 0x50 && first[1..4] == [0x2a, 0x4d, 0x18];
        if first.starts_with(&[0x1f, 0x8b, 8]) {
            Self::Gzip
        } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Self::Zstd
        } else if first.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else if is_bzip2(first) {
            Self::Bzip2
        } else {
            Self::Plain
        }
    }
}

/// `BZh` alone could open the name of a tar member, so what follows counts too.
fn is_bzip2(first: &[u8]) -> bool {
    let Some(rest) = first.strip_prefix(b"BZh") else { return false };
    let Some((level, rest)) = rest.split_first() else { return false };
    let seen = rest.len().min(6);
    (b'1'..=b'9').contains(level) && BZIP2_NEXT.iter().any(|magic| magic[..seen] == rest[..seen])
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_known_by_its_first_bytes() {
        let check = |first: &[u8], want| assert_eq!(Encoding::sniff(first), want, "{first:x?}");
        check(b"", Encoding::Plain);
        check(b"etc/passwd", Encoding::Plain);
        check(&[0x1f, 0x8b, 8, 0], Encoding::Gzip);
        check(&[0x1f, 0x8b, 7, 0], Encoding::Plain);
        check(&[0x28, 0xb5, 0x2f, 0xfd], Encoding::Zstd);
        check(&[0x5e, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], Encoding::Zstd);
        check(&[0x60, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], Encoding::Plain);
        check(b"\xfd7zXZ\0", Encoding::Xz);
        check(b"BZh91AY&SY", Encoding::Bzip2);
        check(b"BZh9\x17\x72\x45\x38\x50\x90", Encoding::Bzip2);
        check(b"BZh9.txt\0\0", Encoding::Plain);
        check(b"BZhello", Encoding::Plain);
    }
}
