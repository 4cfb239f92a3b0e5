//! The members of an archive: where the bytes of each name are.
//!
//! It knows nothing of images. A plain tar file is indexed by its headers and read in place; anything
//! else is a stream, read once into scratch files. Names are keys, never paths: links are followed
//! inside the archive only, and a name that occurs twice with different bytes is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use crate::context::Context;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Cause, Error, Result};
use crate::io::map::MappedFile;
use crate::io::parts::Extent;
use crate::io::pump;
use crate::io::scratch::Scratch;
use crate::io::tar::{Ending, EntryKind, Skip, TarReader};
use crate::layout::{self, clean};
use crate::locks::lock;
use crate::progress::Event;

/// Most links followed from one name.
const MAX_HOPS: usize = 16;
/// Members of a stream up to this size share one scratch file.
const SMALL: u64 = 64 << 10;

/// What lies under one name.
#[derive(Clone, Debug)]
enum Slot {
    /// Bytes of the archive itself, or of the shared scratch file.
    Bytes { offset: u64, size: u64, shared: bool, digest: Option<Digest> },
    /// A scratch file of its own, hashed when it was written.
    Own { file: u32, size: u64, digest: Digest },
    /// Another name.
    Link(Box<str>),
    /// A directory.
    Dir,
    /// A fifo, a device, a sparse file: no content.
    Special(&'static str),
    /// A name that occurred twice with different bytes.
    Twice,
}

/// An indexed archive.
pub(super) struct Archive {
    slots: BTreeMap<Box<str>, Slot>,
    input: Option<Extent>,
    shared: Option<Extent>,
    map: Option<MappedFile>,
    scratch: Option<Arc<Scratch>>,
    path: String,
    hashed: Mutex<BTreeMap<u64, Digest>>,
    ctx: Context,
    /// Whether hashing was reported.
    said: Once,
    /// What is odd about the tar itself.
    pub(super) warnings: Vec<String>,
}

impl Archive {
    /// Indexes a plain tar file: headers only, nothing is copied.
    ///
    /// # Errors
    /// `Malformed`, `Io`.
    pub(super) fn index(extent: Extent, ctx: &Context) -> Result<Self> {
        let mut archive = Self::empty(extent.path.display().to_string(), ctx);
        archive.input = Some(extent.clone());
        let mut tar = TarReader::with(extent.reader());
        archive.read_all(&mut tar, ctx, |_, entry, _| {
            let (offset, size) = (entry.body_offset, entry.size);
            Ok(Slot::Bytes { offset, size, shared: false, digest: None })
        })?;
        Ok(archive)
    }

    /// Reads a stream once: every member's bytes go to scratch files, hashed on the way.
    ///
    /// # Errors
    /// `Malformed`, `Corrupt`, `Io`.
    pub(super) fn ingest(
        from: impl Read,
        name: &str,
        scratch: Arc<Scratch>,
        ctx: &Context,
    ) -> Result<Self> {
        let mut archive = Self::empty(name.to_owned(), ctx);
        let (mut small, small_name) = scratch.file()?;
        let mut small_size = 0_u64;
        let mut tar = TarReader::new(from);
        archive.read_all(&mut tar, ctx, |tar, entry, ctx| {
            let mut body = tar.body();
            if entry.size <= SMALL {
                let mut bytes = Vec::new();
                body.read_to_end(&mut bytes)?;
                small
                    .write_all(&bytes)
                    .map_err(|e| Error::io(&scratch.path(&small_name), "writing", &e))?;
                let offset = small_size;
                small_size += bytes.len() as u64;
                let digest = Some(Digest::of(&bytes));
                return Ok(Slot::Bytes { offset, size: entry.size, shared: true, digest });
            }
            let (file, file_name) = scratch.file()?;
            let digest = copy_hashed(&mut body, file, &scratch.path(&file_name), ctx)?;
            let file = file_name.parse().unwrap_or_default();
            Ok(Slot::Own { file, size: entry.size, digest })
        })?;
        if small_size > 0 {
            archive.map = Some(MappedFile::scratch(&small)?);
        }
        archive.shared = Some(Extent::whole(small, &scratch.path(&small_name), small_size));
        archive.scratch = Some(scratch);
        Ok(archive)
    }

    fn empty(path: String, ctx: &Context) -> Self {
        Self {
            slots: BTreeMap::new(),
            input: None,
            shared: None,
            map: None,
            scratch: None,
            path,
            hashed: Mutex::default(),
            ctx: ctx.clone(),
            said: Once::new(),
            warnings: Vec::new(),
        }
    }

    fn read_all<R: Skip>(
        &mut self,
        tar: &mut TarReader<R>,
        ctx: &Context,
        mut store: impl FnMut(&mut TarReader<R>, &crate::io::tar::TarEntry, &Context) -> Result<Slot>,
    ) -> Result<()> {
        let mut count = 0;
        let mut repeated = Vec::new();
        while let Some(entry) = tar.next()? {
            ctx.check()?;
            count += 1;
            if count > ctx.limits.members {
                let most = ctx.limits.members;
                return Err(Error::malformed(format!("more members than the limit of {most}")));
            }
            let at = format!("offset {}", entry.header_offset);
            let name = match clean(&entry.name) {
                Ok(name) => name,
                // No table can name it, so it means nothing here; only escapes are refused.
                Err(_) if std::str::from_utf8(&entry.name).is_err() => continue,
                Err(e) => return Err(e.at(at)),
            };
            let slot = match entry.kind {
                EntryKind::Regular => store(tar, &entry, ctx).map_err(|e| e.at(at))?,
                EntryKind::HardLink => {
                    Slot::Link(clean(&entry.link).map_err(|e| e.at(at))?.into_boxed_str())
                }
                EntryKind::Symlink => match symlink(&name, &entry.link) {
                    Some(target) => Slot::Link(target.into_boxed_str()),
                    None => Slot::Special("a link that leads out of the archive"),
                },
                EntryKind::Dir => Slot::Dir,
                EntryKind::Sparse => {
                    let error = Error::malformed("sparse member").at(at);
                    return Err(error.because(Cause::SparseMember));
                }
                EntryKind::Fifo => Slot::Special("a fifo"),
                EntryKind::Char | EntryKind::Block => Slot::Special("a device"),
                EntryKind::Other(_) => Slot::Special("not a regular file"),
            };
            if let Some(old) = self.slots.get(name.as_str()) {
                repeated.push((name.clone(), old.clone(), slot.clone()));
            }
            self.slots.insert(name.into_boxed_str(), slot);
        }
        match tar.ending() {
            Ending::Clean | Ending::ZeroPadded | Ending::Unknown => {}
            Ending::NoEndMarker => self.warnings.push("no end-of-archive marker".into()),
            Ending::Junk { offset } => {
                self.warnings.push(format!("junk after the end of the archive [offset {offset}]"));
            }
            Ending::SecondArchive { offset } => {
                let what = "ambiguous: a second archive follows the first";
                return Err(Error::malformed(what).at(format!("offset {offset}")));
            }
        }
        self.settle(repeated)
    }

    /// Members that occur twice are fine while their bytes are the same.
    fn settle(&mut self, repeated: Vec<(String, Slot, Slot)>) -> Result<()> {
        for (name, old, new) in repeated {
            let same = match (&old, &new) {
                (Slot::Dir, Slot::Dir) => true,
                (Slot::Link(a), Slot::Link(b)) => a == b,
                (
                    Slot::Bytes { size: a, .. } | Slot::Own { size: a, .. },
                    Slot::Bytes { size: b, .. } | Slot::Own { size: b, .. },
                ) => a == b && self.hash(&old)? == self.hash(&new)?,
                _ => false,
            };
            if !same {
                self.slots.insert(name.into_boxed_str(), Slot::Twice);
            }
        }
        Ok(())
    }

    /// Follows links, of directories too, to what a name finally means.
    fn resolve(&self, name: &str) -> Result<Option<&Slot>> {
        let mut name = name.to_owned();
        for _ in 0..MAX_HOPS {
            if let Some(slot) = self.slots.get(name.as_str()) {
                match slot {
                    Slot::Link(target) => {
                        name = target.to_string();
                        continue;
                    }
                    Slot::Twice => {
                        let name = crate::text::escape(&name);
                        let what =
                            format!("ambiguous: member {name} occurs twice with different bytes");
                        return Err(Error::malformed(what));
                    }
                    slot => return Ok(Some(slot)),
                }
            }
            // Perhaps a directory above is a link.
            let mut above = name.as_str();
            let mut found = None;
            while let Some((dir, _)) = above.rsplit_once('/') {
                if let Some(Slot::Link(target)) = self.slots.get(dir) {
                    found = Some(format!("{target}{}", &name[dir.len()..]));
                }
                above = dir;
            }
            match found {
                Some(next) => name = next,
                None => return Ok(None),
            }
        }
        let name = crate::text::escape(&name);
        Err(Error::malformed(format!("more than {MAX_HOPS} links lead to {name}")))
    }

    /// The bytes of a name; `None` when it does not exist.
    ///
    /// # Errors
    /// `Malformed` when it is no regular file.
    pub(super) fn extent(&self, name: &str) -> Result<Option<Extent>> {
        match self.resolve(name)? {
            None => Ok(None),
            Some(slot) => self.slot_extent(slot, name).map(Some),
        }
    }

    fn slot_extent(&self, slot: &Slot, name: &str) -> Result<Extent> {
        let what = match slot {
            Slot::Bytes { offset, size, shared, .. } => {
                let base = if *shared { &self.shared } else { &self.input };
                let base = base.as_ref().ok_or_else(|| Error::missing("archive is not open"))?;
                let offset = base.offset + offset;
                return Ok(Extent { offset, size: *size, ..base.clone() });
            }
            Slot::Own { file, size, .. } => {
                let scratch = self.scratch.as_ref().ok_or_else(|| Error::missing("no scratch"))?;
                let file_name = file.to_string();
                let (file, _) = scratch
                    .dir()
                    .file(&file_name)?
                    .ok_or_else(|| Error::missing(format!("{name} was moved away")))?;
                return Ok(Extent::whole(file, &scratch.path(&file_name), *size));
            }
            Slot::Special(what) => what,
            Slot::Dir => "a directory",
            Slot::Link(_) | Slot::Twice => "a link",
        };
        let name = crate::text::escape(name);
        Err(Error::malformed(format!("member {name} is {what}, not a regular file")))
    }

    fn hash(&self, slot: &Slot) -> Result<Digest> {
        match slot {
            Slot::Own { digest, .. } | Slot::Bytes { digest: Some(digest), .. } => Ok(*digest),
            Slot::Bytes { offset, .. } => {
                let known = lock(&self.hashed);
                if let Some(digest) = known.get(offset) {
                    return Ok(*digest);
                }
                drop(known);
                let extent = self.slot_extent(slot, "")?;
                let digest = self.ctx.digests.digest(&extent, || self.read_hashed(&extent))?;
                lock(&self.hashed).insert(*offset, digest);
                Ok(digest)
            }
            _ => Err(Error::malformed("not a regular file")),
        }
    }

    fn read_hashed(&self, extent: &Extent) -> Result<Digest> {
        self.said.call_once(|| {
            let size = self.input.as_ref().map_or(0, |input| input.size);
            self.ctx.progress.event(Event::Hashing(&self.path, size));
        });
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut reader = extent.reader();
        let mut buf = vec![0; pump::CHUNK];
        loop {
            self.ctx.check()?;
            match pump::fill(&mut reader, &mut buf)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&buf[..n]),
            }
        }
    }

    /// The scratch file that holds just this member, when there is one.
    pub(super) fn spare(&self, name: &str) -> Option<(Arc<Scratch>, String)> {
        match self.resolve(name).ok()?? {
            Slot::Own { file, .. } => Some((self.scratch.clone()?, file.to_string())),
            _ => None,
        }
    }

    /// Where a member lies, for messages.
    pub(super) fn whereabouts(&self, name: &str) -> String {
        let shown = crate::text::escape(name);
        match self.resolve(name) {
            Ok(Some(Slot::Bytes { offset, shared: false, .. })) => {
                format!("member {shown}, offset {offset}")
            }
            _ => format!("member {shown}"),
        }
    }

    /// How the archive is called.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl layout::Members for Archive {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        // Small members of a stream lie side by side in a file of our own.
        if let (Some(map), Some(Slot::Bytes { offset, size, shared: true, .. })) =
            (&self.map, self.resolve(name)?)
            && *size <= limit
        {
            return Ok(map.piece(*offset, *size).map(<[u8]>::to_vec));
        }
        let Some(extent) = self.extent(name)? else { return Ok(None) };
        if extent.size > limit {
            let (name, size) = (crate::text::escape(name), extent.size);
            let what = format!("member {name} is {size} bytes, more than the limit of {limit}");
            return Err(Error::malformed(what));
        }
        let mut bytes = Vec::new();
        extent.reader().read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.extent(name)?.map(|e| e.size))
    }

    fn head(&self, name: &str, most: usize) -> Result<Vec<u8>> {
        self.extent(name)?.map_or_else(|| Ok(Vec::new()), |e| e.head(most))
    }

    fn digest(&self, name: &str) -> Result<Digest> {
        match self.resolve(name)? {
            Some(slot) => self.hash(slot),
            None => Err(Error::absent(format_args!("member {}", crate::text::escape(name)))),
        }
    }

    fn same(&self, a: &str, b: &str) -> Result<bool> {
        let (Some(x), Some(y)) = (self.extent(a)?, self.extent(b)?) else { return Ok(false) };
        if x.size != y.size {
            return Ok(false);
        }
        // Links of one archive lead to one place, which needs no reading.
        let one_place = x.path == y.path && x.offset == y.offset;
        Ok(one_place || self.digest(a)? == self.digest(b)?)
    }

    fn names(&self) -> Vec<String> {
        self.slots.keys().map(ToString::to_string).collect()
    }
}

/// Where a symbolic link leads, from the archive's root; `None` when it leads out.
fn symlink(name: &str, link: &[u8]) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => name.split('/').collect(),
    };
    if !link.starts_with('/') {
        parts.pop();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn copy_hashed(from: &mut impl Read, mut to: File, path: &Path, ctx: &Context) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buf = vec![0; pump::CHUNK];
    loop {
        ctx.check()?;
        match pump::fill(from, &mut buf)? {
            0 => break,
            n => {
                hasher.update(&buf[..n]);
                to.write_all(&buf[..n]).map_err(|e: io::Error| Error::io(path, "writing", &e))?;
            }
        }
    }
    Ok(hasher.finish())
}
