//! Downloads from a registry held in memory that cuts, lies and stalls as told.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::registry::tests::context;

/// What one answer is like; the last of the list is repeated.
#[derive(Clone, Debug)]
enum Act {
    /// 206 to a range, 200 to the whole, cut after so many bytes.
    Serve { bytes: usize },
    /// 200 with the whole, whatever was asked for; cut after so many bytes.
    Whole { bytes: usize },
    /// This answer with these headers and this body.
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
}

/// All of it.
const ALL: usize = usize::MAX;

struct Fake {
    blob: Vec<u8>,
    acts: Mutex<Vec<Act>>,
    /// URL and range of each request.
    asked: Mutex<Vec<(String, Option<String>)>>,
    scopes: Mutex<Vec<usize>>,
    /// A cut is an end of file, not an error.
    clean: bool,
    length: bool,
}

/// Some bytes, then a cut.
struct Cut {
    bytes: io::Cursor<Vec<u8>>,
    clean: bool,
    whole: bool,
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer)? {
            0 if !self.clean && !self.whole && !buffer.is_empty() => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            n => Ok(n),
        }
    }
}

impl Fake {
    fn new(blob: &[u8], acts: &[Act]) -> Self {
        Self {
            blob: blob.to_vec(),
            acts: Mutex::new(acts.to_vec()),
            asked: Mutex::default(),
            scopes: Mutex::default(),
            clean: false,
            length: true,
        }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().iter().map(|(_, range)| range.clone()).collect()
    }
}

impl Wire for Fake {
    fn send(&self, request: &HttpRequest<'_>) -> Result<Response> {
        assert_eq!(request.method, Method::Get);
        let range = request.headers.iter().find(|(n, _)| *n == "range").map(|(_, v)| v.clone());
        self.asked.lock().unwrap().push((request.url.into(), range.clone()));
        self.scopes.lock().unwrap().push(request.scopes.len());
        let act = {
            let mut acts = self.acts.lock().unwrap();
            if acts.len() > 1 { acts.remove(0) } else { acts[0].clone() }
        };
        let from: usize = range
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0);
        let total = self.blob.len();
        let (from, bytes) = match act {
            Act::Serve { bytes } => (from, bytes),
            Act::Whole { bytes } => (0, bytes),
            Act::Say(status, headers, body) => {
                let headers = headers.into_iter().map(|(n, v)| (n.into(), v)).collect();
                let body = Box::new(io::Cursor::new(body));
                return Ok(Response { status, headers, url: "http://reg/".into(), body });
            }
        };
        let mut headers = Vec::new();
        if self.length {
            headers.push(("content-length".into(), (total - from).to_string()));
        }
        if from > 0 {
            let range = format!("bytes {from}-{}/{total}", total - 1);
            headers.push(("content-range".into(), range));
        }
        let end = from.saturating_add(bytes).min(total);
        let body = Cut {
            bytes: io::Cursor::new(self.blob[from..end].to_vec()),
            clean: self.clean,
            whole: end == total,
        };
        let status = if from > 0 { 206 } else { 200 };
        Ok(Response { status, headers, url: "http://reg/".into(), body: Box::new(body) })
    }

    fn fault(&self, doing: &str, response: Response) -> Error {
        let kind = match response.status {
            404 => Kind::Missing,
            401 | 403 => Kind::Denied,
            _ => Kind::Unreachable,
        };
        Error::new(kind, format!("{doing}: status {}", response.status))
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + i / 253) as u8).collect()
}

fn desc(blob: &[u8]) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar+gzip", blob)
}

fn scope() -> Scope {
    Scope("repository:team/app:pull".into())
}

fn fetch(wire: &Arc<Fake>, desc: &Descriptor, offset: u64) -> Result<Vec<u8>> {
    fetch_as(wire, desc, offset, &Settings { retries: 2, ..Settings::default() })
}

fn fetch_as(
    wire: &Arc<Fake>,
    desc: &Descriptor,
    offset: u64,
    settings: &Settings,
) -> Result<Vec<u8>> {
    fetch_within(wire, desc, offset, settings, &Context::default())
}

fn fetch_within(
    wire: &Arc<Fake>,
    desc: &Descriptor,
    offset: u64,
    settings: &Settings,
    ctx: &Context,
) -> Result<Vec<u8>> {
    let wire: Arc<dyn Wire> = wire.clone();
    let mut reader = blob(wire, "team/app", scope(), desc, offset, settings, ctx)?;
    let mut got = Vec::new();
    reader.read_to_end(&mut got)?;
    Ok(got)
}

#[test]
fn a_cut_costs_nothing_but_a_request_for_the_rest() {
    let blob = bytes(100_000);
    let cuts = |count: usize, bytes: usize| {
        let mut acts = vec![Act::Serve { bytes }; count];
        acts.push(Act::Serve { bytes: ALL });
        acts
    };
    for (name, acts, clean) in [
        ("once (P1)", cuts(1, 50_000), false),
        ("three times (P2)", cuts(3, 20_000), false),
        ("twenty times (P3)", cuts(20, 4_500), false),
        ("three times early (P4)", cuts(3, 200), false),
        ("cleanly (P5)", cuts(1, 50_000), true),
    ] {
        let fake = Arc::new(Fake { clean, ..Fake::new(&blob, &acts) });
        let (ctx, heard) = context();
        let settings = Settings { retries: 2, ..Settings::default() };
        let got = fetch_within(&fake, &desc(&blob), 0, &settings, &ctx).unwrap();
        assert!(got == blob, "{name}");
        let waits = heard.text().lines().filter(|l| l.contains("trying again")).count();
        let none = heard.text().matches("trying again in 0.0 s").count();
        assert_eq!((waits, none), (acts.len() - 1, waits), "{name}: {}", heard.text());
        let ranges = fake.ranges();
        assert_eq!(ranges.len(), acts.len(), "{name}");
        assert_eq!(ranges[0], None);
        let Act::Serve { bytes } = acts[0] else { unreachable!() };
        assert_eq!(ranges[1], Some(format!("bytes={bytes}-")), "{name}");
        assert!(fake.asked.lock().unwrap().iter().all(|(url, _)| url.starts_with("/v2/team/app/")));
    }
}

#[test]
fn a_registry_that_ignores_ranges_is_read_from_its_beginning_again() {
    let blob = bytes(100_000);
    let moved = ("content-range", "bytes 5-99999/100000".to_owned());
    let other = Act::Say(206, vec![moved], blob[5..].to_vec());
    for (name, acts, requests) in [
        ("ignored (P6)", vec![Act::Serve { bytes: 50_000 }, Act::Whole { bytes: ALL }], 2),
        (
            "cut while reading past",
            vec![
                Act::Serve { bytes: 50_000 },
                Act::Whole { bytes: 10 },
                Act::Whole { bytes: 60_000 },
                Act::Whole { bytes: ALL },
            ],
            4,
        ),
        ("another range", vec![Act::Serve { bytes: 50_000 }, other, Act::Whole { bytes: ALL }], 3),
        (
            "no range",
            vec![
                Act::Serve { bytes: 50_000 },
                Act::Say(206, vec![], vec![1]),
                Act::Whole { bytes: ALL },
            ],
            3,
        ),
        (
            "416",
            vec![
                Act::Serve { bytes: 50_000 },
                Act::Say(416, vec![], vec![]),
                Act::Whole { bytes: ALL },
            ],
            3,
        ),
    ] {
        let fake = Arc::new(Fake::new(&blob, &acts));
        assert!(fetch(&fake, &desc(&blob), 0).unwrap() == blob, "{name}");
        assert_eq!(fake.ranges().len(), requests, "{name}");
    }
}

#[test]
fn what_the_caller_has_already_is_not_sent_again() {
    let blob = bytes(1000);
    let fake = Arc::new(Fake::new(&blob, &[Act::Serve { bytes: ALL }]));
    assert_eq!(fetch(&fake, &desc(&blob), 400).unwrap(), blob[400..]);
    assert_eq!(fetch(&fake, &desc(&blob), 1000).unwrap(), b"");
    assert_eq!(fetch(&fake, &desc(&blob), 2000).unwrap(), b"");
    assert_eq!(fake.ranges(), [Some("bytes=400-".into())]);
}

#[test]
fn a_body_that_is_not_the_blob_is_refused() {
    let blob = bytes(1000);
    let header = |name: &'static str, value: &str| (name, value.to_owned());
    let long = bytes(1001);
    for (name, act, kind, said, requests) in [
        (
            "longer, length told",
            Act::Say(200, vec![header("content-length", "1001")], long.clone()),
            Kind::Corrupt,
            "is 1001 bytes there, 1000 were expected",
            2,
        ),
        (
            "shorter, length told",
            Act::Say(200, vec![header("content-length", "999")], bytes(999)),
            Kind::Corrupt,
            "is 999 bytes there",
            2,
        ),
        (
            "longer, no length",
            Act::Say(200, vec![], long),
            Kind::Corrupt,
            "does not end after its 1000 bytes",
            1,
        ),
        (
            "a captive portal",
            Act::Say(200, vec![header("content-type", "text/HTML; charset=utf-8")], blob.clone()),
            Kind::Malformed,
            "not a registry",
            1,
        ),
        ("missing", Act::Say(404, vec![], vec![]), Kind::Missing, "404", 1),
        ("refused", Act::Say(403, vec![], vec![]), Kind::Denied, "403", 1),
        ("no range was asked for", Act::Say(206, vec![], vec![]), Kind::Unreachable, "206", 1),
    ] {
        let fake = Arc::new(Fake::new(&blob, &[act]));
        let err = fetch(&fake, &desc(&blob), 0).unwrap_err();
        assert_eq!(err.kind(), kind, "{name}: {err}");
        assert!(err.what().contains(said), "{name}: {err}");
        assert_eq!(fake.ranges().len(), requests, "{name}");
    }
    // Of another size, and only the range tells.
    let wrong = header("content-range", "bytes 400-998/999");
    let fake = Arc::new(Fake::new(&blob, &[Act::Say(206, vec![wrong], vec![])]));
    assert_eq!(fetch(&fake, &desc(&blob), 400).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_body_of_unknown_length_is_read_to_the_size_of_the_blob() {
    let blob = bytes(70_000);
    let fake = Fake { length: false, ..Fake::new(&blob, &[Act::Serve { bytes: ALL }]) };
    assert!(fetch(&Arc::new(fake), &desc(&blob), 0).unwrap() == blob);
}

#[test]
fn without_any_progress_the_tries_come_to_an_end() {
    let blob = bytes(1000);
    let fake = Arc::new(Fake::new(&blob, &[Act::Serve { bytes: 10 }, Act::Serve { bytes: 0 }]));
    let settings = Settings { retries: 1, ..Settings::default() };
    let err = fetch_as(&fake, &desc(&blob), 0, &settings).unwrap_err();
    assert_eq!(err.kind(), Kind::Unreachable);
    assert!(err.what().contains("broke off at byte 10 of 1000"), "{err}");
    assert_eq!(fake.ranges().len(), 3);
}

#[test]
fn an_interrupted_run_does_not_read_on() {
    let blob_bytes = bytes(1000);
    let fake: Arc<dyn Wire> = Arc::new(Fake::new(&blob_bytes, &[Act::Serve { bytes: 10 }]));
    let ctx = Context::default();
    let settings = Settings::default();
    let mut reader = blob(fake, "a", scope(), &desc(&blob_bytes), 0, &settings, &ctx).unwrap();
    ctx.cancel.store(true, Ordering::Relaxed);
    let err = Error::from(reader.read(&mut [0; 100]).unwrap_err());
    assert_eq!(err.kind(), Kind::Interrupted);
}

#[test]
fn bytes_in_the_descriptor_need_no_request() {
    let blob = b"{}";
    let mut desc = desc(blob);
    let fake = Arc::new(Fake::new(blob, &[Act::Serve { bytes: ALL }]));
    desc.rest.insert("data".into(), "e30=".into());
    assert_eq!(fetch(&fake, &desc, 0).unwrap(), b"{}");
    assert_eq!(fetch(&fake, &desc, 1).unwrap(), b"}");
    assert_eq!(fetch(&fake, &desc, 9).unwrap(), b"");
    assert!(fake.ranges().is_empty());
    for wrong in ["e31=", "e30", "e30gIA==", "?"] {
        desc.rest.insert("data".into(), wrong.into());
        assert_eq!(fetch(&fake, &desc, 0).unwrap(), b"{}", "{wrong}");
    }
    assert_eq!(fake.ranges().len(), 4);
}

#[test]
fn foreign_layers_are_fetched_only_on_demand_and_without_a_token() {
    let blob = bytes(1000);
    let mut desc = desc(&blob);
    let urls = ["ftp://no.example/1", "https://dead.example/1", "https://elsewhere.example/l"];
    desc.rest.insert("urls".into(), serde_json::json!(urls));
    let gone = Act::Say(404, vec![], vec![]);
    let fake = Arc::new(Fake::new(&blob, std::slice::from_ref(&gone)));
    let err = fetch(&fake, &desc, 0).unwrap_err();
    assert_eq!(err.kind(), Kind::Missing);
    assert!(err.what().contains("urls"), "{err}");
    assert_eq!(fake.ranges().len(), 1);

    let dead = Act::Say(503, vec![], vec![]);
    let acts = [gone, dead, Act::Serve { bytes: 300 }, Act::Serve { bytes: ALL }];
    let fake = Arc::new(Fake::new(&blob, &acts));
    let settings = Settings { fetch_foreign: true, ..Settings::default() };
    assert_eq!(fetch_as(&fake, &desc, 0, &settings).unwrap(), blob);
    let asked: Vec<String> = fake.asked.lock().unwrap().iter().map(|(u, _)| u.clone()).collect();
    assert_eq!(asked[1..], [urls[1], urls[2], urls[2]]);
    assert_eq!(*fake.scopes.lock().unwrap(), [1, 0, 0, 0]);
}

#[test]
fn what_a_content_range_says() {
    for (text, want) in [
        ("bytes 5-9/10", Some((5, Some(10)))),
        ("Bytes 0-0/*", Some((0, None))),
        (" bytes  5-9/10 ", Some((5, Some(10)))),
        ("bytes 5-10/10", None),
        ("bytes 9-5/10", None),
        ("bytes */10", None),
        ("bytes -5/10", None),
        ("5-9/10", None),
        ("bytes 5-9", None),
        ("bytes", None),
        ("bytesé", None),
        ("", None),
    ] {
        let headers = vec![("content-range".into(), text.into())];
        let response =
            Response { status: 206, headers, url: String::new(), body: Box::new(io::empty()) };
        let got = content_range(&response).map(|r| (r.start, r.total));
        assert_eq!(got, want, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn wherever_it_is_cut_the_bytes_are_the_same(
        size in 1usize..5000,
        offset in 0usize..5000,
        cuts in prop::collection::vec((1usize..900, any::<bool>()), 0..8),
        buffer in 1usize..700,
    ) {
        let bytes_of = bytes(size);
        let offset = offset.min(size);
        let mut acts: Vec<Act> = cuts
            .iter()
            .map(|(n, whole)| {
                // A whole that is cut before the place reached is no progress.
                if *whole { Act::Whole { bytes: offset + 900 * 8 + n } } else { Act::Serve { bytes: *n } }
            })
            .collect();
        acts.push(Act::Serve { bytes: ALL });
        let fake: Arc<dyn Wire> = Arc::new(Fake::new(&bytes_of, &acts));
        let settings = Settings::default();
        let ctx = Context::default();
        let mut reader =
            blob(fake, "a", scope(), &desc(&bytes_of), offset as u64, &settings, &ctx).unwrap();
        let (mut got, mut piece) = (Vec::new(), vec![0; buffer]);
        loop {
            match reader.read(&mut piece).unwrap() {
                0 => break,
                n => got.extend_from_slice(&piece[..n]),
            }
        }
        prop_assert_eq!(&got[..], &bytes_of[offset..]);
    }
}
