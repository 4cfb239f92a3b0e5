//! A request, as handlers see it.
//!
//! It knows no connection.

use http::{HeaderMap, HeaderName, Method};

use crate::serve::route::{self, Route};

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// What the path asks for.
    pub route: Route,
    /// The query, encoded as it came.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Request {
    /// Whether only the headers of the answer are wanted.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether nothing is to be changed.
    pub fn is_read(&self) -> bool {
        self.method == Method::GET || self.is_head()
    }

    /// A header; nothing when it is no text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A value of the query, decoded.
    pub fn query(&self, key: &str) -> Option<String> {
        route::query(self.query.as_deref(), key)
    }

    /// Every value of a key of the query, decoded.
    pub fn queries<'q>(&'q self, key: &'q str) -> impl Iterator<Item = String> + 'q {
        route::queries(self.query.as_deref(), key)
    }

    /// The registry that containerd says it means.
    pub fn ns(&self) -> Option<String> {
        self.query("ns").filter(|ns| !ns.is_empty())
    }
}
