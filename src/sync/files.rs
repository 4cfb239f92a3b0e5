//! A layout directory and an archive as destinations of a sync.
//!
//! In a directory that is written, names of files are digests; tags are entries of its index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::dir::Dir;
use crate::io::look;
use crate::layout::entry::EntryName;
use crate::reference::Reference;
use crate::sync::destination::Destination;
use crate::sync::naming::Base;
use crate::transport::layout::index::{self, Index};
use crate::transport::layout::removals::removals;
use crate::transport::layout::{LayoutOptions, LayoutSink, Whole};
use crate::transport::store::Store;
use crate::transport::table::{Env, Place};
use crate::transport::{Root, Sink};

/// A layout directory.
pub struct LayoutDir {
    path: PathBuf,
    ctx: Context,
}

impl LayoutDir {
    /// The one at a path; it need not exist.
    pub fn new(path: &Path, ctx: &Context) -> Self {
        Self { path: path.to_path_buf(), ctx: ctx.clone() }
    }

    /// The directory and its index; nothing when there is none.
    fn index(&self) -> Result<Option<(Dir, Index)>> {
        if !look::exists(&self.path.join("index.json"))? {
            return Ok(None);
        }
        let dir = Dir::open(&self.path)?;
        let index = Index::load(&dir)?;
        Ok(Some((dir, index)))
    }

    /// Removes names, images that lose their last one, and their companions; then the blobs that
    /// nothing leads to any more.
    fn remove(&self, names: &[Reference]) -> Result<()> {
        let (sync, wait) = (self.ctx.sync, self.ctx.wait);
        let dir = Dir::open(&self.path)?;
        let names: HashSet<&Reference> = names.iter().collect();
        let goes = |entry: &Descriptor| called(entry).is_some_and(|name| names.contains(&name));
        index::change(&dir, sync, wait, false, |index| removals(&dir, index, goes))?;
        Store::new(&self.path, &self.ctx).tidy()
    }
}

/// The name of an entry: a tagged one, or one by digest.
fn called(entry: &Descriptor) -> Option<Reference> {
    EntryName::of(entry)?.reference()
}

impl Destination for LayoutDir {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(LayoutSink::create(&self.path, LayoutOptions::PLAIN, None, &self.ctx)?))
    }

    fn standing(&self, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        let (dir, index) = match self.index() {
            Ok(Some(found)) => found,
            Ok(None) => return roots.iter().map(|_| Ok(None)).collect(),
            Err(e) => return roots.iter().map(|_| Err(e.clone())).collect(),
        };
        let whole = Whole::new(Arc::new(dir), true, &self.ctx);
        let one = |root: &Root| -> Result<Option<Digest>> {
            let Some(entry) = index.standing(root) else { return Ok(None) };
            if whole.has(entry)? {
                return Ok(Some(entry.digest));
            }
            let (place, what) =
                (self.path.display(), "is not whole; what is missing is copied again");
            self.ctx.warn(&format!("{place}: {} {what}", root.title()));
            Ok(None)
        };
        roots.iter().map(one).collect()
    }

    fn holds(&self, _: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
        let dir = Dir::open(&self.path).ok();
        let size = |blob: &Descriptor| {
            let (_, size) = dir.as_ref()?.file(&blob.digest.blob_path()).ok()??;
            Some(size)
        };
        blobs.iter().map(|blob| size(blob) == Some(blob.size)).collect()
    }

    fn names(&self, _: Option<&Base>) -> Result<Vec<Reference>> {
        let found = self.index()?;
        let names = found.iter().flat_map(|(_, index)| index.entries().filter_map(called));
        Ok(names.collect())
    }

    fn delete(&self, names: &[Reference]) -> Vec<Result<()>> {
        let done = self.remove(names);
        names.iter().map(|_| done.clone()).collect()
    }
}

/// An archive, one file with all images.
pub struct ArchiveFile {
    /// It.
    pub place: Place,
    /// What opening it needs to know of the run.
    pub env: Env,
}

impl Destination for ArchiveFile {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        self.place.sink(&self.env, None)
    }
}
