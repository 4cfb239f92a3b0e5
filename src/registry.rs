//! The wire protocol of registries: what a client may ask of one, and how.
//!
//! It knows nothing of sources and sinks. OCI distribution-spec 1.1; where registries differ from it,
//! the place says which.

pub mod address;
pub mod credentials;
pub mod http;
pub mod proxy;
pub mod retry;
pub mod rules;
pub mod settings;
pub mod tls;

use std::sync::Arc;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::registry::settings::{Login, Secret, Settings};

/// What is wanted of a repository: what a tag names, or what a digest names.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// By tag.
    Tag(&'a str),
    /// By digest.
    Digest(&'a Digest),
}

/// A repository that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path within the registry.
    pub path: String,
    /// What its owner says about it; may be empty.
    pub description: String,
    /// How many like it, where the registry counts.
    pub stars: u64,
    /// Whether the registry vouches for it.
    pub official: bool,
}

/// The registries of one side of a run: their connections, tokens and limits.
pub struct Registries {}

/// One repository of a registry.
#[derive(Clone)]
pub struct Repository {}

impl Registries {
    /// The registries as `settings` let them be reached.
    ///
    /// # Errors
    /// `Malformed`, `Io` when the machine's rules cannot be read.
    pub fn new(_settings: Settings, _ctx: &Context) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }

    /// The repository of a name; its tag and digest do not matter.
    ///
    /// # Errors
    /// `Denied` when the registry is blocked on this machine.
    pub fn repository(self: &Arc<Self>, _name: &Reference) -> Result<Repository> {
        Ok(Repository {})
    }

    /// The paths of all repositories that a registry lists, sorted.
    ///
    /// # Errors
    /// `Unsupported` when it lists none to us, `Denied`, `Unreachable`.
    pub fn catalog(&self, _domain: &str) -> Result<Vec<String>> {
        Err(Error::unsupported("not yet"))
    }

    /// Repositories that match a term, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::catalog`].
    pub fn search(&self, _domain: &str, _term: &str, _limit: usize) -> Result<Vec<Found>> {
        Err(Error::unsupported("not yet"))
    }

    /// Tries a user's credentials; the identity token when the registry gave one for them.
    ///
    /// # Errors
    /// `Denied` when they are wrong, `Unreachable`.
    pub fn login(&self, _domain: &str, _login: &Login) -> Result<Option<Secret>> {
        Err(Error::unsupported("not yet"))
    }
}

impl Repository {
    /// What a tag or digest names, without its bytes; `None` when there is none.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, `Malformed`.
    pub fn head(&self, _wanted: Wanted<'_>) -> Result<Option<Descriptor>> {
        Err(Error::unsupported("not yet"))
    }
}

#[allow(missing_docs)]
impl Registries {
    pub fn fetch_foreign(&self) -> bool {
        false
    }
}
#[allow(missing_docs)]
impl Repository {
    pub fn domain(&self) -> &str {
        ""
    }
    pub fn path(&self) -> &str {
        ""
    }
    pub fn name(&self) -> String {
        String::new()
    }
    pub fn manifest(&self, _: Wanted<'_>) -> Result<Option<(Descriptor, Vec<u8>)>> {
        Err(Error::unsupported(""))
    }
    pub fn put_manifest(&self, _: Wanted<'_>, _: &str, _: &[u8], _: &Digest) -> Result<()> {
        Err(Error::unsupported(""))
    }
    pub fn delete(&self, _: Wanted<'_>) -> Result<()> {
        Err(Error::unsupported(""))
    }
    pub fn tags(&self) -> Result<Option<Vec<String>>> {
        Err(Error::unsupported(""))
    }
    pub fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Err(Error::unsupported(""))
    }
    pub fn blob_size(&self, _: &Digest) -> Result<Option<u64>> {
        Err(Error::unsupported(""))
    }
    pub fn blob(&self, _: &Descriptor, _: u64) -> Result<Box<dyn std::io::Read + Send>> {
        Err(Error::unsupported(""))
    }
    pub fn mount(&self, _: &Digest, _: &str) -> Result<bool> {
        Err(Error::unsupported(""))
    }
    pub fn upload<'a>(
        &self,
        _: &Descriptor,
        _: &'a (dyn Fn() -> Result<Box<dyn std::io::Read + Send + 'a>> + Sync),
    ) -> Result<u64> {
        Err(Error::unsupported(""))
    }
}
