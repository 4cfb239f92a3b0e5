//! Writes gzip in independent members of 1 MiB, compressed in parallel.
//!
//! It must not know what the bytes mean or where they go.
//!
//! Members are cut by input size alone, so the output does not depend on the number of threads.
//! A header says no name, time 0, system 255 ("unknown") and, in XFL, only the class of the level.
//! RFC 1952 section 2.2 lets a file have many members. As OCI layers they were seen to be read by
//! skopeo 1.9.3, podman 4.3.1, containerd 1.6.20 and dockerd 20.10.24 with and without `unpigz`, and by
//! gzip, pigz and Python; members of 1 MiB cost 0.2 % against one.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libdeflater::{CompressionLvl, Compressor};

use crate::error::{Error, Kind};
use crate::locks::lock;

/// Input bytes per member. Part of the output format: changing it changes every digest.
const BLOCK: usize = 1 << 20;
/// Most blocks on their way at a time.
const MOST_IN_FLIGHT: usize = 8;

/// A gzip encoder.
pub(super) struct Gzip<W> {
    writer: W,
    tools: Arc<Tools>,
    block: Vec<u8>,
    in_flight: VecDeque<Receiver<Packed>>,
    room: usize,
    /// Buffers of finished blocks, used again.
    spare: Vec<Packed>,
    empty: bool,
    /// A failed write leaves a hole in the stream; nothing may follow it.
    failed: Option<Error>,
}

/// A block with its compressed form.
struct Packed {
    block: Vec<u8>,
    member: Vec<u8>,
}

/// Compressors, kept because making one costs a large allocation.
struct Tools {
    level: CompressionLvl,
    idle: Mutex<Vec<Compressor>>,
}

impl Tools {
    fn pack(&self, packed: &mut Packed) {
        let idle = || lock(&self.idle);
        let mut compressor = idle().pop().unwrap_or_else(|| Compressor::new(self.level));
        packed.member.resize(compressor.gzip_compress_bound(packed.block.len()), 0);
        let len = compressor
            .gzip_compress(&packed.block, &mut packed.member)
            .expect("the output buffer has the size the library asked for");
        packed.member.truncate(len);
        idle().push(compressor);
    }
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(writer: W, level: i32) -> Result<Self, Error> {
        let level = CompressionLvl::new(level)
            .map_err(|_| Error::new(Kind::Usage, format!("gzip has no level {level}")))?;
        Ok(Self {
            writer,
            tools: Arc::new(Tools { level, idle: Mutex::new(Vec::new()) }),
            block: Vec::with_capacity(BLOCK),
            in_flight: VecDeque::new(),
            room: (2 * rayon::current_num_threads()).clamp(2, MOST_IN_FLIGHT),
            spare: Vec::new(),
            empty: true,
            failed: None,
        })
    }

    /// Sends the block at hand to be compressed, and writes the oldest when there is no more room.
    fn send(&mut self) -> io::Result<()> {
        self.empty = false;
        let mut packed =
            self.spare.pop().unwrap_or_else(|| Packed { block: Vec::new(), member: Vec::new() });
        packed.block.clear();
        mem::swap(&mut packed.block, &mut self.block);
        self.block.reserve_exact(BLOCK);
        if rayon::current_thread_index().is_some() {
            self.tools.pack(&mut packed);
            return self.put(packed);
        }
        let (done, result): (SyncSender<Packed>, _) = sync_channel(1);
        let tools = Arc::clone(&self.tools);
        rayon::spawn(move || {
            tools.pack(&mut packed);
            // Nobody listens any more when the encoder was dropped, and then nobody cares.
            let _ = done.send(packed);
        });
        self.in_flight.push_back(result);
        // Whatever is ready goes out now, so that writing too overlaps with compressing.
        while let Some(oldest) = self.in_flight.front() {
            match oldest.try_recv() {
                Ok(packed) => {
                    self.in_flight.pop_front();
                    self.put(packed)?;
                }
                Err(_) if self.in_flight.len() >= self.room => self.wait()?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn wait(&mut self) -> io::Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        let packed = oldest.recv().map_err(|_| io::Error::other("the gzip compressor stopped"))?;
        self.put(packed)
    }

    fn put(&mut self, packed: Packed) -> io::Result<()> {
        let written = self.writer.write_all(&packed.member);
        self.spare.push(packed);
        written.inspect_err(|err| self.failed = Some(Error::from_io(err)))
    }

    fn check(&self) -> io::Result<()> {
        self.failed.clone().map_or(Ok(()), |err| Err(err.into()))
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.check()?;
        // No input at all is still one member: a file of no members is not gzip.
        if self.empty || !self.block.is_empty() {
            self.send()?;
        }
        while !self.in_flight.is_empty() {
            self.wait()?;
        }
        Ok(self.writer)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        // A full block goes out only when more follows, so the last one is never empty.
        if self.block.len() == BLOCK && !data.is_empty() {
            self.send()?;
        }
        let n = data.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&data[..n]);
        if !data.is_empty() {
            self.empty = false;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.writer.flush()
    }
}
