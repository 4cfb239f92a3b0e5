//! Appends to a file in bulk, writing to disk while more bytes arrive.
//!
//! It knows nothing of the content. Where the file system supports it, writes bypass the page cache: a
//! flush at the end is then quick, and other files stay cached. Elsewhere the kernel is asked to start
//! writing early.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;

use rustix::fs::{Advice, OFlags};

/// Bytes that go past the page cache at once: measured, less is slower and more is no faster.
const BLOCK: usize = 512 << 10;
/// What addresses, lengths and offsets must be multiples of; no device in use asks for more.
const ALIGN: usize = 4096;
/// Bytes after which the kernel is asked to begin writing.
const WINDOW: u64 = 8 << 20;

/// A file that grows at its end.
pub struct Bulk<'f> {
    file: &'f File,
    /// How long the file is.
    length: u64,
    /// Up to here it is being written to the medium.
    begun: u64,
    block: Option<Block>,
}

/// Bytes that wait to go past the page cache.
struct Block {
    memory: Vec<u8>,
    /// Where the aligned part of the memory begins.
    start: usize,
    filled: usize,
}

impl<'f> Bulk<'f> {
    /// A file opened for appending, `length` bytes long; `direct` when its bytes may go past the page
    /// cache, which takes half a MiB of memory.
    pub fn new(file: &'f File, length: u64, direct: bool) -> Self {
        let aligned = length.is_multiple_of(ALIGN as u64);
        let block = (direct && aligned).then(Block::new);
        Self { file, length, begun: length, block }
    }

    /// How long the file is: what was written, but for what waits.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes bytes; `direct` past the page cache. True when that was possible.
    fn append(&mut self, mut bytes: &[u8], mut direct: bool) -> io::Result<bool> {
        direct &= self.past_cache(direct).is_ok();
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.length += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // This file system, or what a short write left, is not aligned so.
                Err(e) if direct && e.kind() == io::ErrorKind::InvalidInput => {
                    direct = false;
                    self.past_cache(false)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(direct)
    }

    fn past_cache(&self, direct: bool) -> rustix::io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(self.file)?;
        let wanted = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
        if wanted == flags { Ok(()) } else { rustix::fs::fcntl_setfl(self.file, wanted) }
    }

    fn start_writeback(&mut self) {
        if self.length - self.begun >= WINDOW {
            start_writeback(self.file, self.begun, self.length);
            self.begun = self.length;
        }
    }
}

impl Block {
    fn new() -> Self {
        let memory = vec![0; BLOCK + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { memory, start, filled: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.filled).unwrap_or_default()
    }

    /// Takes what fits.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.memory.get_mut(self.start + self.filled..self.start + BLOCK);
        let room = room.unwrap_or_default();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        n
    }
}

impl Write for Bulk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut block) = self.block.take() else {
            self.append(bytes, false)?;
            self.start_writeback();
            return Ok(bytes.len());
        };
        let n = block.fill(bytes);
        if block.filled == BLOCK {
            let direct = self.append(block.bytes(), true)?;
            block.filled = 0;
            self.block = direct.then_some(block);
        } else {
            self.block = Some(block);
        }
        Ok(n)
    }

    /// Writes what waits; it is not flushed to the medium.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(block) = self.block.take() {
            // The end of a file is seldom aligned.
            self.append(block.bytes(), false)?;
        }
        Ok(())
    }
}

/// Asks the kernel to begin writing these bytes of a file, so that the medium works beside us and a
/// flush at the end finds little left. Only advice: a refusal changes nothing.
pub fn start_writeback(file: &File, from: u64, to: u64) {
    let length = NonZeroU64::new(to.saturating_sub(from));
    let _ = rustix::fs::fadvise(file, from, length, Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order_past_the_page_cache_or_not() {
        let data: Vec<u8> = (0..3 * BLOCK + 777).map(|i| (i % 251) as u8).collect();
        // In memory nothing goes past the page cache; elsewhere it mostly does.
        let shared = std::path::Path::new("/dev/shm");
        let places = [Some(std::env::temp_dir()), shared.is_dir().then(|| shared.to_owned())];
        for place in places.into_iter().flatten() {
            for (before, direct) in [(0, true), (0, false), (5, true), (ALIGN, true)] {
                for after in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, data.len() - ALIGN] {
                    let dir = tempfile::tempdir_in(&place).unwrap();
                    let path = dir.path().join("file");
                    std::fs::write(&path, &data[..before]).unwrap();
                    let file = File::options().append(true).open(&path).unwrap();
                    let mut bulk = Bulk::new(&file, before as u64, direct);
                    for piece in data[before..before + after].chunks(100_000) {
                        bulk.write_all(piece).unwrap();
                    }
                    bulk.flush().unwrap();
                    assert_eq!(bulk.length(), (before + after) as u64);
                    assert!(std::fs::read(&path).unwrap() == data[..before + after], "{after}");
                }
            }
        }
    }
}
