//! One member of a tar: everything its headers say.
//!
//! It must not know how they say it.

use super::sparse::SparseMap;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file (types `0`, NUL and `7`).
    Regular,
    /// A second name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory, also the old form: a regular type whose name ends in `/`.
    Dir,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A file with holes (GNU type `S`, or PAX `GNU.sparse.*`); read it with `TarReader::content`.
    Sparse,
    /// Any other type byte; it has a body of `size` bytes.
    Other(u8),
}

/// One member: everything its headers say.
#[derive(Clone, Debug)]
pub struct TarEntry {
    /// The full name as stored; not normalised, not necessarily UTF-8.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The target of a hard or symbolic link, else empty or what the header says.
    pub link: Vec<u8>,
    /// Bytes of the body in this stream; 0 for links, directories, devices and pipes.
    pub size: u64,
    /// Bytes of the file's content: `size`, or with the holes of a sparse file.
    pub content_size: u64,
    /// Where its first header (an extended one, if it has any) begins, in bytes.
    pub header_offset: u64,
    /// Where its body begins, in bytes.
    pub body_offset: u64,
    /// Permission bits with setuid, setgid and sticky; no file type bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Modification time in seconds since 1970, rounded down.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nanos: u32,
    /// The owner's name, when given.
    pub uname: Vec<u8>,
    /// The group's name, when given.
    pub gname: Vec<u8>,
    /// A device's major number.
    pub major: u32,
    /// A device's minor number.
    pub minor: u32,
    /// The records of its own PAX header in order, with those already applied above.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// All its header blocks as read, extended ones and their bodies included.
    pub raw: Vec<u8>,
    pub(super) sparse: Option<SparseMap>,
}

impl TarEntry {
    /// The last value of a PAX record.
    pub fn pax_value(&self, key: &[u8]) -> Option<&[u8]> {
        self.pax.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }

    /// Where in the archive it is, for messages.
    pub fn place(&self) -> String {
        format!("member {}", String::from_utf8_lossy(&self.name))
    }
}
