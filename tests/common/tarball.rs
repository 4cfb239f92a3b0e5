//! Tars made by hand: every header as it is wanted, right or wrong.

const BLOCK: usize = 512;
const GNU: &[u8; 8] = b"ustar  \0";

/// A tar in the making; its bytes are there to be changed.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// One USTAR header with a right checksum. Names and links are cut to what fits.
pub fn header(name: impl AsRef<[u8]>, kind: u8, size: u64, link: impl AsRef<[u8]>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(100)];
        block[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, name.as_ref());
    put(100, b"0000644\x000000000\x000000000\0");
    match size {
        ..0x2_0000_0000 => put(124, format!("{size:011o}\0").as_bytes()),
        _ => put(124, &[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat()),
    }
    put(136, b"00000000000\0");
    put(156, &[kind]);
    put(157, link.as_ref());
    put(257, b"ustar\x0000");
    sum(&mut block);
    block
}

/// Makes the checksum right after a change.
pub fn sum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The same header as GNU tar writes it.
pub fn gnu(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[257..265].copy_from_slice(GNU);
    sum(&mut block);
    block
}

impl Tar {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes, padded to whole blocks.
    fn body(self, bytes: &[u8]) -> Self {
        let mut all = self.raw(bytes);
        all.0.resize(all.0.len().next_multiple_of(BLOCK), 0);
        all
    }

    /// A member of any kind.
    pub fn member(
        self,
        name: impl AsRef<[u8]>,
        kind: u8,
        bytes: &[u8],
        link: impl AsRef<[u8]>,
    ) -> Self {
        self.raw(&header(name, kind, bytes.len() as u64, link)).body(bytes)
    }

    /// A regular file; a name that does not fit comes in a GNU member before it.
    pub fn file(self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Self {
        let (name, bytes) = (name.as_ref(), bytes.as_ref());
        let tar = if name.len() > 100 { self.long(b'L', name) } else { self };
        tar.member(name, b'0', bytes, "")
    }

    /// A regular file as tar wrote it before POSIX: no magic, type NUL.
    pub fn old_file(self, name: &str, bytes: &[u8]) -> Self {
        let mut block = header(name, 0, bytes.len() as u64, "");
        block[257..265].fill(0);
        sum(&mut block);
        self.raw(&block).body(bytes)
    }

    /// A directory.
    pub fn dir(self, name: &str) -> Self {
        self.member(name, b'5', b"", "")
    }

    /// A symbolic link.
    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.member(name, b'2', b"", to)
    }

    /// A hard link.
    pub fn hard_link(self, name: &str, to: &str) -> Self {
        self.member(name, b'1', b"", to)
    }

    /// A GNU long name (`L`) or long link (`K`) for the next member.
    pub fn long(self, kind: u8, text: &[u8]) -> Self {
        let text = [text, b"\0"].concat();
        self.raw(&gnu(header("././@LongLink", kind, text.len() as u64, ""))).body(&text)
    }

    /// PAX records for the next member.
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        self.member("PaxHeaders/x", b'x', &pax_records(records), "")
    }

    /// A PAX record for all that follow.
    pub fn pax_global(self, key: &str, value: &str) -> Self {
        self.member("pax_global_header", b'g', &pax_records(&[(key, value)]), "")
    }

    /// The tar, ended as it should be.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK]).0
    }
}

fn pax_records(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length = length.to_string().len() + body;
        }
        format!("{length} {key}={value}\n")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}
