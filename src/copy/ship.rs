//! Ship: deliver the leaves, each once, in parallel.
//!
//! `prepare` (recoding) runs on every worker; `reuse` or `put` runs on as many as the sink has lanes.
//! A sink with one lane is served in plan order, so that what it writes is the same at any `--jobs`.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use crate::context::Context;
use crate::copy::policy::Policy;
use crate::copy::report::{Changed, Damage};
use crate::copy::walk::{Node, Tree};
use crate::copy::{Renamed, stops};
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Kind, Result};
use crate::io::dir;
use crate::io::output::Named;
use crate::io::parts::Extent;
use crate::io::pump;
use crate::io::scratch::Scratch;
use crate::layer::{self, Compression, Encoder};
use crate::manifest;
use crate::media_type::Role;
use crate::partial::{Fetched, Partials};
use crate::progress::Event;
use crate::transport::{Arrival, Blob, Sink, Source};
use crate::verify::{Unpacked, wrong_diff_id};

/// What became of the leaves.
#[derive(Default)]
pub(super) struct Shipped {
    outcome: HashMap<Digest, Outcome>,
    /// Blobs stored.
    pub stored: u64,
    /// Blobs the sink already had.
    pub reused: u64,
}

struct Outcome {
    /// What it is at the sink.
    now: Descriptor,
    was: Descriptor,
    error: Option<Error>,
    diff_id: Option<DiffId>,
    /// Where it lies in the source, for messages.
    place: String,
}

impl Outcome {
    fn new(from: &dyn Source, was: &Descriptor, now: &Descriptor, diff_id: Option<DiffId>) -> Self {
        let place = from.whereabouts(was);
        Self { now: now.clone(), was: was.clone(), error: None, diff_id, place }
    }

    /// What is wrong with it as the layer that must unpack to `claimed`.
    fn fault(&self, claimed: Option<DiffId>) -> Option<Error> {
        if self.error.is_some() {
            return self.error.clone();
        }
        let (claimed, found) = (claimed?, self.diff_id?);
        let wrong = || wrong_diff_id(&self.was.digest, &[claimed], found).at(self.place.clone());
        (claimed != found).then(wrong)
    }
}

/// One leaf to deliver.
struct Leaf {
    desc: Descriptor,
    /// Whether it is a file system layer.
    layer: bool,
    /// Whether its diff id is to be checked.
    check: bool,
    /// What the images claim it unpacks to.
    claimed: Vec<DiffId>,
    /// Whether every manifest that lists it is one that is made for Docker archives.
    synthesised: bool,
    /// A config's bytes, which the walk has read.
    bytes: Option<Vec<u8>>,
}

/// Files that were fetched whole for a sink; they are kept until it is complete, so that a run that is
/// killed leaves them to the next.
#[derive(Default)]
pub(super) struct Arrivals {
    partials: OnceLock<Partials>,
    kept: Mutex<Vec<Fetched>>,
}

impl Arrivals {
    /// Removes what the sink, complete now, has no more use for.
    pub(super) fn done(self) {
        lock(&self.kept).iter().for_each(|fetched| self.drop_file(fetched));
    }

    fn drop_file(&self, fetched: &Fetched) {
        if let Some(partials) = self.partials.get() {
            partials.discard(&fetched.name);
        }
    }
}

/// A leaf that was fetched.
struct Local {
    extent: Extent,
    diff_id: Option<DiffId>,
    fetched: Option<Fetched>,
}

impl Shipped {
    /// What is wrong with one image: its blobs' errors, and diff ids that do not match.
    pub(super) fn errors_of(&self, tree: &Tree) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (desc, claimed) in tree.node.leaves() {
            let Some(outcome) = self.outcome.get(&desc.digest) else { continue };
            if !seen.insert((desc.digest, claimed)) {
                continue;
            }
            if desc.size != outcome.was.size {
                let what = format!("ambiguous: {} is listed with two sizes", desc.digest);
                errors.push(Error::corrupt(what));
            }
            errors.extend(outcome.fault(claimed));
        }
        errors
    }

    /// Damaged blobs and the images that need them.
    pub(super) fn damage(&self, trees: &[&Tree]) -> Vec<Damage> {
        let mut damage: Vec<Damage> = Vec::new();
        let mut at: HashMap<Digest, usize> = HashMap::new();
        for tree in trees {
            for (desc, claimed) in tree.node.leaves() {
                let Some(outcome) = self.outcome.get(&desc.digest) else { continue };
                let Some(error) = outcome.fault(claimed) else { continue };
                let i = *at.entry(desc.digest).or_insert_with(|| {
                    damage.push(Damage { digest: desc.digest, error, images: Vec::new() });
                    damage.len() - 1
                });
                let title = tree.root.title();
                if !damage[i].images.contains(&title) {
                    damage[i].images.push(title);
                }
            }
        }
        damage
    }

    /// Layers that were recoded.
    pub(super) fn changed(&self) -> Vec<Changed> {
        let mut changed: Vec<Changed> = self
            .outcome
            .values()
            .filter(|o| o.error.is_none() && o.now.digest != o.was.digest)
            .map(|o| Changed { from: o.was.clone(), to: o.now.clone() })
            .collect();
        changed.sort_by_key(|c| c.from.digest);
        changed
    }

    /// What each recoded leaf is at the sink.
    pub(super) fn renamed(&self) -> Renamed {
        let recoded = self.outcome.iter().filter(|(digest, o)| o.now.digest != **digest);
        recoded.map(|(digest, o)| (*digest, o.now.clone())).collect()
    }
}

/// Lists every leaf once, in plan order.
fn plan(from: &dyn Source, trees: &[&Tree], policy: &Policy) -> Result<Vec<Leaf>> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut at: HashMap<Digest, usize> = HashMap::new();
    for tree in trees {
        let images: HashSet<Digest> = layers_of(&tree.node).into_iter().map(|d| d.digest).collect();
        for (desc, claimed) in tree.node.leaves() {
            let layer = images.contains(&desc.digest);
            if let Some(&i) = at.get(&desc.digest) {
                leaves[i].claimed.extend(claimed);
                leaves[i].layer |= layer;
                continue;
            }
            if desc.media_type.role() == Role::ForeignLayer && !from.has(desc)? {
                continue;
            }
            at.insert(desc.digest, leaves.len());
            let claimed = claimed.into_iter().collect();
            let check = policy.unpack;
            let desc = desc.clone();
            leaves.push(Leaf { desc, layer, check, claimed, synthesised: true, bytes: None });
        }
        for manifest in tree.node.manifests() {
            let (Some(config), Some(bytes)) = (&manifest.config, &manifest.config_bytes) else {
                continue;
            };
            // Bytes that say nothing but what the archive's tables say may be made anew.
            if policy.pack.is_some()
                && manifest.bytes != manifest::synthesise(config, &manifest.layers)
            {
                for layer in &manifest.layers {
                    if let Some(&i) = at.get(&layer.digest) {
                        leaves[i].synthesised = false;
                    }
                }
            }
            if let Some(&i) = at.get(&config.digest) {
                leaves[i].bytes = Some(bytes.clone());
            }
        }
    }
    Ok(leaves)
}

fn layers_of(node: &Node) -> Vec<&Descriptor> {
    node.manifests()
        .into_iter()
        .filter(|m| !m.diff_ids.is_empty())
        .flat_map(|m| &m.layers)
        .collect()
}

/// Delivers all leaves of `trees`.
pub(super) fn ship(
    from: &dyn Source,
    to: &dyn Sink,
    trees: &[&Tree],
    policy: &Policy,
    ctx: &Context,
) -> Result<(Shipped, Arrivals)> {
    let mut leaves = plan(from, trees, policy)?;
    let accepts = to.accepts();
    let lanes = accepts.lanes.max(1);
    if lanes > 1 {
        // The longest first, so that no core waits for one large blob at the end.
        leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.desc.size));
    }
    let bytes = total(&leaves);
    if policy.compress.is_none() {
        check_room(from, to, &leaves)?;
    }
    ctx.progress.event(Event::Planned { blobs: leaves.len() as u64, bytes });
    let run = Run {
        from,
        to,
        trees,
        policy,
        ctx,
        next: AtomicUsize::new(0),
        turn: Turnstile::default(),
        ordered: lanes == 1,
        done: Mutex::default(),
        stop: Mutex::default(),
        arrivals: Arrivals::default(),
    };
    let recoding = policy.compress.is_some();
    let cores = rayon::current_num_threads().max(1);
    let workers = match (run.ordered, recoding) {
        // Only one writes, but fetching is waiting.
        _ if from.remote() => ctx.jobs,
        (true, false) => 1,
        // One worker keeps two cores busy: one decodes ahead, one hashes and writes.
        (true, true) => ctx.jobs.min(cores.div_ceil(2)),
        (false, true) => ctx.jobs.min(cores),
        (false, false) => ctx.jobs.min(lanes),
    };
    let workers = workers.clamp(1, leaves.len().max(1));
    if workers == 1 {
        run.work(&leaves);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| run.work(&leaves));
            }
        });
    }
    if let Some(error) = lock(&run.stop).take() {
        return Err(error.input_or(from.place()));
    }
    let mut shipped = Shipped::default();
    for (outcome, stored) in std::mem::take(&mut *lock(&run.done)) {
        if outcome.error.is_none() {
            if stored { shipped.stored += 1 } else { shipped.reused += 1 }
        }
        shipped.outcome.insert(outcome.was.digest, outcome);
    }
    Ok((shipped, run.arrivals))
}

fn total(leaves: &[Leaf]) -> u64 {
    leaves.iter().fold(0, |sum, leaf| sum.saturating_add(leaf.desc.size))
}

/// Fails before anything is written when it is certain that not all of it fits.
fn check_room(from: &dyn Source, to: &dyn Sink, leaves: &[Leaf]) -> Result<()> {
    let Some(free) = to.free() else { return Ok(()) };
    // Nothing can be wrong where everything would fit even if it were new, and lay there twice.
    if total(leaves).saturating_mul(2) <= free {
        return Ok(());
    }
    let mut need = 0_u64;
    let scratch = if from.remote() { Some(to.scratch()?) } else { None };
    // What is fetched whole lies there twice until the sink is complete.
    let times = if to.accepts().arrival == Arrival::Fetched { 2 } else { 1 };
    for leaf in leaves {
        if let Some(scratch) = &scratch {
            if !to.reuse(&leaf.desc)? {
                let there = Partials::there(scratch.parent(), &leaf.desc.digest);
                need = need
                    .saturating_add((leaf.desc.size.saturating_mul(times)).saturating_sub(there));
            }
            continue;
        }
        // What was unpacked beside the target is moved, not written again.
        if from.spare(&leaf.desc).is_none() && !to.reuse(&leaf.desc)? {
            // A descriptor may lie; what lies there does not.
            let there = from.extent(&leaf.desc).map_or(0, |e| e.size);
            need = need.saturating_add(there.min(leaf.desc.size));
        }
    }
    if need <= free {
        return Ok(());
    }
    let (need, free) = (layer::binary_size(need), layer::binary_size(free));
    Err(Error::no_room(format!("needs {need}, {free} free")).input(to.place()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run<'a> {
    from: &'a dyn Source,
    to: &'a dyn Sink,
    trees: &'a [&'a Tree],
    policy: &'a Policy,
    ctx: &'a Context,
    next: AtomicUsize,
    turn: Turnstile,
    ordered: bool,
    done: Mutex<Vec<(Outcome, bool)>>,
    stop: Mutex<Option<Error>>,
    arrivals: Arrivals,
}

impl Run<'_> {
    fn work(&self, leaves: &[Leaf]) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(leaf) = leaves.get(at) else { return };
            // Advances on panic too, so that the others do not wait for ever.
            let _pass = Pass { turn: &self.turn, at, ordered: self.ordered };
            if lock(&self.stop).is_some() {
                return;
            }
            let (outcome, stored) = match self.deliver(leaf, at) {
                Ok(done) => done,
                Err(error) => {
                    let tolerant = self.policy.survey || self.policy.keep_going;
                    let input_fault = matches!(
                        error.kind(),
                        Kind::Corrupt | Kind::Malformed | Kind::Missing | Kind::Unsupported
                    ) || (error.kind() == Kind::Io && self.policy.survey)
                        || matches!(error.kind(), Kind::Denied | Kind::Unreachable)
                        || error.is_unreadable();
                    let error = match error.kind() {
                        Kind::Missing if !error.is_of_target() => error.kind_as(Kind::Malformed),
                        Kind::Io if error.is_unreadable() => self.explained(error, leaf),
                        _ => error,
                    };
                    if !tolerant || !input_fault || stops(&error) {
                        lock(&self.stop).get_or_insert(error);
                        return;
                    }
                    let outcome = Outcome::new(self.from, &leaf.desc, &leaf.desc, None);
                    (Outcome { error: Some(error), ..outcome }, false)
                }
            };
            lock(&self.done).push((outcome, stored));
        }
    }

    /// A bad sector says nothing to anybody; the blob and its images do.
    fn explained(&self, error: Error, leaf: &Leaf) -> Error {
        let digest = leaf.desc.digest;
        let error = error.context(digest);
        if self.policy.survey {
            return error;
        }
        let needs = |tree: &&&Tree| tree.node.leaves().iter().any(|(d, _)| d.digest == digest);
        let images: Vec<String> = self.trees.iter().filter(needs).map(|t| t.root.title()).collect();
        error.note(format!("needed by {}", images.join(", ")))
    }

    fn deliver(&self, leaf: &Leaf, at: usize) -> Result<(Outcome, bool)> {
        let title = leaf.desc.digest.short();
        self.ctx.progress.event(Event::Began(&title));
        let done = if self.from.remote() {
            self.bring(leaf, at)?
        } else {
            let encoding = if leaf.layer { self.sniff(&leaf.desc)? } else { Encoding::Plain };
            self.pass(leaf, at, encoding, None)?
        };
        if let (Some(diff_id), None) = (done.0.diff_id, &done.0.error)
            && leaf.claimed.iter().all(|c| *c == diff_id)
        {
            self.to.proved(&done.0.now, diff_id);
        }
        let (now, size) = (done.0.now.digest.short(), done.0.now.size);
        let event =
            if done.1 { Event::Stored(&now, size) } else { Event::Reused(&now, leaf.desc.size) };
        self.ctx.progress.event(event);
        Ok(done)
    }

    /// Delivers a leaf in the encoding that is wanted.
    fn pass(
        &self,
        leaf: &Leaf,
        at: usize,
        encoding: Encoding,
        local: Option<&Local>,
    ) -> Result<(Outcome, bool)> {
        let bare = leaf.synthesised && encoding == Encoding::Plain;
        let target = self.policy.compress.or(self.policy.pack.filter(|_| bare));
        match target.filter(|t| leaf.layer && t.encoding != encoding) {
            Some(target) => self.recode(leaf, at, encoding, target, local),
            None => self.carry(leaf, at, Some(encoding), local),
        }
    }

    /// Delivers a leaf that comes over a network: as it comes, or fetched whole first.
    fn bring(&self, leaf: &Leaf, at: usize) -> Result<(Outcome, bool)> {
        let recoding = self.policy.compress.is_some() && leaf.layer;
        let whole = recoding || self.to.accepts().arrival == Arrival::Fetched;
        if !whole || leaf.bytes.is_some() {
            return self.carry(leaf, at, None, None);
        }
        if !recoding && !self.ordered && self.to.reuse(&leaf.desc)? {
            return Ok((Outcome::new(self.from, &leaf.desc, &leaf.desc, None), false));
        }
        let mut local = self.fetch(leaf)?;
        let encoding = Encoding::sniff(&local.extent.head(SNIFF_LEN)?);
        let done = self.pass(leaf, at, encoding, Some(&local))?;
        if let Some(fetched) = local.fetched.take() {
            if self.ordered {
                lock(&self.arrivals.kept).push(fetched);
            } else {
                // What such a sink has taken it keeps, whatever becomes of this run.
                self.arrivals.drop_file(&fetched);
            }
        }
        Ok(done)
    }

    /// Fetches a leaf into a file that survives the run.
    fn fetch(&self, leaf: &Leaf) -> Result<Local> {
        let scratch = self.to.scratch()?;
        let partials = match self.arrivals.partials.get() {
            Some(partials) => partials,
            None => {
                let opened = Partials::open(scratch.parent())?;
                self.arrivals.partials.get_or_init(|| opened)
            }
        };
        let unpacked = Arc::new(Unpacked::default());
        let mut blob = Blob::new(self.from, leaf.desc.clone(), self.ctx);
        if leaf.check && !leaf.claimed.is_empty() && !self.to.accepts().remote {
            blob = blob.unpacking(None, unpacked.clone()).claiming(leaf.claimed.clone());
        }
        let size = leaf.desc.size;
        let fetched = partials.fetch(&blob)?;
        let (dir, name) = match &fetched {
            Some(fetched) => (partials.dir(), fetched.name.clone()),
            // Another run is fetching the same blob.
            None => (scratch.dir(), self.copy_of(&blob, &scratch)?),
        };
        let file = dir.file(&name)?.ok_or_else(|| Error::missing("scratch file is gone"))?.0;
        let extent = Extent::whole(file, &dir.join(&name), size);
        Ok(Local { extent, diff_id: unpacked.get(), fetched })
    }

    fn copy_of(&self, blob: &Blob<'_>, scratch: &Scratch) -> Result<String> {
        let (file, name) = scratch.file()?;
        let mut to = Named { file, path: scratch.path(&name) };
        pump::copy(&mut blob.open()?, &mut to)?;
        dir::close(to.file, &to.path)?;
        Ok(name)
    }

    /// The bytes of a leaf: the walk's, a fetched file's, or the source's.
    fn blob<'b>(&'b self, leaf: &'b Leaf, local: Option<&Local>) -> Blob<'b> {
        let desc = leaf.desc.clone();
        match (&leaf.bytes, local) {
            (_, Some(local)) => Blob::fetched(local.extent.clone(), desc, self.ctx),
            (Some(bytes), None) if self.from.remote() => Blob::memory(bytes, desc, self.ctx),
            _ => Blob::new(self.from, desc, self.ctx),
        }
    }

    fn sniff(&self, desc: &Descriptor) -> Result<Encoding> {
        match self.from.extent(desc) {
            Some(extent) => Ok(Encoding::sniff(&extent.head(SNIFF_LEN)?)),
            None => {
                let mut head = [0; SNIFF_LEN];
                let blob = Blob::new(self.from, desc.clone(), self.ctx);
                let got = pump::fill(&mut blob.open()?, &mut head).map_err(Error::from)?;
                Ok(Encoding::sniff(&head[..got]))
            }
        }
    }

    /// Delivers a leaf as it is. The encoding is not known of what was not fetched yet.
    fn carry(
        &self,
        leaf: &Leaf,
        at: usize,
        encoding: Option<Encoding>,
        local: Option<&Local>,
    ) -> Result<(Outcome, bool)> {
        let outcome = |diff_id| Outcome::new(self.from, &leaf.desc, &leaf.desc, diff_id);
        let proven = local.and_then(|l| l.diff_id).or_else(|| self.from.diff_id(&leaf.desc));
        let plain =
            encoding == Some(Encoding::Plain) && leaf.desc.digest.algorithm() == Algorithm::Sha256;
        let free = if plain { Some(DiffId(leaf.desc.digest)) } else { proven };
        // A registry keeps layers packed, and whoever unpacks them checks.
        let checks = leaf.check && !self.to.accepts().remote;
        let needs_check = checks && !leaf.claimed.is_empty() && free.is_none();
        self.turn.wait(at, self.ordered);
        if self.to.reuse(&leaf.desc)? {
            // The sink has the bytes; whether the config tells the truth about them is still open.
            let diff_id = match (free, encoding) {
                (Some(diff_id), _) => Some(diff_id),
                (None, Some(encoding)) if needs_check => Some(self.unpack(leaf, encoding)?),
                // Not worth a download: the sink may know it from when they came in.
                (None, _) => self.to.diff_id(&leaf.desc),
            };
            return Ok((outcome(diff_id), false));
        }
        let blob = self.blob(leaf, local);
        let mismatch = |found: Option<DiffId>| {
            found.filter(|f| !leaf.claimed.is_empty() && leaf.claimed.iter().all(|c| c != f))
        };
        if needs_check {
            let unpacked = Arc::new(Unpacked::default());
            let blob = blob.unpacking(encoding, unpacked.clone());
            // A reader that knows the claims fails before its last byte is stored.
            self.to.put(&blob.claiming(leaf.claimed.clone()))?;
            return Ok((outcome(unpacked.get()), true));
        }
        if leaf.check
            && let Some(found) = mismatch(free)
        {
            return Err(wrong_diff_id(&leaf.desc.digest, &leaf.claimed, found));
        }
        self.to.put(&blob)?;
        Ok((outcome(free), true))
    }

    fn unpack(&self, leaf: &Leaf, encoding: Encoding) -> Result<DiffId> {
        let unpacked = Arc::new(Unpacked::default());
        let blob = Blob::new(self.from, leaf.desc.clone(), self.ctx)
            .unpacking(Some(encoding), unpacked.clone())
            .claiming(leaf.claimed.clone());
        let mut reader = blob.open()?;
        let mut buf = vec![0; pump::CHUNK];
        while reader.read(&mut buf)? > 0 {}
        unpacked.get().ok_or_else(|| Error::corrupt("layer ended early"))
    }

    /// Delivers a layer in another encoding: straight into the sink where that is possible, else by
    /// way of a scratch file.
    fn recode(
        &self,
        leaf: &Leaf,
        at: usize,
        encoding: Encoding,
        target: Compression,
        local: Option<&Local>,
    ) -> Result<(Outcome, bool)> {
        let outcome = |now: &Descriptor, diff_id: DiffId| {
            Outcome::new(self.from, &leaf.desc, now, Some(diff_id))
        };
        if let [claimed, ..] = leaf.claimed[..]
            && leaf.claimed.iter().all(|c| *c == claimed)
            && let Some(now) = self.to.recoded(&leaf.desc, claimed, target)
            && self.to.reuse(&now)?
        {
            return Ok((outcome(&now, claimed), false));
        }
        if self.ordered && self.turn.comes_soon(at) {
            let mut diff_id = None;
            let streamed = self.to.stream(&mut |to: &mut dyn Write| {
                let (now, found) = self.make(leaf, encoding, target, local, to)?;
                diff_id = Some(found);
                Ok(now)
            })?;
            if let (Some(now), Some(diff_id)) = (streamed, diff_id) {
                return Ok((outcome(&now, diff_id), true));
            }
        }
        let scratch = self.to.scratch()?;
        let (file, name) = scratch.file()?;
        let path = scratch.path(&name);
        let mut to = Named { file, path };
        let made = self.make(leaf, encoding, target, local, &mut to);
        let made = made.and_then(|made| dir::close(to.file, &to.path).map(|()| made));
        let (now, diff_id) = match made {
            Ok(made) => made,
            Err(e) => {
                let _ = scratch.dir().remove_file(&name);
                return Err(e);
            }
        };
        self.to.note_recoded(&leaf.desc, diff_id, target, &now);
        self.turn.wait(at, self.ordered);
        let stored = !self.to.reuse(&now)?;
        if stored {
            let blob = Blob::prepared(scratch.clone(), name.clone(), now.clone(), self.ctx);
            self.to.put(&blob)?;
        }
        if !stored || self.ordered {
            let _ = scratch.dir().remove_file(&name);
        }
        Ok((outcome(&now, diff_id), stored))
    }

    /// Decodes and encodes a layer; its diff id and its new digest are found on the way. Reading and
    /// decoding run ahead on another thread.
    fn make(
        &self,
        leaf: &Leaf,
        encoding: Encoding,
        target: Compression,
        local: Option<&Local>,
        to: &mut dyn Write,
    ) -> Result<(Descriptor, DiffId)> {
        let media_type = leaf.desc.media_type.with_encoding(target.encoding).ok_or_else(|| {
            Error::unsupported(format!("no media type for a layer in {}", target.encoding))
        })?;
        let blob = self.blob(leaf, local);
        let mut verified = blob.open()?;
        // What is uncompressed on one side is hashed there already.
        let sha256 = leaf.desc.digest.algorithm() == Algorithm::Sha256;
        let plain_in = encoding == Encoding::Plain && sha256;
        let plain_out = target.encoding == Encoding::Plain;
        let mut tee =
            Hashed::new(Encoder::new(Hashed::new(to, true), target)?, !plain_in && !plain_out);
        // Reading and checking, decoding, and what follows run beside one another.
        pump::reading_ahead(&mut verified, |input| {
            let mut decoded = layer::decoder(encoding, input, &self.ctx.limits.stream)?;
            pump::copy(&mut decoded, &mut tee)
        })?;
        // The decoder may stop before the last byte; the promise is at the end of the blob.
        std::io::copy(&mut verified, &mut std::io::sink())?;
        let (unpacked, encoder) = tee.finish();
        let (written, _) = encoder.finish()?.finish();
        let written = written.ok_or_else(|| Error::corrupt("layer ended early"))?;
        let diff_id = match unpacked {
            Some((digest, _)) => DiffId(digest),
            None if plain_in => DiffId(leaf.desc.digest),
            None => DiffId(written.0),
        };
        if leaf.check && !leaf.claimed.is_empty() && !leaf.claimed.contains(&diff_id) {
            return Err(wrong_diff_id(&leaf.desc.digest, &leaf.claimed, diff_id));
        }
        let mut now = Descriptor::new(media_type, written.0, written.1);
        now.rest = kept_fields(&leaf.desc);
        Ok((now, diff_id))
    }
}

/// Annotations about the old bytes (a table of contents within them) do not survive recoding.
fn kept_fields(desc: &Descriptor) -> serde_json::Map<String, serde_json::Value> {
    let mut kept = desc.clone();
    kept.rest.shift_remove("data");
    let about_bytes = |key: &str| {
        key.starts_with("io.github.containers.zstd-chunked")
            || key.starts_with("containerd.io/snapshot/stargz")
            || key.starts_with("io.containers.estargz")
    };
    let keys: Vec<String> = match kept.rest.get("annotations") {
        Some(serde_json::Value::Object(map)) => {
            map.keys().filter(|k| about_bytes(k)).cloned().collect()
        }
        _ => Vec::new(),
    };
    for key in keys {
        kept.unannotate(&key);
    }
    kept.rest
}

/// Hashes and counts what goes by, when asked to.
struct Hashed<W> {
    hasher: Option<Hasher>,
    size: u64,
    inner: W,
}

impl<W> Hashed<W> {
    fn new(inner: W, hash: bool) -> Self {
        Self { hasher: hash.then(|| Hasher::new(Algorithm::Sha256)), size: 0, inner }
    }

    fn finish(self) -> (Option<(Digest, u64)>, W) {
        (self.hasher.map(|h| (h.finish(), self.size)), self.inner)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets workers through in plan order.
#[derive(Default)]
struct Turnstile {
    now: Mutex<usize>,
    moved: Condvar,
}

impl Turnstile {
    /// Whether it is the turn of `at`, or will be in a moment (the one ahead is a small config).
    fn comes_soon(&self, at: usize) -> bool {
        let now = lock(&self.now);
        let patience = std::time::Duration::from_millis(5);
        let (now, _) = self
            .moved
            .wait_timeout_while(now, patience, |now| *now < at)
            .unwrap_or_else(PoisonError::into_inner);
        *now == at
    }

    fn wait(&self, at: usize, ordered: bool) {
        if !ordered {
            return;
        }
        let mut now = lock(&self.now);
        while *now < at {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Pass<'a> {
    turn: &'a Turnstile,
    at: usize,
    ordered: bool,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.ordered {
            return;
        }
        // A failed or finished turn lets the next one in, but never before those ahead of it.
        self.turn.wait(self.at, true);
        *lock(&self.turn.now) = self.at + 1;
        self.turn.moved.notify_all();
    }
}
