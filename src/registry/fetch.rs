//! Small documents, fetched whole, and fetched again when the connection broke.
//!
//! It knows no manifest and no list.

use crate::error::{Error, Kind, Result};
use crate::registry::host::{Host, Redirects};
use crate::registry::http::fault::is_html;
use crate::registry::http::{Body, ErrorBody, HttpRequest, Method, Scope, quota, read_to_end};
use crate::registry::retry::Backoff;

/// Most bytes of an answer that is an error.
const MAX_ERROR: u64 = 64 << 10;

/// A response with its whole body.
pub(crate) struct BufferedResponse {
    /// The status.
    pub(crate) status: u16,
    /// Header names in lower case, with their values.
    pub(crate) headers: Vec<(String, String)>,
    /// Where it came from.
    pub(crate) url: String,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// What is left of an allowance, when it is a refusal for that.
    quota: Option<String>,
}

impl BufferedResponse {
    /// The first header of a name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Its type, in lower case and without parameters; empty when it has none.
    pub(crate) fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// What its body says, when it is a refusal.
    pub(crate) fn fault(&self) -> ErrorBody {
        ErrorBody {
            quota: self.quota.clone(),
            ..ErrorBody::parse(&self.bytes, &self.content_type())
        }
    }

    /// Refuses what no registry sends: web pages of portals that stand between.
    pub(crate) fn expect_no_page(&self, what: &str) -> Result<()> {
        if self.bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::malformed(format!("not a registry: nothing came for {what}")));
        }
        if is_html(&self.bytes, &self.content_type()) {
            let fault = self.fault();
            return Err(Error::malformed(format!(
                "not a registry: for {what} came {}",
                fault.text
            )));
        }
        Ok(())
    }
}

/// Asks for a document of at most `limit` bytes.
pub(crate) fn get(
    host: &Host,
    url: &str,
    headers: &[(&'static str, String)],
    scopes: &[Scope],
    redirects: Redirects,
    limit: u64,
) -> Result<BufferedResponse> {
    let request =
        HttpRequest { method: Method::Get, url, headers, body: Body::Empty, scopes, again: true };
    let mut backoff = Backoff::new(host.settings());
    loop {
        let response = host.deliver(&request, redirects)?;
        let (status, headers) = (response.status, response.headers.clone());
        let url = response.url.clone();
        if !(200..300).contains(&status) {
            let mut bytes = Vec::new();
            let quota = (status == 429).then(|| quota::refused(&response)).flatten();
            // A refusal is one with or without all of its explanation.
            let mut body = std::io::Read::take(response.body, MAX_ERROR);
            let _ = std::io::Read::read_to_end(&mut body, &mut bytes);
            return Ok(BufferedResponse { status, headers, url, bytes, quota });
        }
        match read_to_end(response, limit) {
            Ok(bytes) => return Ok(BufferedResponse { status, headers, url, bytes, quota: None }),
            Err(e) if e.kind() == Kind::Unreachable && backoff.goes_on() => {
                let cause = format!("{}: {}", host.name(), e.what());
                backoff.wait(None, &cause, host.context())?;
            }
            Err(e) => return Err(e),
        }
    }
}
