//! One request to one host, with its authorization, its redirects and its second tries.
//!
//! It knows no manifest and no blob. Authorization never crosses origin (scheme, host, port).

use std::io::Read;

use crate::error::{Error, Result};

/// The methods of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

/// What a request carries.
pub enum Body<'a> {
    /// Nothing; `Content-Length: 0` where the method has a body.
    Empty,
    /// A small document.
    Bytes(&'a [u8]),
    /// A stream of so many bytes, which can be opened again when the request is repeated.
    Stream {
        /// Its length in bytes.
        size: u64,
        /// Opens it from its beginning.
        open: &'a (dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync),
    },
}

/// What a token must allow: `repository:<name>:<actions>`, or `registry:catalog:*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(pub String);

/// A request.
pub struct Request<'a> {
    /// How.
    pub method: Method,
    /// An absolute URL, or a path from `/v2/` on.
    pub url: &'a str,
    /// Headers beside those that every request has.
    pub headers: &'a [(&'static str, String)],
    /// What it carries.
    pub body: Body<'a>,
    /// What its token must allow, the most important first.
    pub scopes: &'a [Scope],
    /// Whether it may be tried again by itself after a cut or a status that passes (429, 503, …).
    pub again: bool,
}

/// An answer; any status.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
    /// Where it came from, after redirects.
    pub url: String,
    /// What follows.
    pub body: Box<dyn Read + Send>,
}

impl Response {
    /// The first header of a name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Where requests go: a registry's host, and in tests whatever stands in for one.
pub trait Wire: Send + Sync {
    /// Sends a request and waits for the headers of its answer; any status is an answer.
    ///
    /// # Errors
    /// As [`Host::send`].
    fn send(&self, request: &Request<'_>) -> Result<Response>;

    /// The error that an answer stands for: its status, the codes in its body, and what was asked.
    /// `doing` names it: `HEAD blob sha256:…`.
    fn fault(&self, doing: &str, response: Response) -> Error {
        Error::new(crate::error::Kind::Other, format!("{doing}: status {}", response.status))
    }
}

/// A registry's host: what requests are sent to.
pub struct Host {}

impl Host {
    /// Sends a request and waits for the headers of its answer. A status is never an error here.
    ///
    /// # Errors
    /// `Unreachable` when no answer came, `Denied` when no token could be had, `Interrupted`.
    pub fn send(&self, _request: &Request<'_>) -> Result<Response> {
        Err(Error::unsupported("no requests are sent yet"))
    }
}

impl Wire for Host {
    fn send(&self, request: &Request<'_>) -> Result<Response> {
        Self::send(self, request)
    }
}
