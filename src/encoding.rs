//! How a stream is compressed: the names, and the first bytes that tell them apart.
//!
//! It decodes nothing and never looks at a file name or a media type.

use std::fmt;

/// How many first bytes [`Encoding::sniff`] wants to see; fewer are fine at the end of a stream.
pub const SNIFF_LEN: usize = 8;

/// How a layer or an archive is compressed.
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

    /// Recognises the encoding of a stream from its first bytes.
    pub fn sniff(first: &[u8]) -> Self {
        // A zstd stream may open with a skippable frame: 0x184D2A50 to 0x184D2A5F, little endian.
        let skippable = first.len() >= 8 && first[0] & 0xf0 == 0x50 && first[1..4] == [0x2a, 0x4d, 0x18];
        if first.starts_with(&[0x1f, 0x8b, 8]) {
            Self::Gzip
        } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Self::Zstd
        } else if first.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else if first.starts_with(b"BZh") {
            Self::Bzip2
        } else {
            Self::Plain
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
