//! A repository at one host, and how what is in it is named. What is asked of it is in other files.

use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;
use crate::reference::Reference;
use crate::registry::host::Host;

/// What is wanted of a repository: what a tag names, or what a digest names.
#[derive(Clone, Copy, Debug)]
pub enum TagOrDigest<'a> {
    /// By tag.
    Tag(&'a str),
    /// By digest.
    Digest(&'a Digest),
}

impl<'a> TagOrDigest<'a> {
    /// What a name means to who reads: its digest, which says more than the tag beside it; `latest`
    /// when it says neither.
    pub fn to_read(name: &'a Reference) -> Self {
        match (name.digest(), name.tag()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, tag) => Self::Tag(tag.unwrap_or("latest")),
        }
    }

    /// What a name means to who writes: its tag, which is what can be moved; the digest only says
    /// what becomes of it.
    pub fn to_write(name: &'a Reference) -> Self {
        match (name.tag(), name.digest()) {
            (None, Some(digest)) => Self::Digest(digest),
            (tag, _) => Self::Tag(tag.unwrap_or("latest")),
        }
    }
}

impl fmt::Display for TagOrDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A repository at one host.
#[derive(Clone)]
pub(crate) struct HostedRepository {
    /// Where requests go.
    pub(crate) host: Arc<Host>,
    /// The repository's path there.
    pub(crate) path: String,
    /// Whether something is pushed there in this run.
    pub(crate) pushes: bool,
    /// The repository as the user wrote it.
    pub(super) name: String,
    /// Whether the host is a mirror.
    pub(super) mirror: bool,
}

impl HostedRepository {
    /// The repository as the user wrote it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
