//! Repositories of registries, opened for writing: blobs first, manifests and tags at the end.
//!
//! It knows no request: the protocol is in `registry`. A blob that several repositories need is
//! uploaded once and mounted in the others. No tag moves before everything beneath it is there.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::companion;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::{Cause, Error, Kind, Result};
use crate::io::lanes;
use crate::io::scratch::{Lazy, Scratch};
use crate::layer::Compression;
use crate::locks::lock;
use crate::manifest::{self, Document};
use crate::reference::Reference;
use crate::registry::upload::MountOutcome;
use crate::registry::{Registries, Repository, TagOrDigest, Unlisted};
use crate::transport::registry::recoded::Recoded;
use crate::transport::{
    Accepts, Arrival, Blob, Need, NetworkSink, Refused, Reopen, Reused, Root, Sealed, Sink,
};

mod naming;
mod table;

use table::{At, Presence, Table};

/// Any number of repositories, opened for writing.
pub struct RegistrySink {
    registries: Arc<Registries>,
    scratch: Lazy,
    table: Mutex<Table>,
    /// What names led to before anything was sent.
    heads: Mutex<HashMap<Reference, Option<Descriptor>>>,
    documents: Mutex<HashMap<Digest, Written>>,
    published: Mutex<Vec<Sealed>>,
    refused: Mutex<Vec<Refused>>,
    /// What was named and is still to be listed as a referrer.
    unlisted: Mutex<Vec<(Root, Unlisted)>>,
    recoded: Recoded,
    ctx: Context,
}

/// A manifest or index, with its bytes.
type Written = Arc<(Descriptor, Vec<u8>)>;

impl RegistrySink {
    /// A sink whose rare scratch files go to `temporary`, and that keeps in `memory` what layers
    /// became when they were recoded.
    pub fn new(
        registries: Arc<Registries>,
        temporary: PathBuf,
        memory: Option<PathBuf>,
        ctx: &Context,
    ) -> Self {
        Self {
            registries,
            scratch: Lazy::within(temporary),
            table: Mutex::default(),
            heads: Mutex::default(),
            documents: Mutex::default(),
            published: Mutex::default(),
            refused: Mutex::default(),
            unlisted: Mutex::default(),
            recoded: Recoded::open(memory),
            ctx: ctx.clone(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    fn at(&self, name: &Reference) -> Result<At> {
        let key = name.repository();
        if let Some(at) = self.table().find(&key) {
            return Ok(at);
        }
        let opened = self.registries.repository(name)?.direct();
        Ok(self.table().add(key, opened))
    }

    fn repository(&self, name: &Reference) -> Result<Repository> {
        let at = self.at(name)?;
        Ok(self.opened(at))
    }

    fn opened(&self, at: At) -> Repository {
        self.table().repository(at).clone()
    }

    /// Mounts a blob from another repository of the same registry.
    fn mount(&self, digest: &Digest, at: At, from: &[String]) -> Result<bool> {
        let to = self.opened(at);
        for path in from {
            match to.mount(digest, path)? {
                MountOutcome::Mounted => {
                    self.table().mark(digest, at, Presence::Present);
                    let unused = self.table().take_begun(digest, at);
                    unused.iter().for_each(|session| to.forgo(session));
                    return Ok(true);
                }
                MountOutcome::Session(session) => {
                    // The blob is uploaded in it, unless another repository has it after all.
                    let unused = self.table().begin(digest, at, session);
                    unused.iter().for_each(|session| to.forgo(session));
                }
                MountOutcome::Refused => {}
            }
        }
        Ok(false)
    }

    /// Whether a repository has the blob, asked once.
    fn there(&self, desc: &Descriptor, at: At) -> Result<bool> {
        match self.table().presence(&desc.digest, at) {
            Presence::Unknown => {}
            known => return Ok(known >= Presence::Present),
        }
        let found = self.opened(at).blob_size(&desc.digest)? == Some(desc.size);
        let presence = if found { Presence::Present } else { Presence::Lacking };
        self.table().mark(&desc.digest, at, presence);
        Ok(found)
    }

    /// Makes the blob present in one repository without its bytes, if that can be done.
    fn without_bytes(&self, desc: &Descriptor, at: At) -> Result<bool> {
        let digest = &desc.digest;
        let (presence, near, offers) = {
            let table = self.table();
            (table.presence(digest, at), table.is_near(digest), table.offers(digest, at, true))
        };
        if presence >= Presence::Absent {
            return Ok(presence >= Presence::Present);
        }
        // What is known to be next door is mounted unasked; else it is asked for first.
        if near && self.mount(digest, at, &offers)? {
            return Ok(true);
        }
        let there = self.there(desc, at)? || (!near && self.mount(digest, at, &offers)?);
        if !there {
            self.table().mark(digest, at, Presence::Absent);
        }
        Ok(there)
    }

    fn put_in(&self, blob: &Blob<'_>, at: At) -> Result<()> {
        let desc = blob.descriptor();
        let (present, offers) = {
            let table = self.table();
            // From where the source has it was tried when it was asked for.
            (table.is_present(&desc.digest, at), table.offers(&desc.digest, at, false))
        };
        if present || self.mount(&desc.digest, at, &offers)? {
            return Ok(());
        }
        let begun = self.table().take_begun(&desc.digest, at);
        let to = self.opened(at);
        to.upload(desc, begun, &|| Ok(Box::new(blob.open()?))).map_err(|e| {
            // A blob that is missing says so through its reader; what else is missing is the repository.
            let ours = e.kind() == Kind::Missing && e.place().is_none();
            if ours { e.because(Cause::OfTarget) } else { e }
        })?;
        self.table().mark(&desc.digest, at, Presence::Sent);
        Ok(())
    }
}

impl Drop for RegistrySink {
    /// Ends the sessions that nothing was sent to.
    fn drop(&mut self) {
        for (to, session) in self.table().unused() {
            to.forgo(&session);
        }
    }
}

impl Sink for RegistrySink {
    fn place(&self) -> String {
        let table = self.table();
        let mut hosts: Vec<&str> = table.repositories().iter().map(Repository::domain).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.is_empty() { "docker://".into() } else { hosts.join(", ") }
    }

    fn accepts(&self) -> Accepts {
        Accepts { arrival: Arrival::Fetched, ..Accepts::staged(self.ctx.jobs) }
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        self.scratch.get()
    }

    fn standing(&self, root: &Root) -> Result<Option<Descriptor>> {
        let mut found: Option<Descriptor> = None;
        for name in &root.names {
            let known = lock(&self.heads).get(name).cloned();
            let there = match known {
                Some(there) => there,
                None => {
                    let there = standing(&self.repository(name)?, name, root)?;
                    lock(&self.heads).insert(name.clone(), there.clone());
                    there
                }
            };
            match (there, &found) {
                (None, _) => return Ok(None),
                (Some(desc), Some(other)) if desc.digest != other.digest => return Ok(None),
                (Some(desc), _) => found = Some(desc),
            }
        }
        Ok(found)
    }

    fn network(&self) -> Option<&dyn NetworkSink> {
        Some(self)
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        if desc.media_type.role().is_document() {
            // Manifests are put when everything beneath them is there.
            return Ok(None);
        }
        let (wanted_by, held) = self.table().wanted_by(&desc.digest);
        let refused = |e: &Error| refuses(e) && wanted_by.len() > 1;
        // One that has it already gives it to the others.
        for at in wanted_by.iter().filter(|_| !held) {
            match self.there(desc, *at) {
                Ok(true) => break,
                Ok(false) => {}
                Err(e) if refused(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let mut everywhere = !wanted_by.is_empty();
        for at in &wanted_by {
            match self.without_bytes(desc, *at) {
                Ok(there) => everywhere &= there,
                // One repository that refuses us does not keep the blob from the others.
                Err(e) if refused(&e) => everywhere = false,
                Err(e) => return Err(e),
            }
        }
        Ok(everywhere.then(Reused::default))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let desc = blob.descriptor();
        if desc.media_type.role().is_document() {
            let bytes = blob.bytes(manifest::MAX_DOCUMENT)?;
            lock(&self.documents).insert(desc.digest, Arc::new((desc.clone(), bytes)));
            return Ok(());
        }
        let (wanted_by, _) = self.table().wanted_by(&desc.digest);
        let mut failed = Vec::new();
        for at in &wanted_by {
            match self.put_in(blob, *at) {
                Ok(()) => {}
                Err(e) if refuses(&e) => failed.push((*at, e)),
                Err(e) => return Err(e),
            }
        }
        if failed.len() == wanted_by.len()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        for (at, error) in failed {
            self.table().refuse(&desc.digest, at, error);
        }
        Ok(())
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        if sealed.root.names.is_empty() {
            let what =
                "has no name, and a registry keeps images under names; name it in the target";
            return Err(Error::unsupported(what).input(sealed.root.title()));
        }
        lock(&self.published).push(sealed);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        // Nothing is left to do where it was settled.
        self.settle(&|_| None)?;
        Ok(std::mem::take(&mut *lock(&self.refused)))
    }
}

impl NetworkSink for RegistrySink {
    fn configs(&self, root: &Root) -> Result<Vec<Digest>> {
        let Some(there) = self.standing(root)? else { return Ok(Vec::new()) };
        let Some(name) = root.names.first() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        configs(&self.repository(name)?, &there, 0, &mut seen, &mut all)?;
        Ok(all)
    }

    fn expect(&self, root: &Root, needs: Vec<Need>) {
        // A name that leads to no registry is told of when it is to be written.
        let mut by: Vec<At> = root.names.iter().filter_map(|name| self.at(name).ok()).collect();
        by.sort_unstable();
        by.dedup();
        let mut table = self.table();
        for need in needs {
            table.want(need.desc.digest, &by, need.holders);
        }
    }

    fn recoded(&self, was: &Descriptor, diff_id: DiffId, to: Compression) -> Option<Descriptor> {
        let (digest, size) = self.recoded.find(diff_id, to)?;
        let media_type = was.media_type.with_encoding(to.encoding)?;
        let mut table = self.table();
        let (by, _) = table.wanted_by(&was.digest);
        table.want(digest, &by, Vec::new());
        Some(Descriptor::new(media_type, digest, size))
    }

    fn note_recoded(&self, was: &Descriptor, diff_id: DiffId, to: Compression, now: &Descriptor) {
        self.recoded.note(diff_id, to, now.digest, now.size);
        let mut table = self.table();
        let (by, _) = table.wanted_by(&was.digest);
        table.want(now.digest, &by, Vec::new());
    }

    fn settle(&self, open: &Reopen<'_>) -> Result<()> {
        let published = std::mem::take(&mut *lock(&self.published));
        self.recoded.save();
        // What refers to an image is named after it.
        let (companions, images): (Vec<_>, Vec<_>) =
            published.into_iter().partition(|s| s.root.companion);
        for sealed in [images, companions] {
            let named = lanes::each(&sealed, self.ctx.jobs, |one| self.name(one, open));
            for refused in named {
                lock(&self.refused).extend(refused?);
            }
        }
        self.list_referrers()
    }
}

/// What lies in a repository under a name, one request; nothing for a companion that is there and that the
/// referrers of its subject do not list, since nobody would find it.
///
/// # Errors
/// Those of the registry.
pub fn standing(at: &Repository, name: &Reference, root: &Root) -> Result<Option<Descriptor>> {
    let there = at.head(TagOrDigest::to_write(name)).map_err(|e| e.input_or(name.familiar()))?;
    let same = there.as_ref().is_some_and(|desc| desc.digest == root.desc.digest);
    let subjects = companion::subjects(&root.desc, std::iter::empty());
    match subjects.first().filter(|_| same && root.companion) {
        Some(subject) if at.is_unlisted(&root.desc.digest, subject)? => Ok(None),
        _ => Ok(there),
    }
}

/// Errors of one repository or registry, not of the blob.
fn refuses(error: &Error) -> bool {
    matches!(error.kind(), Kind::Denied | Kind::Unreachable | Kind::Missing | Kind::Unsupported)
}

/// Config digests of the images beneath a manifest or index of a repository, each image once, in order.
fn configs(
    repository: &Repository,
    desc: &Descriptor,
    depth: usize,
    seen: &mut HashSet<Digest>,
    all: &mut Vec<Digest>,
) -> Result<()> {
    if depth > crate::layout::MAX_NESTING || !seen.insert(desc.digest) {
        return Ok(());
    }
    let found = repository.manifest(TagOrDigest::Digest(&desc.digest))?;
    let Some((desc, bytes)) = found else { return Ok(()) };
    let doc = Document::parse(&bytes, &desc.media_type)?;
    match &doc.kind {
        manifest::DocumentKind::Manifest { config, .. } if doc.is_image() => {
            all.extend(config.iter().map(|c| c.digest));
        }
        manifest::DocumentKind::Manifest { .. } => {}
        manifest::DocumentKind::Index(entries) => {
            for entry in entries {
                configs(repository, entry, depth + 1, seen, all)?;
            }
        }
    }
    Ok(())
}
