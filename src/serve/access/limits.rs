//! Limits per address: wrong passwords per minute, and pending checks.
//!
//! It knows no password. A check is slow on purpose, so pending checks are bounded too: a client that
//! floods the queue would lock everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::locks::lock;

/// How many wrong passwords one address may show in [`WINDOW`].
pub(crate) const MAX_FAILURES: u32 = 20;
/// The time over which failures are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses whose failures are counted at once.
const MAX_STRANGERS: usize = 4096;
/// How many passwords of one address may wait to be checked: a site behind one address that starts all
/// its nodes at once.
pub(crate) const MAX_WAITING: u32 = 64;

/// The counters of each address.
#[derive(Default)]
pub(super) struct PasswordLimits {
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    waiting: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// A pending password check, no longer counted once dropped.
pub struct PendingCheck {
    who: IpAddr,
    all: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl PasswordLimits {
    /// Counts a wrong password.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut failures = lock(&self.failures);
        if failures.len() >= MAX_STRANGERS {
            failures.clear();
        }
        let count = failures.entry(network(address)).or_insert((Instant::now(), 0));
        if count.0.elapsed() > WINDOW {
            *count = (Instant::now(), 0);
        }
        count.1 += 1;
    }

    /// Whether an address showed too many wrong passwords lately.
    pub(super) fn is_suspect(&self, address: IpAddr) -> bool {
        lock(&self.failures)
            .get(&network(address))
            .is_some_and(|(since, count)| since.elapsed() < WINDOW && *count >= MAX_FAILURES)
    }

    /// A place among the checks of an address; nothing when too many wait already.
    pub(super) fn wait(&self, address: IpAddr) -> Option<PendingCheck> {
        let who = network(address);
        let mut waiting = lock(&self.waiting);
        let count = waiting.entry(who).or_insert(0);
        if *count >= MAX_WAITING {
            return None;
        }
        *count += 1;
        Some(PendingCheck { who, all: self.waiting.clone() })
    }
}

impl Drop for PendingCheck {
    fn drop(&mut self) {
        let mut waiting = lock(&self.all);
        if let Some(count) = waiting.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.who);
            }
        }
    }
}

/// Who is counted as one: an address, or what one customer has of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
            IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn what_waits_is_bounded_for_each_address_and_forgotten_when_it_is_done() {
        let limits = PasswordLimits::default();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held: Vec<PendingCheck> =
            (0..MAX_WAITING).filter_map(|_| limits.wait(one)).collect();
        assert_eq!(held.len(), 64);
        assert!(limits.wait(one).is_none());
        assert!(limits.wait(other).is_some());
        held.pop();
        assert!(limits.wait(one).is_some());
        held.clear();
        assert!(lock(&limits.waiting).is_empty());
    }
}
