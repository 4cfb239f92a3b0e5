//! What a run carries along: who listens, how it is cancelled, how much of everything it may use.
//!
//! The library reads no environment and no clock: whatever it needs of them arrives here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Cause, Error, Kind, Result};
use crate::io::digests::DigestCache;
use crate::layer;
use crate::progress::{Event, Progress, Silent};

/// Budgets and listeners of one run; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Who hears of events.
    pub progress: Arc<dyn Progress>,
    /// Set when the user interrupted the run; checked between chunks.
    pub cancel: Arc<AtomicBool>,
    /// How many blobs may be in flight at once.
    pub jobs: usize,
    /// Bounds on what hostile input may demand.
    pub limits: Limits,
    /// Whether data is flushed to the medium before success is reported.
    pub sync: bool,
    /// Whether blobs that a target has are hashed before they are taken for what their names say.
    pub recheck: bool,
    /// Seconds to wait for another process's lock.
    pub wait: u64,
    /// Entries of indexes and manifests that were followed so far.
    pub followed: Arc<AtomicUsize>,
    /// Digests that were found out in earlier runs, for who keeps them.
    pub digests: Arc<DigestCache>,
}

/// Bounds on what hostile input may demand.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What decoding one compressed stream may cost.
    pub stream: layer::StreamLimits,
    /// Most images in one place.
    pub images: usize,
    /// Most members of one archive.
    pub members: usize,
}

/// Entries of indexes and manifests that one run follows for each image that a place may hold. An image
/// of ten platforms with twenty layers each has some 220, and a run may go through them twice.
const ENTRIES: usize = 300;

impl Default for Limits {
    fn default() -> Self {
        Self { stream: layer::StreamLimits::default(), images: 10_000, members: 1_000_000 }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self {
            progress: Arc::new(Silent),
            cancel: Arc::default(),
            jobs: 8,
            limits: Limits::default(),
            sync: true,
            recheck: false,
            wait: 60,
            followed: Arc::default(),
            digests: Arc::default(),
        }
    }
}

impl Context {
    /// Fails once the user has interrupted the run.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "interrupted"));
        }
        Ok(())
    }

    /// Counts entries that are followed. A few kilobytes of indexes that list one another can stand for
    /// millions of them.
    ///
    /// # Errors
    /// `Malformed` beyond what one run follows.
    pub fn count(&self, entries: usize) -> Result<()> {
        let most = self.limits.images.saturating_mul(ENTRIES);
        let before = self.followed.fetch_add(entries, Ordering::Relaxed);
        if before.saturating_add(entries) > most {
            let what = format!("more entries of indexes and manifests than the limit of {most}");
            return Err(Error::malformed(what).because(Cause::TooManyEntries));
        }
        Ok(())
    }

    /// The same for another reading of places, which is counted by itself.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { followed: Arc::default(), ..self.clone() }
    }

    /// Tells the user something that is no error.
    pub fn warn(&self, text: &str) {
        self.progress.event(Event::Warning(text));
    }
}
