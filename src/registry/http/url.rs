//! URLs of requests: parsed, compared by origin, resolved, and shown without secrets.
//!
//! It connects to nothing. Path and query are kept as they came: they may be signed. RFC 3986.

use std::fmt;

use crate::registry::address;
use crate::text;

/// An absolute http or https URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether its scheme is https.
    pub(crate) https: bool,
    /// Its host in lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    /// Its port, the scheme's own when none is written.
    pub(crate) port: u16,
    /// Path and query, with the slash before.
    pub(crate) rest: String,
}

impl Url {
    /// Reads an absolute URL; `None` when it is none, or holds what no request line may.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, after) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        // Whoever writes a user into a URL does not get us to send one.
        let authority = authority.rsplit('@').next().unwrap_or_default();
        Self::at(https, authority, rest)
    }

    /// The URL of a path (with its query) at `host` or `host:port`.
    pub(crate) fn at(https: bool, authority: &str, rest: &str) -> Option<Self> {
        let (host, port) = address::split(authority);
        let colons = authority.rsplit(']').next().unwrap_or_default().matches(':').count();
        let has_port = colons == 1;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || !host.chars().all(allowed) || (has_port && port.is_none()) {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let slash = if rest.starts_with('/') { "" } else { "/" };
        if rest.chars().any(|c| c.is_control() || c == ' ' || !c.is_ascii()) {
            return None;
        }
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let host = host.to_ascii_lowercase();
        Some(Self { https, host, port, rest: format!("{slash}{rest}") })
    }

    /// What a `Location` or `Link` means, seen from this URL.
    pub(crate) fn resolve(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        let here = |rest: String| {
            Self::at(self.https, &self.authority(), &rest).filter(|_| !rest.is_empty())
        };
        let scheme = if self.https { "https" } else { "http" };
        match location {
            "" => None,
            _ if location.starts_with("//") => Self::parse(&format!("{scheme}:{location}")),
            _ if location.starts_with('/') => here(location.into()),
            _ if location.starts_with('?') => here(format!("{}{location}", self.path())),
            _ if location.contains("://")
                && !location[..location.find("://").unwrap_or(0)].contains(['/', '?']) =>
            {
                Self::parse(location)
            }
            _ => {
                let folder = self.path().rfind('/').map_or("/", |at| &self.path()[..=at]);
                here(format!("{folder}{location}"))
            }
        }
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.rest.split('?').next().unwrap_or_default()
    }

    /// `host`, or `host:port` where the port is not the scheme's own; IPv6 addresses in brackets.
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == if self.https { 443 } else { 80 } {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }

    /// Whether scheme, host and port are the same: the bounds of an `Authorization`.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// The same URL with further parameters, `name=value` already encoded.
    pub(crate) fn with_query(mut self, query: &str) -> Self {
        if !query.is_empty() {
            self.rest.push(if self.rest.contains('?') { '&' } else { '?' });
            self.rest.push_str(query);
        }
        self
    }

    /// For messages: without the query, which may hold a signature.
    pub(crate) fn shown(&self) -> String {
        let path = self.path();
        let scheme = if self.https { "https" } else { "http" };
        text::escape(&format!("{scheme}://{}{path}", self.authority())).into_owned()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.rest)
    }
}

/// A value as it may stand in a query or form.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into());
            }
            // Not needed in a query, but read by everyone, and scopes stay readable.
            b':' | b'/' | b',' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_printed_again() {
        for (text, shown) in [
            ("https://Reg.example/v2/", "https://reg.example/v2/"),
            ("HTTP://reg.example:80/x?b=%2F+a&c#f", "http://reg.example/x?b=%2F+a&c"),
            ("https://reg.example:443", "https://reg.example/"),
            ("https://[::1]:5000/a", "https://[::1]:5000/a"),
            ("http://[::1]?q", "http://[::1]/?q"),
            ("https://user:pw@reg.example/a", "https://reg.example/a"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "/v2/",
            "ftp://a/b",
            "https://",
            "https:///x",
            "https://a b/",
            "https://a/\r\nX: y",
            "https://a:port/",
            "https://a:99999/",
            "https://[::1]:x/",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn locations_are_resolved_as_browsers_do() {
        let base = Url::parse("https://reg.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, want) in [
            ("/v2/b?c=%2F", "https://reg.example:5000/v2/b?c=%2F"),
            ("?state=a+b", "https://reg.example:5000/v2/a/blobs/uploads/?state=a+b"),
            ("uuid?s=http://x/", "https://reg.example:5000/v2/a/blobs/uploads/uuid?s=http://x/"),
            ("//s3.example/x", "https://s3.example/x"),
            ("http://s3.example:9000/x", "http://s3.example:9000/x"),
        ] {
            assert_eq!(base.resolve(location).unwrap().to_string(), want, "{location}");
        }
        assert_eq!(base.resolve(""), None);
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        let one = Url::parse("https://reg.example/a").unwrap();
        for (other, want) in [
            ("https://REG.example:443/b", true),
            ("http://reg.example/a", false),
            ("https://reg.example:444/a", false),
            ("https://cdn.reg.example/a", false),
        ] {
            assert_eq!(one.same_origin(&Url::parse(other).unwrap()), want, "{other}");
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let url = Url::parse("https://u:p@s3.example/bucket/x?X-Amz-Signature=abc").unwrap();
        assert_eq!(url.shown(), "https://s3.example/bucket/x");
        assert_eq!(encode("a b&c=ü:x/y,z"), "a%20b%26c%3D%C3%BC:x/y,z");
    }
}
