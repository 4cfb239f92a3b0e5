//! Which image a word means: one of the store, or the one of a place.

use imgpack::find::{self, no_image};
use imgpack::transport::layout::LayoutSource;
use imgpack::transport::table::Place;
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result, transfer};

use super::run::Run;

/// An image of the store goes before a file that happens to be called like it, unless spelled as a
/// place.
pub(crate) fn is_image(target: &str, run: &Run) -> Result<bool> {
    if !Place::is_place(target)? {
        return Ok(true);
    }
    if target.contains([':', '/', '.']) || target == "-" {
        return Ok(false);
    }
    let Some(source) = run.store().source()? else { return Ok(false) };
    Ok(find::one(&source, target, run.ctx()).is_ok())
}

/// The store, and the one image in it that a word means.
///
/// # Errors
/// `Missing`.
pub(crate) fn stored(word: &str, run: &Run) -> Result<(LayoutSource, Root)> {
    let source = run.store().source()?.ok_or_else(|| no_image(word))?;
    let root = find::one(&source, word, run.ctx())?.narrowed();
    Ok((source, root))
}

/// The one image that a word means, in the store or in a place, and where it is.
///
/// # Errors
/// `Missing`; `Usage` when a place holds several and none is named.
pub(crate) fn one(target: &str, run: &Run) -> Result<(Box<dyn Source>, Root)> {
    if is_image(target, run)? {
        let (source, root) = stored(target, run)?;
        return Ok((Box::new(source), root));
    }
    let place = Place::parse(target)?;
    let source = place.source(run.env(), &|| run.scratch())?;
    for (_, error) in source.unreadable() {
        run.ctx().warn(&error.to_string());
    }
    let mut roots = transfer::choose(source.as_ref(), &place, run.ctx())?;
    roots.retain(|r| !r.companion);
    if roots.len() > 1 {
        let names: Vec<String> = roots.iter().take(3).map(Root::title).collect();
        let what =
            format!("holds {} images ({}, …); name one of them", roots.len(), names.join(", "));
        return Err(Error::new(Kind::Usage, what).input(source.place()));
    }
    let missing = || Error::missing("holds no images").input(source.place());
    let root = roots.pop().ok_or_else(missing)?;
    Ok((source, root))
}
