//! Directories and archives as ends of a sync.
//!
//! It opens no connection: for registries another opener stands before it. A directory that is
//! written is one OCI layout, in which names are digests; tags are entries of its index.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::Dir;
use crate::io::look;
use crate::layout::entry::EntryName;
use crate::reference::Reference;
use crate::sync::folder;
use crate::sync::job::End;
use crate::sync::naming::Base;
use crate::sync::opener::{OpenedSource, Opener};
use crate::transport::layout::index::{self, Index};
use crate::transport::layout::removals::removals;
use crate::transport::layout::{LayoutOptions, LayoutSink, Whole};
use crate::transport::store::Store;
use crate::transport::table::{self, Env};
use crate::transport::{Root, Sink};

/// Opens directories and archives.
pub struct LocalOpener {
    env: Env,
}

impl LocalOpener {
    /// With what opening places needs to know of the run.
    pub fn new(env: Env) -> Self {
        Self { env }
    }

    fn index(&self, path: &Path) -> Result<Index> {
        if look::exists(&path.join("index.json"))? {
            Index::load(&Dir::open(path)?)
        } else {
            Ok(Index::default())
        }
    }

    /// Removes names, images that lose their last one, and their companions; then the blobs that
    /// nothing leads to any more.
    fn remove(&self, path: &Path, names: &[Reference]) -> Result<()> {
        let (sync, wait) = (self.env.ctx.sync, self.env.ctx.wait);
        let dir = Dir::open(path)?;
        let names: HashSet<&Reference> = names.iter().collect();
        let goes = |entry: &Descriptor| called(entry).is_some_and(|name| names.contains(&name));
        index::change(&dir, sync, wait, false, |index| removals(&dir, index, goes))?;
        Store::new(path, &self.env.ctx).tidy()
    }
}

fn registry<T>() -> Result<T> {
    Err(Error::unsupported("no registry can be reached here"))
}

/// The name of an entry: a tagged one, or one by digest.
fn called(entry: &Descriptor) -> Option<Reference> {
    EntryName::of(entry)?.reference()
}

impl Opener for LocalOpener {
    fn source(&self, from: &End, _: &[Reference], _: bool) -> Result<OpenedSource> {
        match from {
            End::Registry => registry(),
            End::Dir(path) => folder::open(path, &self.env),
            End::Archive(path) => {
                let source = folder::source(path, &self.env)?;
                Ok(OpenedSource { source, failed: Vec::new() })
            }
        }
    }

    fn tags(&self, _: &Reference) -> Result<Vec<String>> {
        registry()
    }

    fn catalog(&self, _: &str) -> Result<Vec<String>> {
        registry()
    }

    fn sink(&self, to: &End) -> Result<Box<dyn Sink>> {
        match to {
            End::Registry => registry(),
            End::Dir(path) => {
                let ctx = &self.env.ctx;
                Ok(Box::new(LayoutSink::create(path, LayoutOptions::PLAIN, None, ctx)?))
            }
            End::Archive(path) => {
                table::file(path, &self.env, crate::transport::archive::Halves::Union)
            }
        }
    }

    fn present(&self, to: &End, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        let End::Dir(path) = to else { return roots.iter().map(|_| Ok(None)).collect() };
        let index = match self.index(path) {
            Ok(index) => index,
            Err(e) => return roots.iter().map(|_| Err(e.clone())).collect(),
        };
        let named: HashMap<Reference, &Descriptor> =
            index.entries().filter_map(|e| Some((called(e)?, e))).collect();
        let bare: HashMap<Digest, &Descriptor> = index.entries().map(|e| (e.digest, e)).collect();
        let ctx = &self.env.ctx;
        let whole = match Dir::open(path) {
            Ok(dir) => Whole::new(Arc::new(dir), true, ctx),
            Err(_) => return roots.iter().map(|_| Ok(None)).collect(),
        };
        let one = |root: &Root| -> Result<Option<Digest>> {
            let entry = match root.names.first() {
                Some(name) => named.get(name),
                None => bare.get(&root.desc.digest),
            };
            let Some(entry) = entry else { return Ok(None) };
            if whole.has(entry)? {
                return Ok(Some(entry.digest));
            }
            let what = "is not whole; what is missing is copied again";
            ctx.warn(&format!("{}: {} {what}", path.display(), root.title()));
            Ok(None)
        };
        roots.iter().map(one).collect()
    }

    fn holds(&self, to: &End, _: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
        let dir = match to {
            End::Dir(path) => Dir::open(path).ok(),
            End::Registry | End::Archive(_) => None,
        };
        let size = |blob: &Descriptor| {
            let (_, size) = dir.as_ref()?.file(&blob.digest.blob_path()).ok()??;
            Some(size)
        };
        blobs.iter().map(|blob| size(blob) == Some(blob.size)).collect()
    }

    fn names(&self, to: &End, _: Option<&Base>) -> Result<Vec<Reference>> {
        match to {
            End::Registry => registry(),
            End::Archive(_) => Ok(Vec::new()),
            End::Dir(path) => Ok(self.index(path)?.entries().filter_map(called).collect()),
        }
    }

    fn delete(&self, to: &End, names: &[Reference]) -> Vec<Result<()>> {
        let done = match to {
            End::Dir(path) => self.remove(path, names),
            End::Registry => registry(),
            End::Archive(_) => Err(Error::unsupported("nothing is removed from an archive")),
        };
        names.iter().map(|_| done.clone()).collect()
    }
}
