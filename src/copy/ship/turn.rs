//! Turns: which of the workers that deliver leaves goes next.
//!
//! It knows neither leaves nor places, only positions in the plan.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::locks::lock;

/// How long a worker waits to hear whether its turn is the next.
const PATIENCE: Duration = Duration::from_millis(5);

/// Lets workers proceed in plan order.
#[derive(Default)]
pub(super) struct PlanOrder {
    now: Mutex<usize>,
    moved: Condvar,
}

impl PlanOrder {
    /// Whether it is the turn of `at`, or will be in a moment (the one ahead is a small config).
    pub(super) fn comes_soon(&self, at: usize) -> bool {
        let now = lock(&self.now);
        let (now, _) = self
            .moved
            .wait_timeout_while(now, PATIENCE, |now| *now < at)
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

/// A worker's place in the order; the next worker proceeds when it is dropped, also on panic.
pub(super) struct Pass<'a> {
    pub(super) turn: &'a PlanOrder,
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

/// Slots for work that keeps several cores busy by itself. A free one goes to the waiting worker that
/// is first in the plan: what one worker has done goes out while the next one works.
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    waiting: BTreeSet<usize>,
}

/// A slot, given back when dropped.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    /// So many of them, at least one.
    pub(super) fn new(count: usize) -> Self {
        let state = State { free: count.max(1), waiting: BTreeSet::new() };
        Self { state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Waits for one.
    pub(super) fn take(&self, at: usize) -> Slot<'_> {
        let mut state = lock(&self.state);
        state.waiting.insert(at);
        while state.free == 0 || state.waiting.first() != Some(&at) {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.remove(&at);
        state.free -= 1;
        // Another slot may be free for the next in line, which was skipped while this one waited.
        self.freed.notify_all();
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).free += 1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_slot_goes_to_the_first_of_the_plan_that_waits() {
        let slots = Slots::new(1);
        let order = Mutex::new(Vec::new());
        let held = slots.take(9);
        std::thread::scope(|scope| {
            for at in [3, 0, 2, 1] {
                let (slots, order) = (&slots, &order);
                scope.spawn(move || {
                    let _slot = slots.take(at);
                    lock(order).push(at);
                });
            }
            while lock(&slots.state).waiting.len() < 4 {
                std::thread::yield_now();
            }
            drop(held);
        });
        assert_eq!(*lock(&order), [0, 1, 2, 3]);
    }

    #[test]
    fn no_more_work_at_once_than_there_are_slots() {
        let slots = Slots::new(2);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for at in 0..16 {
                let (slots, now, most) = (&slots, &now, &most);
                scope.spawn(move || {
                    let _slot = slots.take(at);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
    }
}
