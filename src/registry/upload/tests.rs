//! Uploads into a registry held in memory, with the habits and faults of real ones.

use std::io::{self, Read};
use std::path::Path;

use super::*;
use crate::context::Context;
use crate::digest::Digest;
use crate::registry::http::Wire;
use crate::registry::settings::{Settings, TransferStyle};

mod cuts;
mod fake;
mod sessions;

use fake::{Fake, Fault, Habits};

const MIB: usize = 1 << 20;
const HOST: &str = "reg.example";

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + i / 253 + i / 65_537) as u8).collect()
}

fn target<'a>(fake: &'a Fake, settings: &'a Settings, ctx: &'a Context) -> Target<'a> {
    Target { wire: fake, host: HOST, path: "team/app", settings, learned: &fake.learned, ctx }
}

fn send_as(fake: &Fake, blob: &[u8], settings: &Settings) -> Result<u64> {
    let ctx = Context::default();
    let desc = Descriptor::of("application/octet-stream", blob);
    let sent = upload(&target(fake, settings, &ctx), &desc, None, &|| Ok(Box::new(blob)))?;
    let inner = fake.inner.lock().unwrap();
    assert!(inner.blobs[&desc.digest.to_string()] == blob);
    assert!(inner.sessions.is_empty(), "sessions are left: {:?}", inner.sessions.keys());
    Ok(sent)
}

fn send(fake: &Fake, blob: &[u8]) -> Result<u64> {
    send_as(fake, blob, &Settings::default())
}

fn styled(style: TransferStyle) -> Settings {
    Settings { style, ..Settings::default() }
}

#[test]
fn a_large_blob_is_one_patch_and_a_small_one_one_put() {
    let fake = Fake::new(Habits::default(), &[]);
    assert_eq!(send(&fake, &bytes(3 * MIB)).unwrap(), 3 * MIB as u64);
    assert_eq!(fake.log(), ["POST 0 -", "PATCH 3145728 -", "PUT 0 -"]);
    for size in [0, 1, 64 << 10] {
        let fake = Fake::new(Habits::default(), &[]);
        assert_eq!(send(&fake, &bytes(size)).unwrap(), size as u64);
        assert_eq!(fake.log(), ["POST 0 -".to_owned(), format!("PUT {size} -")]);
    }
}

#[test]
fn styles_are_what_the_user_chose() {
    for (style, want) in [
        (TransferStyle::Monolithic, vec!["POST 0 -", "PATCH 3000000 -", "PUT 0 -"]),
        (TransferStyle::PutOnly, vec!["POST 0 -", "PUT 3000000 -"]),
        (
            TransferStyle::Chunked(2 << 20),
            vec!["POST 0 -", "PATCH 2097152 0-2097151", "PATCH 902848 2097152-2999999", "PUT 0 -"],
        ),
    ] {
        let fake = Fake::new(Habits::default(), &[]);
        send_as(&fake, &bytes(3_000_000), &styled(style)).unwrap();
        assert_eq!(fake.log(), want, "{style:?}");
    }
}

#[test]
fn what_a_registry_refuses_is_done_its_way() {
    let size = 10 * MIB;
    let blob = bytes(size);
    for (name, habits, most, patches) in [
        ("413 above 1 MiB", Habits { most: Some(MIB), ..Habits::default() }, size, 14),
        ("413 above 3 MiB", Habits { most: Some(3 * MIB), ..Habits::default() }, size, 8),
        ("ghcr takes one PATCH", Habits { ghcr: true, ..Habits::default() }, size, 1),
        ("ecr", Habits { ecr: true, ..Habits::default() }, size, 1),
        ("gar", Habits { no_patch: Some(405), ..Habits::default() }, size, 1),
        ("gar as 400", Habits { no_patch: Some(400), ..Habits::default() }, size, 1),
        ("gar as 404", Habits { no_patch: Some(404), ..Habits::default() }, size, 2),
        ("gitea", Habits { one_patch: true, ..Habits::default() }, size, 1),
    ] {
        let fake = Fake::new(habits, &[]);
        let sent = send(&fake, &blob).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(sent as usize <= most, "{name}: {sent}");
        assert_eq!(fake.count("PATCH"), patches, "{name}: {:?}", fake.log());
        // The next one does not find out again.
        let before = fake.log().len();
        send(&fake, &bytes(size - 1)).unwrap();
        let refused = fake.count("DELETE");
        assert!(fake.log().len() - before <= 12, "{name}: {:?}", &fake.log()[before..]);
        assert_eq!(refused, fake.count("DELETE"), "{name}");
    }
    let fake = Fake::new(Habits { ghcr: true, ..Habits::default() }, &[]);
    send_as(&fake, &blob, &styled(TransferStyle::Chunked(5 << 20))).unwrap();
    assert_eq!(fake.count("PATCH"), 4, "one of 5 MiB, then three of at most 4: {:?}", fake.log());
    let fake = Fake::new(Habits { least: Some(5 * MIB), ..Habits::default() }, &[]);
    send_as(&fake, &blob, &styled(TransferStyle::Chunked(1 << 20))).unwrap();
    assert_eq!(fake.count("PATCH"), 2);
    let fake = Fake::new(Habits { no_put: true, ..Habits::default() }, &[]);
    send(&fake, b"small").unwrap();
    send(&fake, b"little").unwrap();
    assert_eq!(fake.count("POST"), 3, "{:?}", fake.log());
    let fake = Fake::new(Habits { one_patch: true, ..Habits::default() }, &[]);
    send(&fake, &blob).unwrap();
    let fault = (Method::Patch, 1, Fault::Cut(MIB));
    let fake = Fake::new(Habits { one_patch: true, ..Habits::default() }, &[fault]);
    assert_eq!(send(&fake, &blob).unwrap() as usize, 2 * size, "no second PATCH is possible");
}

#[test]
fn what_cannot_be_done_ends_with_one_clear_error_and_no_session() {
    use Fault::Status;
    use Method::{Patch, Post, Put};
    let always = |method, fault| (1..20).map(|n| (method, n, fault)).collect::<Vec<_>>();
    for (name, habits, faults, style, kind) in [
        (
            "a session in the clear",
            Habits { bare: true, ..Habits::default() },
            vec![],
            None,
            Kind::Denied,
        ),
        ("denied", Habits::default(), always(Patch, Status(403, "DENIED")), None, Kind::Denied),
        (
            "no repository",
            Habits::default(),
            always(Post, Status(404, "NAME_UNKNOWN")),
            None,
            Kind::Missing,
        ),
        ("read only", Habits::default(), always(Post, Status(405, "")), None, Kind::Unsupported),
        (
            "wrong digest",
            Habits::default(),
            always(Put, Status(400, "DIGEST_INVALID")),
            None,
            Kind::Corrupt,
        ),
        (
            "never known",
            Habits::default(),
            always(Put, Status(404, "BLOB_UPLOAD_UNKNOWN")),
            None,
            Kind::Missing,
        ),
        (
            "413 for a style of one piece",
            Habits { most: Some(MIB), ..Habits::default() },
            vec![],
            Some(TransferStyle::Monolithic),
            Kind::Other,
        ),
        (
            "413 for any",
            Habits { most: Some(MIB / 2), ..Habits::default() },
            vec![],
            None,
            Kind::Other,
        ),
        (
            "no PATCH for a style of chunks",
            Habits { no_patch: Some(405), ..Habits::default() },
            vec![],
            Some(TransferStyle::Chunked(1 << 20)),
            Kind::Other,
        ),
    ] {
        // Where it may not be sent to it is not cancelled either.
        let left = usize::from(habits.bare);
        let fake = Fake::new(habits, &faults);
        let settings = styled(style.unwrap_or_default());
        let err = send_as(&fake, &bytes(3 * MIB), &settings).unwrap_err();
        assert_eq!(err.kind(), kind, "{name}: {err}");
        assert_eq!(fake.inner.lock().unwrap().sessions.len(), left, "{name}");
        assert!(fake.count("POST") <= 7, "{name}: {:?}", fake.log());
    }
}

#[test]
fn without_retries_nothing_is_tried_twice() {
    let fault = (Method::Patch, 1, Fault::Cut(10));
    let fake = Fake::new(Habits::default(), &[fault]);
    let settings = Settings { retries: 0, ..Settings::default() };
    let err = send_as(&fake, &bytes(3 * MIB), &settings).unwrap_err();
    assert_eq!(err.kind(), Kind::Unreachable);
    assert_eq!(fake.count("PATCH"), 1);
}

#[test]
fn a_source_whose_bytes_are_wrong_ends_the_session_with_its_own_error() {
    struct Bad(usize);
    impl Read for Bad {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(Error::corrupt("expected sha256:a, found sha256:b").into());
            }
            let n = buffer.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }
    }
    for size in [10, 3 * MIB] {
        let dir = tempfile::tempdir().unwrap();
        let state = Some(dir.path().join("s"));
        let settings = Settings { state, ..Settings::default() };
        let fake = Fake::new(Habits::default(), &[]);
        let ctx = Context::default();
        let desc = Descriptor::of("a/b", &bytes(size));
        let sent =
            upload(&target(&fake, &settings, &ctx), &desc, None, &|| Ok(Box::new(Bad(size))));
        let err = sent.unwrap_err();
        assert_eq!(err.what(), "expected sha256:a, found sha256:b");
        let inner = fake.inner.lock().unwrap();
        assert!(inner.sessions.is_empty() && inner.blobs.is_empty());
        assert!(inner.received < size, "the last bytes must be withheld");
        assert!(files(&dir.path().join("s")) == 0);
    }
}

#[test]
fn a_blob_of_another_repository_is_mounted_or_else_uploaded() {
    let (settings, ctx) = (Settings::default(), Context::default());
    let blob = bytes(100);
    let desc = Descriptor::of("a/b", &blob);
    let habits = Habits { mounts: Some("base/os"), ..Habits::default() };
    let fake = Fake::new(habits.clone(), &[]);
    let to = target(&fake, &settings, &ctx);
    assert!(matches!(mount(&to, &desc.digest, "base/os").unwrap(), MountOutcome::Mounted));
    let MountOutcome::Session(session) = mount(&to, &desc.digest, "other").unwrap() else {
        panic!("no session")
    };
    forgo(&to, &session);
    assert!(fake.inner.lock().unwrap().sessions.is_empty());
    for (from, faults, want) in [
        ("base/os", vec![], vec!["POST 0 -"]),
        // The session that comes instead is the one that is used.
        ("other", vec![], vec!["POST 0 -", "PUT 100 -"]),
        (
            "base/os",
            vec![(Method::Post, 1, Fault::Status(401, ""))],
            vec!["POST 0 -", "POST 0 -", "PUT 100 -"],
        ),
        (
            "base/os",
            vec![(Method::Post, 1, Fault::Cut(0))],
            vec!["POST 0 -", "POST 0 -", "PUT 100 -"],
        ),
    ] {
        let fake = Fake::new(habits.clone(), &faults);
        let to = target(&fake, &settings, &ctx);
        let begun = match mount(&to, &desc.digest, from).unwrap() {
            MountOutcome::Mounted => None,
            MountOutcome::Session(session) => Some(Some(session)),
            MountOutcome::Refused => Some(None),
        };
        if let Some(begun) = begun {
            upload(&to, &desc, begun, &|| Ok(Box::new(&blob[..]))).unwrap();
        }
        assert_eq!(fake.log(), want, "{from}");
    }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map(Iterator::count).unwrap_or_default()
}
