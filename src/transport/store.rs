//! `store:` our local layout: an OCI layout directory with a memory of what was checked.
//!
//! It knows nothing of archives. Other tools can read it as any layout; imgpack keeps beside it
//! `diff-ids` (layers whose diff id was checked on entry) and, when it is large, a journal of the
//! index. What nothing references is collected by [`prune`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blobs::BlobDir;
use crate::companion;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::io::dir::{self, Dir};
use crate::layout::entry;
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::media_type::MediaType;
use crate::partial::Partials;
use crate::reference::Reference;
use crate::transport::layout::index::{self, Change, Index};
use crate::transport::layout::removals::removals;
use crate::transport::layout::{LayoutOptions, LayoutSink, LayoutSource, proofs};
use crate::transport::{Origin, Root};

/// Where a registry that serves the store keeps what is being uploaded. Whoever holds its lock keeps
/// [`Store::prune`] away: what a registry was given may have no manifest yet.
pub const UPLOADS: &str = ".imgpack-uploads";

/// A store on disk.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    ctx: StoreContext,
}

/// How a store is used.
#[derive(Clone, Debug)]
pub struct StoreContext {
    sync: bool,
    wait: u64,
}

impl Store {
    /// The store at `path`, which need not exist yet.
    pub fn new(path: &Path, ctx: &Context) -> Self {
        Self { path: path.to_path_buf(), ctx: StoreContext { sync: ctx.sync, wait: ctx.wait } }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> Result<Option<Arc<Dir>>> {
        match Dir::open(&self.path) {
            Ok(dir) => Ok(Some(Arc::new(dir))),
            Err(e) if e.kind() == Kind::Missing => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens it for reading; a store that does not exist yet is empty.
    ///
    /// # Errors
    /// `Malformed`, `Busy`, `Io`.
    pub fn source(&self) -> Result<Option<LayoutSource>> {
        let Some(root) = self.root()? else { return Ok(None) };
        let lock = match root.stat("blobs")? {
            Some(_) => root.sub("blobs")?.lock(false, self.ctx.wait).ok(),
            None => None,
        };
        let roots = roots(&Index::load(&root)?);
        let proofs = proofs::read(&root)?;
        Ok(Some(LayoutSource::with_roots(root, roots, proofs, lock)))
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// `Conflict` when something else lies there, `Busy`, `Io`.
    pub fn sink(&self, ctx: &Context) -> Result<LayoutSink> {
        let rules = LayoutOptions { replace: false, journaled: true, remember: true };
        LayoutSink::create(&self.path, rules, None, ctx)
    }

    /// Gives an image one more name, taking it from whoever had it.
    ///
    /// # Errors
    /// `Missing`, `Busy`, `Io`.
    pub fn tag(&self, desc: &Descriptor, name: &Reference) -> Result<()> {
        let root = Root {
            names: vec![name.clone()],
            label: None,
            desc: desc.clone(),
            origin: Origin::Recorded,
            companion: false,
        };
        let full = crate::layout::tables::RefName::Full;
        let changes = crate::layout::tables::entries(&root, full)
            .into_iter()
            .map(|entry| Change::Set { entry, replace: false })
            .collect();
        self.change(|_, _| Ok(changes))
    }

    /// Drops images with all their names, and the companions that are about no other; and names of images
    /// that stay. All of it or nothing.
    ///
    /// # Errors
    /// `Missing`, `Busy`, `Io`.
    pub fn remove(&self, digests: &[Digest], names: &[Reference]) -> Result<()> {
        let digests: HashSet<&Digest> = digests.iter().collect();
        let goes = |entry: &Descriptor| digests.contains(&entry.digest);
        self.change(|root, index| {
            let mut changes = removals(root, index, goes)?;
            changes.extend(names.iter().cloned().map(Change::Untag));
            Ok(changes)
        })
    }

    fn change(&self, decide: impl FnOnce(&Dir, &Index) -> Result<Vec<Change>>) -> Result<()> {
        let Some(root) = self.root()? else {
            return Err(empty(&self.path));
        };
        index::change(&root, self.ctx.sync, self.ctx.wait, true, |index| decide(&root, index))
    }

    /// What pulls that were cut off have left, with sizes in bytes; removed unless `dry_run`.
    ///
    /// # Errors
    /// `Io`.
    pub fn sweep(&self, dry_run: bool) -> Result<Vec<(Digest, u64)>> {
        self.root()?.map_or_else(|| Ok(Vec::new()), |root| Partials::sweep(&root, dry_run))
    }

    /// As [`Store::prune`], after images were removed; a registry that serves the store does it by itself.
    ///
    /// # Errors
    /// As [`Store::prune`].
    pub fn tidy(&self) -> Result<()> {
        if let Some(root) = self.root()?
            && root.stat(UPLOADS)?.is_some()
            && matches!(root.sub(UPLOADS)?.lock(true, 0), Err(e) if e.kind() == Kind::Busy)
        {
            return Ok(());
        }
        self.prune(false).map(|_| ())
    }

    /// Removes every blob that no image references. Returns what was removed, with sizes in bytes.
    /// Waits until nobody adds blobs: what a running load skipped as present is not taken from it.
    ///
    /// # Errors
    /// `Busy`, `Malformed` when a referenced manifest cannot be read (nothing is removed then), `Io`.
    pub fn prune(&self, dry_run: bool) -> Result<Vec<(Digest, u64)>> {
        let Some(root) = self.root()? else { return Ok(Vec::new()) };
        if root.stat("blobs")?.is_none() {
            return Ok(Vec::new());
        }
        let _served = match root.stat(UPLOADS)? {
            Some(_) => Some(root.sub(UPLOADS)?.lock(true, self.ctx.wait)?),
            None => None,
        };
        let _lock = root.sub("blobs")?.lock(true, self.ctx.wait)?;
        let blobs = BlobDir::new(root.clone());
        let live = live(&root, &Index::load(&root)?)?;
        let garbage: Vec<(Digest, u64)> =
            blobs.list()?.into_iter().filter(|(digest, _)| !live.contains(digest)).collect();
        if !dry_run {
            for (digest, _) in &garbage {
                blobs.remove(digest)?;
            }
            proofs::forget(&root, &live, self.ctx.sync)?;
        }
        Ok(garbage)
    }
}

/// Roots of a store: one for each digest, in order of arrival. A bare tag names nothing here; that of a
/// signature says whose it is.
fn roots(index: &Index) -> Vec<Root> {
    let root = |mut group: entry::Group| {
        group.label = group.label.filter(|label| companion::subject_of_tag(label).is_some());
        let is_companion = companion::is_companion(&group.desc, group.label.as_deref());
        group.root(is_companion)
    };
    entry::groups(index.entries()).into_iter().map(root).collect()
}

/// Every digest that an index leads to, its own entries among them.
///
/// # Errors
/// `Corrupt` when a manifest that is there is damaged, so that nobody knows what it led to; `Io`.
pub fn live(root: &Dir, index: &Index) -> Result<HashSet<Digest>> {
    let mut live: HashSet<Digest> = HashSet::new();
    let mut walked: HashSet<Digest> = HashSet::new();
    let mut open: Vec<Descriptor> = index.entries().cloned().collect();
    while let Some(desc) = open.pop() {
        live.insert(desc.digest);
        // What one document calls a layer, or absent, another may name as what it is.
        if desc.media_type.role().may_be_parent() && walked.insert(desc.digest) {
            open.extend(children(root, &desc)?);
        }
    }
    Ok(live)
}

/// What a document leads to; nothing when it is absent (a sparse index) or no document, whatever type
/// whoever named it gave it.
fn children(root: &Dir, desc: &Descriptor) -> Result<Vec<Descriptor>> {
    let path = desc.digest.blob_path();
    if matches!(root.stat(&path)?, Some(dir::DirEntry::File(size)) if size > MAX_DOCUMENT) {
        return Ok(Vec::new());
    }
    let Some(bytes) = root.read(&path, MAX_DOCUMENT)? else { return Ok(Vec::new()) };
    let parsed = Document::parse(&bytes, &desc.media_type);
    // Where type and bytes disagree the bytes are right.
    match parsed.or_else(|_| Document::parse(&bytes, &MediaType::from(""))) {
        Ok(document) => Ok(document.children().into_iter().cloned().collect()),
        Err(_) if desc.digest.algorithm().digest(&bytes) == desc.digest => Ok(Vec::new()),
        Err(_) => {
            let what = "a manifest is damaged, so it is unknown which blobs it needs";
            Err(Error::corrupt(what).input(root.join(&path).display().to_string()))
        }
    }
}

/// The error for a store that has never had an image.
pub fn empty(path: &Path) -> Error {
    let error = Error::missing("the store is empty").because(Cause::EmptyStore);
    error.input(path.display().to_string())
}
