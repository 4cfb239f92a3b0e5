//! Which hosts serve a repository: registries.conf, docker's daemon.json, mirrors.
//!
//! It sends nothing. `containers-registries.conf(5)` (`conf`), docker's `daemon.json` (`daemon`). If several
//! of them configure a registry, all their mirrors are tried, in the order `--mirror`, registries.conf,
//! daemon.json; then the registry itself. Only pulls are rewritten; a push goes to the name as given, as in
//! c/image.

mod conf;
mod daemon;
mod file;

use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::registry::address;
use crate::registry::settings::Settings;

pub use conf::Only;
use conf::RegistryRule;

/// One place where a repository may be found.
#[derive(Clone, Default, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host` or `host:port` to connect to.
    pub host: String,
    /// The repository's path there.
    pub path: String,
    /// Whether plain http may be spoken when https is not. With `Settings::plain_http` it is spoken at
    /// once; so it is where [`Self::http_only`] says so.
    pub plain_http: bool,
    /// Whether its URL was written with `http://`.
    pub http_only: bool,
    /// Whether any certificate is good.
    pub insecure: bool,
    /// Whether it is a mirror and not the registry itself. What `--creds` says is not for mirrors.
    pub mirror: bool,
    /// The registry that a mirror for several stands in for, as containerd's `ns` parameter.
    pub ns: Option<String>,
    /// What it may be asked for.
    pub only: Only,
}

impl Endpoint {
    /// Whether it may be asked for a manifest that is named by a digest, or by a tag.
    pub fn serves(&self, by_digest: bool) -> bool {
        match self.only {
            Only::Anything => true,
            Only::Digests => by_digest,
            Only::Tags => !by_digest,
        }
    }
}

/// The rules of this machine and of the flags.
#[derive(Debug, Default)]
pub struct Rules {
    registries: Vec<RegistryRule>,
    daemon: daemon::Daemon,
    mirrors: Vec<(String, String)>,
    insecure_hosts: Vec<String>,
    plain_http: bool,
    insecure: bool,
}

impl Rules {
    /// Reads the files that `settings` lead to; those that are absent say nothing.
    ///
    /// # Errors
    /// `Malformed` when a file cannot be understood, `Io`, `Missing` when a variable names a file that is
    /// not there.
    pub fn load(settings: &Settings) -> Result<Self> {
        Ok(Self {
            registries: conf::load(settings)?,
            daemon: daemon::load(settings)?,
            mirrors: settings.mirrors.clone(),
            insecure_hosts: settings.insecure_hosts.clone(),
            plain_http: settings.plain_http,
            insecure: settings.insecure,
        })
    }

    /// Where to pull from, mirrors first. Of a name with a tag or digest, mirrors that do not serve such
    /// are left out; of one with neither all are given, and [`Endpoint::serves`] says which may be asked.
    ///
    /// # Errors
    /// `Denied` when the registry is blocked, `Malformed` when a rule leads to no valid name.
    pub fn pull(&self, name: &Reference) -> Result<Vec<Endpoint>> {
        let full = name.repository();
        let rule = self.rule(name)?;
        let mut found: Vec<Endpoint> = Vec::new();
        for (domain, mirror) in &self.mirrors {
            if address::same(domain, name.domain()) {
                found.push(self.whole_mirror(mirror, name, true)?);
            }
        }
        if let Some((rule, rest)) = &rule {
            for mirror in &rule.mirrors {
                let mut endpoint =
                    self.at(&format!("{}{rest}", mirror.location), mirror.insecure)?;
                endpoint.mirror = true;
                endpoint.only = mirror.only;
                found.push(endpoint);
            }
        }
        if address::is_hub(name.domain()) {
            for mirror in &self.daemon.mirrors {
                found.push(self.whole_mirror(mirror, name, false)?);
            }
        }
        let itself = match &rule {
            Some((rule, rest)) => match &rule.location {
                Some(location) => self.at(&format!("{location}{rest}"), rule.insecure)?,
                None => self.at(&full, rule.insecure)?,
            },
            None => self.at(&full, false)?,
        };
        found.push(itself);
        let asked = match (name.digest().is_some(), name.tag().is_some()) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        found.retain(|endpoint| asked.is_none_or(|by_digest| endpoint.serves(by_digest)));
        let mut unique: Vec<Endpoint> = Vec::new();
        for endpoint in found {
            let known = |e: &Endpoint| e.host == endpoint.host && e.path == endpoint.path;
            if !unique.iter().any(known) {
                unique.push(endpoint);
            }
        }
        Ok(unique)
    }

    /// Where to push to.
    ///
    /// # Errors
    /// `Denied` when the registry is blocked.
    pub fn push(&self, name: &Reference) -> Result<Endpoint> {
        let insecure = self.rule(name)?.is_some_and(|(rule, _)| rule.insecure);
        self.at(&name.repository(), insecure)
    }

    /// Where the registry itself is, for requests of no repository (catalog, search, login).
    ///
    /// # Errors
    /// `Denied` when the registry is blocked.
    pub fn registry(&self, domain: &str) -> Result<Endpoint> {
        let rule = conf::find(&self.registries, domain);
        let insecure = match rule {
            Some((rule, _)) if rule.blocked => return Err(blocked(domain)),
            Some((rule, _)) => rule.insecure,
            None => false,
        };
        Ok(self.endpoint(domain, String::new(), insecure))
    }

    /// The rule for a name, and what of the name lies behind its prefix.
    fn rule(&self, name: &Reference) -> Result<Option<(&RegistryRule, String)>> {
        let full = name.repository();
        let Some((rule, length)) = conf::find(&self.registries, &full) else { return Ok(None) };
        if rule.blocked {
            return Err(blocked(&full));
        }
        Ok(Some((rule, full[length..].to_owned())))
    }

    /// A mirror of a whole registry, `[scheme://]host[:port][/path]`.
    fn whole_mirror(&self, mirror: &str, name: &Reference, shared: bool) -> Result<Endpoint> {
        let bare = address::without_scheme(mirror).trim_end_matches('/');
        // A path of the API's version is no part of a repository's name.
        let bare = bare.strip_suffix("/v2").unwrap_or(bare);
        let mut endpoint = self.at(&format!("{bare}/{}", name.path()), false)?;
        endpoint.mirror = true;
        endpoint.http_only = mirror.starts_with("http://");
        endpoint.plain_http |= endpoint.http_only;
        // A mirror with a path of its own has a place for each registry.
        endpoint.ns = (shared && !bare.contains('/')).then(|| name.domain().to_owned());
        Ok(endpoint)
    }

    /// The endpoint of `host[:port]/path`.
    fn at(&self, full: &str, insecure: bool) -> Result<Endpoint> {
        match full.split_once('/') {
            Some((host, path)) if !host.is_empty() && !path.is_empty() => {
                Ok(self.endpoint(host, path.to_owned(), insecure))
            }
            _ => {
                let what =
                    format!("leads to {:?}, which is not a repository", crate::text::escape(full));
                Err(Error::malformed(what).input("registries.conf"))
            }
        }
    }

    fn endpoint(&self, host: &str, path: String, insecure: bool) -> Endpoint {
        let listed = insecure
            || address::listed(&self.insecure_hosts, host)
            || address::listed(&self.daemon.insecure, host);
        Endpoint {
            host: address::api_host(host).to_owned(),
            path,
            plain_http: self.plain_http || listed || address::is_loopback(host),
            http_only: self.plain_http,
            insecure: self.insecure || listed,
            mirror: false,
            ns: None,
            only: Only::Anything,
        }
    }
}

fn blocked(name: &str) -> Error {
    Error::new(Kind::Denied, "is blocked in registries.conf").input(name.to_owned())
}

#[cfg(test)]
mod tests;
