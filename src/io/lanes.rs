//! Lanes: threads that wait for networks and disks, beside the pool that computes.
//!
//! It knows nothing of images.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::locks::lock;

/// Does one thing to each item, so many at once; results in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], lanes: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let lanes = lanes.clamp(1, items.len().max(1));
    if lanes == 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    lock(&done).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        for lanes in [0, 1, 7, 200] {
            assert_eq!(super::each(&items, lanes, |n| n * 2)[99], 198);
            assert!(super::each(&items, lanes, |n| *n).is_sorted());
        }
    }
}
