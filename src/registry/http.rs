//! One exchange with one server: what is asked, what is answered, and the connection between.
//!
//! It knows no registry: authorization, redirects and retries are for `host`.

mod body;
pub(crate) mod client;
pub(crate) mod fault;
mod message;
pub(crate) mod permits;
pub(crate) mod quota;
pub(crate) mod socket;
pub(crate) mod url;

use crate::error::{Error, Result};

pub use fault::{ErrorBody, status_text};
pub(crate) use message::LONGEST_ASKED;
pub use message::{Body, HttpRequest, Method, Response, Scope, read_to_end};

/// Where requests go: a registry's host, and in tests whatever stands in for one.
pub trait Wire: Send + Sync {
    /// Sends a request and waits for the headers of its answer; any status is an answer.
    ///
    /// # Errors
    /// `Unreachable` when no response came, `Denied` when no token was granted, `Interrupted`.
    fn send(&self, request: &HttpRequest<'_>) -> Result<Response>;

    /// The error for a response: its status, the codes in its body, and the request.
    /// `doing` names it: `HEAD blob sha256:…`.
    fn fault(&self, doing: &str, response: Response) -> Error {
        let status = response.status;
        ErrorBody::read(response).error(doing, status)
    }

    /// What a `Location` of an answer means: an absolute URL. A registry behind a proxy that ends TLS
    /// often says `http://` of itself; that is taken for what it meant.
    fn locate(&self, response: &Response, location: &str) -> Option<String> {
        url::Url::parse(&response.url)?.resolve(location).map(|url| url.to_string())
    }
}
