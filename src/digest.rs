//! Digests and diff ids: parse, print, compare, compute; never a string.
//!
//! It knows nothing of files or JSON documents. Every hash in the crate is computed by [`Hasher`], so
//! that a faster one has a single place to go. Grammar: OCI image-spec, `descriptor.md#digests`;
//! only `sha256` and `sha512` can be verified, so only they parse.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::error::{Error, Result};

/// Algorithm and bytes of a content digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// 32 bytes of SHA-256.
    Sha256([u8; 32]),
    /// 64 bytes of SHA-512.
    Sha512([u8; 64]),
}

/// Which hash function a digest was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, what everybody writes.
    Sha256,
    /// SHA-512, legal and rare.
    Sha512,
}

impl Algorithm {
    /// The name in a digest: `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// The hash function it was made with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Lower-case hex of the hash: 64 or 128 characters.
    pub fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha256(b) => b,
            Self::Sha512(b) => b,
        };
        let mut hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            hex.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
            hex.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        }
        hex
    }

    /// The first twelve hex digits, as docker shows an ID.
    pub fn short(&self) -> String {
        self.hex()[..12].to_string()
    }

    /// Where a layout keeps the blob: `blobs/sha256/<hex>`, relative, always with `/`.
    pub fn blob_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm().name(), self.hex())
    }

    /// The digest whose lower-case hex is `hex` (64 digits: SHA-256; 128: SHA-512).
    pub fn from_hex(hex: &str) -> Result<Self> {
        let bad = || Error::malformed(format!("invalid digest {:?}", crate::text::escape(hex)));
        fn fill(hex: &str, out: &mut [u8]) -> Option<()> {
            let nibble = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            let pairs = hex.as_bytes().chunks_exact(2);
            for (byte, pair) in out.iter_mut().zip(pairs) {
                *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
            }
            Some(())
        }
        match hex.len() {
            64 => {
                let mut bytes = [0; 32];
                fill(hex, &mut bytes).ok_or_else(bad)?;
                Ok(Self::Sha256(bytes))
            }
            128 => {
                let mut bytes = [0; 64];
                fill(hex, &mut bytes).ok_or_else(bad)?;
                Ok(Self::Sha512(bytes))
            }
            _ => Err(bad()),
        }
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::malformed(format!("invalid digest {:?}", crate::text::escape(text)));
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let digest = Self::from_hex(hex).map_err(|_| bad())?;
        if digest.algorithm().name() == algorithm { Ok(digest) } else { Err(bad()) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Digest of an *uncompressed* layer: a type of its own, so that the two can never be swapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DiffId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}

impl Serialize for DiffId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

/// The one way bytes become a digest.
pub struct Hasher(State);

enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A fresh hasher.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(h) => Digest::Sha256(h.finalize().into()),
            State::Sha512(h) => Digest::Sha512(h.finalize().into()),
        }
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_prints_as_it_parses() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        let long = format!("sha512:{}", "ab".repeat(64));
        assert_eq!(long.parse::<Digest>().unwrap().to_string(), long);
    }

    #[test]
    fn anything_outside_the_grammar_is_refused() {
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            &EMPTY.to_uppercase(),
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &format!("md5:{}", "0".repeat(32)),
            &format!("sha512:{}", "0".repeat(64)),
            &format!("sha256:{}", "g".repeat(64)),
            &format!("sha256:{}\0", "0".repeat(63)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
