//! The one permit of the process for decoding with a big window.
//!
//! It bounds memory, never correctness, so it must never be the reason a program stands still. It
//! must not know what is decoded.
//!
//! A thread that holds the permit should wait for nothing but its own input. Where that fails, three
//! rules keep a deadlock impossible:
//!
//! * the permit is reentrant per thread, so a big-window layer inside a big-window archive, read by
//!   one thread, takes it twice;
//! * the permit follows its reader to another thread at the next read there;
//! * a waiter goes ahead without its turn when no holder has read for [`PATIENCE`]: a stalled holder
//!   (its caller waits for us, or forgot it) then costs memory instead of standing still for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::locks::lock;

/// Windows and dictionaries up to this many bytes are everyday: `zstd -19` and `xz -6` use 8 MiB.
/// Bigger ones are decoded one at a time.
pub(super) const SMALL_WINDOW: u64 = 8 << 20;

/// How long a waiter watches holders that do not read before it goes ahead.
const PATIENCE: Duration = Duration::from_secs(5);

static GATE: Gate = Gate::new();

/// Who decodes with a big window now.
struct Gate {
    holders: Mutex<Holders>,
    freed: Condvar,
    /// Goes up with every read by a holder.
    beat: AtomicU64,
}

struct Holders {
    next: u64,
    threads: Vec<(u64, ThreadId)>,
}

/// The right to one big window; dropping it gives the right back.
pub(super) struct WindowPermit {
    gate: &'static Gate,
    id: u64,
    thread: ThreadId,
}

impl Gate {
    const fn new() -> Self {
        Self {
            holders: Mutex::new(Holders { next: 0, threads: Vec::new() }),
            freed: Condvar::new(),
            beat: AtomicU64::new(0),
        }
    }

    /// Nothing under the lock can leave the list half changed, so poison means nothing here.
    fn lock(&self) -> MutexGuard<'_, Holders> {
        lock(&self.holders)
    }

    fn acquire(&'static self, patience: Duration) -> WindowPermit {
        let thread = thread::current().id();
        let mut holders = self.lock();
        while holders.threads.iter().any(|(_, other)| *other != thread) {
            let beat = self.beat.load(Ordering::Relaxed);
            let waited = self.freed.wait_timeout(holders, patience);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            holders = guard;
            if timeout.timed_out() && self.beat.load(Ordering::Relaxed) == beat {
                break;
            }
        }
        let id = holders.next;
        holders.next += 1;
        holders.threads.push((id, thread));
        self.beat.fetch_add(1, Ordering::Relaxed);
        WindowPermit { gate: self, id, thread }
    }
}

impl WindowPermit {
    /// Waits for the turn to decode with a big window.
    pub(super) fn acquire() -> Self {
        GATE.acquire(PATIENCE)
    }

    /// Says that the holder is at work, and on which thread.
    pub(super) fn touch(&mut self) {
        self.gate.beat.fetch_add(1, Ordering::Relaxed);
        let thread = thread::current().id();
        if thread != self.thread {
            self.thread = thread;
            for holder in &mut self.gate.lock().threads {
                if holder.0 == self.id {
                    holder.1 = thread;
                }
            }
            // A waiter on this very thread's list may now be alone.
            self.gate.freed.notify_all();
        }
    }
}

impl Drop for WindowPermit {
    fn drop(&mut self) {
        self.gate.lock().threads.retain(|(id, _)| *id != self.id);
        self.gate.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    #[test]
    fn only_one_thread_decodes_with_a_big_window_at_a_time() {
        static HERE: Gate = Gate::new();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _permit = HERE.acquire(PATIENCE);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(3));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn a_thread_can_take_the_permit_again_inside_itself() {
        static HERE: Gate = Gate::new();
        let start = Instant::now();
        let outer = HERE.acquire(PATIENCE);
        let inner = HERE.acquire(PATIENCE);
        drop((outer, inner));
        assert!(start.elapsed() < PATIENCE);
        assert!(HERE.lock().threads.is_empty());
    }

    #[test]
    fn the_permit_follows_its_reader_to_another_thread() {
        static HERE: Gate = Gate::new();
        let mut permit = HERE.acquire(PATIENCE);
        let start = Instant::now();
        thread::spawn(move || {
            permit.touch();
            drop(HERE.acquire(PATIENCE));
        })
        .join()
        .unwrap();
        assert!(start.elapsed() < PATIENCE);
    }

    #[test]
    fn a_stalled_holder_does_not_stop_others_for_ever() {
        static HERE: Gate = Gate::new();
        let _stalled = HERE.acquire(PATIENCE);
        thread::spawn(|| drop(HERE.acquire(Duration::from_millis(10)))).join().unwrap();
    }
}
