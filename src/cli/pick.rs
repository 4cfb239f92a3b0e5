//! Which image a word means: one of the store, or the one of a place.

use std::collections::HashSet;

use imgpack::reference::Reference;
use imgpack::transport::layout::LayoutSource;
use imgpack::transport::select::no_image;
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
    Ok(imgpack::images::find(&source, target, run.ctx()).is_ok())
}

/// The store, and the one image in it that a word means; a repository alone means its `latest`.
///
/// # Errors
/// `Missing`.
pub(crate) fn stored(wanted: &str, run: &Run) -> Result<(LayoutSource, Root)> {
    let missing = || no_image(wanted);
    let source = run.store().source()?.ok_or_else(missing)?;
    if let Ok(reference) = wanted.parse::<Reference>() {
        let full = reference.or_latest();
        if let Some(root) = source.roots().iter().find(|r| r.names.contains(&full)) {
            let root = root.clone();
            return Ok((source, root));
        }
    }
    let found = imgpack::images::find(&source, wanted, run.ctx())?;
    let distinct: HashSet<_> = found.iter().map(|r| r.desc.digest).collect();
    if distinct.len() > 1 {
        return Err(no_image(&format!("{wanted}:latest")));
    }
    let root = found.into_iter().next().ok_or_else(missing)?;
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
    let mut roots = transfer::choose(source.as_ref(), place.choice(), run.ctx())?;
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
