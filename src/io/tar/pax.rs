//! PAX extended headers: `LENGTH KEY=VALUE\n` records and what they change in an entry.
//!
//! A malformed record is refused, never passed over: readers that skip it see another archive.

use crate::error::{Error, Result};
use crate::io::tar::{Entry, EntryKind, MAX_SIZE};

/// Splits an extended header into its records.
///
/// # Errors
/// `Malformed` when a record breaks the format.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let bad = || Error::malformed("malformed PAX record");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|&b| b == b' ').ok_or_else(bad)?;
        let digits = std::str::from_utf8(&bytes[..space]).map_err(|_| bad())?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let length: usize = digits.parse().map_err(|_| bad())?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(bad());
        }
        let body = &bytes[space + 1..length - 1];
        let equals = body.iter().position(|&b| b == b'=').ok_or_else(bad)?;
        records.push((body[..equals].to_vec(), body[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Applies one record to an entry.
///
/// # Errors
/// `Malformed` when a number or a name is none.
pub(super) fn apply(entry: &mut Entry, key: &[u8], value: &[u8]) -> Result<()> {
    let bad = || Error::malformed(format!("invalid PAX {}", crate::text::escape_bytes(key)));
    let number = || -> Result<u64> {
        let text = std::str::from_utf8(value).map_err(|_| bad())?;
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        text.parse().ok().filter(|&n| n <= MAX_SIZE).ok_or_else(bad)
    };
    // An empty value takes a global record back.
    if value.is_empty() && key != b"path" && key != b"linkpath" {
        return Ok(());
    }
    let name = || if value.contains(&0) { Err(bad()) } else { Ok(value.to_vec()) };
    match key {
        b"path" => {
            entry.name = name()?;
            if entry.kind == EntryKind::Regular && entry.name.ends_with(b"/") {
                entry.kind = EntryKind::Dir;
            }
        }
        b"linkpath" => entry.link = name()?,
        b"size" => entry.size = number()?,
        b"uid" => entry.uid = number()?,
        b"gid" => entry.gid = number()?,
        b"uname" => entry.uname = value.to_vec(),
        b"gname" => entry.gname = value.to_vec(),
        b"mtime" => (entry.mtime, entry.mtime_nanos) = time(value).ok_or_else(bad)?,
        b"GNU.sparse.major" | b"GNU.sparse.map" | b"GNU.sparse.size" | b"GNU.sparse.numblocks" => {
            entry.kind = EntryKind::Sparse;
        }
        _ => {}
    }
    Ok(())
}

/// `[-]SECONDS[.FRACTION]` as seconds rounded down and nanoseconds.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}
