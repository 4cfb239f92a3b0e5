//! `oci:` an OCI layout directory, read and written; the store is one with more rules.
//!
//! It knows nothing of other transports. Writing is safe beside other writers: blobs are staged and
//! renamed, the index is changed under a lock, and a shared lock keeps `prune` away meanwhile.
//! OCI image-spec `image-layout.md`; names as formats of containerd, docker and skopeo have them.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::blobs::{self, BlobDir, Staging, check_size};
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::dir::{Dir, DirEntry, DirLock};
use crate::io::look;
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::io::temporary;
use crate::layout::tables::{self, RefName};
use crate::layout::{Layout, MAX_NESTING, Members, Reading, interpret};
use crate::locks::lock;
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::reference::Reference;
use crate::transport::{Accepts, Blob, Checked, Refused, Reused, Root, Sealed, Sink, Source};

pub mod index;
pub(crate) mod proofs;
pub mod removals;

use index::{Change, Index};

/// A layout directory opened for reading.
pub struct LayoutSource {
    root: Arc<Dir>,
    layout: Layout,
    proofs: HashMap<Digest, DiffId>,
    _lock: Option<DirLock>,
}

impl LayoutSource {
    /// Opens a layout directory; a manifest.json beside index.json is read as in a hybrid archive.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Io`.
    pub fn open(path: &Path, reading: Reading, ctx: &Context) -> Result<Self> {
        let root = Arc::new(Dir::open(path)?);
        // Keeps `prune` away while we read; media that cannot lock are read all the same.
        let lock = root.sub("blobs").and_then(|blobs| blobs.lock(false, ctx.wait)).ok();
        let members = DirMembers { root: root.clone(), ctx };
        let layout = interpret(&members, reading, ctx)
            .map_err(|e| e.input_or(path.display().to_string()))?;
        Ok(Self { root, layout, proofs: HashMap::new(), _lock: lock })
    }

    /// A source over a layout whose roots are already known (the store).
    pub fn with_roots(
        root: Arc<Dir>,
        roots: Vec<Root>,
        proofs: HashMap<Digest, DiffId>,
        lock: Option<DirLock>,
    ) -> Self {
        let layout = Layout { roots, ..Layout::default() };
        Self { root, layout, proofs, _lock: lock }
    }

    /// Takes names from an image, and the image with the last of them: whoever plans several removals asks
    /// again as if the first were done.
    pub fn forget(&mut self, digest: &Digest, names: &[Reference]) {
        self.layout.roots.retain_mut(|root| {
            if root.desc.digest != *digest {
                return true;
            }
            root.names.retain(|name| !names.contains(name));
            !root.names.is_empty()
        });
    }

    /// Notes what is odd about where it lies.
    pub fn warn(&mut self, warning: Option<String>) {
        self.layout.warnings.extend(warning);
    }

    fn member(&self, desc: &Descriptor) -> String {
        let own = || desc.digest.blob_path();
        self.layout.members.get(&desc.digest).cloned().unwrap_or_else(own)
    }
}

impl Source for LayoutSource {
    fn place(&self) -> String {
        self.root.path().display().to_string()
    }

    fn roots(&self) -> &[Root] {
        &self.layout.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = self.layout.documents.get(&desc.digest) {
            return Ok(Box::new(bytes.as_slice()));
        }
        let name = self.member(desc);
        let (file, size) = self
            .root
            .file(&name)?
            .ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        check_size(desc, size)?;
        Ok(Box::new(Extent::whole(file, &self.root.join(&name), size).reader()))
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        let name = self.member(desc);
        let (file, size) = self.root.file(&name).ok()??;
        Some(Extent::whole(file, &self.root.join(&name), size))
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.layout.documents.contains_key(&desc.digest)
            || self.root.file(&self.member(desc))?.is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        self.member(desc)
    }

    fn diff_id(&self, layer: &Descriptor) -> Option<DiffId> {
        self.proofs.get(&layer.digest).copied()
    }

    fn warnings(&self) -> &[String] {
        &self.layout.warnings
    }
}

struct DirMembers<'c> {
    root: Arc<Dir>,
    ctx: &'c Context,
}

impl Members for DirMembers<'_> {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        // A large store has its last changes beside its index.
        let folded = if name == "index.json" { Index::folded(&self.root, limit)? } else { None };
        folded.map_or_else(|| self.root.read(name, limit), |bytes| Ok(Some(bytes)))
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.root.file(name)?.map(|(_, size)| size))
    }

    fn head(&self, name: &str, most: usize) -> Result<Vec<u8>> {
        match self.root.file(name)? {
            Some((file, size)) => Extent::whole(file, &self.root.join(name), size).head(most),
            None => Ok(Vec::new()),
        }
    }

    fn digest(&self, name: &str) -> Result<Digest> {
        let Some((file, size)) = self.root.file(name)? else {
            return Err(Error::absent(name));
        };
        let extent = Extent::whole(file, &self.root.join(name), size);
        self.ctx.digests.digest(&extent, || {
            let mut hasher = crate::digest::Hasher::new(crate::digest::Algorithm::Sha256);
            std::io::copy(&mut extent.reader(), &mut hasher)?;
            Ok(hasher.finish())
        })
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for name in self.root.names().unwrap_or_default() {
            let Ok(name) = String::from_utf8(name) else { continue };
            if matches!(self.root.stat(&format!("{name}/json")), Ok(Some(DirEntry::File(_)))) {
                names.push(format!("{name}/json"));
            }
        }
        names.sort();
        names
    }
}

/// How a layout directory is written.
#[derive(Clone, Copy, Debug)]
pub struct LayoutOptions {
    /// An image that loses its last name is dropped from the index, as skopeo does.
    pub replace: bool,
    /// Changes of a large index go to a journal first.
    pub journaled: bool,
    /// Diff ids that were checked are remembered.
    pub remember: bool,
}

impl LayoutOptions {
    /// Those of `oci:`.
    pub const PLAIN: Self = Self { replace: true, journaled: false, remember: false };
}

/// A layout directory opened for writing.
pub struct LayoutSink {
    root: Arc<Dir>,
    staging: Staging,
    rules: LayoutOptions,
    published: Mutex<Vec<Sealed>>,
    label: Option<String>,
    /// Manifests and indexes that are here with everything beneath them.
    whole: Whole,
    /// What was there when the sink was opened, read when first asked for.
    before: OnceLock<(Index, HashMap<Digest, DiffId>)>,
    ctx: Context,
    // In this order: the scratch directory is gone before others may prune, and a directory that was
    // made for nothing goes last.
    _lock: Option<DirLock>,
    _made: Option<Made>,
}

/// Opens a directory for appending, made when absent.
///
/// # Errors
/// `Conflict` when it holds something that is no layout, `Io`.
pub fn appendable(path: &Path) -> Result<Dir> {
    let root = Dir::create(path)?;
    if root.stat("index.json")?.is_none() && root.stat("oci-layout")?.is_none() {
        // A run that was killed before it wrote a table left these.
        let ours = |n: &Vec<u8>| {
            n == b"blobs" || n.starts_with(b".imgpack-") || n == proofs::FILE.as_bytes()
        };
        if !root.names()?.iter().all(ours) {
            let what = "directory is not empty and not an OCI layout";
            let error = Error::new(crate::error::Kind::Conflict, what);
            return Err(error.input(path.display().to_string()));
        }
    }
    Ok(root)
}

/// A directory made by us; removed again while it is empty.
struct Made(PathBuf);

impl Made {
    /// Everything in a layout that holds nothing, from the inside out.
    const ALL: [&'static str; 4] = ["blobs/sha256", "blobs/sha512", "blobs", ""];

    fn new(path: &Path) -> Self {
        Self::ALL.iter().rev().for_each(|below| temporary::note_empty(path.join(below)));
        Self(path.to_path_buf())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for below in Self::ALL {
            // Anything in it makes this fail, which is the point.
            let _ = std::fs::remove_dir(self.0.join(below));
            temporary::forget(&self.0.join(below));
        }
    }
}

impl LayoutSink {
    /// Opens a layout for appending, made when absent. With a `label` every root is named so, and
    /// only so (skopeo's `oci:DIR:NAME`).
    ///
    /// # Errors
    /// `Conflict` when the directory holds something else, `Io`.
    pub fn create(
        path: &Path,
        rules: LayoutOptions,
        label: Option<String>,
        ctx: &Context,
    ) -> Result<Self> {
        let made = (!look::exists(path)?).then(|| Made::new(path));
        let root = Arc::new(appendable(path)?);
        // Makes `blobs`, whose lock says "blobs are being added": shared here, exclusive in prune.
        let lock = root.sub_create("blobs")?.lock(false, ctx.wait)?;
        let staging = Staging::new(root.clone(), ctx.sync)?;
        Ok(Self {
            whole: Whole::new(root.clone(), false, ctx),
            root,
            staging,
            rules,
            published: Mutex::default(),
            label,
            before: OnceLock::new(),
            ctx: ctx.clone(),
            _lock: Some(lock),
            _made: made,
        })
    }

    fn before(&self) -> Result<&(Index, HashMap<Digest, DiffId>)> {
        if let Some(before) = self.before.get() {
            return Ok(before);
        }
        let proofs = match self.rules.remember {
            true => proofs::read(&self.root)?,
            false => HashMap::new(),
        };
        let before = (Index::load(&self.root)?, proofs);
        Ok(self.before.get_or_init(|| before))
    }

    fn changes(&self, published: &[Sealed]) -> Vec<Change> {
        let mut changes = Vec::new();
        for sealed in published {
            let mut root = sealed.root.clone();
            if let Some(label) = &self.label
                && !root.companion
            {
                let mut entry = root.desc.clone();
                entry.annotate(crate::descriptor::ANNOTATION_REF, label);
                changes.push(Change::Set { entry, replace: self.rules.replace });
                continue;
            }
            if self.rules.remember && !root.companion {
                // In the store a bare tag names nothing; a signature's tag says whose it is.
                root.label = None;
            }
            for entry in tables::entries(&root, RefName::Full) {
                changes.push(Change::Set { entry, replace: self.rules.replace });
            }
        }
        changes
    }
}

/// Tells whether images of a layout are whole, by the sizes of their blobs. Each document is read once.
pub struct Whole {
    blobs: BlobDir,
    root: Arc<Dir>,
    /// Whether an index may list what did not come along.
    sparse: bool,
    known: Mutex<HashSet<Digest>>,
    ctx: Context,
}

impl Whole {
    /// Of the layout in a directory.
    pub fn new(root: Arc<Dir>, sparse: bool, ctx: &Context) -> Self {
        let blobs = BlobDir::new(root.clone());
        Self { blobs, root, sparse, known: Mutex::default(), ctx: ctx.clone() }
    }

    /// Whether a blob and everything beneath it is there.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn has(&self, desc: &Descriptor) -> Result<bool> {
        self.beneath(desc, 0)
    }

    fn beneath(&self, desc: &Descriptor, depth: usize) -> Result<bool> {
        self.ctx.check()?;
        if depth > MAX_NESTING || self.blobs.size(&desc.digest)? != Some(desc.size) {
            return Ok(false);
        }
        if lock(&self.known).contains(&desc.digest) {
            return Ok(true);
        }
        let role = desc.media_type.role();
        if !matches!(role, Role::Index | Role::Manifest) {
            return Ok(true);
        }
        let bytes = self.root.read(&desc.digest.blob_path(), MAX_DOCUMENT)?.unwrap_or_default();
        let Ok(doc) = Document::parse(&bytes, &desc.media_type) else { return Ok(false) };
        for child in doc.children() {
            let absent = || Ok::<_, Error>(self.blobs.size(&child.digest)?.is_none());
            let needless = child.media_type.role() == Role::ForeignLayer
                || (self.sparse && role == Role::Index && absent()?);
            if !needless && !self.beneath(child, depth + 1)? {
                return Ok(false);
            }
        }
        lock(&self.known).insert(desc.digest);
        Ok(true)
    }
}

/// Layers that were found to unpack to their diff ids, where that does not follow from their digest.
fn proved(published: &[Sealed]) -> HashMap<Digest, DiffId> {
    let mut proved = HashMap::new();
    for image in published.iter().flat_map(|sealed| &sealed.images) {
        let layers = image.layers.iter().zip(&image.diff_ids).zip(&image.proven);
        let of = |((layer, diff_id), proven): ((&Descriptor, &DiffId), &bool)| {
            (*proven && layer.digest != diff_id.0).then_some((layer.digest, *diff_id))
        };
        proved.extend(layers.filter_map(of));
    }
    proved
}

impl LayoutSink {
    /// The changes, and the companions that go with the images which these push out.
    fn replacing(&self, index: &Index, mut changes: Vec<Change>) -> Result<Vec<Change>> {
        let mut after = index.clone();
        changes.iter().for_each(|change| after.apply(change.clone()));
        let gone: Vec<_> = index.entries().filter(|entry| !after.listed(&entry.digest)).collect();
        if !gone.is_empty() {
            let left: Vec<_> = after.entries().collect();
            let orphans = removals::orphans(&self.root, &left, gone)?;
            changes.extend(orphans.into_iter().map(Change::Remove));
        }
        Ok(changes)
    }
}

impl Sink for LayoutSink {
    fn place(&self) -> String {
        self.root.path().display().to_string()
    }

    fn accepts(&self) -> Accepts {
        Accepts::staged(self.ctx.jobs)
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        Ok(self.staging.scratch())
    }

    fn standing(&self, root: &Root) -> Result<Option<Descriptor>> {
        if self.label.is_some() {
            return Ok(None);
        }
        let Some(there) = self.before()?.0.standing(root) else { return Ok(None) };
        Ok(self.whole.has(there)?.then(|| there.clone()))
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        if self.staging.has(&desc.digest) {
            return Ok(Some(Reused::default()));
        }
        if !blobs::is_sound(&self.root, &desc.digest.blob_path(), desc, &self.ctx)? {
            return Ok(None);
        }
        let known = || self.before().ok()?.1.get(&desc.digest).copied();
        let diff_id = if self.rules.remember { known() } else { None };
        Ok(Some(Reused { diff_id }))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        self.staging.put(blob)
    }

    fn free(&self) -> Option<u64> {
        self.root.free().ok()
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        lock(&self.published).push(sealed);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        let published = std::mem::take(&mut *lock(&self.published));
        if published.is_empty() {
            return Ok(Vec::new());
        }
        self.staging.commit()?;
        if self.rules.remember {
            proofs::remember(&self.root, &proved(&published))?;
        }
        let changes = self.changes(&published);
        let (sync, wait, journaled) = (self.ctx.sync, self.ctx.wait, self.rules.journaled);
        index::change(&self.root, sync, wait, journaled, |index| {
            if self.rules.replace { self.replacing(index, changes) } else { Ok(changes) }
        })?;
        Ok(Vec::new())
    }
}
