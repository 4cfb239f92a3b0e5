//! Which token realms a registry may refer to, and whether they receive credentials.
//!
//! It sends nothing. A registry chooses its realm, so the realm is as hostile as the registry may be: it must
//! not lead to services that only this machine can reach, nor a password to a third party.

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};
use crate::registry::address;
use crate::registry::http::socket::is_inner;
use crate::registry::http::url::Url;

/// What a realm may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Credentials.
    Full,
    /// Nothing: a token is asked for anonymously, for this reason.
    Anonymous(String),
}

/// The registry that asks for a token.
pub(crate) struct TokenRequester<'a> {
    /// Its URL.
    pub(crate) url: &'a Url,
    /// Whether plain http may be spoken to it.
    pub(crate) may_http: bool,
    /// Whether it runs on this machine.
    pub(crate) here: bool,
    /// Realms that the user trusts.
    pub(crate) trusted: &'a [String],
}

/// What a realm may be given for a registry.
///
/// # Errors
/// `Denied` when it must not be asked at all.
pub(crate) fn judge(registry: &TokenRequester<'_>, realm: &Url) -> Result<Trust> {
    let host = registry.url.authority();
    let refuse = |what: &str| {
        Err(Error::new(Kind::Denied, format!("token realm {}: {what}", realm.shown())).input(&host))
    };
    if registry.url.https && !realm.https && !registry.may_http {
        return refuse("plain http, while the registry uses https");
    }
    let realm_here = is_here(&realm.host);
    if realm_here && !registry.here {
        return refuse("it is on this machine or its link, and the registry is not");
    }
    let (ours, theirs) = (registry.url.host.as_str(), realm.host.as_str());
    let trusted = address::listed(registry.trusted, &realm.authority())
        || address::listed(registry.trusted, theirs);
    let known = address::is_hub(ours) && theirs == "auth.docker.io";
    let both_here = registry.here && realm_here;
    if trusted || known || both_here || ours == theirs || related(ours, theirs) {
        return Ok(Trust::Full);
    }
    Ok(Trust::Anonymous(format!(
        "credentials for {host} were withheld: its token realm {} is on another domain",
        realm.shown()
    )))
}

fn is_here(host: &str) -> bool {
    address::is_loopback(host) || host.parse::<IpAddr>().is_ok_and(is_inner)
}

/// Whether two names belong to one owner: one lies beneath the other, or their domains are the same.
fn related(a: &str, b: &str) -> bool {
    if a.parse::<IpAddr>().is_ok() || b.parse::<IpAddr>().is_ok() {
        return false;
    }
    let beneath = |a: &str, b: &str| {
        // A bare last label owns nothing.
        b.contains('.') && a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'))
    };
    match (domain(a), domain(b)) {
        (Some(x), Some(y)) => x == y,
        _ => beneath(a, b) || beneath(b, a),
    }
}

/// The part of a name that someone registers: two labels, or three where the second is a country's
/// category such as `co.uk`.
fn domain(name: &str) -> Option<&str> {
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    let n = labels.len();
    let category = n >= 2 && labels[n - 1].len() == 2 && labels[n - 2].len() <= 3;
    let count = if category { 3 } else { 2 };
    if n < count || labels.iter().any(|l| l.is_empty()) {
        return None;
    }
    let length = labels[n - count..].iter().map(|l| l.len() + 1).sum::<usize>() - 1;
    name.trim_end_matches('.').get(name.trim_end_matches('.').len() - length..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict in one letter: full, anonymous, refused.
    fn verdict(registry: &str, realm: &str, may_http: bool, trusted: &[String]) -> char {
        let url = Url::parse(registry).unwrap();
        let here = is_here(&url.host);
        match judge(
            &TokenRequester { url: &url, may_http, here, trusted },
            &Url::parse(realm).unwrap(),
        ) {
            Ok(Trust::Full) => 'f',
            Ok(Trust::Anonymous(_)) => 'a',
            Err(e) => {
                assert_eq!(e.kind(), Kind::Denied);
                'r'
            }
        }
    }

    #[test]
    fn credentials_go_only_where_the_registry_itself_is() {
        for (registry, realm, want) in [
            ("https://reg.example.com/", "https://reg.example.com/token", 'f'),
            ("https://reg.example.com/", "https://reg.example.com:8443/token", 'f'),
            ("https://reg.example.com/", "https://auth.example.com/token", 'f'),
            ("https://example.com/", "https://auth.example.com/token", 'f'),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", 'f'),
            ("https://reg.example.com/", "https://example.org/token", 'a'),
            ("https://reg.example.com/", "https://notexample.com/token", 'a'),
            ("https://reg.example.com/", "https://example.com.evil.org/token", 'a'),
            ("https://a.co.uk/", "https://b.co.uk/token", 'a'),
            ("https://reg.a.co.uk/", "https://auth.a.co.uk/token", 'f'),
            ("https://reg.example.com/", "https://10.0.0.7/token", 'a'),
            ("https://10.0.0.5/", "https://10.0.0.5/token", 'f'),
            ("https://10.0.0.5/", "https://10.0.0.6/token", 'a'),
            ("https://registry/", "https://registry:5001/token", 'f'),
            ("https://registry/", "https://auth/token", 'a'),
            ("https://reg.example.com/", "https://com/token", 'a'),
            // Down from https, and onto this machine or its link.
            ("https://reg.example.com/", "http://reg.example.com/token", 'r'),
            ("https://reg.example.com/", "https://localhost/token", 'r'),
            ("https://reg.example.com/", "https://127.0.0.1/token", 'r'),
            ("https://reg.example.com/", "https://[::1]/token", 'r'),
            ("https://reg.example.com/", "https://[::ffff:7f00:1]/token", 'r'),
            ("https://reg.example.com/", "https://169.254.169.254/latest", 'r'),
            ("http://10.0.0.5/", "http://169.254.169.254/latest", 'r'),
            // Registries on this machine.
            ("http://localhost:5000/", "http://127.0.0.1:5001/token", 'f'),
            ("http://127.0.0.1:5000/", "http://localhost:5001/token", 'f'),
            ("http://127.0.0.1:5000/", "https://auth.example.com/token", 'a'),
        ] {
            assert_eq!(verdict(registry, realm, false, &[]), want, "{registry} {realm}");
        }
    }

    #[test]
    fn the_user_may_trust_more() {
        let trusted = ["auth.example.org".to_owned()];
        let (registry, realm) = ("https://reg.example.com/", "https://auth.example.org/token");
        assert_eq!(verdict(registry, realm, false, &trusted), 'f');
        let realm = "http://reg.example.com/token";
        assert_eq!(verdict(registry, realm, true, &[]), 'f');
    }
}
