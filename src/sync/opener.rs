//! How a sync reaches places: the trait between it and the transports.
//!
//! It defines the questions only; the transports answer them.

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::sync::job::End;
use crate::transport::registry::indexes::PrunedIndex;
use crate::transport::{Root, Sink, Source};

/// A source, and the failures of opening it.
pub struct OpenedSource {
    /// The source. Of registries, its roots are the images that were asked for, each under the name
    /// that was asked for (with the tag, or without one with the digest), and their companions, each
    /// named in its repository by tag or digest.
    pub source: Box<dyn Source>,
    /// What could not be opened: a reference as it was asked for, or a file, and why.
    pub failed: Vec<(String, Error)>,
}

/// Opens places and queries them. Results are in the order of the queries.
pub trait Opener: Send + Sync {
    /// Opens the source. `wanted` are the images that are asked of registries; a directory or an
    /// archive shows all it has. Companions need not be looked for when they are not asked for.
    ///
    /// # Errors
    /// Those of the place, when nothing of it can be read.
    fn source(&self, from: &End, wanted: &[Reference], companions: bool) -> Result<OpenedSource>;

    /// The tags of a repository at the source.
    ///
    /// # Errors
    /// `Missing` when there is no such repository, and those of the registry.
    fn tags(&self, repository: &Reference) -> Result<Vec<String>>;

    /// The repositories of a registry at the source: paths.
    ///
    /// # Errors
    /// `Unsupported` or `Denied` where the registry lists none.
    fn catalog(&self, domain: &str) -> Result<Vec<String>>;

    /// Opens the destination.
    ///
    /// # Errors
    /// Those of the place.
    fn sink(&self, to: &End) -> Result<Box<dyn Sink>>;

    /// What lies at the destination under the name of each root; under its digest, for one that has
    /// no name. `None` when nothing does. One request for each, none before it is needed.
    fn present(&self, to: &End, roots: &[Root]) -> Vec<Result<Option<Digest>>>;

    /// Which blobs the destination has already, for a plan; `names` are the repositories they would
    /// go to. False where that is not known.
    fn holds(&self, to: &End, names: &[Reference], blobs: &[Descriptor]) -> Vec<bool>;

    /// Every name at the destination: of a directory all, of registries those of all repositories
    /// beneath a registry's path.
    ///
    /// # Errors
    /// Those of the place; `Unsupported` where names cannot be listed.
    fn names(
        &self,
        to: &End,
        beneath: Option<&crate::sync::naming::Base>,
    ) -> Result<Vec<Reference>>;

    /// What an index became in an earlier run, in which these platforms were kept.
    fn kept(&self, _index: &Digest, _: &[Platform]) -> Option<PrunedIndex> {
        None
    }

    /// Remembers what an index became.
    fn note_kept(&self, _index: &Digest, _: &[Platform], _: &PrunedIndex) {}

    /// Takes names away at the destination, and what only they led to.
    fn delete(&self, to: &End, names: &[Reference]) -> Vec<Result<()>>;
}
