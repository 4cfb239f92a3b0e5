//! What strangers send, over real sockets on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::Semaphore;

use super::*;
use crate::serve::access::{Access, AccessRules};
use crate::serve::log::{self, RequestLog};
use crate::serve::names::NameResolver;
use crate::serve::request::Request;
use crate::serve::route;
use crate::serve::writable::{self, Writable};

mod streams;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    ctx: Context,
    registry: Arc<Registry>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    fn start(change: impl FnOnce(&mut ServerSettings)) -> Self {
        Self::over(Registry::new(NameResolver::default(), &Context::default()), change)
    }

    fn over(registry: Registry, change: impl FnOnce(&mut ServerSettings)) -> Self {
        let (ctx, registry) = (Context::default(), Arc::new(registry));
        let mut settings = ServerSettings::new(vec!["127.0.0.1:0".into()]).unwrap();
        change(&mut settings);
        let (tell, told) = mpsc::channel();
        let (served, run) = (registry.clone(), ctx.clone());
        let thread = std::thread::spawn(move || {
            serve(&served, &settings, &run, |addresses| tell.send(addresses[0]).unwrap())
        });
        Self { address: told.recv().unwrap(), ctx, registry, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes, and reads until the server hangs up.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have hung up before all was sent.
        let _ = stream.write_all(bytes);
        read(stream)
    }

    fn stop(&mut self) -> Result<()> {
        self.ctx.cancel.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Everything until the end; a reset is one too, nothing for a long time is not.
fn read(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("{e}: {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The statuses of all answers.
fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)).collect()
}

const CLOSE: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_and_what_it_hides_is_not_answered() {
    let server = Server::start(|_| {});
    let hidden = "GET /v2/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |headers: &str, body: &str| {
        format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}{hidden}")
    };
    for (request, want) in [
        (post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "400"),
        (post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), "400"),
        (post("Content-Length: 4\r\nContent-Length: 5\r\n", "abcd"), "400"),
        (post("Content-Length: +4\r\n", "abcd"), "400"),
        (post("Content-Length: 4 4\r\n", "abcd"), "400"),
        (post("X-A: b\r\n folded: c\r\n", ""), "400"),
        (post("X-A : b\r\n", ""), "400"),
        (post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n"), "405"),
        (post("Transfer-Encoding: chunked\r\n", "3 \rabc\r\n0\r\n\r\n"), "405"),
        (post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n"), "405"),
        (format!("GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"), "400"),
        (format!("GET /healthz HTTP/1.1\r\n\r\n{hidden}"), "400"),
        (format!("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{hidden}"), "400"),
        ("GARBAGE\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned() + &"x".repeat(600), "400"),
    ] {
        let text = server.talk(request.as_bytes());
        assert_eq!(statuses(&text), [want], "{request:?}: {text}");
    }
}

#[test]
fn unusual_requests_are_answered() {
    let server = Server::start(|_| {});
    let get = CLOSE.replace("Connection: close\r\n", "");
    for (request, want) in [
        (CLOSE.replace("/healthz", "http://a/healthz"), &["200"][..]),
        (CLOSE.replace("/healthz", "http://A/healthz"), &["200"]),
        (CLOSE.replace("/healthz", "http://b/healthz"), &["400"]),
        (CLOSE.replace("/healthz", "http://b/healthz").replace("1.1", "1.0"), &["400"]),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), &["200"]),
        (format!("\r\n{CLOSE}"), &["200"]),
        (format!("{get}{get}{CLOSE}"), &["200", "200", "200"]),
        (CLOSE.replace("/healthz", "/readyz"), &["503"]),
        (CLOSE.replace("/healthz", "/metrics"), &["200"]),
        (CLOSE.replace("/healthz", "/ca.crt"), &["404"]),
        (CLOSE.replace("/healthz", "/token"), &["404"]),
        (CLOSE.replace("/healthz", "/v2/%00/tags/list"), &["400"]),
        (CLOSE.replace("/healthz", "/v2/a/..%2f../tags/list"), &["400"]),
        (CLOSE.replace("GET /healthz", "OPTIONS *"), &["400"]),
        (CLOSE.replace("GET", "BREW"), &["405"]),
        (CLOSE.replace("/healthz", &format!("/v2/{}", "a".repeat(70_000))), &["414"]),
        (CLOSE.replace("Host: a", &format!("Host: a\r\nX: {}", "x".repeat(17 << 10))), &["431"]),
        (CLOSE.replace("Host: a", &format!("Host: a\r\nX: {}", "x".repeat(1 << 20))), &["431"]),
    ] {
        let text = server.talk(request.as_bytes());
        let shown = &request[..request.len().min(100)];
        assert_eq!(statuses(&text), want, "{shown:?}: {text}");
    }
    let body = CLOSE.replace("GET", "HEAD").replace("Host: a", "Host: a\r\nContent-Length: 5");
    let text = server.talk(format!("{body}hello").as_bytes());
    assert!(text.contains("content-length: 3\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(String, u16)>>);

impl RequestLog for Told {
    fn entry(&self, entry: &log::RequestRecord<'_>) {
        self.0.lock().unwrap().push((entry.method.to_owned(), entry.status));
    }
}

#[test]
fn what_cannot_be_read_as_a_request_is_counted_and_told_too() {
    let told = Arc::new(Told::default());
    let server = Server::start(|settings| settings.log = told.clone());
    let long = CLOSE.replace("Host: a", &format!("Host: a\r\nX: {}", "x".repeat(1 << 20)));
    let far = CLOSE.replace("/healthz", &format!("/v2/{}", "a".repeat(70_000)));
    for (request, status) in [("GARBAGE\r\n\r\n", 400), (long.as_str(), 431), (&far, 414)] {
        let text = server.talk(request.as_bytes());
        assert_eq!(statuses(&text), [status.to_string()], "{text}");
        let end = std::time::Instant::now() + PATIENCE;
        while told.0.lock().unwrap().is_empty() {
            assert!(std::time::Instant::now() < end, "{status} was told to nobody");
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = std::mem::take(&mut *told.0.lock().unwrap());
        assert_eq!(told, [("-".to_owned(), status)]);
        let metrics = server.registry.status().metrics.text(0, 0);
        let line = format!("imgpack_requests_total{{operation=\"other\",status=\"{status}\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    // Who hangs up says nothing, and nothing is noted.
    drop(server.connect());
    server.talk(CLOSE.as_bytes());
    assert_eq!(*told.0.lock().unwrap(), [("GET".to_owned(), 200)]);
}

#[test]
fn every_answer_says_who_gave_it_and_what_it_answers() {
    let server = Server::start(|_| {});
    let with = |line: &str| CLOSE.replace("Host: a", &format!("Host: a\r\n{line}"));
    let text = server.talk(with("X-Request-Id: abc-1").as_bytes());
    assert!(text.contains("x-request-id: abc-1\r\n"), "{text}");
    for path in ["/", "/v2/", "/v2/a/tags/list", "/none/../", "/metrics"] {
        let text = server.talk(CLOSE.replace("/healthz", path).as_bytes());
        let count = text.matches("x-content-type-options: nosniff\r\n").count();
        assert_eq!(count, 1, "{path}: {text}");
    }
    assert!(text.contains(concat!("server: imgpack/", env!("CARGO_PKG_VERSION"))), "{text}");
    for line in [
        "X: y".to_owned(),
        format!("X-Request-Id: {}", "x".repeat(200)),
        "X-Request-Id: a b".into(),
    ] {
        let text = server.talk(with(&line).as_bytes());
        let id = text.split("x-request-id: ").nth(1).and_then(|t| t.split("\r\n").next());
        assert!(id.is_some_and(|id| id.len() == 16 && !id.contains(' ')), "{line}: {text}");
    }
}

#[test]
fn who_keeps_a_connection_without_using_it_loses_it() {
    let server = Server::start(|settings| {
        settings.header_timeout = Duration::from_secs(1);
        settings.idle_timeout = PATIENCE;
    });
    // Nothing at all.
    assert_eq!(read(server.connect()), "");
    // A head that comes byte by byte and never ends.
    let mut slow = server.connect();
    let mut writer = slow.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        let _ = writer.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n");
        for sent in 0.. {
            std::thread::sleep(Duration::from_millis(50));
            if writer.write_all(b"X").is_err() {
                return sent;
            }
            assert!(sent < 500, "it was kept for ever");
        }
        0
    });
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert_eq!(statuses(&String::from_utf8_lossy(&rest)).len(), 0);
    drop(slow);
    drip.join().unwrap();
    // A second head does no better than a first.
    let get = CLOSE.replace("Connection: close\r\n", "");
    let text = server.talk(format!("{get}GET /never HT").as_bytes());
    assert_eq!(statuses(&text), ["200"]);
    // Idle for longer than a head may take, and used again.
    let mut kept = server.connect();
    kept.write_all(get.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    kept.write_all(CLOSE.as_bytes()).unwrap();
    assert_eq!(statuses(&read(kept)), ["200", "200"]);
}

#[test]
fn one_connection_too_many_waits_for_its_turn() {
    let server = Server::start(|settings| settings.connections = 2);
    let first = server.connect();
    let _second = server.connect();
    let mut third = server.connect();
    third.write_all(CLOSE.as_bytes()).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err(), "it was answered beside the two");
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    first.shutdown(Shutdown::Both).unwrap();
    assert_eq!(statuses(&read(third)), ["200"]);
}

#[test]
fn where_others_wait_for_a_connection_nobody_keeps_one() {
    let server = Server::start(|settings| {
        settings.connections = 4;
        settings.idle_timeout = 2 * PATIENCE;
        settings.header_timeout = Duration::from_secs(12);
    });
    let get = CLOSE.replace("Connection: close\r\n", "");
    let mut first = server.connect();
    first.write_all(get.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let n = first.read(&mut buffer).unwrap();
    assert!(!String::from_utf8_lossy(&buffer[..n]).contains("connection: close"), "there is room");
    // Taken in this order, so that the last one fills it.
    let _others = [server.connect(), server.connect()];
    let mut second = server.connect();
    second.write_all(get.as_bytes()).unwrap();
    assert!(read(second).contains("connection: close"), "there is none");
    // Nor one that was used before: far sooner than when there is room. Those that wait take the places of
    // those that lose theirs first.
    let _waiting: Vec<TcpStream> = (0..12).map(|_| server.connect()).collect();
    assert_eq!(read(first), "");
}

#[test]
fn passwords_are_asked_for_before_a_body_is_read() {
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    let server = Server::start(|settings| {
        let users = crate::serve::access::htpasswd::Users::parse(&format!("al:{hash}\n"));
        let access = Access::new(AccessRules::default(), Some(users.unwrap())).unwrap();
        settings.access = Arc::new(access);
    });
    let mut stream = server.connect();
    let head = "PUT /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let n = stream.read(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
    assert_eq!(statuses(&text), ["401"], "{text}");
    assert!(text.contains("www-authenticate: Basic realm=\"imgpack\""), "{text}");
    // Who sends all the same can read the answer.
    drop(stream);
    let body = "x".repeat(600_000);
    let head = head.replace("1000000", "600000").replace("Host: a", "Host: a\r\nConnection: close");
    assert_eq!(statuses(&server.talk(format!("{head}{body}").as_bytes())), ["401"]);
    let basic = "Authorization: Basic YWw6czNjcmV0";
    let text = server.talk(
        CLOSE
            .replace("/healthz", "/v2/")
            .replace("Host: a", &format!("Host: a\r\n{basic}"))
            .as_bytes(),
    );
    assert_eq!(statuses(&text), ["200"], "{text}");
    let wrong = CLOSE
        .replace("/healthz", "/v2/")
        .replace("Host: a", "Host: a\r\nAuthorization: Basic YWw6eA==");
    assert_eq!(statuses(&server.talk(wrong.as_bytes())), ["401"]);
    assert_eq!(server.registry.status().metrics.denied.load(Ordering::Relaxed), 1);
}

#[test]
fn who_floods_the_queue_of_passwords_is_refused_once_some_were_wrong() {
    use crate::serve::access::htpasswd::Users;
    use crate::serve::access::{MAX_FAILURES, MAX_WAITING};
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    // Nobody's turn comes until the test says so.
    let checks = Arc::new(Semaphore::new(0));
    let server = Server::start(|settings| {
        let users = Users::parse(&format!("al:{hash}\n")).unwrap();
        settings.access = Arc::new(Access::new(AccessRules::default(), Some(users)).unwrap());
        settings.checks = checks.clone();
    });
    let wrong = CLOSE
        .replace("/healthz", "/v2/")
        .replace("Host: a", "Host: a\r\nAuthorization: Basic YWw6eA==");
    let (tell, told) = mpsc::channel();
    let more = 5;
    let all = std::thread::scope(|scope| {
        for _ in 0..MAX_WAITING + more {
            let (server, wrong, tell) = (&server, wrong.as_bytes(), tell.clone());
            scope.spawn(move || tell.send(statuses(&server.talk(wrong)).join(" ")).unwrap());
        }
        let mut all: Vec<String> =
            (0..more).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        assert!(all.iter().all(|status| status == "429"), "more wait than may: {all:?}");
        checks.add_permits(1);
        all.extend((0..MAX_WAITING).map(|_| told.recv_timeout(PATIENCE).unwrap()));
        all
    });
    let wrong = all.iter().filter(|status| *status == "401").count();
    assert_eq!(wrong, MAX_FAILURES as usize, "{all:?}");
    assert_eq!(all.iter().filter(|status| *status == "429").count(), all.len() - wrong, "{all:?}");
}

#[test]
fn a_server_that_stops_takes_no_connection_and_ends_idle_ones() {
    let mut server = Server::start(|_| {});
    let mut idle = server.connect();
    idle.write_all(CLOSE.replace("Connection: close\r\n", "").as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).unwrap() > 0);
    server.stop().unwrap();
    assert!(server.registry.status().is_draining());
    assert_eq!(read(idle), "");
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_body_that_stands_still_is_left_though_its_head_was_fine() {
    let server = Server::start(|settings| settings.idle_timeout = Duration::from_millis(600));
    let text = server
        .talk(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    assert!(statuses(&text).len() <= 1, "{text}");
}

#[test]
fn what_looks_at_a_medium_is_done_on_a_thread_that_may_wait() {
    let temp = tempfile::tempdir().unwrap();
    let reading = Registry::new(NameResolver::default(), &Context::default());
    let writing = writing(temp.path());
    let blob = format!("/v2/a/blobs/{}", crate::digest::Digest::of(b"a"));
    for (method, path, of_reading, of_writing) in [
        (http::Method::HEAD, blob.as_str(), true, false),
        (http::Method::GET, &blob, false, false),
        (http::Method::GET, "/v2/a/tags/list", true, true),
        (http::Method::GET, "/v2/", true, true),
        (http::Method::PUT, "/v2/a/manifests/1", false, false),
    ] {
        let route = route::read(path).unwrap();
        let headers = http::HeaderMap::new();
        let request = Request { method, route, query: None, headers, secure: false };
        let light = |registry| exchange::is_light(registry, &request);
        assert_eq!((light(&reading), light(&writing)), (of_reading, of_writing), "{request:?}");
    }
}

/// A registry that is pushed to.
fn writing(path: &std::path::Path) -> Registry {
    let ctx = Context { sync: false, ..Context::default() };
    let store = Writable::open(path, writable::WriteSettings::default(), &ctx).unwrap();
    Registry::new(NameResolver::default(), &ctx).with_writable(store)
}

#[test]
fn slow_pushes_keep_nobody_from_reading_and_one_too_many_is_told_so() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::over(writing(temp.path()), |settings| {
        settings.pushes = 2;
        settings.idle_timeout = PATIENCE;
    });
    let digest = crate::digest::Digest::of(b"slow");
    let head = format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\n");
    let head = format!("{head}Connection: close\r\nContent-Length: 4\r\n\r\n");
    let begin = || {
        let mut stream = server.connect();
        stream.write_all(format!("{head}s").as_bytes()).unwrap();
        stream
    };
    let mut slow = [begin(), begin()];
    let status = &server.registry.status().metrics;
    let end = std::time::Instant::now() + PATIENCE;
    while status.uploading.load(Ordering::Relaxed) < 2 {
        assert!(std::time::Instant::now() < end, "they were not begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = server.talk(format!("{head}slow").as_bytes());
    assert_eq!(statuses(&text), ["503"], "{text}");
    assert!(text.contains("retry-after: 10\r\n"), "{text}");
    for path in ["/metrics", "/", "/v2/_catalog"] {
        assert_eq!(statuses(&server.talk(CLOSE.replace("/healthz", path).as_bytes())), ["200"]);
    }
    let begun = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&server.talk(begun.as_bytes())), ["202"], "it brings nothing");
    for stream in &mut slow {
        stream.write_all(b"low").unwrap();
    }
    for stream in slow {
        assert_eq!(statuses(&read(stream)), ["201"]);
    }
    assert_eq!(statuses(&server.talk(format!("{head}slow").as_bytes())), ["201"]);
}
