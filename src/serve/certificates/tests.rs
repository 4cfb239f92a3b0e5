//! Certificates of our own over the years, at clocks that are right, ahead, or never set.

use std::os::unix::fs::PermissionsExt;

use time::Duration;

use super::dates::{AUTHORITY, LEAF, RENEW};
use super::*;

/// Some day of 2027.
fn today() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// The state of a server that was started at several times.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start(&self, names: &str, now: OffsetDateTime) -> Identity {
        let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
        own(self.0.path(), &names, now, 1).unwrap()
    }

    /// Started on this machine alone; what is shown then must be good then.
    fn at(&self, now: OffsetDateTime) -> Identity {
        let identity = self.start("localhost", now);
        assert!(dates::is_good(&identity.chain[0], &identity.chain[1], now), "{now}");
        assert_ne!(dates::standing(&identity.chain[1], now).unwrap(), Standing::Out, "{now}");
        assert_eq!(identity.authority().map(certificate).unwrap().unwrap(), identity.chain[1]);
        identity
    }

    /// Leaves an authority there with other dates than ours have.
    fn with_authority(self, begin: OffsetDateTime, end: OffsetDateTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = issuer(&key, begin);
        lasting(&mut params, (begin, end));
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.0.path().join("ca.key"), key.serialize_pem()).unwrap();
        std::fs::write(self.0.path().join("ca.crt"), pem).unwrap();
        self
    }
}

#[test]
fn the_authority_stays_and_its_certificate_follows_names_and_time() {
    let state = State::new();
    let first = state.start("localhost 127.0.0.1 ::1", today());
    let day = Duration::DAY;
    let again = state.start("127.0.0.1 localhost ::1 localhost", today() + day * 100);
    assert_eq!(again.chain, first.chain, "the same names in another order");
    for (names, later) in
        [("localhost reg.lan", day * 100), ("localhost 127.0.0.1 ::1", LEAF - RENEW + day)]
    {
        let other = state.start(names, today() + later);
        assert_ne!(other.chain[0], first.chain[0]);
        assert_eq!(other.chain[1], first.chain[1]);
        assert_eq!(other.fingerprint(), first.fingerprint());
        assert_eq!(other.authority(), first.authority());
    }
    for (name, mode) in [("ca.key", 0o600), ("server.key", 0o600)] {
        let meta = std::fs::metadata(state.0.path().join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(first.fingerprint().len(), 32 * 3 - 1);
    std::fs::remove_file(state.0.path().join("ca.key")).unwrap();
    let error = own(state.0.path(), &["localhost".to_owned()], today(), 1).err().unwrap();
    assert_eq!(error.kind(), Kind::Missing);
}

#[test]
fn an_authority_that_has_ended_is_made_anew_and_that_is_said_once() {
    let state = State::new();
    let first = state.at(today());
    assert_eq!(first.news(), None);
    let late = state.at(today() + AUTHORITY - Duration::DAY);
    assert_eq!(late.chain[1], first.chain[1], "it is used to its end");
    assert!(late.news().is_some_and(|news| news.contains("ends in less than 30 days")));
    let over = today() + AUTHORITY + Duration::DAY;
    let next = state.at(over);
    assert_ne!(next.chain[1], first.chain[1]);
    let news = next.news().unwrap();
    assert!(news.contains("all clients must be given"), "{news}");
    assert!(news.contains(&next.fingerprint()), "{news}");
    let after = state.at(over);
    assert_eq!((after.news(), &after.chain), (None, &next.chain));
}

#[test]
fn what_was_made_before_the_clock_was_set_is_trusted_after() {
    let state = State::new();
    let unset = OffsetDateTime::UNIX_EPOCH + Duration::minutes(1);
    let first = state.at(unset);
    assert!(dates::is_good(&first.chain[0], &first.chain[1], unset + Duration::DAY * 300));
    // The clock is set, the machine starts in 1970 once more, and the clock is set again.
    for now in [today(), unset, today()] {
        let next = state.at(now);
        assert_eq!((next.news(), &next.chain[1]), (None, &first.chain[1]), "{now}");
    }
    let last = state.at(today());
    assert_ne!(last.chain[0], first.chain[0], "one that lasts as long as clients like");
}

#[test]
fn an_authority_with_dates_of_another_time_is_replaced_once_the_clock_is_set() {
    let (epoch, year) = (OffsetDateTime::UNIX_EPOCH, Duration::days(365));
    for (begin, end) in [
        (epoch - Duration::DAY, epoch + year * 10),
        (epoch, epoch + year * 10),
        (today() + year, today() + year * 11),
    ] {
        let state = State::new().with_authority(begin, end);
        let old = std::fs::read_to_string(state.0.path().join("ca.crt")).unwrap();
        let unset = state.start("localhost", epoch);
        assert_eq!((unset.authority(), unset.news()), (Some(old.as_str()), None), "{begin}");
        let next = state.at(today());
        assert_ne!(next.authority(), Some(old.as_str()), "{begin}");
        assert!(next.news().is_some_and(|news| news.contains("not valid at this time")));
    }
}

#[test]
fn a_certificate_that_has_not_begun_is_made_anew() {
    let state = State::new();
    let ahead = state.at(today() + Duration::days(200));
    let right = state.at(today());
    assert_ne!(right.chain[0], ahead.chain[0]);
    assert_eq!((right.news(), &right.chain[1]), (None, &ahead.chain[1]));
}

#[test]
fn an_authority_that_was_removed_is_followed_by_one_that_signs_what_is_shown() {
    let state = State::new();
    let first = state.at(today());
    std::fs::remove_file(state.0.path().join("ca.crt")).unwrap();
    let next = state.at(today());
    assert_ne!(next.chain[1], first.chain[1]);
    assert!(next.news().is_some_and(|news| news.contains("is not there")));
    std::fs::write(state.0.path().join("ca.crt"), "nonsense").unwrap();
    let error = own(state.0.path(), &["localhost".to_owned()], today(), 1).err().unwrap();
    assert_eq!(error.kind(), Kind::Malformed);
}

#[test]
fn names_that_no_host_has_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "a b", "a/b", "bad\nname", "ä"] {
        let made = own(dir.path(), &[name.to_owned()], OffsetDateTime::UNIX_EPOCH, 1);
        assert_eq!(made.err().map(|e| e.kind()), Some(Kind::Usage), "{name:?}");
    }
}
