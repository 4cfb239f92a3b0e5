//! A tar header iterator: names, sizes, offsets and raw headers of every member, bodies as streams.
//!
//! It must not know what the members mean (layers, manifests, whiteouts), and it never unpacks.
//!
//! Follows POSIX.1-2008 pax (ustar and pax interchange formats), the GNU tar manual's "Basic Tar
//! Format" and "Storing Sparse Files", and where those leave a choice Go's `archive/tar`, because it
//! is what Docker, containerd and podman read layers with. Where readers are known to disagree about
//! where a member ends or what it is called, the input is refused instead.

mod entry;
mod header;
mod number;
mod sparse;
mod write;

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{Cause, Error, Result};
pub use entry::{EntryKind, TarEntry};
use header::Pending;
use number::padding;
pub use number::{BLOCK, MAX_EXTENDED, MAX_NAME, MAX_SIZE};
pub use sparse::Content;
pub use write::{Member, write_end, write_header, write_padding};

/// Largest accepted sum of all headers of one member, in bytes.
const MAX_HEADERS: usize = 4 << 20;

/// A reader that can pass over bytes nobody wants.
pub trait Skip: Read {
    /// Passes over exactly `n` bytes; the stream ending before that is an `UnexpectedEof`.
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let mut left = n;
        let mut buf = [0; 32 * 1024];
        while left > 0 {
            let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read(&mut buf[..want]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => left -= n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Skips by reading and discarding.
#[derive(Debug)]
pub struct Streaming<R>(R);

impl<R> Streaming<R> {
    /// Gives the reader back.
    pub fn into_inner(self) -> R {
        self.0
    }
}

impl<R: Read> Read for Streaming<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: Read> Skip for Streaming<R> {}

/// Skips by seeking. A seek beyond the end succeeds on files, so the length is asked for once.
#[derive(Debug)]
pub struct Seekable<R> {
    inner: R,
    pos: u64,
    len: u64,
}

impl<R: Read + Seek> Seekable<R> {
    /// Wraps `inner` at its present position.
    ///
    /// # Errors
    /// Those of seeking.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let pos = inner.stream_position()?;
        let len = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(pos))?;
        Ok(Self { inner, pos, len })
    }
}

impl<R: Read> Read for Seekable<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.pos += n as u64;
        Ok(n)
    }
}

impl<R: Read + Seek> Skip for Seekable<R> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let Some(target) = self.pos.checked_add(n).filter(|t| *t <= self.len) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        self.pos = self.inner.seek(SeekFrom::Start(target))?;
        Ok(())
    }
}

/// What followed the last member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The end has not been reached yet.
    Unknown,
    /// Exactly the two zero blocks of the standard.
    Clean,
    /// End of file with fewer than two zero blocks.
    NoEndMarker,
    /// More zeros after the marker, as GNU tar's 10 240-byte records have.
    ZeroPadded,
    /// Something that is not zero and not a tar header.
    Junk {
        /// Where it begins, in bytes.
        offset: u64,
    },
    /// A valid header after the end marker: readers disagree on whether it counts.
    SecondArchive {
        /// Where it begins, in bytes.
        offset: u64,
    },
}

/// Iterates over the members of a tar stream in linear time and bounded memory.
///
/// It reads 512 bytes at a time, so give it something buffered.
#[derive(Debug)]
pub struct TarReader<S> {
    source: S,
    pos: u64,
    body_left: u64,
    padding: u64,
    sparse: Option<sparse::SparseMap>,
    content_size: u64,
    ending: Ending,
}

impl<R: Read> TarReader<Streaming<R>> {
    /// Reads a stream that cannot seek.
    pub fn new(reader: R) -> Self {
        Self::with(Streaming(reader))
    }
}

impl<R: Read + Seek> TarReader<Seekable<R>> {
    /// Reads a file, seeking over the bodies nobody reads. Offsets count from the present position.
    ///
    /// # Errors
    /// [`crate::Kind::Io`] when it cannot seek.
    pub fn seekable(reader: R) -> Result<Self> {
        Ok(Self::with(Seekable::new(reader)?))
    }
}

impl<S: Skip> TarReader<S> {
    /// Reads from any source that can skip.
    pub fn with(source: S) -> Self {
        Self {
            source,
            pos: 0,
            body_left: 0,
            padding: 0,
            sparse: None,
            content_size: 0,
            ending: Ending::Unknown,
        }
    }

    /// The next member, after passing over what is left of the previous one; `None` at the end.
    ///
    /// # Errors
    /// [`crate::Kind::Malformed`] with the offset, for anything that breaks the format, is
    /// truncated, or passes a limit of this module; [`crate::Kind::Io`] from the source.
    #[allow(clippy::should_implement_trait)] // a failed read cannot be an Iterator's None
    pub fn next(&mut self) -> Result<Option<TarEntry>> {
        if self.ending != Ending::Unknown {
            return Ok(None);
        }
        self.skip_body()?;
        let mut pending = Pending::default();
        let header_offset = self.pos;
        let mut raw = Vec::new();
        loop {
            let at = self.pos;
            let Some(block) = self.read_block()? else {
                pending.refuse_leftovers(at)?;
                self.ending = Ending::NoEndMarker;
                return Ok(None);
            };
            if is_zero(&block) {
                pending.refuse_leftovers(at)?;
                self.ending = self.read_ending()?;
                return Ok(None);
            }
            let head = header::Head::parse(&block).map_err(|e| match e.cause() {
                Cause::BadHeader if at == 0 => e.because(Cause::NoTar).at(offset(at)),
                _ => e.at(offset(at)),
            })?;
            raw.extend_from_slice(&block);
            if let Some(extension) = head.extension() {
                let body = self.read_extension(head.size, &mut raw, at)?;
                pending.add(extension, body).map_err(|e| e.at(offset(at)))?;
                continue;
            }
            let map = self.read_old_sparse(&head, &block, &mut raw)?;
            let mut entry = pending.finish(head, map).map_err(|e| e.at(offset(at)))?;
            entry.header_offset = header_offset;
            entry.body_offset = self.pos;
            entry.raw = raw;
            self.body_left = entry.size;
            self.padding = padding(entry.size);
            self.content_size = entry.content_size;
            self.sparse = entry.sparse.clone();
            return Ok(Some(entry));
        }
    }

    /// The body of the present member as stored: `size` bytes.
    ///
    /// A stream that ends too early is an error here, never a short body.
    pub fn body(&mut self) -> impl Read + '_ {
        Body { tar: self }
    }

    /// The content of the present member: its body, with the holes of a sparse file as zeros.
    ///
    /// Call it before reading from `body`.
    ///
    /// # Errors
    /// [`crate::Kind::Malformed`] when the sparse map makes no sense.
    pub fn content(&mut self) -> Result<Content<impl Read + '_>> {
        let size = self.content_size;
        let stored = self.body_left;
        let map = self.sparse.take();
        Content::new(Body { tar: self }, map, stored, size)
    }

    /// What followed the last member; known once [`Self::next`] has returned `None`.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// How many bytes of the source have been passed.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// Gives the source back, wherever it stands.
    pub fn into_source(self) -> S {
        self.source
    }

    fn skip_body(&mut self) -> Result<()> {
        let n = self.body_left + self.padding;
        if n == 0 {
            return Ok(());
        }
        let start = self.pos;
        self.source.skip(n).map_err(|e| truncated(&e, "body", start))?;
        self.pos += n;
        self.body_left = 0;
        self.padding = 0;
        Ok(())
    }

    /// One block; `None` when the stream ends exactly before it.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let n = read_full(&mut self.source, &mut block)?;
        match n {
            0 => return Ok(None),
            BLOCK => {}
            _ => {
                let eof = io::ErrorKind::UnexpectedEof.into();
                return Err(truncated(&eof, "header", self.pos));
            }
        }
        self.pos += BLOCK as u64;
        Ok(Some(block))
    }

    /// A block that must be there.
    fn need_block(&mut self, what: &str) -> Result<[u8; BLOCK]> {
        let at = self.pos;
        self.read_block()?.ok_or_else(|| truncated(&io::ErrorKind::UnexpectedEof.into(), what, at))
    }

    fn read_extension(&mut self, size: u64, raw: &mut Vec<u8>, at: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED || raw.len() as u64 + size > MAX_HEADERS as u64 {
            let what = format!("an extended header of {size} bytes is over the limit");
            return Err(Error::malformed(what).at(offset(at)));
        }
        let start = raw.len();
        let padded = size + padding(size);
        let mut part = self.source.by_ref().take(padded);
        let n = part.read_to_end(raw)? as u64;
        if n < padded {
            let eof = io::ErrorKind::UnexpectedEof.into();
            return Err(truncated(&eof, "extended header", self.pos));
        }
        self.pos += n;
        let body = raw.get(start..start + size as usize).unwrap_or_default();
        Ok(body.to_vec())
    }

    /// The sparse map of a GNU `S` header and of the blocks that extend it.
    fn read_old_sparse(
        &mut self,
        head: &header::Head,
        block: &[u8; BLOCK],
        raw: &mut Vec<u8>,
    ) -> Result<Option<(Vec<sparse::Piece>, u64)>> {
        if !head.is_old_sparse() {
            return Ok(None);
        }
        let start = self.pos;
        let mut more = block[482] != 0;
        let mut map = sparse::pieces(&block[386..482]).map_err(|e| e.at(offset(start)))?;
        let real = number::size(&block[483..495]).map_err(|e| e.at(offset(start)))?;
        while more {
            if self.pos - start >= MAX_EXTENDED {
                let what = "a sparse map over 1 MiB is over the limit";
                return Err(Error::malformed(what).at(offset(start)));
            }
            let at = self.pos;
            let block = self.need_block("sparse map")?;
            raw.extend_from_slice(&block);
            map.extend(sparse::pieces(&block[..504]).map_err(|e| e.at(offset(at)))?);
            more = block[504] != 0;
        }
        Ok(Some((map, real)))
    }

    /// Looks at everything after a first zero block.
    fn read_ending(&mut self) -> Result<Ending> {
        let at = self.pos;
        let mut block = [0; BLOCK];
        let n = read_full(&mut self.source, &mut block)?;
        self.pos += n as u64;
        if !is_zero(&block[..n]) {
            // GNU tar stops here with a warning, Go refuses, others read on: three meanings.
            let what = "a single zero block is followed by more data";
            return Err(Error::malformed(what).at(offset(at)));
        }
        if n < BLOCK {
            return Ok(Ending::NoEndMarker);
        }
        let mut padded = false;
        loop {
            let at = self.pos;
            let n = read_full(&mut self.source, &mut block)?;
            self.pos += n as u64;
            if let Some(i) = block[..n].iter().position(|b| *b != 0) {
                let header = n == BLOCK && header::Head::parse(&block).is_ok();
                return Ok(if header {
                    Ending::SecondArchive { offset: at }
                } else {
                    Ending::Junk { offset: at + i as u64 }
                });
            }
            padded |= n > 0;
            if n < BLOCK {
                return Ok(if padded { Ending::ZeroPadded } else { Ending::Clean });
            }
        }
    }
}

struct Body<'a, S> {
    tar: &'a mut TarReader<S>,
}

impl<S: Read> Read for Body<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.tar.body_left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.tar.source.read(&mut buf[..want])?;
        if n == 0 {
            let eof = io::ErrorKind::UnexpectedEof.into();
            return Err(truncated(&eof, "body", self.tar.pos).into());
        }
        self.tar.pos += n as u64;
        self.tar.body_left -= n as u64;
        Ok(n)
    }
}

fn offset(at: u64) -> String {
    format!("offset {at}")
}

fn truncated(err: &io::Error, part: &str, at: u64) -> Error {
    if err.kind() == io::ErrorKind::UnexpectedEof && err.get_ref().is_none() {
        let what = format!("the tar stream is truncated in a {part}");
        return Error::malformed(what).because(Cause::Truncated).at(offset(at));
    }
    Error::from_io(err)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Fills `buf` as far as the stream goes.
fn read_full(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match reader.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
