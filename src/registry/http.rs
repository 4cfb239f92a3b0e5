//! One exchange with one server: what is asked, what is answered, and the connection between.
//!
//! It knows no registry: authorization, redirects and second tries are the matter of `host`.

mod body;
pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod permits;
pub(crate) mod quota;
pub(crate) mod socket;
pub(crate) mod url;

use std::io::Read;

use crate::error::{Error, Result};

pub use fault::{Fault, status_text};

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

impl Method {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a request of this kind has a body, if an empty one.
    pub(crate) fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Patch | Self::Put)
    }
}

/// What a request carries.
pub enum Body<'a> {
    /// Nothing; `Content-Length: 0` where the method has a body.
    Empty,
    /// A small document.
    Bytes(&'a [u8]),
    /// A stream of exactly so many bytes, which can be opened again when the request is repeated. It is
    /// read to its end before the last of them is sent, so that a stream that verifies itself can still
    /// take everything back.
    Stream {
        /// Its length in bytes.
        size: u64,
        /// Opens it from its beginning.
        open: &'a (dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync),
    },
}

impl Body<'_> {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { size, .. } => *size,
        }
    }
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

    /// Reads what is left of a small body, so that the connection serves again. A large one is dropped
    /// with its connection.
    pub fn finish(self) {
        // An answer that nobody wants may end as it likes.
        let _ = std::io::copy(&mut self.body.take(64 << 10), &mut std::io::sink());
    }
}

/// Reads a small body to its end.
///
/// # Errors
/// `Malformed` when it is larger than `limit` bytes, `Unreachable` when it was cut off, `Interrupted`.
pub fn read_to_end(response: Response, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let shown = || url::Url::parse(&response.url).map(|u| u.shown()).unwrap_or_default();
    let about = shown();
    let read = response.body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::from_io(&e).input_or(&about))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(format!("larger than {limit} bytes")).input(about));
    }
    Ok(bytes)
}

/// Where requests go: a registry's host, and in tests whatever stands in for one.
pub trait Wire: Send + Sync {
    /// Sends a request and waits for the headers of its answer; any status is an answer.
    ///
    /// # Errors
    /// `Unreachable` when no answer came, `Denied` when no token could be had, `Interrupted`.
    fn send(&self, request: &Request<'_>) -> Result<Response>;

    /// The error that an answer stands for: its status, the codes in its body, and what was asked.
    /// `doing` names it: `HEAD blob sha256:…`.
    fn fault(&self, doing: &str, response: Response) -> Error {
        let status = response.status;
        Fault::read(response).error(doing, status)
    }

    /// What a `Location` of an answer means: an absolute URL. A registry behind a proxy that ends TLS
    /// often says `http://` of itself; that is taken for what it meant.
    fn locate(&self, response: &Response, location: &str) -> Option<String> {
        url::Url::parse(&response.url)?.resolve(location).map(|url| url.to_string())
    }
}
