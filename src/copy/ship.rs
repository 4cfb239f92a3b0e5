//! Ship: deliver the leaves, each once, in parallel.
//!
//! `recode` runs on every worker; `reuse` or `put` runs on as many as the sink has writers. A sink with
//! one lane is served in plan order, so that what it writes is the same at any `--jobs`.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::context::Context;
use crate::copy::policy::{Policy, stops};
use crate::copy::tree::Tree;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, DiffId};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Cause, Error, Kind, Result};
use crate::io::pump;
use crate::locks::lock;
use crate::progress::Event;
use crate::transport::{Blob, Sink, Source};
use crate::verify::{Unpacked, wrong_diff_id};

mod arrivals;
mod outcome;
mod plan;
mod recode;
mod turn;

use arrivals::{FetchedLeaf, Parcel};
use outcome::LeafOutcome;
use plan::Leaf;
use turn::{Pass, PlanOrder, Slots};

pub(super) use arrivals::Arrivals;
pub(super) use outcome::Shipped;

/// Delivers all leaves of `trees`.
pub(super) fn ship(
    from: &dyn Source,
    to: &dyn Sink,
    trees: &[&Tree],
    policy: &Policy,
    ctx: &Context,
) -> Result<(Shipped, Arrivals)> {
    let mut leaves = plan::plan(from, trees, policy, ctx)?;
    let accepts = to.accepts();
    let writers = accepts.writers.max(1);
    if writers > 1 {
        // The longest first, so that no core waits for one large blob at the end.
        leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.desc.size));
        leaves.iter_mut().enumerate().for_each(|(at, leaf)| leaf.at = at);
    }
    let bytes = plan::total(&leaves);
    if policy.compress.is_none() {
        plan::check_room(from, to, &leaves)?;
    }
    ctx.progress.event(Event::Planned { blobs: leaves.len() as u64, bytes });
    let cores = rayon::current_num_threads().max(1);
    // One worker that recodes keeps two cores busy: one decodes ahead, one hashes and writes.
    let pairs = cores.div_ceil(2);
    let run = Run {
        from,
        to,
        trees,
        policy,
        ctx,
        next: AtomicUsize::new(0),
        turn: PlanOrder::default(),
        // What a network carries away while the next is made is made one after the other.
        slots: Slots::new(if to.network().is_some() { pairs } else { cores }),
        ordered: writers == 1,
        done: Mutex::default(),
        stop: Mutex::default(),
        arrivals: Arrivals::default(),
    };
    let workers = match run.ordered {
        // Only one writes, but fetching is waiting.
        _ if from.remote() => ctx.jobs,
        true if policy.compress.is_none() => 1,
        true => ctx.jobs.min(pairs),
        false if policy.compress.is_some() && to.network().is_none() => ctx.jobs.min(cores),
        false => ctx.jobs.min(writers),
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

struct Run<'a> {
    from: &'a dyn Source,
    to: &'a dyn Sink,
    trees: &'a [&'a Tree],
    policy: &'a Policy,
    ctx: &'a Context,
    next: AtomicUsize,
    turn: PlanOrder,
    /// Where layers are recoded.
    slots: Slots,
    ordered: bool,
    done: Mutex<Vec<(LeafOutcome, bool)>>,
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
            let (outcome, stored) = match self.deliver(leaf) {
                Ok(done) => done,
                Err(error) => {
                    let input_fault = matches!(
                        error.kind(),
                        Kind::Corrupt | Kind::Malformed | Kind::Missing | Kind::Unsupported
                    ) || (error.kind() == Kind::Io && self.policy.surveys())
                        || matches!(error.kind(), Kind::Denied | Kind::Unreachable)
                        || error.cause() == Cause::Unreadable;
                    let error = match error.kind() {
                        Kind::Missing if error.cause() != Cause::OfTarget => {
                            error.kind_as(Kind::Malformed)
                        }
                        Kind::Io if error.cause() == Cause::Unreadable => {
                            self.explained(error, leaf)
                        }
                        _ => error,
                    };
                    if !self.policy.tolerates() || !input_fault || stops(&error) {
                        lock(&self.stop).get_or_insert(error);
                        return;
                    }
                    let mut outcome = LeafOutcome::new(self.from, &leaf.desc, &leaf.desc, None);
                    outcome.error = Some(error);
                    (outcome, false)
                }
            };
            lock(&self.done).push((outcome, stored));
        }
    }

    /// A bad sector says nothing to anybody; the blob and its images do.
    fn explained(&self, error: Error, leaf: &Leaf) -> Error {
        let digest = leaf.desc.digest;
        let error = error.context(digest);
        if self.policy.surveys() {
            return error;
        }
        let needs = |tree: &&&Tree| tree.node.leaves().iter().any(|(d, _)| d.digest == digest);
        let images: Vec<String> = self.trees.iter().filter(needs).map(|t| t.root.title()).collect();
        error.note(format!("needed by {}", images.join(", ")))
    }

    fn deliver(&self, leaf: &Leaf) -> Result<(LeafOutcome, bool)> {
        let title = leaf.desc.digest.short();
        self.ctx.progress.event(Event::Began(&title));
        let done = if self.from.remote() {
            self.bring(leaf)?
        } else {
            let encoding = if leaf.layer { self.sniff(&leaf.desc)? } else { Encoding::Plain };
            self.pass(&Parcel { leaf, encoding, local: None })?
        };
        let (now, size) = (done.0.now.digest.short(), done.0.now.size);
        let event =
            if done.1 { Event::Stored(&now, size) } else { Event::Reused(&now, leaf.desc.size) };
        self.ctx.progress.event(event);
        Ok(done)
    }

    /// Delivers a leaf in the encoding that is wanted.
    fn pass(&self, parcel: &Parcel<'_>) -> Result<(LeafOutcome, bool)> {
        let Parcel { leaf, encoding, local } = *parcel;
        let bare = leaf.synthesised && encoding == Encoding::Plain;
        let target = self.policy.compress.or(self.policy.pack.filter(|_| bare));
        match target.filter(|t| leaf.layer && t.encoding != encoding) {
            Some(target) => self.recode(parcel, target),
            None => self.carry(leaf, Some(encoding), local),
        }
    }

    /// The bytes of a leaf: the walk's, a fetched file's, or the source's.
    fn blob<'b>(&'b self, leaf: &'b Leaf, local: Option<&FetchedLeaf>) -> Blob<'b> {
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
        encoding: Option<Encoding>,
        local: Option<&FetchedLeaf>,
    ) -> Result<(LeafOutcome, bool)> {
        let outcome = |diff_id| LeafOutcome::new(self.from, &leaf.desc, &leaf.desc, diff_id);
        let remembered = || self.from.diff_id(&leaf.desc).filter(|_| !self.policy.surveys());
        let proven = local.and_then(|l| l.diff_id).or_else(remembered);
        let plain =
            encoding == Some(Encoding::Plain) && leaf.desc.digest.algorithm() == Algorithm::Sha256;
        let free = if plain { Some(DiffId(leaf.desc.digest)) } else { proven };
        let needs_check = leaf.check && !leaf.claimed.is_empty() && free.is_none();
        self.turn.wait(leaf.at, self.ordered);
        if let Some(reused) = self.to.reuse(&leaf.desc)? {
            // The sink has the bytes; whether the config tells the truth about them is still open.
            let diff_id = match (free, encoding) {
                (Some(diff_id), _) => Some(diff_id),
                (None, Some(encoding)) if needs_check => Some(self.unpack(leaf, encoding)?),
                // Not worth a download: the sink may know it from when they came in.
                (None, _) => reused.diff_id,
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
}
