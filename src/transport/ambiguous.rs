//! Two images with one name: the one rule for a table, and for places that are read together.
//!
//! The first that has a name answers to it. `serve` says so, and how the other is reached; whoever moves
//! images refuses, since the second would take the name from the first without a word.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::transport::Root;

/// A name that two images have.
#[derive(Debug)]
pub struct SharedName<'r> {
    /// It.
    pub name: &'r Reference,
    /// The image that answers to it.
    pub first: &'r Root,
    /// The one that does not.
    pub other: &'r Root,
}

impl SharedName<'_> {
    /// What whoever moves images says.
    pub fn error(&self) -> Error {
        let (first, other) = (self.first.desc.digest, self.other.desc.digest);
        let name = self.name.familiar();
        Error::malformed(format!("ambiguous: {name} names two images, {first} and {other}"))
    }
}

/// The names that several of some roots have which are not the same image.
pub fn shared<'r>(roots: impl IntoIterator<Item = &'r Root>) -> Vec<SharedName<'r>> {
    let mut owners: HashMap<&Reference, &Root> = HashMap::new();
    let mut found = Vec::new();
    for other in roots {
        for name in &other.names {
            let first = *owners.entry(name).or_insert(other);
            if first.desc.digest != other.desc.digest {
                found.push(SharedName { name, first, other });
            }
        }
    }
    found
}

/// Fails when two images have one name.
///
/// # Errors
/// `Malformed`.
pub fn refuse<'r>(roots: impl IntoIterator<Item = &'r Root>) -> Result<()> {
    shared(roots).first().map_or(Ok(()), |shared| Err(shared.error()))
}
