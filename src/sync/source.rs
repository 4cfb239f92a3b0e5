//! What a sync asks of its source: images, and of registries what they list.

use crate::error::Result;
use crate::reference::Reference;
use crate::transport::Source;

/// Where images come from.
pub enum SyncSource {
    /// Registries, which are asked for what is wanted.
    Registries(Box<dyn Listing>),
    /// A place that shows all it has.
    Place(Box<dyn Source>),
}

/// Registries as a source.
pub trait Listing: Send + Sync {
    /// The tags of a repository.
    ///
    /// # Errors
    /// `Missing` when there is no such repository, and those of the registry.
    fn tags(&self, repository: &Reference) -> Result<Vec<String>>;

    /// The repositories of a registry: paths.
    ///
    /// # Errors
    /// `Unsupported` or `Denied` where the registry lists none.
    fn catalog(&self, domain: &str) -> Result<Vec<String>>;

    /// The images that are wanted: roots, each under the name that was asked for (with the tag, or
    /// without one with the digest), and, where wanted, their companions, each named in its repository
    /// by tag or digest.
    ///
    /// # Errors
    /// `Denied` when a registry is blocked. What is wrong with one name is [`Source::unreadable`].
    fn open(&self, wanted: &[Reference], companions: bool) -> Result<Box<dyn Source>>;
}
