//! A proxy that breaks things: it stands before a registry, passes HTTP/1.1 on, and lets rules strike.
//!
//! It knows no digest and no manifest. Clients talk to it as to the registry (it is no HTTP proxy), and
//! the `Host` they name is passed on, so that absolute locations lead back to it. It writes down every
//! request with the bytes of both bodies as they went through.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::TcpStream;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::rules::{Fault, Rule, matches};
use super::server::{Listener, refuse_tls};
use super::wire::{self, Head};
use exchange::{Exchange, Then};

mod exchange;

/// One request that came through.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The status of the answer, 0 when there was none.
    pub status: u16,
    /// Bytes of its body, as far as they came.
    pub up: u64,
    /// Bytes of the answer's body, as far as they were sent.
    pub down: u64,
    /// Whether a fault struck it.
    pub struck: bool,
}

impl Entry {
    /// A header, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// The proxy.
pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<BTreeMap<u64, Entry>>,
    next: AtomicU64,
}

impl Proxy {
    /// Stands before `upstream` (`127.0.0.1:port`).
    pub fn start(upstream: &str, rules: Vec<Rule>) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            rules: Mutex::new(rules),
            log: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let inner = Arc::clone(&shared);
        let listener = Listener::start(move |client| {
            // A connection that ends badly on either side ends both.
            let _ = inner.converse(&client);
        });
        Self { listener, shared }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Other rules from now on.
    pub fn rules(&self, rules: Vec<Rule>) {
        *self.shared.rules.lock().expect("a lock") = rules;
    }

    /// Ends every connection, and waits until nothing more is passed on.
    pub fn cut(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.listener.open() > 0 && Instant::now() < end {
            self.listener.cut();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        self.shared.log.lock().expect("a lock").clear();
    }

    /// Every request so far that falls under a pattern.
    pub fn seen(&self, pattern: &str) -> Vec<Entry> {
        let log = self.shared.log.lock().expect("a lock");
        log.values().filter(|e| matches(pattern, &e.method, &e.target)).cloned().collect()
    }

    /// Bytes of request bodies.
    pub fn up(&self) -> u64 {
        self.seen("* *").iter().map(|e| e.up).sum()
    }

    /// Bytes of the answers' bodies to GET requests of blobs.
    pub fn down(&self) -> u64 {
        self.seen("GET */blobs/*").iter().map(|e| e.down).sum()
    }

    /// How often a fault struck.
    pub fn struck(&self) -> usize {
        self.seen("* *").iter().filter(|e| e.struck).count()
    }

    /// Waits until `done` says so, at most `limit`; whether it did.
    pub fn wait(&self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !done(self) {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Shared {
    fn converse(&self, client: &TcpStream) -> io::Result<()> {
        if refuse_tls(client) {
            return Ok(());
        }
        let mut from = BufReader::with_capacity(16 << 10, client.try_clone()?);
        while let Some(head) = Head::read(&mut from)? {
            match Exchange::new(self, client, head).run(&mut from)? {
                Then::Go => {}
                Then::Close => break,
                Then::Reset => {
                    wire::drain(client);
                    wire::close_by_reset(client);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The first rule of the wanted kind that strikes at this request.
    fn claim(&self, head: &Head, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut rules = self.rules.lock().expect("a lock");
        let ours = |rule: &&mut Rule| {
            wanted(&rule.fault) && matches(&rule.pattern, head.method(), head.target())
        };
        rules.iter_mut().filter(ours).find_map(|r| r.claim().then(|| r.fault.clone()))
    }

    /// Where rules that wait for an offset of a body would strike, whether or not they still do.
    fn offsets(&self, head: &Head, at: impl Fn(&Fault) -> Option<u64>) -> Vec<u64> {
        let rules = self.rules.lock().expect("a lock");
        let ours = rules.iter().filter(|r| matches(&r.pattern, head.method(), head.target()));
        let mut offsets: Vec<u64> = ours.filter_map(|r| at(&r.fault)).collect();
        offsets.sort_unstable();
        offsets
    }
}
