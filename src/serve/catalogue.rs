//! The catalogue: what all served places hold together, found by the names of requests.
//!
//! It answers from memory and opens blobs; it knows no protocol. A place that changed is read again
//! and replaced as a whole; answers in progress keep using the old one.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::digests::DigestCache;
use crate::locks::{read, write};
use crate::manifest::MAX_DOCUMENT;
use crate::serve::holdings::{Holdings, ServedRepository, hidden};
use crate::serve::names::{NameResolver, RepositoryName};
use crate::serve::outgoing::{Outgoing, Watch};
use crate::serve::route::ManifestReference;
use crate::serve::status::ServerStatus;
use crate::transport::{Blob, Source};

/// Bytes of documents that are kept in memory.
const MAX_CACHE: usize = 32 << 20;

/// The blobs of a writable place, looked up on disk.
pub trait BlobIndex: Send + Sync {
    /// Bytes of a blob that a repository may read.
    ///
    /// # Errors
    /// `Io`.
    fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>>;
}

/// One served place.
pub struct Part {
    source: Box<dyn Source>,
    holdings: RwLock<Holdings>,
    /// How often they were changed in place.
    changes: AtomicU64,
    watch: Arc<Watch>,
    shelf: Option<Arc<dyn BlobIndex>>,
}

impl Part {
    /// A place and what it holds.
    pub fn new(source: Box<dyn Source>, holdings: Holdings) -> Self {
        let (holdings, changes) = (RwLock::new(holdings), AtomicU64::new(0));
        Self { source, holdings, changes, watch: Arc::default(), shelf: None }
    }

    /// The same; what was remembered of its files is forgotten when it proves wrong.
    #[must_use]
    pub fn remembered(mut self, digests: Arc<DigestCache>) -> Self {
        self.watch = Arc::new(Watch::remembered(digests));
        self
    }

    /// A place that is written to: its blobs are known to `shelf`, and belong to every repository.
    pub fn written(source: Box<dyn Source>, holdings: Holdings, shelf: Arc<dyn BlobIndex>) -> Self {
        let (holdings, watch) = (RwLock::new(holdings), Arc::new(Watch::written()));
        Self { source, holdings, changes: AtomicU64::new(0), watch, shelf: Some(shelf) }
    }

    /// How it is called in messages.
    pub fn place(&self) -> String {
        self.source.place()
    }

    /// Whether it changed since it was read, as far as who asked for blobs has seen.
    pub fn is_stale(&self) -> bool {
        self.watch.is_stale()
    }

    /// Looks at what it holds.
    pub fn holdings<R>(&self, look: impl FnOnce(&Holdings) -> R) -> R {
        look(&read(&self.holdings))
    }

    /// Changes what it is known to hold; for a place that is written to.
    pub fn change<R>(&self, change: impl FnOnce(&mut Holdings) -> R) -> R {
        let mut holdings = write(&self.holdings);
        // Before the change: who sees the new count waits here for what it counts.
        self.changes.fetch_add(1, Release);
        change(&mut holdings)
    }

    fn repository<R>(
        &self,
        name: &RepositoryName,
        look: impl FnOnce(&ServedRepository) -> R,
    ) -> Option<R> {
        self.holdings(|holdings| holdings.repositories.get(name).map(look))
    }
}

/// All served places.
pub struct Catalogue {
    naming: NameResolver,
    parts: RwLock<Vec<Arc<Part>>>,
    /// Why some places, or parts of them, are not among these now.
    unread: RwLock<Vec<Error>>,
    /// How often they were set.
    replaced: AtomicU64,
    documents: RwLock<Documents>,
    status: Arc<ServerStatus>,
    ctx: Context,
}

/// Tells one state of a catalogue from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    replaced: u64,
    changes: u64,
}

#[derive(Default)]
struct Documents {
    by_digest: HashMap<Digest, Bytes>,
    bytes: usize,
}

impl Catalogue {
    /// An empty one; hits and misses of its cache are counted in `status`.
    pub fn new(naming: NameResolver, ctx: &Context, status: Arc<ServerStatus>) -> Self {
        let (parts, unread, documents) = (RwLock::default(), RwLock::default(), RwLock::default());
        let replaced = AtomicU64::new(0);
        Self { naming, parts, unread, replaced, documents, status, ctx: ctx.clone() }
    }

    /// How names are read.
    pub fn naming(&self) -> &NameResolver {
        &self.naming
    }

    /// Sets the places, in the order in which they are asked, and why others cannot be read now.
    pub fn replace(&self, parts: Vec<Arc<Part>>, unread: Vec<Error>) {
        let mut all = write(&self.parts);
        self.replaced.fetch_add(1, Release);
        *all = parts;
        *write(&self.unread) = unread;
    }

    /// Why it cannot be told what else is there: a place, or a part of one, cannot be read now.
    pub fn unread(&self) -> Option<Error> {
        read(&self.unread).first().cloned()
    }

    /// The same, or a document that a place did not give.
    pub fn incomplete(&self) -> Option<Error> {
        let lacking = |part: &Arc<Part>| part.holdings(|held| held.unread.clone());
        self.unread().or_else(|| self.parts().iter().find_map(lacking))
    }

    /// Another one whenever anything it holds is.
    pub fn generation(&self) -> Generation {
        let parts = read(&self.parts);
        let changes = parts.iter().map(|part| part.changes.load(Acquire)).sum();
        Generation { replaced: self.replaced.load(Acquire), changes }
    }

    /// What the places hide from one another: a place, and what is said of one of its tags.
    pub fn hidden(&self) -> Vec<(String, String)> {
        let parts = self.parts();
        let mut notes = Vec::new();
        for (at, part) in parts.iter().enumerate().skip(1) {
            // One lock at a time: a place that is written to may wait for one.
            let mut tags = Vec::new();
            part.holdings(|held| {
                for (name, repository) in &held.repositories {
                    let all =
                        repository.tags.iter().map(|(tag, d)| (name.clone(), tag.clone(), *d));
                    tags.extend(all);
                }
            });
            for earlier in &parts[..at] {
                tags.retain(|(name, tag, digest)| {
                    let first = earlier.repository(name, |r| r.tags.get(tag).copied()).flatten();
                    if let Some(first) = first.filter(|first| first != digest) {
                        notes.push((part.place(), hidden(name, tag, &first, digest)));
                    }
                    first.is_none()
                });
            }
        }
        notes
    }

    /// The places.
    pub fn parts(&self) -> Vec<Arc<Part>> {
        read(&self.parts).clone()
    }

    /// Every repository, by name.
    pub fn repositories(&self) -> BTreeSet<RepositoryName> {
        let parts = self.parts();
        let names = |part: &Arc<Part>| -> Vec<RepositoryName> {
            part.holdings(|holdings| holdings.repositories.keys().cloned().collect())
        };
        parts.iter().flat_map(names).collect()
    }

    /// The repository that the path of a request means, in the registry `ns` when that is given.
    pub fn find(&self, path: &str, ns: Option<&str>) -> Option<FoundRepository<'_>> {
        let parts = self.parts();
        for name in self.naming.candidates(path, ns) {
            let has = |part: &Arc<Part>| part.repository(&name, |_| ()).is_some();
            if parts.iter().any(has) {
                let parts = parts.into_iter().filter(|p| has(p) || p.shelf.is_some()).collect();
                return Some(FoundRepository { catalogue: self, name, parts });
            }
        }
        // What was pushed is called as it was pushed: a mirror that was filled so is asked for it with
        // the name of the registry that it stands for. What is only served is never taken for another's.
        ns?;
        let pushed: Vec<_> = parts.into_iter().filter(|part| part.shelf.is_some()).collect();
        let name = self
            .naming
            .candidates(path, None)
            .into_iter()
            .find(|name| pushed.iter().any(|part| part.repository(name, |_| ()).is_some()))?;
        Some(FoundRepository { catalogue: self, name, parts: pushed })
    }

    /// The same for blobs, which a place that is written to gives to repositories without manifests too.
    pub fn find_for_blobs(&self, path: &str, ns: Option<&str>) -> Option<FoundRepository<'_>> {
        self.find(path, ns).or_else(|| {
            let name = self.naming.target(path, ns)?;
            let parts: Vec<_> =
                self.parts().into_iter().filter(|part| part.shelf.is_some()).collect();
            (!parts.is_empty()).then_some(FoundRepository { catalogue: self, name, parts })
        })
    }

    /// A document that was read lately.
    pub fn cached(&self, digest: &Digest) -> Option<Bytes> {
        let documents = read(&self.documents);
        documents.by_digest.get(digest).cloned()
    }

    fn keep(&self, digest: Digest, bytes: &Bytes) {
        let mut documents = write(&self.documents);
        if documents.bytes + bytes.len() > MAX_CACHE {
            *documents = Documents::default();
        }
        if documents.by_digest.insert(digest, bytes.clone()).is_none() {
            documents.bytes += bytes.len();
        }
    }
}

/// A repository that was found.
pub struct FoundRepository<'c> {
    catalogue: &'c Catalogue,
    /// Its name.
    pub name: RepositoryName,
    parts: Vec<Arc<Part>>,
}

/// A blob that was found.
pub struct Stored {
    part: Arc<Part>,
    desc: Descriptor,
}

impl FoundRepository<'_> {
    /// Its first `most` tags behind `last`, sorted.
    pub fn tags_after(&self, last: &str, most: usize) -> Vec<String> {
        let behind = (Bound::Excluded(last), Bound::Unbounded);
        let of = |r: &ServedRepository| -> Vec<String> {
            r.tags.range::<str, _>(behind).take(most).map(|(tag, _)| tag.clone()).collect()
        };
        let tags = |part| Part::repository(part, &self.name, of).unwrap_or_default();
        let mut all: Vec<String> = self.parts.iter().flat_map(|part| tags(part)).collect();
        all.sort();
        all.dedup();
        all.truncate(most);
        all
    }

    /// A manifest of it.
    pub fn manifest(&self, wanted: &ManifestReference) -> Option<Stored> {
        self.parts.iter().find_map(|part| {
            let found = part.repository(&self.name, |repository| {
                let digest = match wanted {
                    ManifestReference::Tag(tag) => *repository.tags.get(tag)?,
                    ManifestReference::Digest(digest) => *digest,
                };
                repository.descriptor(&digest)
            });
            Some(Stored { part: part.clone(), desc: found.flatten()? })
        })
    }

    /// A config, a layer or another blob of it. Documents are blobs too, and may be asked for as such.
    ///
    /// # Errors
    /// `Io` when it cannot be told whether it is there.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Stored>> {
        for part in &self.parts {
            let listed = || {
                part.holdings(|holdings| {
                    let manifest = || holdings.repositories.get(&self.name)?.manifests.get(digest);
                    holdings.blobs.get(digest).copied().or_else(|| Some(manifest()?.size))
                })
            };
            let size = match &part.shelf {
                Some(shelf) => shelf.blob(&self.name, digest)?,
                None => listed(),
            };
            if let Some(size) = size {
                let desc = Descriptor::new("application/octet-stream", *digest, size);
                return Ok(Some(Stored { part: part.clone(), desc }));
            }
        }
        Ok(None)
    }

    /// What refers to a digest, in order of digest.
    pub fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let listed = |part: &Arc<Part>| {
            let of = |r: &ServedRepository| r.referrers.get(subject).cloned().unwrap_or_default();
            part.repository(&self.name, of).unwrap_or_default()
        };
        let mut all: Vec<Descriptor> = self.parts.iter().flat_map(listed).collect();
        all.sort_by_key(|desc| desc.digest);
        all.dedup_by_key(|desc| desc.digest);
        all
    }

    /// How many there are of these.
    pub fn referrers_count(&self, subject: &Digest) -> usize {
        let of = |r: &ServedRepository| r.referrers.get(subject).map_or(0, Vec::len);
        let count = |part: &Arc<Part>| part.repository(&self.name, of).unwrap_or_default();
        let counts: Vec<usize> = self.parts.iter().map(count).filter(|count| *count > 0).collect();
        match counts.as_slice() {
            [] => 0,
            [one] => *one,
            _ => self.referrers(subject).len(),
        }
    }

    /// The bytes of a document, checked against its digest when they are read.
    ///
    /// # Errors
    /// `Missing`, `Corrupt`, `Io`.
    pub fn document(&self, stored: &Stored) -> Result<Bytes> {
        if let Some(bytes) = self.catalogue.cached(&stored.desc.digest) {
            self.catalogue.status.metrics.hits.fetch_add(1, Relaxed);
            return Ok(bytes);
        }
        self.catalogue.status.metrics.misses.fetch_add(1, Relaxed);
        let blob = Blob::new(&*stored.part.source, stored.desc.clone(), &self.catalogue.ctx);
        let bytes = Bytes::from(blob.bytes(MAX_DOCUMENT)?);
        self.catalogue.keep(stored.desc.digest, &bytes);
        Ok(bytes)
    }

    /// A blob, or `length` bytes of it from `start` on, on its way out.
    ///
    /// # Errors
    /// `Missing` when the medium no longer has it, `Corrupt`, `Io`.
    pub fn outgoing(&self, stored: &Stored, start: u64, length: u64) -> Result<BlobContent> {
        let (part, desc) = (&stored.part, &stored.desc);
        let Some(extent) = part.source.extent(desc) else {
            // What was made here lies in memory.
            if part.source.has(desc)? && desc.size <= MAX_DOCUMENT {
                let bytes = self.document(stored)?;
                let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                return Ok(BlobContent::Memory(bytes.slice(at(start)..at(start + length))));
            }
            let what = format!("{} is no longer there", desc.digest);
            return Err(Error::corrupt(what).input(part.place()));
        };
        if extent.size != desc.size {
            let what = format!("{} has changed its size", desc.digest);
            return Err(Error::corrupt(what).input(part.place()));
        }
        part.watch.outgoing(extent, &desc.digest, start, length).map(BlobContent::File)
    }
}

impl Stored {
    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.desc
    }
}

/// Bytes of a blob.
pub enum BlobContent {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(Outgoing),
}
