//! How strangers are received: addresses, limits, times.
//!
//! It must not know a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::tls::Tls;
use crate::error::Result;
use crate::serve::access::{Access, AccessRules};
use crate::serve::log::{self, RequestLog};

/// How strangers are received.
#[derive(Clone)]
pub struct ServerSettings {
    /// Addresses to listen on: `127.0.0.1:5000`; port 0 takes any that is free.
    pub listen: Vec<String>,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Requests at once, of all connections; more wait for a while.
    pub requests: usize,
    /// Requests at once that bring a body: each of them has a thread.
    pub pushes: usize,
    /// Most bytes of headers.
    pub headers: usize,
    /// How long headers may take to arrive, and TLS to be agreed on.
    pub header_timeout: Duration,
    /// How long a connection may stand still; a tenth of it between requests, while others wait.
    pub idle_timeout: Duration,
    /// How long answers under way are given when the server is to stop.
    pub drain: Duration,
    /// TLS; plain HTTP without.
    pub tls: Option<Arc<Tls>>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Passwords that are checked at once.
    pub checks: Arc<Semaphore>,
    /// Who hears of requests.
    pub log: Arc<dyn RequestLog>,
}

impl ServerSettings {
    /// Plain HTTP for everybody, with limits that fit.
    ///
    /// # Errors
    /// Those of [`Access::new`].
    pub fn new(listen: Vec<String>) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let connections = connections();
        Ok(Self {
            listen,
            connections,
            requests: connections,
            pushes: (connections / 2).clamp(4, MAX_PUSHES),
            headers: 16 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(30),
            tls: None,
            access: Arc::new(Access::new(AccessRules::default(), None)?),
            checks: Arc::new(Semaphore::new(processors)),
            log: Arc::new(log::NoRequestLog),
        })
    }
}

/// Most connections at once.
const MAX_CONNECTIONS: u64 = 1024;
/// Most requests at once that bring a body.
const MAX_PUSHES: usize = 256;
/// Files that places, threads and listeners need whoever is connected.
const RESERVED: u64 = 48;

/// As many as there can be when each of them has a socket and each of as many requests a blob: strangers
/// must not take the files that places are read with.
fn connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(MAX_CONNECTIONS, |files| files.saturating_sub(RESERVED) / 2);
    usize::try_from(share.clamp(8, MAX_CONNECTIONS)).unwrap_or(8)
}
