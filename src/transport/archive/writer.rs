//! The union archive: OCI layout and manifest.json in one tar.
//!
//! It reads nothing. Blobs go in as they come, each once, in plan order; the tables come last, when
//! every digest is known. Plain USTAR headers, times and owners zero, so that the same images give
//! the same bytes. The shape that 14 of 14 engines load: Docker 1.10 to 29, podman, containerd,
//! skopeo, crane.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::output::OutputFile;
use crate::io::pump;
use crate::io::scratch::{Lazy, Scratch};
use crate::layer::{Compression, Encoder};
use crate::layout::tables;
use crate::locks::lock;
use crate::transport::{Accepts, Arrival, Blob, Maker, Refused, Reused, Sealed, Sink};

const BLOCK: usize = 512;
/// Most bytes of a name in a ustar header; the last component cannot be divided.
const LONGEST_NAME: usize = 100;

/// Which tables the archive carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// Both: every engine finds its own.
    Union,
    /// manifest.json only.
    Docker,
    /// index.json and oci-layout only.
    Oci,
}

/// Where the archive goes.
pub enum ArchiveTarget {
    /// A file that appears whole.
    File(OutputFile),
    /// A stream that cannot be taken back.
    Stream(Box<dyn Write + Send>),
}

impl ArchiveTarget {
    fn free(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.free(),
            Self::Stream(_) => None,
        }
    }
}

impl Write for ArchiveTarget {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(buf),
            Self::Stream(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

/// An archive being written.
pub struct ArchiveSink {
    state: Mutex<State>,
    halves: Halves,
    place: String,
    scratch: Lazy,
}

struct State {
    out: Encoder<ArchiveTarget>,
    written: HashSet<Digest>,
    published: Vec<Sealed>,
    directories: HashSet<&'static str>,
    poisoned: bool,
}

impl ArchiveSink {
    /// Starts an archive, compressed as a whole when asked. `scratch` gives a directory for layers
    /// in the making.
    ///
    /// # Errors
    /// `Unsupported` for a compression that cannot be written.
    pub fn create(
        target: ArchiveTarget,
        place: String,
        halves: Halves,
        whole: Compression,
        scratch: Lazy,
    ) -> Result<Self> {
        let state = State {
            out: Encoder::new(target, whole)?,
            written: HashSet::new(),
            published: Vec::new(),
            directories: HashSet::new(),
            poisoned: false,
        };
        Ok(Self { state: Mutex::new(state), halves, place, scratch })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn member(&mut self, name: &str, size: u64, mode: u32, kind: tar::EntryType) -> Result<()> {
        if name.len() > LONGEST_NAME {
            let record = pax(name);
            let header =
                header("PaxHeaders.0/path", record.len() as u64, 0o444, tar::EntryType::XHeader)?;
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(record.as_bytes())?;
            self.pad(record.len() as u64)?;
        }
        let short = &name[..name.len().min(LONGEST_NAME)];
        Ok(self.out.write_all(header(short, size, mode, kind)?.as_bytes())?)
    }

    fn directory(&mut self, name: &'static str) -> Result<()> {
        if self.directories.insert(name) {
            self.member(name, 0, 0o755, tar::EntryType::Directory)?;
        }
        Ok(())
    }

    fn directories_of(&mut self, algorithm: Algorithm) -> Result<()> {
        self.directory("blobs/")?;
        self.directory(match algorithm {
            Algorithm::Sha256 => "blobs/sha256/",
            Algorithm::Sha512 => "blobs/sha512/",
        })
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }

    /// Writes a blob whose size and digest are known afterwards: its header is filled in then, and
    /// taken back with the body when it turns out that nothing was to be written.
    fn stream(&mut self, make: &mut Maker<'_>) -> Result<Option<Descriptor>> {
        let Some(ArchiveTarget::File(output)) = self.out.plain() else { return Ok(None) };
        let start = output.position()?;
        self.directories_of(Algorithm::Sha256)?;
        let Some(ArchiveTarget::File(output)) = self.out.plain() else { return Ok(None) };
        let header_at = output.position()?;
        self.out.write_all(&[0; BLOCK])?;
        let made = make(&mut self.out);
        let keep = made.as_ref().is_ok_and(|desc| !self.written.contains(&desc.digest));
        let Some(ArchiveTarget::File(output)) = self.out.plain() else { return Ok(None) };
        if !keep {
            output.truncate(if made.is_ok() { header_at } else { start })?;
            return made.map(Some);
        }
        let desc = made?;
        let header = header(&desc.digest.blob_path(), desc.size, 0o444, tar::EntryType::Regular)?;
        output.write_at(header.as_bytes(), header_at)?;
        self.pad(desc.size)?;
        self.written.insert(desc.digest);
        Ok(Some(desc))
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.member(name, bytes.len() as u64, 0o644, tar::EntryType::Regular)?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn blob(&mut self, blob: &Blob<'_>) -> Result<()> {
        let desc = blob.descriptor();
        // Opened first: a blob that is missing or of the wrong size leaves the archive as it was.
        let mut reader = blob.open()?;
        self.directories_of(desc.digest.algorithm())?;
        // From here on a failure leaves half a member behind.
        self.poisoned = true;
        self.member(&desc.digest.blob_path(), desc.size, 0o444, tar::EntryType::Regular)?;
        pump::copy(&mut reader, &mut self.out)?;
        self.pad(desc.size)?;
        self.poisoned = false;
        Ok(())
    }
}

/// The record of a name that ustar cannot hold: that of a blob with a sha512 digest.
fn pax(name: &str) -> String {
    let rest = format!(" path={name}\n");
    // Three digits, which count themselves.
    format!("{}{rest}", rest.len() + 3)
}

fn header(name: &str, size: u64, mode: u32, kind: tar::EntryType) -> Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).map_err(|e| Error::from(e).context("naming a member"))?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // More than 8 GiB does not fit the octal field; base-256 is what GNU tar and Go read.
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

impl Sink for ArchiveSink {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn accepts(&self) -> Accepts {
        let indexes = self.halves != Halves::Docker;
        Accepts { indexes, arrival: Arrival::Fetched, ..Accepts::staged(1) }
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        self.scratch.get()
    }

    fn free(&self) -> Option<u64> {
        self.state().out.plain().and_then(|target| target.free())
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        Ok(self.state().written.contains(&desc.digest).then(Reused::default))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let mut state = self.state();
        if state.poisoned {
            return Err(Error::new(Kind::Other, "an earlier failure left the archive incomplete"));
        }
        let digest = blob.descriptor().digest;
        if state.written.contains(&digest) {
            return Ok(());
        }
        if self.halves == Halves::Docker && is_parent(blob) {
            // manifest.json replaces manifests in this half.
            let mut sink = io::sink();
            pump::copy(&mut blob.open()?, &mut sink)?;
            return Ok(());
        }
        state.blob(blob)?;
        state.written.insert(digest);
        Ok(())
    }

    fn stream(&self, make: &mut Maker<'_>) -> Result<Option<Descriptor>> {
        let mut state = self.state();
        if state.poisoned { Ok(None) } else { state.stream(make) }
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        if self.halves == Halves::Docker && sealed.whole_image().is_none() {
            let title = sealed.root.title();
            let what = match sealed.images.is_empty() {
                true => "is not an image; a Docker archive contains only images",
                false => "lacks a foreign layer; a Docker archive contains all layers",
            };
            return Err(Error::unsupported(format!("{title} {what}")));
        }
        self.state().published.push(sealed);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.poisoned {
            return Err(Error::new(Kind::Other, "the archive is incomplete"));
        }
        let published = std::mem::take(&mut state.published);
        if self.halves != Halves::Docker {
            state.file("index.json", &tables::index_json(&published))?;
        }
        // Engines refuse an empty table; artifacts alone need none.
        if self.halves != Halves::Oci
            && let Some(table) = tables::manifest_json(&published)
        {
            state.file("manifest.json", &table)?;
        }
        if self.halves != Halves::Docker {
            state.file("oci-layout", tables::MARKER)?;
        }
        state.out.write_all(&[0; 2 * BLOCK])?;
        match state.out.finish()? {
            ArchiveTarget::File(output) => output.commit()?,
            ArchiveTarget::Stream(mut stream) => stream.flush()?,
        }
        Ok(Vec::new())
    }
}

fn is_parent(blob: &Blob<'_>) -> bool {
    blob.descriptor().media_type.role().is_parent()
}
