//! Garbage collection while the registry runs.
//!
//! It knows no request. A blob goes when no entry of the index leads to it, it is older than the grace
//! period, and no client was told within that period that it exists: a client that found a blob need not
//! push it, and has that long to push the manifest.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::Writable;
use crate::context::Context;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::locks::{lock, write};
use crate::transport::store;

/// Uploads that nobody went on with for so many seconds are given up.
const STALE: i64 = 24 * 3600;

/// What was collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs and manifests.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads that nobody went on with.
    pub uploads: usize,
}

impl Writable {
    /// Follows what other processes do to the store, and collects, until the run is cancelled.
    pub fn tend(&self, ctx: &Context) {
        const STEP: Duration = Duration::from_millis(200);
        const LOOK: Duration = Duration::from_secs(1);
        let grace = self.settings.grace;
        let pause = (grace / 4).clamp(Duration::from_secs(1), Duration::from_secs(900));
        let (mut looked, mut collected) = (Instant::now(), Instant::now());
        while ctx.check().is_ok() {
            std::thread::sleep(STEP);
            if looked.elapsed() >= LOOK {
                match self.refresh() {
                    Ok(true) => {
                        ctx.warn("the store was changed by another process and was read again")
                    }
                    Ok(false) => {}
                    Err(e) => ctx.warn(&format!("the store was not read again: {e}")),
                }
                self.fold(ctx, false);
                looked = Instant::now();
            }
            if collected.elapsed() >= pause {
                match self.collect() {
                    Ok(_) => {}
                    // Another process adds to the store; collecting can wait.
                    Err(e) if e.kind() == Kind::Busy => {}
                    Err(e) => ctx.warn(&format!("nothing was collected: {e}")),
                }
                collected = Instant::now();
            }
        }
        self.fold(ctx, true);
    }

    /// Has other tools read what was pushed: in a pause, or when no more will come.
    fn fold(&self, ctx: &Context, now: bool) {
        match self.editor().fold(now) {
            Ok(()) => {}
            Err(e) if e.kind() == Kind::Busy => {}
            Err(e) => ctx.warn(&format!("index.json was not written anew: {e}")),
        }
    }

    /// Removes what nothing leads to and nobody asked for within the grace period.
    ///
    /// # Errors
    /// `Busy` while another process adds to the store, `Corrupt` when a manifest is damaged (nothing is
    /// removed then), `Io`.
    pub fn collect(&self) -> Result<Collected> {
        self.forget();
        let uploads = self.uploads.purge(STALE)?;
        let none = Collected { uploads, ..Collected::default() };
        // What clients were told before this process started is not known.
        if self.since.elapsed() < self.settings.grace {
            return Ok(none);
        }
        let old: Vec<(Digest, u64)> = self.old(&self.live()?)?;
        if old.is_empty() {
            return Ok(none);
        }
        let _alone = write(&self.gate);
        let _nobody_adds = self.root.sub("blobs")?.lock(true, 0)?;
        let live = self.live()?;
        let mut collected = none;
        let (mut gone, mut outcome) = (HashSet::new(), Ok(()));
        for (digest, size) in old {
            if live.contains(&digest) {
                continue;
            }
            // No client is told that a blob is there between this look and its removal; nor does one
            // that asks for others wait for all of them.
            let seen = lock(&self.shelf.seen);
            if seen.contains_key(&digest) {
                continue;
            }
            outcome = self.shelf.blobs.remove(&digest);
            drop(seen);
            if outcome.is_err() {
                break;
            }
            collected.blobs += 1;
            collected.bytes += size;
            gone.insert(digest);
        }
        self.part.change(|held| held.blobs.retain(|digest, _| !gone.contains(digest)));
        outcome?;
        self.shelf.deletions.compact(|digest| matches!(self.shelf.blobs.size(digest), Ok(None)))?;
        Ok(collected)
    }

    /// Forgets the blobs that clients were told about longer ago than the grace period.
    fn forget(&self) {
        let mut seen = lock(&self.shelf.seen);
        seen.retain(|_, when| when.elapsed() < self.settings.grace);
    }

    /// Everything the index leads to.
    fn live(&self) -> Result<HashSet<Digest>> {
        let (editor, _lock) = self.enter()?;
        store::live(&self.root, editor.index())
    }

    /// Blobs that nothing leads to and that are older than the grace period.
    fn old(&self, live: &HashSet<Digest>) -> Result<Vec<(Digest, u64)>> {
        let now = self.uploads.now()?;
        let grace = i64::try_from(self.settings.grace.as_secs()).unwrap_or(i64::MAX);
        let mut old = Vec::new();
        for (digest, size) in self.shelf.blobs.list()? {
            if live.contains(&digest) {
                continue;
            }
            let Some((file, _)) = self.shelf.blobs.file(&digest)? else { continue };
            let path = self.root.join(&digest.blob_path());
            let meta = file.metadata().map_err(|e| Error::io(&path, "looking at", &e))?;
            if now.saturating_sub(meta.mtime()) >= grace {
                old.push((digest, size));
            }
        }
        Ok(old)
    }
}
