//! Files with holes: where their data lies, and reading them as whole content.
//!
//! It must not know where in an archive the member is.
//!
//! Follows the GNU tar manual, "Storing Sparse Files": the old GNU format and PAX 0.0, 0.1 and 1.0.

use std::io::{self, Read};

use super::number::{BLOCK, MAX_EXTENDED, MAX_SIZE, decimal, size};
use crate::error::{Error, Result};

/// One run of data: offset in the content, length; both in bytes.
pub(super) type Piece = (u64, u64);

/// Where the data of a sparse member lies.
#[derive(Clone, Debug)]
pub(super) enum SparseMap {
    /// The headers told.
    Known { pieces: Vec<Piece>, real: u64 },
    /// PAX 1.0: the body begins with the map.
    InBody { real: u64 },
}

impl SparseMap {
    pub(super) fn real(&self) -> u64 {
        match self {
            Self::Known { real, .. } | Self::InBody { real } => *real,
        }
    }

    /// Whether the map fits a body of `stored` bytes.
    pub(super) fn check(&self, stored: u64) -> Result<()> {
        match self {
            Self::Known { pieces, real } => check(pieces, *real, stored),
            Self::InBody { .. } => Ok(()),
        }
    }
}

/// Pieces in order, apart, inside the content, and together exactly the stored bytes.
fn check(pieces: &[Piece], real: u64, stored: u64) -> Result<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for &(start, len) in pieces {
        let next = start.checked_add(len).filter(|next| start >= end && *next <= real);
        end = next.ok_or_else(bad_map)?;
        sum += len;
    }
    if sum == stored { Ok(()) } else { Err(bad_map()) }
}

fn bad_map() -> Error {
    Error::malformed("the map of a sparse member is malformed")
}

/// The 24-byte pairs of a GNU header, up to the first unused one.
pub(super) fn pieces(table: &[u8]) -> Result<Vec<Piece>> {
    table
        .chunks_exact(24)
        .take_while(|pair| pair[0] != 0)
        .map(|pair| Ok((size(&pair[..12])?, size(&pair[12..])?)))
        .collect()
}

/// The map in a member's PAX records, when it has one.
pub(super) fn from_pax(pax: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<SparseMap>> {
    let get = |key: &[u8]| pax.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice());
    let need =
        |v: Option<&[u8]>| v.and_then(decimal).filter(|n| *n <= MAX_SIZE).ok_or_else(bad_map);
    match (get(b"GNU.sparse.major"), get(b"GNU.sparse.minor")) {
        (Some(b"1"), Some(b"0")) => {
            let real = need(get(b"GNU.sparse.realsize").or(get(b"GNU.sparse.size")))?;
            return Ok(Some(SparseMap::InBody { real }));
        }
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
        _ => return Err(Error::unsupported("an unknown version of the PAX sparse format")),
    }
    let mut numbers = Vec::new();
    if let Some(list) = get(b"GNU.sparse.map") {
        if !list.is_empty() {
            for n in list.split(|b| *b == b',') {
                numbers.push(need(Some(n))?);
            }
        }
    } else if get(b"GNU.sparse.offset").is_some() {
        for (key, value) in pax {
            // Version 0.0 repeats a pair of records; each must follow the other.
            let turn = match key.as_slice() {
                b"GNU.sparse.offset" => 0,
                b"GNU.sparse.numbytes" => 1,
                _ => continue,
            };
            if numbers.len() % 2 != turn {
                return Err(bad_map());
            }
            numbers.push(need(Some(value))?);
        }
    } else if get(b"GNU.sparse.size").is_none() {
        return Ok(None);
    }
    if numbers.len() % 2 != 0 {
        return Err(bad_map());
    }
    let real = need(get(b"GNU.sparse.size").or(get(b"GNU.sparse.realsize")))?;
    let pieces = numbers.chunks_exact(2).map(|n| (n[0], n[1])).collect();
    Ok(Some(SparseMap::Known { pieces, real }))
}

/// Reads a member's content, with zeros for its holes.
#[derive(Debug)]
pub struct Content<R> {
    body: R,
    /// What is still to come, last piece first; a file without holes is one piece.
    pieces: Vec<Piece>,
    pos: u64,
    size: u64,
}

impl<R: Read> Content<R> {
    pub(super) fn new(mut body: R, map: Option<SparseMap>, stored: u64, size: u64) -> Result<Self> {
        let mut pieces = match map {
            None => vec![(0, size)],
            Some(SparseMap::Known { pieces, .. }) => pieces,
            Some(SparseMap::InBody { .. }) => {
                let (pieces, used) = read_map(&mut body)?;
                check(&pieces, size, stored.checked_sub(used).ok_or_else(bad_map)?)?;
                pieces
            }
        };
        pieces.retain(|(_, len)| *len > 0);
        pieces.reverse();
        Ok(Self { body, pieces, pos: 0, size })
    }

    /// Bytes of the whole content.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (start, len) = self.pieces.last().copied().unwrap_or((self.size, 0));
        let hole = self.pos < start;
        let end = if hole { start } else { start + len };
        let left = usize::try_from(end.saturating_sub(self.pos)).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        if want == 0 {
            return Ok(0);
        }
        let n = if hole {
            buf[..want].fill(0);
            want
        } else {
            self.body.read(&mut buf[..want])?
        };
        self.pos += n as u64;
        if !hole && self.pos == end {
            self.pieces.pop();
        }
        Ok(n)
    }
}

/// A PAX 1.0 map: decimal numbers, one a line, a count first, filled up to a whole block.
fn read_map(body: &mut impl Read) -> Result<(Vec<Piece>, u64)> {
    let mut used = 0;
    let mut block = [0; BLOCK];
    let mut at = BLOCK;
    let mut next = || -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                if used >= MAX_EXTENDED {
                    return Err(Error::malformed("a sparse map over 1 MiB is over the limit"));
                }
                body.read_exact(&mut block)?;
                used += BLOCK as u64;
                at = 0;
            }
            let b = block[at];
            at += 1;
            match b {
                b'\n' => break,
                _ if digits.len() < 20 => digits.push(b),
                _ => return Err(bad_map()),
            }
        }
        decimal(&digits).filter(|n| *n <= MAX_SIZE).ok_or_else(bad_map)
    };
    let count = next()?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((next()?, next()?));
    }
    Ok((pieces, used))
}
