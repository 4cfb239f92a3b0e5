//! Tars made by hand: every header as it is wanted, right or wrong.

const BLOCK: usize = 512;

/// A tar in the making.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

/// Pads to whole blocks.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().div_ceil(BLOCK) * BLOCK, 0);
}

/// One USTAR header; `magic` is left out for old V7 ones.
pub fn header(name: &str, kind: u8, size: u64, link: &str, magic: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..257 + magic.len()].copy_from_slice(magic);
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

const USTAR: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

impl Tar {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn member(mut self, header: [u8; BLOCK], bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(bytes);
        pad(&mut self.0);
        self
    }

    /// A regular file.
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.member(header(name, b'0', bytes.len() as u64, "", USTAR), bytes)
    }

    /// A regular file as tar wrote it before POSIX: no magic, type NUL.
    pub fn old_file(self, name: &str, bytes: &[u8]) -> Self {
        self.member(header(name, 0, bytes.len() as u64, "", b""), bytes)
    }

    /// A directory.
    pub fn dir(self, name: &str) -> Self {
        self.member(header(name, b'5', 0, "", USTAR), b"")
    }

    /// A symbolic link.
    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.member(header(name, b'2', 0, to, USTAR), b"")
    }

    /// A hard link.
    pub fn hard_link(self, name: &str, to: &str) -> Self {
        self.member(header(name, b'1', 0, to, USTAR), b"")
    }

    /// A member of any kind.
    pub fn other(self, name: &str, kind: u8, bytes: &[u8]) -> Self {
        self.member(header(name, kind, bytes.len() as u64, "", USTAR), bytes)
    }

    /// A file whose name comes in a GNU long name member before it.
    pub fn gnu_long(self, name: &str, bytes: &[u8]) -> Self {
        let long = [name.as_bytes(), b"\0"].concat();
        let first = self.member(header("././@LongLink", b'L', long.len() as u64, "", GNU), &long);
        first.member(header(name, b'0', bytes.len() as u64, "", GNU), bytes)
    }

    /// A file whose name comes in a PAX header before it.
    pub fn pax_long(self, name: &str, bytes: &[u8]) -> Self {
        let record = pax_record("path", name);
        let first =
            self.member(header("PaxHeaders/x", b'x', record.len() as u64, "", USTAR), &record);
        first.member(header("short", b'0', bytes.len() as u64, "", USTAR), bytes)
    }

    /// A PAX header for all that follow.
    pub fn pax_global(self, key: &str, value: &str) -> Self {
        let record = pax_record(key, value);
        self.member(header("pax_global_header", b'g', record.len() as u64, "", USTAR), &record)
    }

    /// The tar, ended as it should be.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    /// The tar without its end.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length.to_string().len() + body != length {
        length = length.to_string().len() + body;
    }
    format!("{length} {key}={value}\n").into_bytes()
}
