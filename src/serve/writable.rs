//! The writable store of a registry: adds blobs and manifests, moves tags, deletes.
//!
//! It knows no request. The store is the one that every other verb uses: a tag is an entry of its index
//! with a full name, a manifest without a tag is an entry labelled `repository@digest`. Answers come from
//! memory, which every change updates and which is read again when another process changed the index.
//! A change is acknowledged only when it is on disk, children before parents.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::blobs::BlobDir;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{self, Error, Result};
use crate::io::dir::{Dir, DirLock};
use crate::locks::{lock, read};
use crate::serve::catalogue::{BlobIndex, Part};
use crate::serve::deletions::{ContentKind, Deletions};
use crate::serve::holdings::{self, Holdings, Parsed, ServedRepository};
use crate::serve::names::RepositoryName;
use crate::serve::uploads::{Claimed, Stop, Uploads};
use crate::transport::layout::index::{Change, Editor};
use crate::transport::layout::{LayoutSource, appendable, removals};

mod collect;
mod entries;

pub use collect::Collected;

/// What must be present when a manifest is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// Everything it names.
    Strict,
    /// Its config and its layers; of an index any part may be absent.
    #[default]
    IndexSparse,
    /// Nothing.
    None,
}

/// What clients may do to the store.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// Whether clients may delete.
    pub delete: bool,
    /// What a manifest must have with it.
    pub validate: Validate,
    /// How long what nothing refers to is kept.
    pub grace: Duration,
}

impl Default for WriteSettings {
    fn default() -> Self {
        let grace = Duration::from_secs(3600);
        Self { delete: false, validate: Validate::default(), grace }
    }
}

/// A store that is written to.
pub struct Writable {
    root: Arc<Dir>,
    part: Arc<Part>,
    shelf: Arc<StoreBlobs>,
    uploads: Uploads,
    editor: Mutex<Editor>,
    /// Held shared from finding a blob to having it referred to, alone while blobs are collected.
    gate: RwLock<()>,
    settings: WriteSettings,
    since: Instant,
    ctx: Context,
}

/// The blobs of the store.
struct StoreBlobs {
    blobs: BlobDir,
    deletions: Deletions,
    /// When a client was last told that a blob is there: it may count on that for a while. Never more
    /// than there are blobs, and those of longer ago are forgotten each time that is collected.
    seen: Mutex<HashMap<Digest, Instant>>,
}

impl StoreBlobs {
    fn see(&self, digest: &Digest) {
        let mut seen = lock(&self.seen);
        seen.insert(*digest, Instant::now());
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        // In this order: what is collected was not seen before it was looked for.
        self.see(digest);
        let size = self.blobs.size(digest);
        if !matches!(size, Ok(Some(_))) {
            lock(&self.seen).remove(digest);
        }
        size
    }
}

impl BlobIndex for StoreBlobs {
    fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>> {
        if self.deletions.has(ContentKind::Blob, name, digest) {
            return Ok(None);
        }
        self.size(digest)
    }
}

impl Writable {
    /// Opens a store, made when absent, and reads what it holds.
    ///
    /// # Errors
    /// `Conflict` when something else lies there, `Busy` when another process serves it, `Malformed`, `Io`.
    pub fn open(path: &Path, settings: WriteSettings, ctx: &Context) -> Result<Self> {
        // A push that is under way when the run ends is still brought to its end.
        let ctx = Context { cancel: Arc::default(), ..ctx.clone() };
        let root = Arc::new(appendable(path)?);
        let uploads = Uploads::open(&root, ctx.sync)?;
        let deletions = Deletions::open(root.clone(), ctx.sync)?;
        let editor = Editor::open(root.clone(), ctx.sync, ctx.wait)?;
        let blobs = BlobDir::new(root.clone());
        let shelf = Arc::new(StoreBlobs { blobs, deletions, seen: Mutex::default() });
        let source = LayoutSource::with_roots(root.clone(), Vec::new(), HashMap::new(), None);
        let part = Part::written(Box::new(source), Holdings::default(), shelf.clone());
        let (part, editor) = (Arc::new(part), Mutex::new(editor));
        let (gate, since) = (RwLock::new(()), Instant::now());
        let opened = Self { root, part, shelf, uploads, editor, gate, settings, since, ctx };
        opened.read(&opened.editor())?;
        Ok(opened)
    }

    /// What is served of it.
    pub fn part(&self) -> Arc<Part> {
        self.part.clone()
    }

    /// What may be done.
    pub fn settings(&self) -> &WriteSettings {
        &self.settings
    }

    /// The uploads that are under way.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    fn editor(&self) -> MutexGuard<'_, Editor> {
        lock(&self.editor)
    }

    fn gate(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.gate)
    }

    /// The index, nobody else changing it, and what is held as it says.
    fn enter(&self) -> Result<(MutexGuard<'_, Editor>, DirLock)> {
        let mut editor = self.editor();
        let (lock, changed) = editor.lock()?;
        if changed {
            self.read(&editor)?;
        }
        Ok((editor, lock))
    }

    /// Reads everything the index names.
    fn read(&self, editor: &Editor) -> Result<()> {
        let roots = entries::roots(editor.index());
        let named = entries::named(&roots);
        let source = LayoutSource::with_roots(self.root.clone(), roots, HashMap::new(), None);
        let mut held = holdings::gather(&source, &[], None, &self.ctx.afresh())?;
        for note in &held.notes {
            self.ctx.warn(&format!("{}: {note}", self.root.path().display()));
        }
        for (name, digest) in self.shelf.deletions.manifests() {
            if named.contains(&(name.clone(), digest)) {
                // Another process added it again, or its deletion was never recorded.
                self.shelf.deletions.lift(ContentKind::Manifest, &name, &digest)?;
            } else if let Some(repository) = held.repositories.get_mut(&name) {
                repository.remove(&digest);
            }
        }
        self.part.change(|holdings| *holdings = held);
        Ok(())
    }

    /// Reads the store again when another process changed it. True when one did.
    ///
    /// # Errors
    /// `Busy`, `Malformed`, `Io`.
    pub fn refresh(&self) -> Result<bool> {
        if self.editor().is_current() {
            return Ok(false);
        }
        self.enter().map(|_| true)
    }

    /// Whether a repository may read a blob that lies here, and its size in bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>> {
        self.shelf.blob(name, digest)
    }

    /// Whether a repository has a manifest here.
    pub fn manifest(&self, name: &RepositoryName, digest: &Digest) -> bool {
        self.look(name, |repository| repository.manifests.contains_key(digest)).unwrap_or_default()
    }

    /// What a tag of a repository names here.
    pub fn tagged(&self, name: &RepositoryName, tag: &str) -> Option<Digest> {
        self.look(name, |repository| repository.tags.get(tag).copied()).flatten()
    }

    fn look<R>(
        &self,
        name: &RepositoryName,
        look: impl FnOnce(&ServedRepository) -> R,
    ) -> Option<R> {
        self.part.holdings(|holdings| holdings.repositories.get(name).map(look))
    }

    /// Makes an upload a blob of a repository.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn commit(
        &self,
        name: &RepositoryName,
        claimed: Claimed<'_>,
        digest: &Digest,
    ) -> Result<(), Stop> {
        // Hashing and flushing may take minutes; whoever collects need not wait for that.
        let proved = self.uploads.prove(claimed, digest)?;
        let _gate = self.gate();
        self.uploads.finish(proved)?;
        self.shelf.see(digest);
        Ok(self.shelf.deletions.lift(ContentKind::Blob, name, digest)?)
    }

    /// Gives a repository a blob that lies here already; false when it does not, or when `from` is a
    /// repository that no longer has it.
    ///
    /// # Errors
    /// `Io`.
    pub fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<bool> {
        let _gate = self.gate();
        let there = match from {
            Some(from) => self.shelf.blob(from, digest)?,
            None => self.shelf.size(digest)?,
        };
        if there.is_none() {
            return Ok(false);
        }
        self.shelf.deletions.lift(ContentKind::Blob, name, digest)?;
        Ok(true)
    }

    /// Publishes a manifest, under tags or under its digest alone. What it names and `settings` demand
    /// must be there: the first that is not is the answer.
    ///
    /// # Errors
    /// `Busy`, `Io`; nothing is published then.
    pub fn publish(
        &self,
        name: &RepositoryName,
        desc: &Descriptor,
        bytes: &[u8],
        tags: &[String],
    ) -> Result<Option<Digest>> {
        let parsed = Parsed::read(desc, bytes)?;
        let _gate = self.gate();
        if let Some(absent) = self.absent(name, &parsed)? {
            return Ok(Some(absent));
        }
        if self.shelf.size(&desc.digest)? != Some(desc.size) {
            self.uploads.put(&desc.digest, bytes)?;
            self.shelf.see(&desc.digest);
        }
        let (mut editor, lock) = self.enter()?;
        let none = ServedRepository::default();
        let changes = self.part.holdings(|held| {
            let repository = held.repositories.get(name).unwrap_or(&none);
            entries::published(repository, name, desc, &parsed, tags)
        });
        editor.write(&lock, changes)?;
        self.shelf.deletions.lift(ContentKind::Manifest, name, &desc.digest)?;
        self.part.change(|held| {
            let repository = held.repositories.entry(name.clone()).or_default();
            repository.add(desc, Some(&parsed));
            repository.tags.extend(tags.iter().map(|tag| (tag.clone(), desc.digest)));
            held.blobs.extend(parsed.blobs.iter().map(|blob| (blob.digest, blob.size)));
        });
        Ok(None)
    }

    /// The first thing a document names that must be there and is not.
    fn absent(&self, name: &RepositoryName, parsed: &Parsed) -> Result<Option<Digest>> {
        use crate::media_type::Role::ForeignLayer;
        let (blobs, documents) = match self.settings.validate {
            Validate::Strict => (true, true),
            Validate::IndexSparse => (true, false),
            Validate::None => (false, false),
        };
        for desc in parsed.blobs.iter().filter(|d| blobs && d.media_type.role() != ForeignLayer) {
            if self.blob(name, &desc.digest)? != Some(desc.size) {
                return Ok(Some(desc.digest));
            }
        }
        let unknown = parsed
            .documents
            .iter()
            .filter(|_| documents)
            .find(|desc| !self.manifest(name, &desc.digest));
        Ok(unknown.map(|desc| desc.digest))
    }

    /// Takes a tag away; its manifest stays. False when there is none.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn untag(&self, name: &RepositoryName, tag: &str) -> Result<bool> {
        let (mut editor, lock) = self.enter()?;
        let Some(changes) = self.look(name, |r| entries::untagged(r, name, tag)).flatten() else {
            return Ok(false);
        };
        editor.write(&lock, changes)?;
        self.part.change(|held| {
            if let Some(repository) = held.repositories.get_mut(name) {
                repository.tags.remove(tag);
            }
        });
        Ok(true)
    }

    /// Takes a manifest out of a repository, with its tags. False when it is not there.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn remove(&self, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        let (mut editor, lock) = self.enter()?;
        let Some(desc) = self.look(name, |r| r.descriptor(digest)).flatten() else {
            return Ok(false);
        };
        let children = match removals::entries(&self.root, &desc) {
            Err(e) if e.kind() == error::Kind::Malformed => Vec::new(),
            listed => listed?,
        };
        // Something may still lead to it: an index that lists it, a name that another process gives.
        self.shelf.deletions.delete(ContentKind::Manifest, name, digest)?;
        let changes: Option<Vec<Change>> =
            self.look(name, |r| entries::removed(r, name, digest, &children));
        editor.write(&lock, changes.unwrap_or_default())?;
        self.part.change(|held| {
            if let Some(repository) = held.repositories.get_mut(name) {
                repository.remove(digest);
            }
        });
        Ok(true)
    }

    /// Takes a blob out of a repository. False when it is not there.
    ///
    /// # Errors
    /// `Usage` when it is a manifest, `Io`.
    pub fn remove_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        if self.manifest(name, digest) {
            let what = format!("{digest} is a manifest; delete it as a manifest");
            return Err(Error::new(error::Kind::Usage, what));
        }
        if self.blob(name, digest)?.is_none() {
            return Ok(false);
        }
        self.shelf.deletions.delete(ContentKind::Blob, name, digest)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
