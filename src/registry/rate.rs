//! The limit on bytes per second, for all threads of a side together.
//!
//! It counts bytes and sleeps; it knows no request. A token bucket that holds a quarter of a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::Result;
use crate::locks::lock;
use crate::registry::retry;

/// A limit on bytes per second.
#[derive(Debug)]
pub struct Rate {
    per_second: u64,
    /// When all bytes that were let through so far have had their time.
    paid: Mutex<Instant>,
}

impl Rate {
    /// Lets through so many bytes per second, at least one.
    pub fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), paid: Mutex::new(Instant::now()) }
    }

    /// The most bytes to move at once, so that nobody waits long for a turn.
    pub fn piece(&self) -> usize {
        usize::try_from(self.per_second / 8).unwrap_or(usize::MAX).clamp(512, 64 << 10)
    }

    /// Waits until so many bytes, which have just moved, have had their time.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn spend(&self, bytes: usize, ctx: &Context) -> Result<()> {
        retry::sleep(self.wait(bytes, Instant::now()), ctx)
    }

    /// How long who moves so many bytes now has to wait.
    fn wait(&self, bytes: usize, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        let mut paid = lock(&self.paid);
        // What was not used for a while is lost, but for a quarter of a second.
        let from = now.checked_sub(Duration::from_millis(250)).unwrap_or(now);
        *paid = (*paid).max(from) + cost;
        paid.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_share_one_limit_and_save_up_a_quarter_of_a_second() {
        let rate = Rate::new(1 << 20);
        let now = Instant::now() + Duration::from_secs(10);
        let waits: Vec<u128> = (0..16).map(|_| rate.wait(64 << 10, now).as_millis()).collect();
        // 1 MiB at 1 MiB/s, of which a quarter was saved up.
        assert_eq!(waits[..5], [0, 0, 0, 0, 62]);
        assert_eq!(waits[15], 750);
        assert_eq!(rate.wait(64 << 10, now + Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn pieces_are_small_where_the_limit_is_small() {
        assert_eq!(Rate::new(1_000).piece(), 512);
        assert_eq!(Rate::new(100_000).piece(), 12_500);
        assert_eq!(Rate::new(u64::MAX).piece(), 64 << 10);
        assert_eq!(Rate::new(0).piece(), 512);
    }
}
