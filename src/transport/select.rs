//! Choosing a root by what the user typed.
//!
//! It opens nothing: it decides from the names and digests of the roots alone.

use crate::digest::Digest;
use crate::error::{Cause, Error, Result};
use crate::reference::{self, Reference};
use crate::text;
use crate::transport::Root;

/// The roots that a user's word means among those of a place: a recorded label, a digest, a name,
/// a tag, or `@` and a position counted from 0.
///
/// # Errors
/// `Missing` when nothing fits, `Malformed` when several images do.
pub fn select<'r>(roots: &'r [Root], wanted: &str) -> Result<Vec<&'r Root>> {
    if let Some(position) = wanted.strip_prefix('@').and_then(|p| p.parse::<usize>().ok()) {
        let found = roots.iter().filter(|r| !r.companion).nth(position);
        let missing = || Error::missing(format!("no image at position {position}"));
        return found.map(|r| vec![r]).ok_or_else(missing);
    }
    // Exactly as recorded first, as skopeo has it.
    let labelled: Vec<&Root> =
        roots.iter().filter(|r| r.label.as_deref() == Some(wanted)).collect();
    if !labelled.is_empty() {
        return unique(labelled, wanted);
    }
    if let Ok(digest) = wanted.trim_start_matches('@').parse::<Digest>() {
        let found: Vec<&Root> = roots.iter().filter(|r| r.desc.digest == digest).collect();
        return if found.is_empty() { Err(no_image(wanted)) } else { Ok(vec![found[0]]) };
    }
    if let Ok(name) = wanted.parse::<Reference>() {
        let full = name.clone().or_latest();
        let found: Vec<&Root> = roots.iter().filter(|r| r.names.contains(&full)).collect();
        if !found.is_empty() {
            return unique(found, wanted);
        }
        if let Some(digest) = name.digest() {
            let found: Vec<&Root> = roots.iter().filter(|r| r.desc.digest == *digest).collect();
            if !found.is_empty() {
                return Ok(vec![found[0]]);
            }
        }
    }
    if reference::is_tag(wanted) {
        let tagged = |r: &&Root| r.names.iter().any(|n| n.tag() == Some(wanted));
        let found: Vec<&Root> = roots.iter().filter(tagged).collect();
        if !found.is_empty() {
            return unique(found, wanted);
        }
    }
    Err(no_image(wanted))
}

fn unique<'r>(found: Vec<&'r Root>, wanted: &str) -> Result<Vec<&'r Root>> {
    if found.iter().any(|r| r.desc.digest != found[0].desc.digest) {
        let wanted = text::escape(wanted);
        return Err(Error::malformed(format!("{wanted:?} names more than one image")));
    }
    Ok(vec![found[0]])
}

/// The error for a word that matches nothing.
pub fn no_image(wanted: &str) -> Error {
    let what = format!("no such image: {}", text::escape(wanted));
    Error::missing(what).because(Cause::NoSuchImage)
}
