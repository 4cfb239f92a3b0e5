//! A request that would change a repository, and what its handlers share.
//!
//! It changes nothing itself.

use http::{Method, header};

use crate::digest::Digest;
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::names::RepositoryName;
use crate::serve::request::Request;
use crate::serve::writable::Writable;
use crate::serve::{Registry, adopt, route};

/// Why most methods are refused.
pub(super) const NOT_HERE: &str = "the method is not allowed";
/// The methods that change nothing.
pub(super) const READS: &[Method] = &[Method::GET, Method::HEAD];

/// A request that changes a repository.
pub(super) struct Push<'r> {
    pub(super) registry: &'r Registry,
    pub(super) writable: &'r Writable,
    pub(super) request: &'r Request,
    /// The repository.
    pub(super) name: RepositoryName,
    /// The same as the request calls it.
    pub(super) path: &'r str,
}

impl<'r> Push<'r> {
    pub(super) fn new(
        registry: &'r Registry,
        writable: &'r Writable,
        request: &'r Request,
        path: &'r str,
    ) -> Result<Self, ApiError> {
        let target = registry.catalogue().naming().target(path, request.ns().as_deref());
        // Only a name that is read back as it was written can be kept in an index.
        let kept = |name: &RepositoryName| {
            name.as_str().parse().is_ok_and(|read| RepositoryName::of(&read) == *name)
        };
        let fault = || ApiError::new(Code::NameInvalid, "a repository cannot have this name");
        let name = target.filter(kept).ok_or_else(fault)?;
        Ok(Self { registry, writable, request, name, path })
    }

    /// Takes over a blob that the repository `from` has elsewhere; false when it has none.
    pub(super) fn adopt(&self, from: &str, digest: &Digest) -> crate::Result<bool> {
        let found = self.registry.catalogue().find(from, self.request.ns().as_deref());
        found.map_or(Ok(false), |found| adopt::blob(&found, self.writable, &self.name, digest))
    }

    /// Where something of the repository is now: relative, so that it is right behind any proxy, and in
    /// the registry that the client named.
    pub(super) fn location(&self, answer: Answer, below: &str) -> Answer {
        let ns = self.request.ns().map(|ns| format!("?{}", route::encoded_query([("ns", ns)])));
        let place = format!("/v2/{}/{below}{}", self.path, ns.unwrap_or_default());
        answer.with(header::LOCATION, &place)
    }
}
