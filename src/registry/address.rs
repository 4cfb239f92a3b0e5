//! Hosts as they are written: `name`, `name:port`, `[v6]:port`; loopback; lists of hosts and networks.
//!
//! It resolves nothing: a name is never turned into an address here.

use std::net::{IpAddr, Ipv6Addr};

/// The host that serves the API of `docker.io`.
pub const HUB_HOST: &str = "registry-1.docker.io";

/// The names of Docker Hub, in references and in files of credentials.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", HUB_HOST];

/// A host's name without brackets, and its port when one is written.
pub fn split(host: &str) -> (&str, Option<u16>) {
    if let Some(rest) = host.strip_prefix('[')
        && let Some((name, after)) = rest.split_once(']')
    {
        return (name, after.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match host.split_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((_, port)) if port.contains(':') => (host, None),
        Some((name, port)) => (name, port.parse().ok()),
        None => (host, None),
    }
}

/// Whether a host, with or without a port, is this machine: `localhost`, `*.localhost`, `127.0.0.0/8`,
/// `::1`.
pub fn is_loopback(host: &str) -> bool {
    let (name, _) = split(host);
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => lower == "localhost" || lower.ends_with(".localhost"),
    }
}

/// Whether a host is Docker Hub.
pub fn is_hub(host: &str) -> bool {
    HUB_NAMES.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// The host to connect to for the registry of a reference.
pub fn api_host(domain: &str) -> &str {
    if is_hub(domain) { HUB_HOST } else { domain }
}

/// Whether two hosts are spelled alike, or are both Docker Hub.
pub fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (is_hub(a) && is_hub(b))
}

/// Whether a list of hosts names `host`: as it is written, as a network its address lies in, or as `*`.
pub fn listed<S: AsRef<str>>(list: &[S], host: &str) -> bool {
    let address = split(host).0.parse::<IpAddr>().ok();
    list.iter().map(AsRef::as_ref).any(|entry| {
        let entry = without_scheme(entry).trim_end_matches('/');
        let network =
            || AddressBlock::parse(entry).zip(address).is_some_and(|(n, a)| n.contains(a));
        entry == "*" || same(entry, host) || (entry.contains('/') && network())
    })
}

/// A URL without its scheme; anything else as it is.
pub fn without_scheme(text: &str) -> &str {
    ["https://", "http://"].iter().find_map(|s| text.strip_prefix(s)).unwrap_or(text)
}

/// Addresses that begin with the same bits: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBlock {
    first: u128,
    mask: u128,
}

impl AddressBlock {
    /// Reads `address/bits`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        // IPv4 addresses are compared as ::ffff:a.b.c.d, so that one width serves both.
        let bits = match address {
            IpAddr::V4(_) if bits <= 32 => bits + 96,
            IpAddr::V6(_) if bits <= 128 => bits,
            _ => return None,
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Some(Self { first: number(address) & mask, mask })
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & self.mask == self.first
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_split_at_their_port() {
        for (text, name, port) in [
            ("a.test", "a.test", None),
            ("a.test:5000", "a.test", Some(5000)),
            ("[::1]:5000", "::1", Some(5000)),
            ("[fe80::1]", "fe80::1", None),
            ("::1", "::1", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
        ] {
            assert_eq!(split(text), (name, port), "{text}");
        }
    }

    #[test]
    fn loopback_is_a_name_or_an_address_of_this_machine() {
        for (host, want) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("LOCALHOST.", true),
            ("reg.localhost:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]:5000", true),
            ("localhost.example.com", false),
            ("notlocalhost", false),
            ("127.example.com", false),
            ("10.0.0.1", false),
            ("[::2]", false),
        ] {
            assert_eq!(is_loopback(host), want, "{host}");
        }
    }

    #[test]
    fn a_list_names_hosts_exactly_and_addresses_by_network() {
        let list = ["reg.test:5000", "10.0.0.0/8", "http://other.test/", "fd00::/8", "docker.io"];
        for (host, want) in [
            ("reg.test:5000", true),
            ("REG.test:5000", true),
            ("reg.test", false),
            ("reg.test:5001", false),
            ("10.9.8.7:5000", true),
            ("11.0.0.1", false),
            ("other.test", true),
            ("[fd12::1]:443", true),
            ("[fe80::1]", false),
            ("registry-1.docker.io", true),
        ] {
            assert_eq!(listed(&list, host), want, "{host}");
        }
        assert!(listed(&["*"], "any.test"));
        assert!(listed(&["0.0.0.0/0"], "1.2.3.4"));
        assert!(!listed(&["0.0.0.0/33"], "1.2.3.4"));
        assert!(!listed::<&str>(&[], "any.test"));
    }

    #[test]
    fn docker_hub_has_several_names_and_one_host() {
        for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            assert!(is_hub(name));
            assert_eq!(api_host(name), "registry-1.docker.io");
            assert!(same(name, "docker.io"));
        }
        assert_eq!(api_host("localhost:5000"), "localhost:5000");
        assert!(!same("a.test", "docker.io"));
    }
}
