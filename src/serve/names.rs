//! Names of repositories: in requests, and in the catalogue.
//!
//! It knows no image. Here a repository always carries the registry it comes from
//! (`docker.io/library/alpine`); requests may leave that out, put it first in the path, or name it
//! in containerd's `ns=`. A port cannot stand in a path, so `host:5000` may be written `host_5000`.

use std::fmt;

use crate::reference::{self, DEFAULT_DOMAIN, Reference, looks_like_host};

/// A repository with the registry it comes from: `docker.io/library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The repository of a reference.
    pub fn of(name: &Reference) -> Self {
        Self(name.repository())
    }

    fn new(domain: &str, path: &str) -> Self {
        // Only Docker Hub has a namespace that may be left out.
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        Self(format!("{domain}/{}{path}", if official { "library/" } else { "" }))
    }

    /// `docker.io/library/alpine`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        self.0.split_once('/').map_or("", |(domain, _)| domain)
    }

    /// The path there: `library/alpine`.
    pub fn path(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, path)| path)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Resolves the names in requests.
#[derive(Clone, Debug)]
pub struct NameResolver {
    default: String,
}

impl Default for NameResolver {
    fn default() -> Self {
        Self { default: DEFAULT_DOMAIN.into() }
    }
}

impl NameResolver {
    /// Names without a registry belong to `default`.
    pub fn new(default: &str) -> Self {
        Self { default: default.to_owned() }
    }

    /// What `path` may mean, likeliest first: in the registry that `ns` names; in the one that its
    /// first component names; in the default one. Nothing when it breaks the grammar.
    pub fn candidates(&self, path: &str, ns: Option<&str>) -> Vec<RepositoryName> {
        if !reference::is_path(path) {
            return Vec::new();
        }
        if let Some(ns) = ns {
            if !reference::is_domain(ns) || !looks_like_host(ns) {
                return Vec::new();
            }
            // containerd's `override_path` leads beneath the registry's own name, and names it again.
            let again = path.split_once('/').filter(|(first, _)| *first == ns.replace(':', "_"));
            let again = again.map(|(_, rest)| RepositoryName::new(ns, rest));
            return again.into_iter().chain([RepositoryName::new(ns, path)]).collect();
        }
        let mut found = Vec::new();
        if let Some((domain, rest)) = path.split_once('/')
            && looks_like_host(domain)
        {
            found.push(RepositoryName::new(domain, rest));
        }
        // `host_5000` and `localhost_5000`, as containerd spells them in the names of directories.
        if let Some((domain, rest)) = path.split_once('/')
            && let Some((host, port)) = domain.rsplit_once('_')
            && !host.is_empty()
            && !port.is_empty()
            // As the grammar has it, which knows no largest port.
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            found.push(RepositoryName::new(&format!("{host}:{port}"), rest));
        }
        if found.is_empty() || !looks_like_host(path.split('/').next().unwrap_or_default()) {
            found.push(RepositoryName::new(&self.default, path));
        }
        found
    }

    /// Where something that is pushed as `path` goes.
    pub fn target(&self, path: &str, ns: Option<&str>) -> Option<RepositoryName> {
        let mut all = self.candidates(path, ns);
        // `host_5000` is how a registry is spelled, and none that can be kept.
        all.retain(|name| reference::is_domain(name.domain()));
        // A name with an underscore is first of all a name.
        let plain = |name: &&RepositoryName| ns.is_some() || !name.domain().contains(':');
        all.iter().find(plain).or(all.first()).cloned()
    }

    /// Whether a repository belongs to the registry that names without one mean.
    pub fn is_default(&self, name: &RepositoryName) -> bool {
        name.domain() == self.default
    }

    /// How a repository is called in the path of a request.
    pub fn shown(&self, name: &RepositoryName) -> String {
        // A path that begins with what looks like a host would be read as one.
        let hides = name.path().split_once('/').is_some_and(|(first, _)| looks_like_host(first));
        if name.domain() == self.default && !hides {
            let path = name.path();
            let short = path.strip_prefix("library/").filter(|_| self.default == DEFAULT_DOMAIN);
            return short.filter(|s| !s.contains('/')).unwrap_or(path).to_owned();
        }
        format!("{}/{}", name.domain().replace(':', "_"), name.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_docker_containerd_and_podman_write_it() {
        let naming = NameResolver::default();
        for (path, ns, want) in [
            ("alpine", None, "docker.io/library/alpine"),
            ("library/alpine", None, "docker.io/library/alpine"),
            ("library/alpine", Some("docker.io"), "docker.io/library/alpine"),
            ("coreos/etcd", Some("quay.io"), "quay.io/coreos/etcd"),
            ("app", Some("reg.local:5000"), "reg.local:5000/app"),
            ("quay.io/coreos/etcd", None, "quay.io/coreos/etcd"),
            ("reg.local_5000/app", None, "reg.local_5000/app|reg.local:5000/app"),
            ("localhost/app", None, "localhost/app"),
            ("my_1/app", None, "my:1/app|docker.io/my_1/app"),
            ("a/blobs/b", None, "docker.io/a/blobs/b"),
            ("../etc", None, ""),
            ("UP/x", None, ""),
            ("a//b", None, ""),
            ("", None, ""),
            ("quay.io/a/b", Some("quay.io"), "quay.io/a/b|quay.io/quay.io/a/b"),
            (
                "reg.local_5000/b",
                Some("reg.local:5000"),
                "reg.local:5000/b|reg.local:5000/reg.local_5000/b",
            ),
            ("quay.io/a/b", Some("docker.io"), "docker.io/quay.io/a/b"),
            ("app", Some("bad host"), ""),
            ("app", Some("word"), ""),
        ] {
            let found: Vec<String> =
                naming.candidates(path, ns).iter().map(ToString::to_string).collect();
            assert_eq!(found.join("|"), want, "{path} {ns:?}");
        }
        for (path, want) in [
            ("my_1/app", "docker.io/my_1/app"),
            ("reg.local_5000/app", "reg.local:5000/app"),
            ("quay.io/app", "quay.io/app"),
            ("app", "docker.io/library/app"),
        ] {
            assert_eq!(naming.target(path, None).unwrap().as_str(), want);
        }
    }

    #[test]
    fn what_is_shown_is_understood_again() {
        for default in ["docker.io", "mirror.example"] {
            let naming = NameResolver::new(default);
            for name in [
                "docker.io/library/alpine",
                "docker.io/a/b",
                "quay.io/a/b/c",
                "r.local:5000/x",
                "r.local:99999999/x",
                "docker.io/b.io/x",
            ] {
                let name = RepositoryName(name.to_owned());
                let shown = naming.shown(&name);
                assert!(naming.candidates(&shown, None).contains(&name), "{shown}");
            }
        }
    }
}
