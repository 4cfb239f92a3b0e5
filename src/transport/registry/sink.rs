//! Repositories of registries, opened for writing: blobs first, manifests and tags at the end.
//!
//! It knows no request: the protocol is in `registry`. A blob that several repositories need is
//! uploaded once and mounted in the others. No tag moves before everything beneath it is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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
use crate::registry::upload::{MountOutcome, RemoteSession};
use crate::registry::{Registries, Repository, Wanted};
use crate::transport::registry::recoded::Recoded;
use crate::transport::{Accepts, Arrival, Blob, Need, Refused, Reopen, Root, Sealed, Sink};

mod naming;

/// Any number of repositories, opened for writing.
pub struct RegistrySink {
    registries: Arc<Registries>,
    scratch: Lazy,
    repositories: Mutex<HashMap<String, Repository>>,
    needs: Mutex<HashMap<Digest, Wish>>,
    /// Blobs that are known to be in a repository.
    present: Mutex<BTreeSet<(Digest, String)>>,
    /// Blobs that a repository said it lacks.
    lacking: Mutex<BTreeSet<(Digest, String)>>,
    /// Blobs that are known not to be in a repository, and not to be had there without their bytes.
    absent: Mutex<BTreeSet<(Digest, String)>>,
    /// Upload sessions that registries opened instead of mounting.
    begun: Mutex<BTreeMap<(Digest, String), RemoteSession>>,
    /// What names led to before anything was sent.
    heads: Mutex<HashMap<Reference, Option<Descriptor>>>,
    /// Blobs that one of several repositories did not take.
    trouble: Mutex<HashMap<(Digest, String), Error>>,
    documents: Mutex<HashMap<Digest, Written>>,
    published: Mutex<Vec<Sealed>>,
    refused: Mutex<Vec<Refused>>,
    /// Blobs whose bytes were sent to a repository in this run.
    uploaded: Mutex<BTreeSet<(Digest, String)>>,
    recoded: Recoded,
    ctx: Context,
}

/// A manifest or index, with its bytes.
type Written = Arc<(Descriptor, Vec<u8>)>;

/// Who needs a blob, and who else has it.
#[derive(Clone, Default)]
struct Wish {
    wanted_by: BTreeSet<String>,
    holders: Vec<String>,
}

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
            repositories: Mutex::default(),
            needs: Mutex::default(),
            present: Mutex::default(),
            lacking: Mutex::default(),
            absent: Mutex::default(),
            begun: Mutex::default(),
            heads: Mutex::default(),
            trouble: Mutex::default(),
            documents: Mutex::default(),
            published: Mutex::default(),
            refused: Mutex::default(),
            uploaded: Mutex::default(),
            recoded: Recoded::open(memory),
            ctx: ctx.clone(),
        }
    }

    fn repository(&self, name: &Reference) -> Result<Repository> {
        let key = name.repository();
        if let Some(known) = lock(&self.repositories).get(&key) {
            return Ok(known.clone());
        }
        let opened = self.registries.repository(name)?.direct();
        Ok(lock(&self.repositories).entry(key).or_insert(opened).clone())
    }

    fn known(&self, name: &str) -> Result<Repository> {
        if let Some(known) = lock(&self.repositories).get(name) {
            return Ok(known.clone());
        }
        self.repository(&name.parse()?)
    }

    fn is_present(&self, digest: &Digest, name: &str) -> bool {
        lock(&self.present).contains(&(*digest, name.to_owned()))
    }

    fn mark(&self, digest: &Digest, name: &str) {
        lock(&self.present).insert((*digest, name.to_owned()));
    }

    fn wish(&self, digest: &Digest) -> Wish {
        lock(&self.needs).get(digest).cloned().unwrap_or_default()
    }

    /// Mounts a blob from another repository of the same registry.
    fn mount(&self, digest: &Digest, to: &Repository, from: &[String]) -> Result<bool> {
        let prefix = format!("{}/", to.domain());
        for path in from.iter().filter_map(|f| f.strip_prefix(&prefix)) {
            if path == to.path() {
                continue;
            }
            match to.mount(digest, path)? {
                MountOutcome::Mounted => {
                    self.mark(digest, &to.name());
                    self.forgo(digest, to);
                    return Ok(true);
                }
                MountOutcome::Session(session) => {
                    // The blob is uploaded in it, unless another repository has it after all.
                    self.forgo(digest, to);
                    lock(&self.begun).insert((*digest, to.name()), session);
                }
                MountOutcome::Refused => {}
            }
        }
        Ok(false)
    }

    /// Ends the session that was opened for a blob, if there is one.
    fn forgo(&self, digest: &Digest, to: &Repository) {
        let session = lock(&self.begun).remove(&(*digest, to.name()));
        if let Some(session) = session {
            to.forgo(&session);
        }
    }

    /// Whether a repository has the blob, asked once.
    fn there(&self, desc: &Descriptor, to: &Repository) -> Result<bool> {
        let key = (desc.digest, to.name());
        if self.is_present(&desc.digest, &key.1) {
            return Ok(true);
        }
        if lock(&self.lacking).contains(&key) {
            return Ok(false);
        }
        let found = to.blob_size(&desc.digest)? == Some(desc.size);
        if found {
            self.mark(&desc.digest, &to.name());
        } else {
            lock(&self.lacking).insert(key);
        }
        Ok(found)
    }

    /// The repositories that a blob may be mounted from: those of this run that have it, and where it
    /// comes from. Others of this run would each be asked by each of them, for nothing.
    fn next_door(&self, digest: &Digest, wish: &Wish) -> Vec<String> {
        let ours = wish.wanted_by.iter().filter(|name| self.is_present(digest, name));
        ours.chain(&wish.holders).cloned().collect()
    }

    /// Makes the blob present in one repository without its bytes, if that can be done.
    fn without_bytes(&self, desc: &Descriptor, name: &str, have: &[String]) -> Result<bool> {
        if self.is_present(&desc.digest, name) {
            return Ok(true);
        }
        let key = (desc.digest, name.to_owned());
        if lock(&self.absent).contains(&key) {
            return Ok(false);
        }
        let to = self.known(name)?;
        // What is known to be next door is mounted unasked; else it is asked for first.
        let next_door = have.iter().any(|h| self.is_present(&desc.digest, h));
        if next_door && self.mount(&desc.digest, &to, have)? {
            return Ok(true);
        }
        let there =
            self.there(desc, &to)? || (!next_door && self.mount(&desc.digest, &to, have)?);
        if !there {
            lock(&self.absent).insert(key);
        }
        Ok(there)
    }

    fn put_in(&self, blob: &Blob<'_>, name: &str, have: &[String]) -> Result<()> {
        let desc = blob.descriptor();
        if self.is_present(&desc.digest, name) {
            return Ok(());
        }
        let to = self.known(name)?;
        // From others that was tried when it was asked for.
        let next_door: Vec<String> =
            have.iter().filter(|h| self.is_present(&desc.digest, h)).cloned().collect();
        if self.mount(&desc.digest, &to, &next_door)? {
            return Ok(());
        }
        let begun = lock(&self.begun).remove(&(desc.digest, to.name()));
        to.upload(desc, begun, &|| Ok(Box::new(blob.open()?))).map_err(|e| {
            // A blob that is missing says so through its reader; what else is missing is the repository.
            let ours = e.kind() == Kind::Missing && e.place().is_none();
            if ours { e.because(Cause::OfTarget) } else { e }
        })?;
        self.mark(&desc.digest, name);
        lock(&self.uploaded).insert((desc.digest, name.to_owned()));
        Ok(())
    }
}

impl Drop for RegistrySink {
    /// Ends the sessions that nothing was sent to.
    fn drop(&mut self) {
        for ((_, name), session) in std::mem::take(&mut *lock(&self.begun)) {
            if let Ok(to) = self.known(&name) {
                to.forgo(&session);
            }
        }
    }
}

impl Sink for RegistrySink {
    fn place(&self) -> String {
        let names = lock(&self.repositories);
        let mut hosts: Vec<&str> = names.values().map(Repository::domain).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.is_empty() { "docker://".into() } else { hosts.join(", ") }
    }

    fn accepts(&self) -> Accepts {
        Accepts { arrival: Arrival::Fetched, remote: true, ..Accepts::staged(self.ctx.jobs) }
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
                    let there = self.repository(name)?.head(Wanted::to_write(name));
                    let there = there.map_err(|e| e.input_or(name.familiar()))?;
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

    fn standing_configs(&self, root: &Root) -> Result<Vec<Digest>> {
        let Some(there) = self.standing(root)? else { return Ok(Vec::new()) };
        let Some(name) = root.names.first() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        configs(&self.repository(name)?, &there, 0, &mut seen, &mut all)?;
        Ok(all)
    }

    fn expect(&self, root: &Root, needs: Vec<Need>) {
        let mut wishes = lock(&self.needs);
        for need in needs {
            let wish = wishes.entry(need.desc.digest).or_default();
            wish.wanted_by.extend(root.names.iter().map(Reference::repository));
            wish.holders.extend(need.holders);
        }
    }

    fn recoded(
        &self,
        was: &Descriptor,
        diff_id: DiffId,
        target: Compression,
    ) -> Option<Descriptor> {
        let (digest, size) = self.recoded.find(diff_id, target)?;
        let media_type = was.media_type.with_encoding(target.encoding)?;
        let wish = self.wish(&was.digest);
        lock(&self.needs).entry(digest).or_default().wanted_by.extend(wish.wanted_by);
        Some(Descriptor::new(media_type, digest, size))
    }

    fn note_recoded(
        &self,
        was: &Descriptor,
        diff_id: DiffId,
        target: Compression,
        now: &Descriptor,
    ) {
        self.recoded.note(diff_id, target, now.digest, now.size);
        let wish = self.wish(&was.digest);
        lock(&self.needs).entry(now.digest).or_default().wanted_by.extend(wish.wanted_by);
    }

    fn reuse(&self, desc: &Descriptor) -> Result<bool> {
        if desc.media_type.role().is_document() {
            // Manifests are put when everything beneath them is there.
            return Ok(false);
        }
        let wish = self.wish(&desc.digest);
        let refused = |e: &Error| refuses(e) && wish.wanted_by.len() > 1;
        // One that has it already gives it to the others.
        for name in wish.wanted_by.iter().filter(|_| wish.holders.is_empty()) {
            match self.known(name).and_then(|to| self.there(desc, &to)) {
                Ok(true) => break,
                Ok(false) => {}
                Err(e) if refused(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let mut everywhere = !wish.wanted_by.is_empty();
        for name in &wish.wanted_by {
            let have = self.next_door(&desc.digest, &wish);
            match self.without_bytes(desc, name, &have) {
                Ok(there) => everywhere &= there,
                // One repository that refuses us does not keep the blob from the others.
                Err(e) if refused(&e) => everywhere = false,
                Err(e) => return Err(e),
            }
        }
        Ok(everywhere)
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let desc = blob.descriptor();
        if desc.media_type.role().is_document() {
            let bytes = blob.bytes(manifest::MAX_DOCUMENT)?;
            lock(&self.documents).insert(desc.digest, Arc::new((desc.clone(), bytes)));
            return Ok(());
        }
        let wish = self.wish(&desc.digest);
        let have: Vec<String> = wish.wanted_by.iter().cloned().collect();
        let mut failed = Vec::new();
        for name in &wish.wanted_by {
            match self.put_in(blob, name, &have) {
                Ok(()) => {}
                Err(e) if refuses(&e) => failed.push((name.clone(), e)),
                Err(e) => return Err(e),
            }
        }
        if failed.len() == wish.wanted_by.len()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        for (name, error) in failed {
            lock(&self.trouble).insert((desc.digest, name), error);
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
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        // Nothing is left to do where it was settled.
        self.settle(&|_| None)?;
        Ok(std::mem::take(&mut *lock(&self.refused)))
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
    let found = repository.manifest(Wanted::Digest(&desc.digest))?;
    let Some((desc, bytes)) = found else { return Ok(()) };
    let doc = Document::parse(&bytes, &desc.media_type)?;
    match &doc.kind {
        manifest::Kind::Manifest { config, .. } if doc.is_image() => {
            all.extend(config.iter().map(|c| c.digest));
        }
        manifest::Kind::Manifest { .. } => {}
        manifest::Kind::Index(entries) => {
            for entry in entries {
                configs(repository, entry, depth + 1, seen, all)?;
            }
        }
    }
    Ok(())
}
