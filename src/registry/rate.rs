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
        let cost = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        let until = {
            let mut paid = lock(&self.paid);
            let now = Instant::now();
            // What was not used for a while is lost, but for a quarter of a second.
            let from = now.checked_sub(Duration::from_millis(250)).unwrap_or(now);
            *paid = (*paid).max(from) + cost;
            *paid
        };
        retry::sleep(until.saturating_duration_since(Instant::now()), ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_one_limit() {
        let rate = Rate::new(1 << 20);
        let ctx = Context::default();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        rate.spend(64 << 10, &ctx).unwrap();
                    }
                });
            }
        });
        // 1 MiB at 1 MiB/s, of which a quarter may have been saved up.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(700), "{took:?}");
        assert!(took < Duration::from_millis(1_600), "{took:?}");
    }

    #[test]
    fn pieces_are_small_where_the_limit_is_small() {
        assert_eq!(Rate::new(1_000).piece(), 512);
        assert_eq!(Rate::new(100_000).piece(), 12_500);
        assert_eq!(Rate::new(u64::MAX).piece(), 64 << 10);
        assert_eq!(Rate::new(0).piece(), 512);
    }
}
