//! The second half of a sync: one copy of everything that is missing, then the report.
//!
//! It decides nothing. Names are removed only when every image went well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::Context;
use crate::copy::{self, Report};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::sync::destination::Destination;
use crate::sync::emit::Moved;
use crate::sync::ends::Ends;
use crate::sync::job::SyncJob;
use crate::sync::kept;
use crate::sync::prepare::{Name, Prepared, SyncItem, blank, prepare, title};
use crate::sync::report::{Entry, Status, SyncReport, Totals};
use crate::transport::Root;

/// Prepares and runs a job.
///
/// # Errors
/// As [`prepare`] and [`Prepared::run`].
pub fn run(job: &SyncJob, ends: Ends, ctx: &Context) -> Result<SyncReport> {
    prepare(job, ends, ctx)?.run(ctx)
}

impl Prepared<'_> {
    /// Copies what is not there, and removes what left the list.
    ///
    /// # Errors
    /// `Interrupted`; the first failure when the job does not keep going. Otherwise failures are in
    /// the report.
    pub fn run(self, ctx: &Context) -> Result<SyncReport> {
        let Self { job, source, to, indexes, items, entries, removals, withheld, warnings, policy } =
            self;
        let mut report = SyncReport { entries, withheld, warnings, ..SyncReport::default() };
        let mut roots: Vec<Root> = items.iter().filter_map(SyncItem::to_copy).collect();
        // The same images make the same directory, whatever order a list or a lock file has them in.
        roots.sort_by(|a, b| {
            let key = |root: &Root| (root.companion, root.names.first().cloned(), root.desc.digest);
            key(a).cmp(&key(b))
        });
        let standing = items.iter().filter(|item| item.to_copy().is_none());
        let standing: Vec<Digest> = standing.flat_map(SyncItem::becomes).collect();
        let tally = Arc::new(StoredCounter { to: ctx.progress.clone(), stored: AtomicU64::new(0) });
        let counted = Context { progress: tally.clone(), ..ctx.clone() };
        let outcome = match &source {
            Some(source) if !roots.is_empty() => {
                let copied = to.sink().and_then(|sink| {
                    copy::attempt(source.as_ref(), sink, &roots, &standing, &policy, &counted)
                });
                match copied {
                    Ok(copied) => {
                        // A platform that was absent may be there the next time.
                        if copied.missing.is_empty() {
                            kept::note(&copied.published, &policy, &indexes);
                        }
                        Outcome::of(&copied)
                    }
                    Err(e) if ends(&e) || !job.policy.keep_going => return Err(e),
                    Err(e) => Outcome { fatal: Some(e), ..Outcome::default() },
                }
            }
            _ => Outcome::default(),
        };
        let bytes_sent = tally.stored.load(Ordering::Relaxed);
        report.totals = Totals { bytes_sent, ..outcome.totals };
        for item in &items {
            for name in &item.names {
                let Some(entry) = outcome.entry(item, name) else { continue };
                let there = matches!(entry.status, Status::Copied | Status::Unchanged);
                if let (true, Some(from), Some(to), Some(digest)) =
                    (there, &name.source, &name.target, entry.digest)
                {
                    report.moved.push(Moved { from: from.clone(), to: to.clone(), digest });
                }
                report.entries.push(entry);
            }
        }
        for entry in &mut report.entries {
            if let Some(own) = job.selection.platforms.get(&entry.source) {
                entry.platforms.clone_from(&own.platforms);
            }
        }
        remove(to.as_ref(), &removals, &mut report, ctx);
        Ok(report)
    }
}

fn remove(to: &dyn Destination, removals: &[Reference], report: &mut SyncReport, ctx: &Context) {
    if removals.is_empty() {
        return;
    }
    if report.failed().next().is_some() {
        let what = "nothing was removed, since images failed";
        ctx.warn(what);
        report.warnings.push(what.into());
        return;
    }
    for (name, done) in removals.iter().zip(to.delete(removals)) {
        let blank = Entry { destination: Some(name.clone()), ..blank(name.to_string()) };
        report.entries.push(match done {
            Ok(()) => Entry { status: Status::Deleted, ..blank },
            Err(e) => Entry { error: Some(e), ..blank },
        });
    }
}

/// Errors that end the run, whatever else went well.
fn ends(error: &Error) -> bool {
    matches!(error.kind(), Kind::Interrupted | Kind::Closed)
}

/// The outcome of a copy, by the digest of the root at the source.
#[derive(Default)]
struct Outcome {
    published: HashMap<Digest, (Digest, u64)>,
    /// With the name that the image was not given.
    failed: HashMap<Digest, Vec<(String, Error)>>,
    totals: Totals,
    /// What ended the whole copy.
    fatal: Option<Error>,
}

impl Outcome {
    fn of(report: &Report) -> Self {
        let mut outcome = Self::default();
        let mut seen: HashSet<Digest> = HashSet::new();
        for image in &report.published {
            let bytes = image.blobs.iter().map(|blob| blob.size).sum();
            outcome.published.insert(image.root.desc.digest, (image.target.digest, bytes));
            for blob in image.blobs.iter().filter(|blob| seen.insert(blob.digest)) {
                outcome.totals.blobs += 1;
                outcome.totals.unique_bytes += blob.size;
            }
        }
        for failed in &report.failed {
            let all = outcome.failed.entry(failed.digest).or_default();
            all.push((failed.title.clone(), failed.error()));
        }
        outcome.totals.stored = report.stored;
        outcome.totals.reused = report.reused;
        outcome
    }

    /// Nothing for a companion that was not copied because its subject was not.
    fn entry(&self, item: &SyncItem, name: &Name) -> Option<Entry> {
        let digest = &item.root.desc.digest;
        let entry = Entry {
            destination: name.target.clone(),
            companion: item.root.companion,
            ..blank(title(&item.root, name.asked.as_ref()))
        };
        if name.unchanged {
            return Some(Entry { status: Status::Unchanged, digest: name.before, ..entry });
        }
        let failed = self.failed.get(digest).map(Vec::as_slice).unwrap_or_default();
        let called = name.target.as_ref().map(Reference::familiar);
        if let Some((_, own)) = failed.iter().find(|(title, _)| Some(title) == called.as_ref()) {
            return Some(Entry { error: Some(own.clone()), ..entry });
        }
        Some(match self.published.get(digest) {
            Some((target, bytes)) => {
                // Of several platforms some were kept before too: it is what it was.
                let same = name.before == Some(*target);
                let status = if same { Status::Unchanged } else { Status::Copied };
                Entry { status, digest: Some(*target), bytes: *bytes, ..entry }
            }
            None => {
                let first = failed.first().map(|(_, error)| error);
                let error = first.or(self.fatal.as_ref()).cloned();
                if error.is_none() && item.root.companion {
                    return None;
                }
                let lost = || Error::new(Kind::Other, "was not copied");
                Entry { error: Some(error.unwrap_or_else(lost)), ..entry }
            }
        })
    }
}

/// Forwards events and counts stored bytes.
struct StoredCounter {
    to: Arc<dyn Progress>,
    stored: AtomicU64,
}

impl Progress for StoredCounter {
    fn event(&self, event: Event<'_>) {
        if let Event::Stored(_, bytes) = event {
            self.stored.fetch_add(bytes, Ordering::Relaxed);
        }
        self.to.event(event);
    }
}
