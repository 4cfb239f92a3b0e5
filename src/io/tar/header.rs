//! One 512-byte tar header decoded, and the extended headers that change what it says.
//!
//! It must not read streams: it is given blocks and header bodies.
//!
//! Follows POSIX.1-2008 pax "ustar Interchange Format" and "pax Extended Header", and the GNU tar
//! manual's "Basic Tar Format"; precedence between them as in Go's `archive/tar`.

use super::entry::{EntryKind, TarEntry};
use super::number::{BLOCK, MAX_NAME, MAX_SIZE, decimal, number, octal, size, unsigned};
use super::sparse::{self, Piece, SparseMap};
use crate::error::{Cause, Error, Result};

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// A header of its own kind that only describes the member after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    LongName,
    LongLink,
    Local,
    Global,
}

/// The fields of one header block.
#[derive(Debug)]
pub(super) struct Head {
    type_flag: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    pub(super) size: u64,
    mode: u64,
    uid: u64,
    gid: u64,
    mtime: i64,
    uname: Vec<u8>,
    gname: Vec<u8>,
    major: u64,
    minor: u64,
    gnu: bool,
}

impl Head {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self> {
        check_sum(block)?;
        let type_flag = block[156];
        let ustar = &block[257..263] == b"ustar\0";
        let gnu = &block[257..265] == b"ustar  \0";
        let mut name = text(&block[..100]).to_vec();
        // The prefix field exists in ustar only; star keeps two times in its last 24 bytes.
        if ustar {
            let star = &block[508..512] == b"tar\0";
            let prefix = text(&block[345..if star { 476 } else { 500 }]);
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        let device = matches!(type_flag, b'3' | b'4') && (ustar || gnu);
        let names = ustar || gnu;
        Ok(Self {
            type_flag,
            name,
            link: text(&block[157..257]).to_vec(),
            size: size(&block[124..136])?,
            mode: unsigned(&block[100..108], "mode")?,
            uid: unsigned(&block[108..116], "uid")?,
            gid: unsigned(&block[116..124], "gid")?,
            mtime: number(&block[136..148], "mtime")?,
            uname: if names { text(&block[265..297]).to_vec() } else { Vec::new() },
            gname: if names { text(&block[297..329]).to_vec() } else { Vec::new() },
            major: if device { unsigned(&block[329..337], "device number")? } else { 0 },
            minor: if device { unsigned(&block[337..345], "device number")? } else { 0 },
            gnu,
        })
    }

    pub(super) fn extension(&self) -> Option<Extension> {
        Some(match self.type_flag {
            b'L' => Extension::LongName,
            b'K' => Extension::LongLink,
            b'x' => Extension::Local,
            b'g' => Extension::Global,
            _ => return None,
        })
    }

    pub(super) fn is_old_sparse(&self) -> bool {
        self.type_flag == b'S' && self.gnu
    }

    fn kind(&self, name: &[u8]) -> EntryKind {
        match self.type_flag {
            0 | b'0' | b'7' if name.ends_with(b"/") => EntryKind::Dir,
            0 | b'0' | b'7' => EntryKind::Regular,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Char,
            b'4' => EntryKind::Block,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            b'S' if self.gnu => EntryKind::Sparse,
            other => EntryKind::Other(other),
        }
    }
}

/// The extended headers seen since the last member.
#[derive(Debug, Default)]
pub(super) struct Pending {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    local: Option<Records>,
}

impl Pending {
    /// Takes in one extended header. None of them applies to another extended header, only to the
    /// member (GHSA-3cv2-h65g-fgmm was a PAX size applied to a GNU long name).
    pub(super) fn add(&mut self, extension: Extension, body: Vec<u8>) -> Result<()> {
        match extension {
            Extension::LongName => self.long_name = Some(text(&body).to_vec()),
            Extension::LongLink => self.long_link = Some(text(&body).to_vec()),
            Extension::Local => {
                if self.local.is_some() {
                    return Err(Error::malformed("two PAX headers for one member"));
                }
                self.local = Some(records(&body)?);
            }
            Extension::Global => check_global(&records(&body)?)?,
        }
        Ok(())
    }

    /// A header that describes a member which never comes.
    pub(super) fn refuse_leftovers(&self, at: u64) -> Result<()> {
        if self.long_name.is_some() || self.long_link.is_some() || self.local.is_some() {
            let what = "an extended header at the end, without its member";
            return Err(Error::malformed(what).at(format!("offset {at}")));
        }
        Ok(())
    }

    pub(super) fn finish(self, head: Head, old: Option<(Vec<Piece>, u64)>) -> Result<TarEntry> {
        let pax = self.local.unwrap_or_default();
        // An empty value takes a record back, so it says nothing.
        let get = |key: &[u8]| {
            let found = pax.iter().rev().find(|(k, _)| k == key);
            found.map(|(_, v)| v.as_slice()).filter(|v| !v.is_empty())
        };
        let pax_name = get(b"GNU.sparse.name").or_else(|| get(b"path"));
        let name = one_name(pax_name, self.long_name, &head.name, "name")?;
        let link = one_name(get(b"linkpath"), self.long_link, &head.link, "link target")?;
        let mut kind = head.kind(&name);
        let number = |key: &[u8], otherwise: u64| match get(key) {
            Some(v) => decimal(v).filter(|n| *n <= MAX_SIZE).ok_or_else(|| bad_record(key)),
            None => Ok(otherwise),
        };
        // RUSTSEC-2026-0068: the PAX size counts whatever the header says.
        let mut size = number(b"size", head.size)?;
        let size_in_header = size;
        let (mtime, mtime_nanos) = match get(b"mtime") {
            Some(v) => timestamp(v).ok_or_else(|| bad_record(b"mtime"))?,
            None => (head.mtime, 0),
        };
        let mut map = match old {
            Some((pieces, real)) => Some(SparseMap::Known { pieces, real }),
            None if kind == EntryKind::Regular => sparse::from_pax(&pax)?,
            None => None,
        };
        if map.is_some() {
            kind = EntryKind::Sparse;
        }
        if !matches!(kind, EntryKind::Regular | EntryKind::Sparse | EntryKind::Other(_)) {
            // As Go, GNU tar and Python do for links; some writers store a size without a body.
            size = 0;
            map = None;
        }
        refuse_two_meanings(kind, head.type_flag, size_in_header)?;
        let content_size = map.as_ref().map_or(size, SparseMap::real);
        if let Some(map) = &map {
            map.check(size)?;
        }
        Ok(TarEntry {
            kind,
            size,
            content_size,
            mode: (head.mode & 0o7777) as u32,
            uid: number(b"uid", head.uid)?,
            gid: number(b"gid", head.gid)?,
            mtime,
            mtime_nanos,
            uname: get(b"uname").map_or(head.uname, <[u8]>::to_vec),
            gname: get(b"gname").map_or(head.gname, <[u8]>::to_vec),
            major: device(head.major)?,
            minor: device(head.minor)?,
            name,
            link,
            pax,
            raw: Vec::new(),
            header_offset: 0,
            body_offset: 0,
            sparse: map,
        })
    }
}

/// Members that readers take differently, so that what follows them would differ too.
fn refuse_two_meanings(kind: EntryKind, flag: u8, size: u64) -> Result<()> {
    // Go reads a body here for type 0 but none for type NUL; GNU tar makes a directory of it.
    if kind == EntryKind::Dir && flag != b'5' && size > 0 {
        return Err(Error::malformed("a regular file with a body has a directory's name"));
    }
    // Solaris's extended header: GNU tar and Python apply it, Go does not know it.
    if kind == EntryKind::Other(b'X') {
        return Err(Error::malformed("a Solaris extended header, which not all readers know"));
    }
    Ok(())
}

/// Chooses between a PAX, a GNU and a header name; readers disagree when the first two differ.
fn one_name(
    pax: Option<&[u8]>,
    gnu: Option<Vec<u8>>,
    header: &[u8],
    what: &str,
) -> Result<Vec<u8>> {
    let name = match (pax, gnu.as_deref()) {
        (Some(pax), Some(gnu)) if pax != gnu => {
            let text = format!("a PAX and a GNU header give one member different {what}s");
            return Err(Error::malformed(text));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => header,
    };
    if name.len() > MAX_NAME {
        let text = format!("a {what} of {} bytes is over the limit of {MAX_NAME}", name.len());
        return Err(Error::malformed(text));
    }
    Ok(name.to_vec())
}

/// Global headers are otherwise ignored, as Docker and containerd do; GNU tar applies them, so one
/// that would move or rename members has two meanings.
fn check_global(records: &Records) -> Result<()> {
    let matters =
        |k: &[u8]| matches!(k, b"path" | b"linkpath" | b"size") || k.starts_with(b"GNU.sparse.");
    match records.iter().find(|(k, _)| matters(k)) {
        Some((k, _)) => {
            let key = String::from_utf8_lossy(k);
            Err(Error::malformed(format!("a global PAX header sets {key:?} for every member")))
        }
        None => Ok(()),
    }
}

/// `"<length> <key>=<value>\n"`, repeated; anything else is refused, never skipped.
fn records(mut body: &[u8]) -> Result<Records> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let (key, value, rest) =
            record(body).ok_or_else(|| Error::malformed("a PAX record is malformed"))?;
        let named = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname" | b"GNU.sparse.name");
        if key.is_empty() || key.contains(&0) || (named && value.contains(&0)) {
            return Err(Error::malformed("a PAX record has a NUL or an empty key"));
        }
        out.push((key.to_vec(), value.to_vec()));
        body = rest;
    }
    Ok(out)
}

fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(20).position(|b| *b == b' ')?;
    let len = usize::try_from(decimal(&body[..space])?).ok()?;
    if len <= space + 1 || len > body.len() {
        return None;
    }
    let (line, rest) = body.split_at(len);
    let pair = line[space + 1..].strip_suffix(b"\n")?;
    let equals = pair.iter().position(|b| *b == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn bad_record(key: &[u8]) -> Error {
    Error::malformed(format!("the PAX record {:?} is malformed", String::from_utf8_lossy(key)))
}

/// A decimal time with an optional fraction; digits beyond nanoseconds are dropped.
fn timestamp(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0, |n, i| n * 10 + u32::from(fraction.get(i).map_or(0, |b| b - b'0')));
    match (negative, nanos) {
        (false, _) => Some((seconds, nanos)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanos)),
    }
}

fn device(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::malformed("a device number is out of range"))
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// The sum of all bytes with the field itself as spaces; some old writers added signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let what = "the checksum of a tar header is wrong";
    let bad = || Error::malformed(what).because(Cause::BadHeader);
    let stored = octal(&block[148..156]).ok_or_else(bad)?;
    let (mut plain, mut signed) = (0i64, 0i64);
    for (i, &b) in block.iter().enumerate() {
        let b = if (148..156).contains(&i) { b' ' } else { b };
        plain += i64::from(b);
        signed += i64::from(b as i8);
    }
    if stored == plain || stored == signed { Ok(()) } else { Err(bad()) }
}
