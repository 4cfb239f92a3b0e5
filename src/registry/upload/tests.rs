//! Uploads into a registry held in memory, with the habits and faults of real ones.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::answer::document;
use super::*;
use crate::registry::settings::TransferStyle;

const MIB: usize = 1 << 20;
const HOST: &str = "reg.example";

/// What happens to one request instead of what should.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Cut after so many bytes of its body; the session keeps them when the registry does that.
    Cut(usize),
    /// It is done, and the answer lost.
    Lost,
    /// This status, with this code.
    Status(u16, &'static str),
}

/// Habits, as reported of the registries named.
#[derive(Clone, Debug, Default)]
struct Habits {
    /// A cut ends the session (distribution 2.8).
    forgets: bool,
    /// A cut request leaves nothing, but the session stays.
    rolls_back: bool,
    /// Most bytes of a body before a 413 (nginx).
    most: Option<usize>,
    /// 416 above 4 MiB with a Content-Range (GHCR).
    ghcr: bool,
    /// 201 on PATCH, Range that stands still, no status (ECR).
    ecr: bool,
    /// PATCH is refused with this status (GAR).
    no_patch: Option<u16>,
    /// PUT with a body is refused (Artifactory).
    no_put: bool,
    /// One PATCH without Content-Range per session (Gitea).
    one_patch: bool,
    /// OCI-Chunk-Min-Length.
    least: Option<usize>,
    /// The status says this many bytes less than it has, or more.
    lies: i64,
    /// Sessions lie on another host.
    elsewhere: bool,
    /// Sessions lie on another host, and in the clear.
    bare: bool,
    /// Corrupts the first blob that was resumed.
    corrupts: bool,
    /// Mounts from this repository.
    mounts: Option<&'static str>,
}

#[derive(Default)]
struct Inner {
    next: u32,
    sessions: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    log: Vec<String>,
    received: usize,
    patched: Vec<String>,
    faults: Vec<(Method, u32, Fault)>,
    corrupted: bool,
}

struct Fake {
    habits: Habits,
    inner: Mutex<Inner>,
    learned: Learned,
}

impl Fake {
    fn new(habits: Habits, faults: &[(Method, u32, Fault)]) -> Self {
        let inner = Inner { faults: faults.to_vec(), ..Inner::default() };
        Self { habits, inner: Mutex::new(inner), learned: Learned::default() }
    }

    fn log(&self) -> Vec<String> {
        self.inner.lock().unwrap().log.clone()
    }

    fn count(&self, start: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(start)).count()
    }

    fn received(&self) -> usize {
        self.inner.lock().unwrap().received
    }
}

fn query<'u>(url: &'u str, key: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn unreachable() -> Error {
    Error::new(Kind::Unreachable, "reg.example: connection reset by peer")
}

impl Wire for Fake {
    fn send(&self, request: &Request<'_>) -> Result<Response> {
        let method = request.method;
        let own = request.url.strip_prefix("https://reg.example").unwrap_or(request.url);
        let path = own.split('?').next().unwrap().to_owned();
        let header =
            |name: &str| request.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        let range = header("content-range");
        let mut inner = self.inner.lock().unwrap();
        let name = format!("{method:?}").to_uppercase();
        let (size, open) = match &request.body {
            Body::Stream { size, open } => (usize::try_from(*size).unwrap(), Some(open)),
            _ => (0, None),
        };
        inner.log.push(format!("{name} {size} {}", range.unwrap_or("-")));
        let nth = inner.log.iter().filter(|l| l.starts_with(&format!("{name} "))).count() as u32;
        let at = inner.faults.iter().position(|(m, n, _)| *m == method && *n == nth);
        let fault = at.map(|at| inner.faults.remove(at).2);
        let habits = &self.habits;
        let answer = |status: u16, headers: Vec<(&str, String)>, code: &str| {
            let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            let message = if code == "GITEA" {
                "Stream uploads after first write are not allowed"
            } else {
                ""
            };
            let body: Box<dyn Read + Send> = match code {
                "" => Box::new(io::empty()),
                code => Box::new(io::Cursor::new(document(code, message))),
            };
            let there = path.starts_with("https://");
            let url = if there { path.clone() } else { format!("https://reg.example{path}") };
            Ok(Response { status, headers, url, body })
        };
        if let Some(Fault::Status(status, code)) = fault {
            return answer(status, vec![("retry-after", "0".into())], code);
        }
        if habits.most.is_some_and(|most| size > most) {
            return answer(413, vec![], "");
        }
        // The body, as far as it comes.
        let limit = match fault {
            Some(Fault::Cut(bytes)) => bytes,
            _ => usize::MAX,
        };
        let refused = habits.no_patch.filter(|_| method == Method::Patch);
        let mut body = Vec::new();
        if let Some(open) = open.filter(|_| refused.is_none()) {
            let read = open()?.take(limit.min(size) as u64).read_to_end(&mut body);
            if let Err(e) = read {
                return Err(Error::new(Kind::Unreachable, format!("sending: {e}")));
            }
        }
        inner.received += body.len();
        let cut = matches!(fault, Some(Fault::Cut(_)));
        let session = path.strip_prefix("/v2/team/app/blobs/uploads/").map(str::to_owned);
        let place = |inner: &mut Inner, id: &str| {
            inner.next += 1;
            let host = match (habits.elsewhere, habits.bare) {
                (true, _) => "https://storage.example",
                (_, true) => "http://storage.example",
                _ => "",
            };
            format!("{host}/v2/team/app/blobs/uploads/{id}?_state=a%2Fb{}", inner.next)
        };
        let own_path = path.strip_prefix("https://storage.example").map(str::to_owned);
        let session = session
            .or(own_path
                .and_then(|p| p.strip_prefix("/v2/team/app/blobs/uploads/").map(Into::into)));
        let response = match (method, session) {
            (Method::Head, _) => {
                let digest = path.rsplit('/').next().unwrap();
                match inner.blobs.get(digest) {
                    Some(blob) => answer(200, vec![("content-length", blob.len().to_string())], ""),
                    None => answer(404, vec![], ""),
                }
            }
            (Method::Post, Some(_)) => {
                if let (Some(from), Some(digest)) =
                    (query(request.url, "from"), query(request.url, "mount"))
                {
                    assert_eq!(request.scopes.len(), 2);
                    let known = habits.mounts == Some(&from.replace("%2F", "/"));
                    if known && !cut {
                        inner.blobs.insert(digest.replace("%3A", ":"), Vec::new());
                        return answer(201, vec![], "");
                    }
                }
                let id = format!("s{}", inner.sessions.len() + inner.next as usize);
                inner.sessions.insert(id.clone(), Vec::new());
                let mut headers = vec![("location", place(&mut inner, &id))];
                headers.push(("range", "0-0".into()));
                if let Some(least) = habits.least {
                    headers.push(("oci-chunk-min-length", least.to_string()));
                }
                answer(202, headers, "")
            }
            (Method::Get, Some(id)) => match inner.sessions.get(&id) {
                Some(held) if !habits.ecr => {
                    let told = (held.len() as i64 + habits.lies).max(0);
                    let location = place(&mut inner, &id);
                    let range = format!("0-{}", (told - 1).max(0));
                    answer(204, vec![("location", location), ("range", range)], "")
                }
                _ => answer(404, vec![], "BLOB_UPLOAD_UNKNOWN"),
            },
            (Method::Patch, Some(id)) => {
                if let Some(status) = refused {
                    return answer(status, vec![], "UNSUPPORTED");
                }
                let Some(held) = inner.sessions.get(&id).map(Vec::len) else {
                    return answer(404, vec![], "BLOB_UPLOAD_UNKNOWN");
                };
                let from = range.map(|r| r.split('-').next().unwrap().parse::<usize>().unwrap());
                if habits.one_patch && (inner.patched.contains(&id) || range.is_some()) {
                    return answer(400, vec![], "GITEA");
                }
                if from.is_some_and(|from| from != held)
                    || (habits.ghcr && range.is_some() && size > 4 * MIB)
                {
                    return answer(416, vec![], "");
                }
                assert!(
                    cut || habits.least.is_none_or(|l| size >= l || held + size >= 10 * MIB),
                    "a piece of {size}"
                );
                inner.patched.push(id.clone());
                if cut && habits.forgets {
                    inner.sessions.remove(&id);
                } else if !(cut && habits.rolls_back) {
                    let corrupt = habits.corrupts && held > 0 && !inner.corrupted;
                    inner.corrupted |= corrupt;
                    let held = inner.sessions.get_mut(&id).unwrap();
                    held.extend_from_slice(&body);
                    if corrupt {
                        *held.last_mut().unwrap() ^= 1;
                    }
                }
                let location = place(&mut inner, &id);
                let status = if habits.ecr { 201 } else { 202 };
                answer(status, vec![("location", location), ("range", "0-1".into())], "")
            }
            (Method::Put, Some(id)) => {
                let Some(mut held) = inner.sessions.remove(&id) else {
                    return answer(404, vec![], "BLOB_UPLOAD_UNKNOWN");
                };
                if habits.no_put && size > 0 {
                    return answer(404, vec![], "");
                }
                held.extend_from_slice(&body);
                if cut {
                    return Err(unreachable());
                }
                let want = query(request.url, "digest").unwrap().replace("%3A", ":");
                assert!(query(request.url, "_state").unwrap().starts_with("a%2Fb"));
                if Digest::of(&held).to_string() != want {
                    return answer(400, vec![], "DIGEST_INVALID");
                }
                inner.blobs.insert(want, held);
                answer(201, vec![], "")
            }
            (Method::Delete, Some(id)) => {
                inner.sessions.remove(&id);
                answer(204, vec![], "")
            }
            other => panic!("{other:?} {path}"),
        };
        if cut || matches!(fault, Some(Fault::Lost)) { Err(unreachable()) } else { response }
    }

    fn fault(&self, doing: &str, response: Response) -> Error {
        let kind = match response.status {
            401 | 403 => Kind::Denied,
            404 => Kind::Missing,
            _ => Kind::Other,
        };
        Error::new(kind, format!("{doing}: status {}", response.status))
    }
}

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
fn a_cut_upload_goes_on_where_the_registry_is() {
    use Fault::{Cut, Lost, Status};
    use Method::{Get, Patch, Post, Put};
    let blob = bytes(8 * MIB);
    let size = blob.len();
    let cases = [
        ("U1", Habits::default(), vec![(Patch, 1, Cut(5 * MIB))], size),
        (
            "U2",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Patch, 2, Cut(MIB)), (Patch, 3, Cut(MIB))],
            size,
        ),
        ("U5", Habits::default(), vec![(Put, 1, Status(500, ""))], size),
        ("closed, answer lost", Habits::default(), vec![(Put, 1, Lost)], size),
        ("patched, answer lost", Habits::default(), vec![(Patch, 1, Lost)], size),
        ("503 on PATCH", Habits::default(), vec![(Patch, 1, Status(503, ""))], size),
        (
            "status 503",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Get, 1, Status(503, "")), (Get, 2, Cut(0))],
            size,
        ),
        (
            "status refused",
            Habits::default(),
            vec![(Patch, 1, Cut(MIB)), (Get, 1, Status(405, ""))],
            size + MIB,
        ),
        (
            "2.8.2 forgets",
            Habits { forgets: true, ..Habits::default() },
            vec![(Patch, 1, Cut(2 * MIB)), (Patch, 2, Cut(MIB))],
            size + 3 * MIB,
        ),
        (
            "ECR never resumes",
            Habits { ecr: true, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            size + MIB,
        ),
        (
            "rolls back",
            Habits { rolls_back: true, ..Habits::default() },
            vec![(Patch, 1, Cut(6 * MIB)), (Patch, 2, Cut(6 * MIB)), (Patch, 4, Cut(MIB))],
            size + 13 * MIB,
        ),
        (
            "says less than it has",
            Habits { lies: -5, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            3 * size,
        ),
        (
            "says more than was sent",
            Habits { lies: 5, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            size + MIB,
        ),
        (
            "hashes wrongly after a cut",
            Habits { corrupts: true, ..Habits::default() },
            vec![(Patch, 1, Cut(MIB))],
            2 * size,
        ),
        (
            "session unknown on PATCH",
            Habits::default(),
            vec![(Patch, 1, Status(404, "BLOB_UPLOAD_UNKNOWN"))],
            size,
        ),
        (
            "session unknown on PUT",
            Habits::default(),
            vec![(Put, 1, Status(404, "BLOB_UPLOAD_UNKNOWN"))],
            2 * size,
        ),
        (
            "elsewhere",
            Habits { elsewhere: true, ..Habits::default() },
            vec![(Patch, 1, Cut(9))],
            size,
        ),
        ("POST cut", Habits::default(), vec![(Post, 9, Cut(0))], size),
    ];
    // Each waits between its tries.
    std::thread::scope(|scope| {
        for (name, habits, faults, most) in cases {
            let blob = &blob;
            scope.spawn(move || {
                let fake = Fake::new(habits, &faults);
                let sent = send(&fake, blob).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(sent as usize, fake.received(), "{name}");
                assert!(sent as usize <= most, "{name}: {sent} bytes, {:?}", fake.log());
            });
        }
    });
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
    assert!(mount(&to, &desc.digest, "base/os").unwrap());
    assert!(!mount(&to, &desc.digest, "other").unwrap());
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
        upload(&to, &desc, Some(from), &|| Ok(Box::new(&blob[..]))).unwrap();
        assert_eq!(fake.log(), want, "{from}");
    }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map(Iterator::count).unwrap_or_default()
}

/// A run that is interrupted while the blob is read, `at` bytes in.
fn interrupted(fake: &Fake, blob: &[u8], settings: &Settings, at: usize) {
    struct Until<'a>(&'a [u8], usize, &'a Context);
    impl Read for Until<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                self.2.cancel.store(true, Ordering::Relaxed);
            }
            self.2.check()?;
            let want = buffer.len().min(self.1);
            self.1 -= want;
            self.0.read(&mut buffer[..want])
        }
    }
    let ctx = Context::default();
    let desc = Descriptor::of("a/b", blob);
    let open = || -> Result<Box<dyn Read + Send + '_>> { Ok(Box::new(Until(blob, at, &ctx))) };
    let err = upload(&target(fake, settings, &ctx), &desc, None, &open).unwrap_err();
    assert_eq!(err.kind(), Kind::Interrupted);
}

#[test]
fn a_later_run_goes_on_with_the_session_of_an_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let style = TransferStyle::Chunked(1 << 20);
    let settings = Settings { state, style, ..Settings::default() };
    let blob = bytes(5 * MIB + 3);
    let fake = Fake::new(Habits::default(), &[]);
    interrupted(&fake, &blob, &settings, 3 * MIB + MIB / 2);
    assert_eq!(files(dir.path()), 1);
    assert_eq!(fake.inner.lock().unwrap().sessions.len(), 1);
    let sent = send_as(&fake, &blob, &settings).unwrap();
    assert_eq!(sent as usize, 2 * MIB + 3, "what the registry has is not sent again");
    assert_eq!(files(dir.path()), 0);
    assert_eq!(fake.count("POST"), 1);

    // The session is gone: it begins anew.
    interrupted(&fake, &blob, &settings, 2 * MIB);
    fake.inner.lock().unwrap().sessions.clear();
    fake.inner.lock().unwrap().blobs.clear();
    assert_eq!(send_as(&fake, &blob, &settings).unwrap() as usize, blob.len());

    // The session is gone because all was done.
    interrupted(&fake, &blob, &settings, 2 * MIB);
    let mut inner = fake.inner.lock().unwrap();
    inner.sessions.clear();
    inner.blobs.insert(Digest::of(&blob).to_string(), blob.clone());
    drop(inner);
    assert_eq!(send_as(&fake, &blob, &settings).unwrap(), 0);
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_session_on_another_host_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let settings = Settings { state, ..Settings::default() };
    let fake = Fake::new(Habits { elsewhere: true, ..Habits::default() }, &[]);
    interrupted(&fake, &bytes(2 * MIB), &settings, MIB);
    assert_eq!(files(dir.path()), 0);
    assert!(fake.inner.lock().unwrap().sessions.is_empty(), "it must be cancelled");
}

#[test]
fn two_uploads_of_one_blob_do_not_disturb_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let settings = Settings { state, ..Settings::default() };
    let (blob, fake, ctx) = (bytes(2 * MIB), Fake::new(Habits::default(), &[]), Context::default());
    let desc = Descriptor::of("a/b", &blob);
    let to = target(&fake, &settings, &ctx);
    // Another process is in the middle of it.
    let held = claim(&to, &desc).unwrap();
    assert!(claim(&to, &desc).is_none());
    upload(&to, &desc, None, &|| Ok(Box::new(&blob[..]))).unwrap();
    assert_eq!(files(dir.path()), 1, "the other's file is left alone");
    drop(held);
    assert_eq!(files(dir.path()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn wherever_it_is_cut_no_byte_is_sent_twice_to_a_registry_that_keeps_them(
        size in 65_537usize..400_000,
        cuts in prop::collection::vec(1usize..90_000, 0..5),
        unit in prop::option::of(1u64..100_000),
    ) {
        let faults: Vec<_> = cuts
            .iter()
            .enumerate()
            .map(|(n, at)| (Method::Patch, n as u32 + 1, Fault::Cut(*at)))
            .collect();
        let fake = Fake::new(Habits::default(), &faults);
        let style = unit.map_or(TransferStyle::Auto, |u| TransferStyle::Chunked(u.max(20_000)));
        let sent = send_as(&fake, &bytes(size), &styled(style)).unwrap();
        prop_assert_eq!(sent as usize, size);
    }
}
