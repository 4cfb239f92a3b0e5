//! Which images of an open place are meant, with what belongs to them.
//!
//! It renames nothing: a root that was chosen by one of its names goes on under that name alone.

use crate::companion;
use crate::context::Context;
use crate::error::{Kind, Result};
use crate::images;
use crate::reference::Reference;
use crate::transport::{Root, Source, select};

/// The images of a source that a word means, and their companions; without a word everything there is.
///
/// # Errors
/// `Missing`, `Malformed`.
pub fn choose(source: &dyn Source, word: Option<&str>, ctx: &Context) -> Result<Vec<Root>> {
    let Some(word) = word else { return Ok(source.roots().to_vec()) };
    let chosen = match select(source.roots(), word) {
        Ok(found) => found.into_iter().map(|root| named_only(root, word)).collect(),
        Err(e) if e.kind() == Kind::Missing => images::find(source, word, ctx).map_err(|_| e)?,
        Err(e) => return Err(e),
    };
    with_companions(source, chosen, ctx)
}

/// A root chosen by one of its names goes under that name alone.
fn named_only(root: &Root, word: &str) -> Root {
    let mut root = root.clone();
    if let Ok(name) = word.parse::<Reference>().map(Reference::or_latest)
        && root.names.contains(&name)
    {
        root.names = vec![name];
    }
    root
}

/// Images of the store, each once with all the names it was asked for by.
pub(super) fn stored(source: &dyn Source, words: &[String], ctx: &Context) -> Result<Vec<Root>> {
    let mut roots: Vec<Root> = Vec::new();
    for word in words {
        for root in images::find(source, word, ctx)? {
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
    with_companions(source, roots, ctx)
}

/// The image of the store that `docker push` would send: of a repository alone its `latest`, or with
/// `all_tags` all its tags.
pub(super) fn pushed(
    source: &dyn Source,
    word: &str,
    all_tags: bool,
    ctx: &Context,
) -> Result<Vec<Root>> {
    let of = |root: &Root, repository: &Reference| {
        root.names.iter().any(|n| n.repository() == repository.repository())
    };
    let wanted = match word.parse::<Reference>() {
        Ok(name) if name.tag().is_none() && name.digest().is_none() && !all_tags => {
            let latest = name.clone().or_latest().to_string();
            match images::find(source, &latest, ctx) {
                Ok(_) => latest,
                // The start of an ID reads as a repository too.
                Err(_) if source.roots().iter().any(|r| of(r, &name)) => latest,
                Err(_) => word.to_owned(),
            }
        }
        _ => word.to_owned(),
    };
    with_companions(source, images::find(source, &wanted, ctx)?, ctx)
}

fn with_companions(source: &dyn Source, mut roots: Vec<Root>, ctx: &Context) -> Result<Vec<Root>> {
    roots.extend(companion::of(source, &roots, ctx)?);
    Ok(roots)
}
