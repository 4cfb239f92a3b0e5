//! Numbers of a tar: its limits, and octal, base 256 and the decimals of PAX records.
//!
//! It must not know which field it reads.
//!
//! Follows POSIX.1-2008 pax "ustar Interchange Format" and the GNU tar manual's "Basic Tar Format".

use crate::error::{Error, Result};

/// Bytes of one tar block.
pub const BLOCK: usize = 512;
/// Largest accepted extended header (`x`, `g`, `L`, `K` body, or sparse map), in bytes.
pub const MAX_EXTENDED: u64 = 1 << 20;
/// Longest accepted member name or link target, in bytes.
pub const MAX_NAME: usize = 4096;
/// Largest accepted body size, in bytes.
pub const MAX_SIZE: u64 = 1 << 53;

/// Zero bytes that fill the last block of a body of `size` bytes.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Digits only, no sign and no spaces.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A size field, refused when negative or above 2^53.
pub(super) fn size(field: &[u8]) -> Result<u64> {
    let n = unsigned(field, "size")?;
    if n > MAX_SIZE {
        return Err(Error::malformed(format!("a size of {n} bytes is over the limit")));
    }
    Ok(n)
}

/// A number that must not be negative; `what` names its field.
pub(super) fn unsigned(field: &[u8], what: &str) -> Result<u64> {
    let n = number(field, what)?;
    u64::try_from(n).map_err(|_| Error::malformed(format!("a negative {what}")))
}

/// Octal text, or GNU's base-256 when the first bit is set.
pub(super) fn number(field: &[u8], what: &str) -> Result<i64> {
    let bad = || Error::malformed(format!("the {what} field of a header is malformed"));
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field).ok_or_else(bad),
        _ => octal(field).ok_or_else(bad),
    }
}

/// Octal text between spaces and NULs.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let mut n: i64 = 0;
    for &b in &field[start..] {
        match b {
            b'0'..=b'7' => n = n.checked_mul(8)?.checked_add(i64::from(b - b'0'))?,
            b' ' | 0 => break,
            _ => return None,
        }
    }
    Some(n)
}

/// Two's complement, big-endian; the top bit only marks the form.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut n: i64 = if negative { -1 } else { 0 };
    for (i, &b) in field.iter().enumerate() {
        let b = match (i, negative) {
            (0, true) => b | 0x80,
            (0, false) => b & 0x7f,
            _ => b,
        };
        n = n.checked_mul(256)? | i64::from(b);
    }
    Some(n)
}
