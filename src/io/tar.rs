//! Tar headers, one after the other: names, types, sizes, offsets; never a file.
//!
//! It knows nothing of images and unpacks nothing. The iteration is our own, because what it accepts
//! decides what an archive means: a PAX size overrides the header's, belongs to the next real entry
//! only and never to a long name in between; extended headers are bounded; whatever is not a header
//! is refused. POSIX pax interchange format, GNU tar manual "Basic Tar Format".

use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::io::parts::{Extent, ExtentReader};

mod pax;

const BLOCK: usize = 512;
/// Most bytes of one extended header.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most bytes of a name.
const MAX_NAME: usize = 4096;
/// Largest size that JSON and we carry exactly.
const MAX_SIZE: u64 = 1 << 53;

/// A reader that can pass over bytes.
pub trait Skip: Read {
    /// Passes over `n` bytes; fewer left is an error.
    ///
    /// # Errors
    /// `Malformed` when the stream ends before.
    fn skip(&mut self, n: u64) -> Result<()> {
        let passed = io::copy(&mut self.by_ref().take(n), &mut io::sink())?;
        if passed == n { Ok(()) } else { Err(truncated()) }
    }
}

impl<T: Read + ?Sized> Skip for &mut T {}
impl<T: Read + ?Sized> Skip for Box<T> {}
impl Skip for &[u8] {}

/// A stretch of a file, passed over without reading.
pub struct Seekable {
    reader: ExtentReader,
}

impl Seekable {
    /// Reads `extent`.
    pub fn new(extent: Extent) -> Self {
        Self { reader: extent.reader() }
    }
}

impl Read for Seekable {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

impl Skip for Seekable {
    fn skip(&mut self, n: u64) -> Result<()> {
        if self.reader.advance(n) { Ok(()) } else { Err(truncated()) }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file with contents.
    Regular,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Dir,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A fifo.
    Fifo,
    /// A file stored with holes (GNU or PAX).
    Sparse,
    /// A type we do not know.
    Other(u8),
}

/// One member.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name as stored, long forms resolved.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Target of a link, as stored.
    pub link: Vec<u8>,
    /// Bytes of its body in the stream, padding not counted.
    pub size: u64,
    /// Where its first header begins, extended headers included.
    pub header_offset: u64,
    /// Where its body begins.
    pub body_offset: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds within the second.
    pub mtime_nanos: u32,
    /// Owner's name.
    pub uname: Vec<u8>,
    /// Group's name.
    pub gname: Vec<u8>,
    /// Device number, major.
    pub major: u32,
    /// Device number, minor.
    pub minor: u32,
    /// Its own PAX records, in order.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// All its header blocks, extended ones with their bodies.
    pub raw: Vec<u8>,
}

/// How the stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Two zero blocks, nothing behind.
    Clean,
    /// The stream stopped where a header could be.
    NoEndMarker,
    /// Two zero blocks and more zeros.
    ZeroPadded,
    /// Something behind the end that is no tar.
    Junk {
        /// Where it begins.
        offset: u64,
    },
    /// A second tar behind the end.
    SecondArchive {
        /// Where it begins.
        offset: u64,
    },
}

/// Iterates over the members of a tar stream.
pub struct TarReader<R> {
    inner: R,
    offset: u64,
    /// Unread bytes of the current body, and its padding.
    left: u64,
    padding: u64,
    global: Vec<(Vec<u8>, Vec<u8>)>,
    ending: Ending,
    ended: bool,
}

impl<R: Skip> TarReader<R> {
    /// Reads from the first byte of a tar stream.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            left: 0,
            padding: 0,
            global: Vec::new(),
            ending: Ending::NoEndMarker,
            ended: false,
        }
    }

    /// The next member; passes over what is unread of the last one.
    ///
    /// # Errors
    /// `Malformed` at what is no tar, `Io`.
    #[allow(clippy::should_implement_trait, reason = "a lending iterator that can fail")]
    pub fn next(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let rest = self.left + self.padding;
        let (at, before) = (self.offset, self.offset - rest.min(self.offset));
        self.inner.skip(self.left).map_err(|e| e.at(format!("offset {before}")))?;
        self.offset += self.left;
        self.left = 0;
        // The padding of the last member may be cut off together with the end marker.
        let _ = at;
        self.skip_padding()?;
        let start = self.offset;
        self.entry(start).map_err(|e| e.at(format!("offset {start}")))
    }

    fn skip_padding(&mut self) -> Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.inner.skip(padding).map_err(|e| e.at(format!("offset {}", self.offset)))?;
        self.offset += padding;
        Ok(())
    }

    /// The body of the current member; what is not read is passed over by `next`.
    pub fn body(&mut self) -> Body<'_, R> {
        Body { tar: self }
    }

    /// How the stream ended, once `next` has returned nothing.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// One block; `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let got = crate::io::pump::fill(&mut self.inner, &mut block).map_err(Error::from)?;
        self.offset += got as u64;
        match got {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(truncated()),
        }
    }

    fn extended(&mut self, size: u64, raw: &mut Vec<u8>) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(Error::malformed(format!("extended header of {size} bytes, more than the limit of 1 MiB")));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        self.inner.by_ref().take(padded).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        if bytes.len() as u64 != padded {
            return Err(truncated());
        }
        raw.extend_from_slice(&bytes);
        if raw.len() as u64 > 4 * MAX_EXTENDED {
            return Err(Error::malformed("too many extended headers before one member"));
        }
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn entry(&mut self, start: u64) -> Result<Option<Entry>> {
        let mut raw = Vec::new();
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        let mut pax: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let Some(block) = self.block()? else {
                if !raw.is_empty() {
                    return Err(truncated());
                }
                self.ended = true;
                return Ok(None);
            };
            if block.iter().all(|&b| b == 0) {
                if !raw.is_empty() {
                    return Err(Error::malformed("extended header without a member"));
                }
                return self.end().map(|()| None);
            }
            let header = header(&block)?;
            raw.extend_from_slice(&block);
            let kind = block[156];
            let size = number(&block[124..136], "size")?;
            match kind {
                b'L' => long_name = Some(until_nul(self.extended(size, &mut raw)?)),
                b'K' => long_link = Some(until_nul(self.extended(size, &mut raw)?)),
                b'x' | b'X' => pax.extend(pax::records(&self.extended(size, &mut raw)?)?),
                b'g' => {
                    let records = pax::records(&self.extended(size, &mut raw)?)?;
                    self.global.extend(records);
                    if self.global.len() > 10_000 {
                        return Err(Error::malformed("too many global headers"));
                    }
                }
                _ => {
                    let mut entry = member(&block, header, size)?;
                    entry.header_offset = start;
                    if let Some(name) = long_name {
                        entry.name = name;
                    }
                    if let Some(link) = long_link {
                        entry.link = link;
                    }
                    for (key, value) in self.global.iter().chain(&pax) {
                        pax::apply(&mut entry, key, value)?;
                    }
                    if kind == b'S' {
                        self.sparse_map(&block, &mut raw)?;
                    }
                    if entry.name.len() > MAX_NAME || entry.link.len() > MAX_NAME {
                        return Err(Error::malformed("name longer than 4096 bytes"));
                    }
                    let has_body = matches!(entry.kind, EntryKind::Regular | EntryKind::Sparse | EntryKind::Other(_));
                    if !has_body {
                        // A hard link may carry a body in the pax format; engines pass it over.
                        if entry.kind != EntryKind::HardLink || entry.size == 0 {
                            entry.size = 0;
                        }
                    }
                    entry.pax = pax;
                    entry.raw = raw;
                    entry.body_offset = self.offset;
                    self.left = entry.size;
                    self.padding = entry.size.next_multiple_of(BLOCK as u64) - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// The blocks that continue a GNU sparse map.
    fn sparse_map(&mut self, block: &[u8; BLOCK], raw: &mut Vec<u8>) -> Result<()> {
        let mut more = block[482] != 0;
        while more {
            let Some(next) = self.block()? else { return Err(truncated()) };
            raw.extend_from_slice(&next);
            if raw.len() as u64 > MAX_EXTENDED {
                return Err(Error::malformed("sparse map larger than 1 MiB"));
            }
            more = next[504] != 0;
        }
        Ok(())
    }

    /// Reads on from the first zero block to the end of the stream.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        let Some(second) = self.block()? else {
            self.ending = Ending::NoEndMarker;
            return Ok(());
        };
        if second.iter().any(|&b| b != 0) {
            return Err(Error::malformed("a single zero block between members"));
        }
        self.ending = Ending::Clean;
        let mut buf = vec![0; 64 << 10];
        loop {
            let got = crate::io::pump::fill(&mut self.inner, &mut buf).map_err(Error::from)?;
            if got == 0 {
                return Ok(());
            }
            let Some(at) = buf[..got].iter().position(|&b| b != 0) else {
                self.ending = Ending::ZeroPadded;
                self.offset += got as u64;
                continue;
            };
            let at_block = at - at % BLOCK;
            let offset = self.offset + at_block as u64;
            let second_tar = buf[at_block..got]
                .first_chunk::<BLOCK>()
                .is_some_and(|block| header(block).is_ok());
            self.ending = if second_tar {
                Ending::SecondArchive { offset }
            } else {
                Ending::Junk { offset: self.offset + at as u64 }
            };
            // The rest is read, so that a compressed stream is checked to its end.
            io::copy(&mut self.inner, &mut io::sink())?;
            return Ok(());
        }
    }
}

/// Reads the body of one member.
pub struct Body<'a, R> {
    tar: &'a mut TarReader<R>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.tar.left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let got = self.tar.inner.read(&mut buf[..want])?;
        if got == 0 {
            return Err(truncated().at(format!("offset {}", self.tar.offset)).into());
        }
        self.tar.left -= got as u64;
        self.tar.offset += got as u64;
        Ok(got)
    }
}

fn truncated() -> Error {
    Error::malformed("truncated archive")
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(at);
    }
    bytes
}

/// Which dialect a header is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Old,
    Ustar,
    Gnu,
}

/// Checks the checksum of a header block.
fn header(block: &[u8; BLOCK]) -> Result<Dialect> {
    let stored = number(&block[148..156], "checksum")
        .map_err(|_| Error::malformed("not a tar header"))?;
    let sum = |as_value: fn(u8) -> i64| -> i64 {
        block.iter().enumerate().map(|(i, &b)| as_value(if (148..156).contains(&i) { b' ' } else { b })).sum()
    };
    let unsigned = sum(i64::from);
    // Some old writers added the bytes as signed numbers.
    let signed = sum(|b| i64::from(b.cast_signed()));
    let stored = i64::try_from(stored).unwrap_or(-1);
    if stored != unsigned && stored != signed {
        return Err(Error::malformed("not a tar header (wrong checksum)"));
    }
    Ok(match &block[257..265] {
        b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar") => Dialect::Ustar,
        _ => Dialect::Old,
    })
}

fn member(block: &[u8; BLOCK], dialect: Dialect, size: u64) -> Result<Entry> {
    let field = |range: std::ops::Range<usize>| until_nul(block[range].to_vec());
    let mut name = field(0..100);
    if dialect == Dialect::Ustar && block[345] != 0 {
        let mut full = field(345..500);
        full.push(b'/');
        full.extend_from_slice(&name);
        name = full;
    }
    let kind = match block[156] {
        // Before ustar a directory was a name that ends in a slash.
        0 | b'0' | b'7' if name.ends_with(b"/") => EntryKind::Dir,
        0 | b'0' | b'7' => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        b'S' => EntryKind::Sparse,
        other => EntryKind::Other(other),
    };
    let named = dialect != Dialect::Old;
    let device = |range| {
        let value = if named { number(&block[range], "device").unwrap_or_default() } else { 0 };
        u32::try_from(value).unwrap_or_default()
    };
    Ok(Entry {
        name,
        kind,
        link: field(157..257),
        size,
        header_offset: 0,
        body_offset: 0,
        mode: u32::try_from(number(&block[100..108], "mode")? & 0o7777).unwrap_or_default(),
        uid: number(&block[108..116], "uid")?,
        gid: number(&block[116..124], "gid")?,
        mtime: signed(&block[136..148]).ok_or_else(|| Error::malformed("invalid mtime"))?,
        mtime_nanos: 0,
        uname: if named { field(265..297) } else { Vec::new() },
        gname: if named { field(297..329) } else { Vec::new() },
        major: device(329..337),
        minor: device(337..345),
        pax: Vec::new(),
        raw: Vec::new(),
    })
}

/// A number that cannot be negative.
fn number(field: &[u8], what: &str) -> Result<u64> {
    signed(field)
        .and_then(|value| u64::try_from(value).ok())
        .filter(|&value| value <= MAX_SIZE)
        .ok_or_else(|| Error::malformed(format!("invalid {what} in a tar header")))
}

/// Octal text, or base-256 with the first bit set.
fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, &byte) in field.iter().enumerate() {
            let byte = if i == 0 { byte & 0x7f | if negative { 0x80 } else { 0 } } else { byte };
            value = value.checked_mul(256)? | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Some(0);
    }
    if !text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return None;
    }
    i64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests;
