//! What is worth retrying, and how long to wait first.
//!
//! It sends nothing and reads no wall clock. RFC 9110 section 15.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::progress::Event;
use crate::registry::http::LONGEST_ASKED;
use crate::registry::settings::Settings;

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// How often a wait looks whether the run was interrupted.
const SLICE: Duration = Duration::from_millis(100);

/// Waits between tries, longer each time while nothing moves.
#[derive(Debug)]
pub struct Backoff {
    limit: u32,
    longest: Duration,
    tried: u32,
    moved: bool,
}

impl Backoff {
    /// With as many tries without progress as the settings allow.
    pub fn new(settings: &Settings) -> Self {
        let (limit, longest) = (settings.retries, settings.longest_wait);
        Self { limit, longest, tried: 0, moved: false }
    }

    /// Records progress: the count restarts, and the next wait is zero.
    pub fn progress(&mut self) {
        self.tried = 0;
        self.moved = true;
    }

    /// Allows no more than so many tries without progress.
    pub fn at_most(&mut self, limit: u32) {
        self.limit = self.limit.min(limit);
    }

    /// Whether another try is allowed.
    pub fn goes_on(&self) -> bool {
        self.tried < self.limit
    }

    /// How often was waited since the last progress.
    pub fn tried(&self) -> u32 {
        self.tried
    }

    /// Waits before the next try: as long as the server asked for, else longer each time.
    ///
    /// # Errors
    /// `Unreachable`, in the words of `cause`, when all tries without progress are used up;
    /// `Interrupted`.
    pub fn wait(&mut self, after: Option<Duration>, cause: &str, ctx: &Context) -> Result<()> {
        ctx.check()?;
        let delay = match after {
            _ if self.limit == 0 => return Err(Error::new(Kind::Unreachable, cause)),
            _ if self.tried >= self.limit => {
                let note = format!("gave up after {} tries", self.tried + 1);
                return Err(Error::new(Kind::Unreachable, cause).note(note));
            }
            Some(asked) => {
                self.tried += 1;
                asked.min(LONGEST_ASKED)
            }
            None if std::mem::take(&mut self.moved) => Duration::ZERO,
            None => {
                let own = FIRST.saturating_mul(1 << self.tried.min(10)).min(self.longest);
                self.tried += 1;
                // So that many who were cut off together do not come back together.
                own.mul_f64(0.75 + fastrand::f64() / 2.0)
            }
        };
        self.moved = false;
        let (tried, limit) = (self.tried, self.limit);
        ctx.progress.event(Event::Detail(&format!(
            "{cause}; trying again in {:.1} s ({tried} of {limit})",
            delay.as_secs_f64()
        )));
        sleep(delay, ctx)
    }
}

/// Sleeps, but not beyond the end of the run.
///
/// # Errors
/// `Interrupted`.
pub(crate) fn sleep(delay: Duration, ctx: &Context) -> Result<()> {
    let began = Instant::now();
    loop {
        ctx.check()?;
        let left = delay.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// Whether a status speaks of something that passes.
pub fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_tried_again() {
        for status in [408, 425, 429, 499, 500, 502, 503, 504, 520, 524] {
            assert!(passes(status), "{status}");
        }
        for status in [200, 206, 301, 400, 401, 403, 404, 405, 409, 413, 416, 501, 505, 525] {
            assert!(!passes(status), "{status}");
        }
    }

    #[test]
    fn tries_without_progress_are_counted_and_progress_forgives() {
        let mut backoff = Backoff::new(&Settings { retries: 2, ..Settings::default() });
        let (ctx, heard) = crate::registry::tests::context();
        let none = Some(Duration::ZERO);
        for _ in 0..30 {
            backoff.progress();
            backoff.wait(None, "cut", &ctx).unwrap();
        }
        assert_eq!(heard.text().matches("trying again in 0.0 s").count(), 30, "{}", heard.text());
        backoff.wait(none, "cut", &ctx).unwrap();
        backoff.wait(none, "cut", &ctx).unwrap();
        let err = backoff.wait(none, "reg.example: reset", &ctx).unwrap_err();
        assert_eq!(err.kind(), Kind::Unreachable);
        assert_eq!(err.what(), "reg.example: reset; gave up after 3 tries");
    }

    #[test]
    fn no_try_is_repeated_when_none_may_be() {
        let mut backoff = Backoff::new(&Settings { retries: 0, ..Settings::default() });
        backoff.progress();
        let err = backoff.wait(None, "refused", &Context::default()).unwrap_err();
        assert_eq!(err.what(), "refused");
    }

    #[test]
    fn an_interrupted_run_does_not_wait() {
        let ctx = Context::default();
        let cancel = ctx.cancel.clone();
        let waiting = std::thread::spawn(move || {
            let mut backoff = Backoff::new(&Settings::default());
            backoff.wait(Some(Duration::from_secs(60)), "busy", &ctx)
        });
        std::thread::sleep(Duration::from_millis(50));
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        let began = Instant::now();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), Kind::Interrupted);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
