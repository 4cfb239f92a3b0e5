//! How clients find a server: the configuration of engines, and the messages at its start.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use imgpack::reference::DEFAULT_DOMAIN;
use imgpack::serve::Registry;
use imgpack::sync::emit::{self, Reach};
use imgpack::{Error, Kind, Result};

use super::guard::GuardFlags;
use super::machine;
use crate::cli::{human, out};

/// Whose configuration is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // their names are all there is to say
pub(crate) enum GuidedEngine {
    Containerd,
    Docker,
    Podman,
    K3s,
    Kaniko,
}

impl GuidedEngine {
    fn form(self) -> emit::Form {
        match self {
            Self::Containerd => emit::Form::Containerd,
            Self::Docker => emit::Form::Docker,
            Self::Podman => emit::Form::Podman,
            Self::K3s => emit::Form::K3s,
            Self::Kaniko => emit::Form::Kaniko,
        }
    }

    /// Where its configuration lies.
    fn file(self) -> &'static str {
        match self {
            Self::Containerd => "/etc/containerd/certs.d/_default/hosts.toml",
            Self::Docker => "/etc/docker/daemon.json",
            Self::Podman => "/etc/containers/registries.conf.d/imgpack.conf",
            Self::K3s => "/etc/rancher/k3s/registries.yaml",
            Self::Kaniko => "the arguments of its executor",
        }
    }

    /// Where it looks for the authority of a server called `host`.
    fn authority(self, host: &str) -> String {
        match self {
            Self::Containerd => "/etc/containerd/certs.d/imgpack-ca.crt".into(),
            Self::Docker => format!("/etc/docker/certs.d/{host}/ca.crt"),
            Self::Podman => format!("/etc/containers/certs.d/{host}/ca.crt"),
            Self::K3s => "/etc/rancher/k3s/imgpack-ca.crt".into(),
            Self::Kaniko => "/kaniko/ssl/certs/imgpack-ca.crt".into(),
        }
    }
}

/// The name under which others find what listens on `address`.
pub(super) fn reached(address: SocketAddr) -> String {
    let shown = |ip: IpAddr| SocketAddr::new(ip, address.port()).to_string();
    match address.ip() {
        // docker and containerd speak plain http to it without being told.
        ip if ip.is_loopback() => format!("localhost:{}", address.port()),
        ip if ip.is_unspecified() => match machine::addresses().first() {
            Some(first) => shown(*first),
            None => format!("localhost:{}", address.port()),
        },
        ip => shown(ip),
    }
}

/// The name under which others will find what is to listen on `listen`.
///
/// # Errors
/// `Usage` when it has no port yet.
pub(super) fn expected(listen: &str) -> Result<String> {
    let bad = |what: &str| Error::new(Kind::Usage, format!("--listen: {what}")).input(listen);
    let (host, port) = listen.rsplit_once(':').ok_or_else(|| bad("want HOST:PORT"))?;
    let port: u16 = port.parse().map_err(|_| bad("want HOST:PORT"))?;
    if port == 0 {
        return Err(bad("a configuration needs a port"));
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Ok(reached(SocketAddr::new(ip, port))),
        Err(_) => Ok(listen.to_owned()),
    }
}

/// The configuration of one engine: what comes before it and where it goes, and the file itself.
pub(super) fn configuration(
    engine: GuidedEngine,
    host: &str,
    default: &str,
    flags: &GuardFlags,
    registry: &Registry,
) -> (Vec<String>, String) {
    let reach = Reach {
        plain_http: !flags.encrypts(),
        authority: flags.is_own().then(|| engine.authority(host)),
        login: flags.asks(),
    };
    let ways = ways(engine, host, default, registry);
    let mut notes = Vec::new();
    if let Some(path) = &reach.authority {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        notes.push(format!("first: mkdir -p {dir}; curl -fk -o {path} https://{host}/ca.crt"));
    }
    if reach.login && engine == GuidedEngine::Docker {
        // dockerd knows passwords for registries, and its mirrors are none to it.
        let instead = format!("pull {host}/NAME, or serve with --anonymous-pull");
        notes.push(format!("first: docker login {host}; mirrors get no password: {instead}"));
    }
    notes.push(format!("goes to: {}", engine.file()));
    let files = emit::whole(engine.form(), &ways, &reach).files;
    (notes, files.into_iter().map(|(_, content)| content).collect())
}

/// Which registries are found here, and beneath what.
fn ways(
    engine: GuidedEngine,
    host: &str,
    default: &str,
    registry: &Registry,
) -> Vec<(String, String)> {
    let here = |domain: &str| match domain == default {
        true => host.to_owned(),
        false => format!("{host}/{}", domain.replace(':', "_")),
    };
    match engine {
        // They say which registry they mean, so that one entry will do for all.
        GuidedEngine::Containerd => vec![(emit::ANY.into(), host.to_owned())],
        GuidedEngine::K3s => {
            [emit::ANY, DEFAULT_DOMAIN].map(|d| (d.into(), host.to_owned())).into()
        }
        GuidedEngine::Docker => vec![(DEFAULT_DOMAIN.into(), here(DEFAULT_DOMAIN))],
        GuidedEngine::Podman | GuidedEngine::Kaniko => {
            let names = registry.catalogue().repositories();
            let mut domains: BTreeSet<&str> = names.iter().map(|name| name.domain()).collect();
            if domains.is_empty() {
                domains.insert(DEFAULT_DOMAIN);
            }
            domains.into_iter().map(|domain| (domain.to_owned(), here(domain))).collect()
        }
    }
}

/// The messages at the start.
pub(super) fn say(
    addresses: &[SocketAddr],
    flags: &GuardFlags,
    fingerprint: Option<&str>,
    registry: &Registry,
) {
    let scheme = if flags.encrypts() { "https" } else { "http" };
    for address in addresses {
        out::error_line(&format!("imgpack: listening on {scheme}://{address}"));
    }
    let catalogue = registry.catalogue();
    let repositories = catalogue.repositories();
    let count = human::count(repositories.len(), "repository", "repositories");
    out::error_line(&format!("imgpack: serving {count}"));
    let Some(host) = addresses.first().map(|address| reached(*address)) else { return };
    if let (true, Some(fingerprint)) = (flags.is_own(), fingerprint) {
        out::error_line(&format!("  trust    https://{host}/ca.crt, SHA-256 {fingerprint}"));
    }
    // A name that reads well, when there is one.
    let (plain, other): (Vec<_>, Vec<_>) =
        repositories.iter().partition(|name| catalogue.naming().is_default(name));
    let first = plain.into_iter().chain(other).find_map(|name| {
        let shown = catalogue.naming().shown(name);
        let tag = catalogue.find(&shown, None)?.tags_after("", 1).into_iter().next()?;
        Some(format!("{host}/{shown}:{tag}"))
    });
    if let Some(first) = first {
        out::error_line(&format!("  docker   docker pull {first}"));
        let tls = if flags.encrypts() { "" } else { " --tls-verify=false" };
        out::error_line(&format!("  podman   podman pull{tls} {first}"));
    }
    out::error_line(
        "  nodes    the same command with --print-config containerd|docker|podman|k3s|kaniko",
    );
}

/// What is dangerous about it; one line each.
pub(super) fn warnings(
    addresses: &[SocketAddr],
    flags: &GuardFlags,
    guards_writes: bool,
    writable: bool,
) -> Vec<String> {
    let open: Vec<&SocketAddr> = addresses.iter().filter(|a| !a.ip().is_loopback()).collect();
    let Some(address) = open.first() else { return Vec::new() };
    let mut found = Vec::new();
    if writable && !guards_writes {
        found.push(format!("anyone who can reach {address} can write: see --htpasswd"));
    } else if !guards_writes && !flags.encrypts() {
        found.push(format!(
            "anyone who can reach {address} can read, and nothing is encrypted: see --tls and --htpasswd"
        ));
    }
    if guards_writes && !flags.encrypts() {
        found.push(format!("passwords are sent to {address} unencrypted: see --tls"));
    }
    found
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        flags: GuardFlags,
    }

    #[test]
    fn what_is_open_to_all_is_warned_of() {
        let tls = ["--tls", "self-signed"];
        let users = ["--htpasswd", "users"];
        for (address, flags, writable, want) in [
            ("127.0.0.1:5000", &[][..], true, &[][..]),
            ("[::1]:5000", &[], true, &[]),
            ("0.0.0.0:5000", &[], false, &["can read, and nothing is encrypted"]),
            ("0.0.0.0:5000", &tls, false, &[]),
            ("0.0.0.0:5000", &tls, true, &["can write"]),
            ("192.0.2.1:5000", &[], true, &["can write"]),
            ("0.0.0.0:5000", &users, true, &["passwords are sent"]),
            ("0.0.0.0:5000", &[tls[0], tls[1], users[0], users[1]], true, &[]),
        ] {
            let typed = Typed::parse_from([&["x"], flags].concat()).flags;
            let guarded = flags.contains(&"users");
            let address = [address.parse().unwrap()];
            let found = warnings(&address, &typed, guarded, writable);
            assert_eq!(found.len(), want.len(), "{address:?} {flags:?} {found:?}");
            assert!(found.iter().zip(want).all(|(f, w)| f.contains(w)), "{found:?}");
        }
    }

    #[test]
    fn an_address_is_called_as_others_find_it() {
        for (listen, want) in [
            ("127.0.0.1:5000", "localhost:5000"),
            ("[::1]:5000", "localhost:5000"),
            ("192.0.2.1:81", "192.0.2.1:81"),
            ("reg.lan:5000", "reg.lan:5000"),
        ] {
            assert_eq!(expected(listen).unwrap(), want);
        }
        for listen in ["127.0.0.1:0", "5000", "a:b", "a:70000"] {
            assert!(expected(listen).is_err(), "{listen}");
        }
    }
}
