//! What a sync asks of its destination: what is there already, and what is to go. Answers are in the order
//! of the questions.

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::sync::naming::Base;
use crate::transport::{Root, Sink};

/// Where images go. The default answers are those of a place that is written anew.
pub trait Destination: Send + Sync {
    /// Opens it for writing.
    ///
    /// # Errors
    /// Those of the place.
    fn sink(&self) -> Result<Box<dyn Sink>>;

    /// What lies there under the name of each root; under its digest, for one that has no name. `None`
    /// when nothing does. One request for each, none before it is needed.
    fn standing(&self, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        roots.iter().map(|_| Ok(None)).collect()
    }

    /// Which blobs are there already, for a plan; `names` are the repositories they would go to. False
    /// where that is not known.
    fn holds(&self, _names: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
        vec![false; blobs.len()]
    }

    /// Every name there: of a directory all, of registries those of all repositories beneath a path.
    ///
    /// # Errors
    /// Those of the place; `Unsupported` where names cannot be listed.
    fn names(&self, _beneath: Option<&Base>) -> Result<Vec<Reference>> {
        Ok(Vec::new())
    }

    /// Removes names, and what only they led to.
    fn delete(&self, names: &[Reference]) -> Vec<Result<()>> {
        let refused = Error::unsupported("nothing is removed from an archive");
        names.iter().map(|_| Err(refused.clone())).collect()
    }
}
