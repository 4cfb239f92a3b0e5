//! What is asked of a server and what it answers, as data.
//!
//! It sends nothing.

use std::io::Read;
use std::time::Duration;

use super::url::Url;
use crate::error::{Error, Result};

/// The longest wait that a server may ask for.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(600);

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
pub struct HttpRequest<'a> {
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

    /// How long the server asks to wait (`Retry-After`, RFC 9110 section 10.2.3), at most ten minutes.
    /// A date is held against the answer's own `Date`: both are the server's clock; ours may be years off.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        let asked = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let until = httpdate::parse_http_date(text).ok()?;
                let now = httpdate::parse_http_date(self.header("date")?).ok()?;
                until.duration_since(now).unwrap_or_default()
            }
        };
        Some(asked.min(LONGEST_ASKED))
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
    let shown = || Url::parse(&response.url).map(|u| u.shown()).unwrap_or_default();
    let about = shown();
    let read = response.body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::from_io(&e).input_or(&about))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(format!("larger than {limit} bytes")).input(about));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Response { status: 503, headers, url: String::new(), body: Box::new(std::io::empty()) }
    }

    #[test]
    fn waiting_time_is_read_as_seconds_and_as_a_date() {
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        for (headers, want) in [
            (vec![("retry-after", "2")], Some(2)),
            (vec![("retry-after", " 7 ")], Some(7)),
            (vec![("retry-after", "100000")], Some(600)),
            (vec![date, ("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT")], Some(9)),
            (vec![date, ("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT")], Some(0)),
            (vec![date, ("retry-after", "Thu, 22 Oct 2015 07:27:00 GMT")], Some(600)),
            (vec![("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(
                answer(&headers).retry_after(),
                want.map(Duration::from_secs),
                "{headers:?}"
            );
        }
    }
}
