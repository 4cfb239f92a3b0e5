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
    /// Whether it came over TLS, to us or to a proxy before us: [`came_over_tls`].
    pub secure: bool,
}

/// What a proxy was asked by.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a proxy that ends TLS says that it was asked over TLS; of several, the one that the client
/// sees. Anybody can say so, and is then told of `https` addresses, nobody else is: only addresses in the
/// answer may follow from it, never whether something is allowed.
pub fn came_over_tls(headers: &HeaderMap) -> bool {
    let first =
        headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok()?.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_that_the_client_sees_says_whether_there_was_tls() {
        for (value, want) in [
            (Some("https"), true),
            (Some("HTTPS"), true),
            (Some("https, http"), true),
            (Some("http, https"), false),
            (Some("http"), false),
            (Some("httpsx"), false),
            (Some(""), false),
            (None, false),
        ] {
            let value = value.map(|value| (FORWARDED_PROTO, value.parse().unwrap()));
            assert_eq!(came_over_tls(&value.clone().into_iter().collect()), want, "{value:?}");
        }
    }
}
