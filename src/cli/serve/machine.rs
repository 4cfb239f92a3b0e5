//! This machine: its names, its addresses, its state directory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where state of a server lies: what systemd says, else what XDG says.
pub(super) fn state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("STATE_DIRECTORY") {
        return dir;
    }
    let home = || set("HOME").unwrap_or_else(|| "/".into()).join(".local/state");
    set("XDG_STATE_HOME").unwrap_or_else(home).join("imgpack/serve")
}

/// Everything by which clients may call this machine.
pub(super) fn names() -> Vec<String> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut names = vec!["localhost".to_owned()];
    names.extend(hostname());
    names.extend(loopback.into_iter().chain(addresses()).map(|address| address.to_string()));
    names
}

/// The name of this machine, when a certificate can carry it.
pub(super) fn hostname() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?.to_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

/// The addresses of this machine that others can reach, those of IPv4 first.
pub(super) fn addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |interface: nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address?;
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    // Link-local addresses need an interface beside them, which no certificate has.
    let reached = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut found: Vec<IpAddr> = all.filter_map(ip).filter(reached).collect();
    found.sort();
    found.dedup();
    found
}

/// Lets this process open as many files as it ever may: a connection is one, a blob another.
pub(super) fn raise_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With what there is, fewer are served at once.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Whether a file can be read by more than its owner and his group.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}
