//! Uploads: in pieces, cut off, of the wrong digest, over restarts, at once, forgotten.

use std::io::{self, Read};
use std::sync::atomic::Ordering;

use super::*;

fn name(text: &str) -> RepositoryName {
    RepositoryName::of(&text.parse().unwrap())
}

struct Place {
    temp: tempfile::TempDir,
    root: Dir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        Self { temp, root }
    }

    fn uploads(&self) -> Uploads {
        Uploads::open(&self.root, false).unwrap()
    }

    fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        std::fs::read(self.temp.path().join(digest.blob_path())).ok()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.temp.path().join(UPLOADS)).unwrap().count()
    }
}

/// Bytes, and then a connection that breaks.
struct Breaks<'b>(&'b [u8]);

impl Read for Breaks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

fn finish(uploads: &Uploads, claimed: Claimed<'_>, digest: &Digest) -> u64 {
    uploads.finish(uploads.prove(claimed, digest).unwrap()).unwrap()
}

#[test]
fn bytes_in_any_pieces_become_the_blob_of_either_algorithm() {
    let place = Place::new();
    let uploads = place.uploads();
    let x = name("docker.io/library/x");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for digest in [Digest::of(&bytes), Algorithm::Sha512.digest(&bytes)] {
        // A few at a time have threads and memory of their own, a crowd has not.
        for (algorithm, crowd) in
            [(Algorithm::Sha256, 0), (Algorithm::Sha512, 0), (Algorithm::Sha256, 99)]
        {
            uploads.common.arriving.store(crowd, Ordering::Relaxed);
            let session = uploads.begin(&x, algorithm).unwrap();
            let mut claimed = session.claim().unwrap();
            claimed.append(None, None, &mut &bytes[..4096]).unwrap();
            claimed.append(Some(4096), Some(2_000_000), &mut &bytes[4096..2_004_096]).unwrap();
            claimed.append(Some(2_004_096), None, &mut &bytes[2_004_096..]).unwrap();
            assert_eq!(finish(&uploads, claimed, &digest), 3_000_000);
            assert_eq!(place.blob(&digest).unwrap(), bytes);
            assert!(uploads.find(&x, session.id()).is_none());
            assert!(matches!(session.claim(), Err(Stop::Unknown)));
        }
    }
    assert_eq!(place.files(), 0);
}

#[test]
fn what_does_not_follow_is_refused_and_the_session_goes_on() {
    let place = Place::new();
    let uploads = place.uploads();
    let session = uploads.begin(&name("docker.io/library/x"), Algorithm::Sha256).unwrap();
    let mut claimed = session.claim().unwrap();
    claimed.append(None, None, &mut &b"begin"[..]).unwrap();
    for start in [0, 4, 6, u64::MAX] {
        let stop = claimed.append(Some(start), None, &mut &b"x"[..]);
        assert!(matches!(stop, Err(Stop::Order(5))), "{start}: {stop:?}");
    }
    for (said, sent) in [(3, &b"ab"[..]), (3, b"abcd"), (0, b"a")] {
        let stop = claimed.append(Some(5), Some(said), &mut { sent });
        assert!(matches!(stop, Err(Stop::Size)), "{said}: {stop:?}");
        assert_eq!(claimed.offset(), 5);
    }
    // What arrived of a body that broke off is kept.
    let stop = claimed.append(None, Some(9), &mut Breaks(b"ning"));
    assert!(matches!(stop, Err(Stop::Cut)), "{stop:?}");
    claimed.append(Some(9), None, &mut &b"."[..]).unwrap();
    let digest = Digest::of(b"beginning.");
    finish(&uploads, claimed, &digest);
    assert_eq!(place.blob(&digest).unwrap(), b"beginning.");
}

#[test]
fn all_that_arrived_of_a_large_body_that_broke_off_is_kept() {
    let place = Place::new();
    let uploads = place.uploads();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let session = uploads.begin(&name("docker.io/library/x"), Algorithm::Sha256).unwrap();
    let mut claimed = session.claim().unwrap();
    let stop = claimed.append(None, None, &mut Breaks(&bytes[..2_500_001]));
    assert!(matches!(stop, Err(Stop::Cut)), "{stop:?}");
    assert_eq!(claimed.offset(), 2_500_001);
    let stop = claimed.append(None, Some(9), &mut &bytes[2_500_001..]);
    assert!(matches!(stop, Err(Stop::Size)), "{stop:?}");
    assert_eq!(claimed.offset(), 2_500_001);
    claimed.append(None, None, &mut &bytes[2_500_001..]).unwrap();
    uploads
        .prove(claimed, &Digest::of(&bytes))
        .map(|proved| uploads.finish(proved).unwrap())
        .unwrap();
    assert!(place.blob(&Digest::of(&bytes)).unwrap() == bytes);
}

#[test]
fn the_wrong_digest_leaves_nothing() {
    let place = Place::new();
    let uploads = place.uploads();
    let x = name("docker.io/library/x");
    let session = uploads.begin(&x, Algorithm::Sha256).unwrap();
    let mut claimed = session.claim().unwrap();
    claimed.append(None, None, &mut &b"a"[..]).unwrap();
    let stop = uploads.prove(claimed, &Digest::of(b"b"));
    assert!(matches!(stop, Err(Stop::Mismatch(found)) if found == Digest::of(b"a")));
    assert!(uploads.find(&x, session.id()).is_none());
    assert_eq!((place.files(), place.blob(&Digest::of(b"a"))), (0, None));
}

#[test]
fn a_session_outlives_the_process_and_belongs_to_its_repository() {
    let place = Place::new();
    let (x, y) = (name("docker.io/library/x"), name("docker.io/library/y"));
    let id = {
        let uploads = place.uploads();
        assert!(matches!(Uploads::open(&place.root, false), Err(e) if e.kind() == Kind::Busy));
        let session = uploads.begin(&x, Algorithm::Sha256).unwrap();
        session.claim().unwrap().append(None, None, &mut &b"half"[..]).unwrap();
        session.id().to_owned()
    };
    // A document that was being written when the process was killed.
    std::fs::write(place.temp.path().join(UPLOADS).join("00ff"), b"{").unwrap();
    let uploads = place.uploads();
    assert_eq!((uploads.count(), place.files()), (1, 1));
    assert!(uploads.find(&y, &id).is_none());
    let session = uploads.find(&x, &id).unwrap();
    assert_eq!(session.offset(), 4);
    let mut claimed = session.claim().unwrap();
    claimed.append(Some(4), None, &mut &b" and half"[..]).unwrap();
    let digest = Digest::of(b"half and half");
    finish(&uploads, claimed, &digest);
    assert_eq!(place.blob(&digest).unwrap(), b"half and half");
}

#[test]
fn requests_at_once_never_mix() {
    let place = Place::new();
    let uploads = place.uploads();
    let session = uploads.begin(&name("docker.io/library/x"), Algorithm::Sha256).unwrap();
    let claimed = session.claim().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| matches!(session.claim(), Err(Stop::Busy)));
        assert!(other.join().unwrap(), "the second waits, and is turned away");
    });
    drop(claimed);
    assert!(session.claim().is_ok());
}

#[test]
fn only_what_nobody_touched_for_long_is_purged() {
    let place = Place::new();
    let uploads = place.uploads();
    let x = name("docker.io/library/x");
    let [old, fresh, busy] = [(); 3].map(|()| uploads.begin(&x, Algorithm::Sha256).unwrap());
    let claimed = busy.claim().unwrap();
    for session in [&old, &busy] {
        let path = place.temp.path().join(UPLOADS).join(session.file());
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let day = std::time::Duration::from_secs(25 * 3600);
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - day).unwrap();
    }
    assert_eq!(uploads.purge(24 * 3600).unwrap(), 1);
    assert!(uploads.find(&x, old.id()).is_none());
    assert!(uploads.find(&x, fresh.id()).is_some() && uploads.find(&x, busy.id()).is_some());
    drop(claimed);
    assert_eq!(uploads.purge(24 * 3600).unwrap(), 1);
    assert_eq!((uploads.count(), place.files()), (1, 1));
}
