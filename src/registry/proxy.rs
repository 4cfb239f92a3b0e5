//! Which HTTP proxy to use for a host.
//!
//! It connects to nothing. Variables and rules as Go's `http.ProxyFromEnvironment`: `HTTPS_PROXY` for
//! https, `HTTP_PROXY` for http, `ALL_PROXY` for both where those are absent, `NO_PROXY` for exceptions;
//! each in upper or lower case. Loopback is never proxied.

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};
use crate::registry::address::{self, AddressBlock};
use crate::registry::settings::Settings;

/// The URL of the proxy for a host and port, when there is one. `host` has no port; brackets around an
/// IPv6 address do not matter. The URL may hold a password: show it with [`shown`].
///
/// # Errors
/// `Usage` when the variable holds no proxy URL, or one of a kind that is not spoken here.
pub fn for_url(settings: &Settings, https: bool, host: &str, port: u16) -> Result<Option<String>> {
    let (host, _) = address::split(host);
    let names = if https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let all = ["ALL_PROXY", "all_proxy"];
    let mut set = names.iter().chain(&all).filter_map(|n| Some((*n, settings.variable(n)?)));
    let Some((name, value)) = set.next() else { return Ok(None) };
    if address::is_loopback(host) || excepted(settings, host, port) {
        return Ok(None);
    }
    url(value).map(Some).ok_or_else(|| {
        let what = format!("{name} is not the URL of an http or https proxy: {:?}", shown(value));
        Error::new(Kind::Usage, what)
    })
}

/// A URL without the user and password in it, for messages.
pub fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(s, r)| (s, r));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("***{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let text = if scheme.is_empty() { rest } else { format!("{scheme}://{rest}") };
    crate::text::escape(&text).into_owned()
}

/// A proxy's URL, complete: `host:port` alone means http.
fn url(value: &str) -> Option<String> {
    let value = value.trim();
    let full = match value.split_once("://") {
        Some((scheme, _)) if ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            value.to_owned()
        }
        Some(_) => return None,
        None => format!("http://{value}"),
    };
    let (_, rest) = full.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let sound = !address::split(host).0.is_empty() && !host.contains(char::is_whitespace);
    sound.then_some(full)
}

/// Whether `NO_PROXY` names the host.
fn excepted(settings: &Settings, host: &str, port: u16) -> bool {
    let list = settings.variable("NO_PROXY").or_else(|| settings.variable("no_proxy"));
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    list.unwrap_or_default()
        .split([',', ' '])
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| matches(&entry, &host, port))
}

/// Whether one entry names the host: `*`, a network, an address, a name with all that end in it, or with
/// a leading dot only those; each with an optional port.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let Some(network) = AddressBlock::parse(entry) {
        return address.is_some_and(|a| network.contains(a));
    }
    let (name, wanted) = address::split(entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Some(address) = address {
        return name.parse() == Ok(address);
    }
    let (below, only) = match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    let under = host.strip_suffix(below).is_some_and(|rest| rest.ends_with('.'));
    under || (!only && host == below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let variables = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings { variables, ..Settings::default() }
    }

    #[test]
    fn the_variable_of_the_scheme_comes_before_the_one_for_all() {
        let both =
            settings(&[("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2"), ("ALL_PROXY", "a:3")]);
        let all = settings(&[("all_proxy", "https://a:3")]);
        for (settings, https, want) in [
            (&both, true, Some("http://s:1")),
            (&both, false, Some("http://p:2")),
            (&all, true, Some("https://a:3")),
            (&all, false, Some("https://a:3")),
            (&settings(&[("HTTP_PROXY", "p:2")]), true, None),
            (&settings(&[("HTTPS_PROXY", "")]), true, None),
        ] {
            let found = for_url(settings, https, "reg.test", 443).unwrap();
            assert_eq!(found.as_deref(), want);
        }
    }

    #[test]
    fn loopback_is_never_proxied() {
        let settings = settings(&[("HTTPS_PROXY", "http://p:1"), ("HTTP_PROXY", "http://p:1")]);
        for host in ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"] {
            assert_eq!(for_url(&settings, true, host, 5000).unwrap(), None, "{host}");
        }
        assert!(for_url(&settings, true, "10.0.0.1", 5000).unwrap().is_some());
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (list, host, port, proxied) in [
            ("reg.test", "reg.test", 443, false),
            ("reg.test", "a.reg.test", 443, false),
            ("reg.test", "areg.test", 443, true),
            (".reg.test", "reg.test", 443, true),
            (".reg.test", "a.reg.test", 443, false),
            ("*.reg.test", "a.reg.test", 443, false),
            ("REG.test", "reg.TEST", 443, false),
            ("reg.test:5000", "reg.test", 5000, false),
            ("reg.test:5000", "reg.test", 443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, false),
            ("10.0.0.0/8", "11.1.2.3", 443, true),
            ("10.1.2.3", "10.1.2.3", 443, false),
            ("10.1.2.3:80", "10.1.2.3", 443, true),
            ("fd00::/8", "[fd00::7]", 443, false),
            ("fd00::7", "fd00::7", 443, false),
            ("other, reg.test ,x", "reg.test", 443, false),
            ("other reg.test", "reg.test", 443, false),
            ("*", "reg.test", 443, false),
            ("", "reg.test", 443, true),
            ("10.0.0.0/99", "10.1.2.3", 443, true),
        ] {
            let settings = settings(&[("HTTPS_PROXY", "http://p:1"), ("no_proxy", list)]);
            let found = for_url(&settings, true, host, port).unwrap();
            assert_eq!(found.is_some(), proxied, "{list} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for value in ["socks5://u:hunter2-CANARY@p:1", "ftp://p", "http://", "http://u:x@", "a b"] {
            let error = for_url(&settings(&[("HTTPS_PROXY", value)]), true, "reg.test", 443);
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{value}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(shown("http://u:p@h:1/x"), "http://***@h:1/x");
        assert_eq!(shown("u:p@h"), "***@h");
        assert_eq!(shown("https://h/a@b"), "https://h/a@b");
    }
}
