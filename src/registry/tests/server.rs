//! A small HTTP server on loopback that answers as a test says, and remembers what it was asked.
//!
//! Like Go's, it answers 400 in plain text to whoever speaks TLS to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Close after so many bytes of the body.
    Cut(usize),
    /// Close without an answer.
    Hangup,
    /// Say nothing for so long.
    Silence(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), fault: Fault::None }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cut(mut self, at: usize) -> Self {
        self.fault = Fault::Cut(at);
        self
    }

    pub(crate) fn hangup() -> Self {
        Self { fault: Fault::Hangup, ..Self::new(0, "") }
    }

    pub(crate) fn silence(time: Duration) -> Self {
        Self { fault: Fault::Silence(time), ..Self::new(200, "") }
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server; it ends with the test.
pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
}

struct State {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_port(|_| handler)
    }

    /// For handlers that need to know the server's own address.
    pub(crate) fn with_port<H: Fn(&Asked) -> Reply + Send + Sync + 'static>(
        make: impl FnOnce(u16) -> H,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let handler: Arc<Handler> = Arc::new(make(port));
        let state = Arc::new(State {
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, handler) = (Arc::clone(&shared), Arc::clone(&handler));
                std::thread::spawn(move || serve(&stream.unwrap(), &shared, &*handler));
            }
        });
        Self { port, state }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The request lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: &TcpStream, state: &State, handler: &Handler) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader, stream) {
        state.asked.lock().unwrap().push(asked.clone());
        let reply = handler(&asked);
        if !answer(stream, &asked, &reply) {
            return;
        }
    }
}

/// Reads a request; `None` at the end, and for what is none.
fn read(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> Option<Asked> {
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent TLS\n");
        return None;
    }
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if asked.header("expect").is_some() {
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let size = asked.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    asked.body = vec![0; size];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// Writes an answer; whether the connection goes on.
fn answer(mut stream: &TcpStream, asked: &Asked, reply: &Reply) -> bool {
    match reply.fault {
        Fault::Hangup => return false,
        Fault::Silence(time) => std::thread::sleep(time),
        Fault::None | Fault::Cut(_) => {}
    }
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.headers.iter().any(|(n, _)| n == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    let mut out = (head + "\r\n").into_bytes();
    if asked.method != "HEAD" {
        match reply.fault {
            Fault::Cut(at) => out.extend(&reply.body[..at]),
            _ => out.extend(&reply.body),
        }
    }
    stream.write_all(&out).is_ok() && !matches!(reply.fault, Fault::Cut(_))
}
