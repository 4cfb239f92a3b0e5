//! Which images of an open place are meant, with what belongs to them.
//!
//! It renames nothing: a root that was chosen by one of its names goes on under that name alone.

use crate::companion;
use crate::context::Context;
use crate::error::Result;
use crate::find::{FoundImage, Rule, find};
use crate::transport::table::Place;
use crate::transport::{Root, Source};

/// The images of a source that a place names, and their companions; without a word everything there is.
///
/// # Errors
/// `Missing`, `Malformed`.
pub fn choose(source: &dyn Source, place: &Place, ctx: &Context) -> Result<Vec<Root>> {
    match place.choice() {
        None => Ok(source.roots().to_vec()),
        Some(word) => meant(source, &[word], Rule::behind(place), ctx),
    }
}

/// The images that words mean, each once with all the names that are meant, and their companions.
pub(super) fn meant<W: AsRef<str>>(
    source: &dyn Source,
    words: &[W],
    rule: Rule,
    ctx: &Context,
) -> Result<Vec<Root>> {
    let mut roots: Vec<Root> = Vec::new();
    for word in words {
        for root in find(source, word.as_ref(), rule, ctx)?.into_iter().map(FoundImage::narrowed) {
            match roots.iter_mut().find(|r| r.desc.digest == root.desc.digest) {
                Some(known) => {
                    for name in root.names {
                        if !known.names.contains(&name) {
                            known.names.push(name);
                        }
                    }
                }
                None => roots.push(root),
            }
        }
    }
    roots.extend(companion::of(source, &roots, ctx)?);
    Ok(roots)
}
