//! What was called how, and what it is called now: what the files of every form are made from.
//!
//! It must not know a form.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::reference::Reference;

/// An image that has another name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What it was called.
    pub from: Reference,
    /// What it is called at the destination.
    pub to: Reference,
    /// Its digest there.
    pub digest: Digest,
}

/// One file: its path, relative, and its text.
pub type File = (String, String);

/// Files and what they cannot say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emitted {
    /// The files, sorted by path.
    pub files: Vec<File>,
    /// Images that this form cannot lead to.
    pub warnings: Vec<String>,
}

/// How nodes reach the new registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// They speak no TLS.
    pub plain_http: bool,
    /// The file, on the node, of the authority to trust; for one that nodes do not trust already.
    pub authority: Option<String>,
    /// They ask for a name and a password.
    pub login: bool,
}

impl Reach {
    /// `http://` or `https://`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.plain_http { "http://" } else { "https://" }
    }
}

/// Every registry that has no entry of its own, for the forms that can say so: containerd and k3s.
pub const ANY: &str = "*";

/// Where the images of one registry are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All beneath these paths, each `host/path` or `host`: a path of the old registry follows.
    Beneath(BTreeSet<String>),
    /// Each repository where it went: path in the old registry, and the new `host/path`.
    Each(BTreeMap<String, BTreeSet<String>>),
}

/// Every registry that images came from, and the way to them now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirrors(pub BTreeMap<String, Way>);

impl Mirrors {
    /// The new registries.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        let mut hosts = BTreeSet::new();
        for way in self.0.values() {
            let stems: Vec<&String> = match way {
                Way::Beneath(stems) => stems.iter().collect(),
                Way::Each(each) => each.values().flatten().collect(),
            };
            hosts.extend(stems.into_iter().map(|stem| split(stem).0.to_owned()));
        }
        hosts
    }

    /// The ways to images that have other names now.
    pub(super) fn of(moved: &[Moved]) -> Self {
        let mut repositories: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for m in moved.iter().filter(|m| m.from.repository() != m.to.repository()) {
            let of = repositories.entry(m.from.domain()).or_default();
            of.entry(m.from.path().to_owned()).or_default().insert(m.to.repository());
        }
        let way = |each: BTreeMap<String, BTreeSet<String>>| {
            let stems: Option<BTreeSet<String>> = each
                .iter()
                .flat_map(|(path, now)| now.iter().map(move |to| (path, to)))
                .map(|(path, to)| Some(to.strip_suffix(path)?.strip_suffix('/')?.to_owned()))
                .collect();
            stems.map_or(Way::Each(each), Way::Beneath)
        };
        Self(repositories.into_iter().map(|(host, each)| (host.to_owned(), way(each))).collect())
    }
}

/// A host and what follows it.
pub(crate) fn split(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or((repository, ""))
}

/// The first lines of every file that has comments.
pub(crate) const HEAD: &str = "# Written by imgpack.\n";
