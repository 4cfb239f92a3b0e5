//! How many requests one host gets at once.
//!
//! It sends nothing. When a host reports too many requests, the number is halved.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

use crate::context::Context;
use crate::error::Result;
use crate::locks::lock;

/// How often a waiting thread looks whether the run goes on.
const SLICE: Duration = Duration::from_millis(200);

/// Permits for requests.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    limit: usize,
    held: HashMap<ThreadId, usize>,
    used: usize,
}

/// One permit, given back when dropped.
pub(crate) struct RequestPermit<'a>(&'a Permits);

impl Permits {
    pub(crate) fn new(limit: usize) -> Self {
        let state = State { limit: limit.max(1), held: HashMap::new(), used: 0 };
        Self { state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Waits for a permit. A thread that has one gets another at once: a body that is being sent may
    /// need a request of its own, and would wait for itself.
    pub(crate) fn take(&self, ctx: &Context) -> Result<RequestPermit<'_>> {
        let me = std::thread::current().id();
        let mut state = self.lock();
        while state.used >= state.limit && !state.held.contains_key(&me) {
            ctx.check()?;
            state = self
                .freed
                .wait_timeout(state, SLICE)
                .map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
        *state.held.entry(me).or_default() += 1;
        state.used += 1;
        Ok(RequestPermit(self))
    }

    /// Gives half as many from now on; how many that is.
    pub(crate) fn halve(&self) -> usize {
        let mut state = self.lock();
        state.limit = (state.limit / 2).max(1);
        state.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        let me = std::thread::current().id();
        let mut state = self.0.lock();
        state.used = state.used.saturating_sub(1);
        if let Some(count) = state.held.get_mut(&me) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&me);
            }
        }
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_the_limit_run_at_once_and_halving_counts() {
        let ctx = Context::default();
        let permits = Permits::new(4);
        for want in [4, 2, 1, 1] {
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let _permit = permits.take(&ctx).unwrap();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        now.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            assert_eq!(most.load(Ordering::SeqCst), want);
            permits.halve();
        }
    }

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        let permits = Permits::new(1);
        let ctx = Context::default();
        let _one = permits.take(&ctx).unwrap();
        let _two = permits.take(&ctx).unwrap();
        assert_eq!(permits.lock().used, 2);
    }
}
