//! A listener on loopback with a thread for each connection, and a small HTTP/1.1 server on it.
//!
//! It knows no registry. Everything ends when the value is dropped; nothing is left listening.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::wire::{Body, Framing, Head};

/// Accepts connections until it is dropped.
pub struct Listener {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    live: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Listener {
    /// Listens on a free port; `each` is run for every connection, in a thread of its own.
    pub fn start(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let (each, inner) = (Arc::new(each), Arc::clone(&shared));
        let accept = move || {
            for stream in listener.incoming() {
                if inner.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (each, inner) = (Arc::clone(&each), Arc::clone(&inner));
                std::thread::spawn(move || inner.run(stream, &*each));
            }
        };
        Self { port, shared, thread: Some(std::thread::spawn(accept)) }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection that is open.
    pub fn cut(&self) {
        for stream in self.shared.live.lock().expect("a lock").values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.live.lock().expect("a lock").len()
    }
}

impl Shared {
    fn run(&self, stream: TcpStream, each: &dyn Fn(TcpStream)) {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        if let Ok(other) = stream.try_clone() {
            self.live.lock().expect("a lock").insert(id, other);
        }
        each(stream);
        self.live.lock().expect("a lock").remove(&id);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes it up
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.cut();
    }
}

/// A request as a service sees it.
pub struct Request<'a> {
    /// Method, target, headers.
    pub head: Head,
    /// What it carries; reading it asks for it (`100 Continue`) when the client waits for that.
    pub body: &'a mut dyn Read,
}

impl Request<'_> {
    /// All of a small body, or what came of it.
    pub fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.body.read_to_end(&mut all);
        all
    }
}

/// What a service answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers beside `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: Arc<Vec<u8>>,
    /// The part of `body` that is sent.
    pub part: Option<(usize, usize)>,
    /// Ends the connection without a word.
    pub hang_up: bool,
    /// The body comes again and again, without a length, until the client has had enough.
    pub endless: bool,
}

impl Reply {
    /// A status with nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A status with a body of a type.
    pub fn of(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = Arc::new(body.into());
        Self { status, body, ..Self::default() }.with("Content-Type", media_type)
    }

    /// One header in the place of all others of its name.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_string()));
    }

    /// Takes every header of a name away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The first header of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// One more header.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// An error as registries write it.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self::of(status, "application/json", body.to_string())
    }
}

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// One request, one answer.
    fn serve(&self, request: &mut Request<'_>) -> Reply;
}

/// Reads the body, asking for it first.
struct Asking<'a, 'b> {
    body: Body<'b, BufReader<TcpStream>>,
    ask: Option<&'a TcpStream>,
}

impl Read for Asking<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if let Some(mut stream) = self.ask.take() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.body.read(buf)
    }
}

/// Starts a service.
pub fn start(service: Arc<dyn Service>) -> Listener {
    Listener::start(move |stream| {
        // A client that went away is its own affair.
        let _ = converse(&stream, &*service);
    })
}

/// Whether the client speaks TLS; Go's servers then answer in plain text, and so does this one.
pub fn refuse_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    if !matches!(stream.peek(&mut first), Ok(1)) || first[0] != 0x16 {
        return false;
    }
    let words = "Client sent an HTTPS request to an HTTP server.\n";
    let mut stream = stream;
    let _ = write!(stream, "HTTP/1.0 400 Bad Request\r\n\r\n{words}");
    true
}

fn converse(stream: &TcpStream, service: &dyn Service) -> std::io::Result<()> {
    if refuse_tls(stream) {
        return Ok(());
    }
    let mut from = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    while let Some(head) = Head::read(&mut from)? {
        let method = head.method().to_owned();
        let framing = head.request_framing();
        let expects = head.get("expect").is_some() && framing != Framing::Empty;
        let closing = head.get("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let ask = expects.then_some(stream);
        let mut body = Asking { body: Body::new(&mut from, framing), ask };
        let reply = service.serve(&mut Request { head, body: &mut body });
        // What was not asked for does not come; what comes unread is read up to a point, as Go does.
        let unread = !body.body.done();
        if unread && body.ask.is_none() {
            let _ = std::io::copy(&mut (&mut body).take(256 << 10), &mut std::io::sink());
        }
        let closing = closing || !body.body.done();
        if reply.hang_up {
            return Ok(());
        }
        write_reply(stream, &method, &reply, closing)?;
        if closing {
            return Ok(());
        }
    }
    Ok(())
}

fn write_reply(
    mut to: &TcpStream,
    method: &str,
    reply: &Reply,
    closing: bool,
) -> std::io::Result<()> {
    let (start, end) = reply.part.unwrap_or((0, reply.body.len()));
    let mut head =
        Head { first: format!("HTTP/1.1 {} X", reply.status), headers: reply.headers.clone() };
    if reply.endless {
        head.set("Connection", "close");
        to.write_all(&head.bytes())?;
        loop {
            to.write_all(&reply.body)?;
        }
    }
    if reply.status != 204 && head.get("content-length").is_none() {
        head.set("Content-Length", end - start);
    }
    if closing {
        head.set("Connection", "close");
    }
    to.write_all(&head.bytes())?;
    if method != "HEAD" {
        to.write_all(&reply.body[start..end])?;
    }
    Ok(())
}
