//! Writes member headers: ustar, with a PAX header only for what ustar cannot say.
//!
//! It must not know where members come from. The same member gives the same bytes, always.
//!
//! Follows POSIX.1-2008 pax "ustar Interchange Format" and "pax Extended Header".

use std::io::{self, Write};

use super::entry::EntryKind;
use super::number::{BLOCK, padding};
use crate::error::{Error, Result};

/// A member to write. No user or group names: GNU tar would prefer them to the numbers.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The name; a directory's is given its final `/` here.
    pub name: &'a [u8],
    /// What it is; sparse files are written as regular ones.
    pub kind: EntryKind,
    /// The target of a hard or symbolic link.
    pub link: &'a [u8],
    /// Bytes of the body that follows.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Modification time in seconds since 1970, rounded down.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nanos: u32,
    /// A device's major number.
    pub major: u32,
    /// A device's minor number.
    pub minor: u32,
    /// Extended attributes: name without prefix, value.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes the header blocks of a member; its body and [`write_padding`] come next.
///
/// # Errors
/// [`crate::Kind::Unsupported`] for a type or device number tar has no place for; those of `out`.
pub fn write_header(out: &mut dyn Write, member: &Member<'_>) -> Result<()> {
    let flag = match member.kind {
        EntryKind::Regular | EntryKind::Sparse => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::Char => b'3',
        EntryKind::Block => b'4',
        EntryKind::Dir => b'5',
        EntryKind::Fifo => b'6',
        EntryKind::Other(flag) => {
            let what = format!("a tar member of type {:?} cannot be written", flag as char);
            return Err(Error::unsupported(what));
        }
    };
    let mut name = member.name.to_vec();
    if member.kind == EntryKind::Dir && !name.ends_with(b"/") {
        name.push(b'/');
    }
    let records = records(member, &name);
    if !records.is_empty() {
        let mut block = Block::new(b'x');
        block.text(0, 100, &[b"PaxHeaders.0/", name.as_slice()].concat());
        block.octal(100, 8, 0o644);
        block.octal(124, 12, records.len() as u64);
        out.write_all(&block.sealed())?;
        out.write_all(&records)?;
        write_padding(out, records.len() as u64)?;
    }
    let mut block = Block::new(flag);
    block.text(0, 100, &name);
    block.octal(100, 8, u64::from(member.mode));
    block.octal(108, 8, member.uid);
    block.octal(116, 8, member.gid);
    block.octal(124, 12, member.size);
    block.octal(136, 12, u64::try_from(member.mtime).unwrap_or(0));
    block.text(157, 100, member.link);
    if matches!(member.kind, EntryKind::Char | EntryKind::Block) {
        if member.major.max(member.minor) > 0o7_777_777 {
            return Err(Error::unsupported("a device number too large for tar"));
        }
        block.octal(329, 8, u64::from(member.major));
        block.octal(337, 8, u64::from(member.minor));
    }
    out.write_all(&block.sealed())?;
    Ok(())
}

/// Fills the last block of a body of `size` bytes.
///
/// # Errors
/// Those of `out`.
pub fn write_padding(out: &mut dyn Write, size: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK][..padding(size) as usize])
}

/// The two zero blocks that end an archive.
///
/// # Errors
/// Those of `out`.
pub fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// The PAX records a member needs, in the order of their keys.
fn records(member: &Member<'_>, name: &[u8]) -> Vec<u8> {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &[u8], value: Vec<u8>| list.push((key.to_vec(), value));
    let seven = 0o7_777_777;
    let eleven = 0o77_777_777_777;
    if name.len() > 100 {
        add(b"path", name.to_vec());
    }
    if member.link.len() > 100 {
        add(b"linkpath", member.link.to_vec());
    }
    if member.uid > seven {
        add(b"uid", member.uid.to_string().into_bytes());
    }
    if member.gid > seven {
        add(b"gid", member.gid.to_string().into_bytes());
    }
    if member.size > eleven {
        add(b"size", member.size.to_string().into_bytes());
    }
    let fits = u64::try_from(member.mtime).is_ok_and(|t| t <= eleven);
    if member.mtime_nanos != 0 || !fits {
        add(b"mtime", time(member.mtime, member.mtime_nanos).into_bytes());
    }
    for (key, value) in member.xattrs {
        add(&[b"SCHILY.xattr.", key.as_slice()].concat(), value.clone());
    }
    list.sort();
    let mut out = Vec::new();
    for (key, value) in list {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        out.extend_from_slice(len.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&key);
        out.push(b'=');
        out.extend_from_slice(&value);
        out.push(b'\n');
    }
    out
}

/// A decimal number of seconds; the parts are rounded down, the text counts away from zero.
fn time(seconds: i64, nanos: u32) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (false, _) => ("", seconds.unsigned_abs(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{nanos:09}").trim_end_matches('0').to_string()
}

struct Block([u8; BLOCK]);

impl Block {
    fn new(flag: u8) -> Self {
        let mut block = Self([0; BLOCK]);
        block.0[156] = flag;
        block.0[257..265].copy_from_slice(b"ustar\x0000");
        for (at, width) in [(108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)] {
            block.octal(at, width, 0);
        }
        block
    }

    /// As much as fits; a PAX record holds the whole.
    fn text(&mut self, at: usize, width: usize, value: &[u8]) {
        let n = value.len().min(width);
        self.0[at..at + n].copy_from_slice(&value[..n]);
    }

    /// Octal digits and a NUL; zero when a PAX record has to hold the number.
    fn octal(&mut self, at: usize, width: usize, value: u64) {
        let digits = width - 1;
        let value = if value >> (3 * digits) == 0 { value } else { 0 };
        let text = format!("{value:0digits$o}\0");
        self.0[at..at + width].copy_from_slice(text.as_bytes());
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::TarReader;
    use super::*;

    #[test]
    fn what_is_written_reads_back_whole() {
        let long = b"n\xff".repeat(120);
        let xattrs = vec![(b"user.k".to_vec(), b"a=\n\0".to_vec())];
        let plain = Member {
            name: b"n",
            kind: EntryKind::Symlink,
            link: b"t",
            size: 0,
            mode: 0o6755,
            uid: 0,
            gid: 0,
            mtime: 7,
            mtime_nanos: 0,
            major: 0,
            minor: 0,
            xattrs: &[],
        };
        let table = [
            plain.clone(),
            Member { name: &long, link: &long, ..plain.clone() },
            Member { uid: 1 << 31, gid: 0o7_777_777, ..plain.clone() },
            Member { mtime: -2, mtime_nanos: 500_000_000, ..plain.clone() },
            Member { mtime: i64::from(u32::MAX) * 16, mtime_nanos: 9, ..plain.clone() },
            Member { xattrs: &xattrs, ..plain.clone() },
            Member { kind: EntryKind::Char, link: b"", major: 5, minor: 1 << 20, ..plain },
        ];
        for m in table {
            let mut out = Vec::new();
            write_header(&mut out, &m).expect("written");
            write_end(&mut out).expect("written");
            let e = TarReader::new(out.as_slice()).next().expect("read").expect("a member");
            assert_eq!((e.name.as_slice(), e.kind, e.link.as_slice()), (m.name, m.kind, m.link));
            assert_eq!((e.uid, e.gid, e.mode), (m.uid, m.gid, m.mode));
            assert_eq!((e.mtime, e.mtime_nanos), (m.mtime, m.mtime_nanos));
            assert_eq!((e.major, e.minor), (m.major, m.minor));
            let value = e.pax_value(b"SCHILY.xattr.user.k").map(<[u8]>::to_vec);
            assert_eq!(value.as_ref(), m.xattrs.first().map(|(_, v)| v));
        }
        assert_eq!(time(-1, 1), "-0.999999999");
    }
}
