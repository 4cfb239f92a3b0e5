//! Directories and archives as ends of a sync.
//!
//! It opens no connection: for registries another opener stands before it. A directory that is
//! written is one OCI layout, in which names are digests; tags are entries of its index.

use std::collections::HashMap;
use std::path::Path;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::Dir;
use crate::io::look;
use crate::layout::{name_of, said_subject};
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::reference::Reference;
use crate::sync::folder;
use crate::sync::job::End;
use crate::sync::naming::Base;
use crate::sync::opener::{Opened, Opener};
use crate::transport::layout::index::{self, Change, Index};
use crate::transport::layout::{LayoutSink, Rules};
use crate::transport::store::Store;
use crate::transport::table::{self, Env};
use crate::transport::{Root, Sink};

/// Opens directories and archives.
pub struct Local {
    env: Env,
}

impl Local {
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
        let listed = |entry: &Descriptor| listed(&dir, entry);
        index::change(&dir, sync, wait, false, |index| Ok(removals(index, names, listed)))?;
        Store::new(path, &self.env.ctx).tidy()
    }
}

fn registry<T>() -> Result<T> {
    Err(Error::unsupported("no registry can be reached here"))
}

/// The name of an entry: a tagged one, or a digest that was recorded as a label.
fn called(entry: &Descriptor) -> Option<Reference> {
    let (name, label) = name_of(entry);
    name.or_else(|| label?.parse().ok().filter(|name: &Reference| name.digest().is_some()))
}

/// What a companion is about, by what its entry says.
fn subject(entry: &Descriptor) -> Option<Digest> {
    said_subject(entry, name_of(entry).1.as_deref().into_iter())
}

/// What an index of the directory lists; nothing when it cannot be read.
fn listed(dir: &Dir, entry: &Descriptor) -> Vec<Digest> {
    if entry.media_type.role() != Role::Index {
        return Vec::new();
    }
    let bytes = dir.read(&entry.digest.blob_path(), MAX_DOCUMENT).ok().flatten();
    let document = bytes.and_then(|bytes| Document::parse(&bytes, &entry.media_type).ok());
    document.map_or(Vec::new(), |d| d.children().iter().map(|child| child.digest).collect())
}

fn removals(
    index: &Index,
    names: &[Reference],
    listed: impl Fn(&Descriptor) -> Vec<Digest>,
) -> Vec<Change> {
    let goes = |entry: &Descriptor| called(entry).is_some_and(|name| names.contains(&name));
    let mut kept: HashMap<Digest, bool> = HashMap::new();
    for entry in index.entries() {
        *kept.entry(entry.digest).or_default() |= !goes(entry);
    }
    // The platforms of an image go with it, where no other image has them.
    for entry in index.entries() {
        let stays = kept.get(&entry.digest) == Some(&true);
        for digest in listed(entry) {
            *kept.entry(digest).or_default() |= stays;
        }
    }
    // What is about something that goes goes too, and then what is about that.
    loop {
        let orphans: Vec<Digest> = index
            .entries()
            .filter(|entry| kept.get(&entry.digest) == Some(&true))
            .filter(|entry| subject(entry).is_some_and(|s| kept.get(&s) == Some(&false)))
            .map(|entry| entry.digest)
            .collect();
        if orphans.is_empty() {
            break;
        }
        kept.extend(orphans.into_iter().map(|digest| (digest, false)));
    }
    let mut changes = Vec::new();
    for entry in index.entries() {
        if kept.get(&entry.digest) == Some(&false) {
            changes.push(Change::Remove(entry.digest));
        } else if goes(entry)
            && let Some(name) = called(entry)
        {
            changes.push(Change::Untag(name));
        }
    }
    changes
}

impl Opener for Local {
    fn source(&self, from: &End, _: &[Reference], _: bool) -> Result<Opened> {
        match from {
            End::Registry => registry(),
            End::Dir(path) => folder::open(path, &self.env),
            End::Archive(path) => {
                let source = folder::source(path, &self.env)?;
                Ok(Opened { source, failed: Vec::new() })
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
                Ok(Box::new(LayoutSink::create(path, Rules::PLAIN, None, ctx)?))
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
        let named: HashMap<Reference, Digest> =
            index.entries().filter_map(|e| Some((called(e)?, e.digest))).collect();
        let listed = |digest: &Digest| index.entries().any(|e| e.digest == *digest);
        let one = |root: &Root| match root.names.first() {
            Some(name) => named.get(name).copied(),
            None => Some(root.desc.digest).filter(listed),
        };
        roots.iter().map(|root| Ok(one(root))).collect()
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
