//! The turnstile: workers prepare beside one another and come to a sink with one lane in plan order.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::copy::ship::lock;

/// Lets workers through in plan order.
#[derive(Default)]
pub(super) struct Turnstile {
    now: Mutex<usize>,
    moved: Condvar,
}

impl Turnstile {
    /// Whether it is the turn of `at`, or will be in a moment (the one ahead is a small config).
    pub(super) fn comes_soon(&self, at: usize) -> bool {
        let now = lock(&self.now);
        let patience = std::time::Duration::from_millis(5);
        let (now, _) = self
            .moved
            .wait_timeout_while(now, patience, |now| *now < at)
            .unwrap_or_else(PoisonError::into_inner);
        *now == at
    }

    /// Waits until it is the turn of `at`; at once where no order is kept.
    pub(super) fn wait(&self, at: usize, ordered: bool) {
        if !ordered {
            return;
        }
        let mut now = lock(&self.now);
        while *now < at {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A worker's place in the order; the next one goes on when it is dropped, on panic too.
pub(super) struct Pass<'a> {
    pub(super) turn: &'a Turnstile,
    pub(super) at: usize,
    pub(super) ordered: bool,
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
