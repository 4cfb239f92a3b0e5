//! The access log: one record for each request, passed to a listener.
//!
//! It writes nothing and knows no clock except how long an answer took. Text from a client is recorded raw;
//! the listener escapes it before showing it (`text`).

use std::net::SocketAddr;
use std::time::Duration;

/// One request and its answer, recorded once the answer was sent or abandoned.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// Who asked.
    pub remote: SocketAddr,
    /// As whom.
    pub user: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// Path and query, encoded as they came.
    pub target: &'a str,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// From the head of the request to the last byte.
    pub elapsed: Duration,
    /// What the client calls itself.
    pub agent: Option<&'a str>,
    /// The `X-Request-Id` of the answer.
    pub id: &'a str,
}

/// A listener to requests, on any thread.
pub trait RequestLog: Send + Sync {
    /// Records one.
    fn entry(&self, entry: &RequestRecord<'_>);
}

/// Records nothing.
pub struct NoRequestLog;

impl RequestLog for NoRequestLog {
    fn entry(&self, _: &RequestRecord<'_>) {}
}
