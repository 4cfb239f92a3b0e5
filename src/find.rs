//! Which images a user's word means: the one place that decides it, by the rule that its caller names.
//!
//! It opens no place. Names and digests decide; documents are read only to find an image by its ID.

use std::collections::HashMap;

use crate::context::Context;
use crate::copy::glance;
use crate::digest::Digest;
use crate::error::{Cause, Error, Result};
use crate::media_type::Role;
use crate::reference::{Reference, is_tag};
use crate::text;
use crate::transport::table::{Place, Scheme};
use crate::transport::{Root, Source};

/// Whose meaning a word has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// That of docker's engine: a name, `latest` where it has no tag; a repository with a digest, where a
    /// tag before the digest counts for nothing; an image ID, or the start of one. A name goes before an
    /// ID. (moby, `daemon/images/image.go`, `GetImage`.)
    Docker,
    /// The same, but a repository alone means all of it, as for `docker save` and
    /// `docker push --all-tags`.
    EveryTag,
    /// skopeo's, for what stands behind a place: a recorded label as it is, `@` and a position counted
    /// from 0, a digest, a name, a tag; then an ID, as docker has it. (containers-transports(5).)
    Skopeo,
}

impl Rule {
    /// The rule for a word behind a place: the store is asked as docker's engine is.
    pub fn behind(place: &Place) -> Self {
        if place.scheme == Scheme::Store { Self::Docker } else { Self::Skopeo }
    }
}

/// An image that is meant.
#[derive(Debug)]
pub struct FoundImage<'s> {
    /// It, with all its names.
    pub root: &'s Root,
    /// The names that are meant; none where an ID is.
    pub names: Vec<Reference>,
}

impl<'s> FoundImage<'s> {
    fn with_names(root: &'s Root, names: Vec<Reference>) -> Self {
        Self { root, names }
    }

    fn whole(root: &'s Root) -> Self {
        Self::with_names(root, root.names.clone())
    }

    /// The image under just the names that are meant.
    pub fn narrowed(self) -> Root {
        Root { names: self.names, ..self.root.clone() }
    }
}

/// The images of a place that a word means; at least one, and only under [`Rule::EveryTag`] more.
///
/// # Errors
/// `Missing` when nothing is meant, `Malformed` when it cannot be said which of several is.
pub fn find<'s>(
    source: &'s dyn Source,
    word: &str,
    rule: Rule,
    ctx: &Context,
) -> Result<Vec<FoundImage<'s>>> {
    let roots = source.roots();
    let mut found = match rule {
        Rule::Docker => named(roots, word)?,
        Rule::EveryTag => tags_of(roots, word),
        Rule::Skopeo => placed(roots, word)?,
    };
    if found.is_empty() && rule == Rule::EveryTag {
        found.extend(named(roots, word)?);
    }
    if found.is_empty() {
        found.extend(by_id(source, word, ctx)?);
    }
    if found.is_empty() {
        return Err(match rule {
            // Docker says which tag it looked for.
            Rule::Docker => {
                no_image(&word.parse().map_or_else(
                    |_| word.to_owned(),
                    |name: Reference| name.or_latest().familiar(),
                ))
            }
            Rule::EveryTag | Rule::Skopeo => no_image(word),
        });
    }
    Ok(found)
}

/// The one image of a place that a word means, as docker has it.
///
/// # Errors
/// As [`find`].
pub fn one<'s>(source: &'s dyn Source, word: &str, ctx: &Context) -> Result<FoundImage<'s>> {
    find(source, word, Rule::Docker, ctx)?.pop().ok_or_else(|| no_image(word))
}

/// The image that docker's name means: by its digest in that repository, else by its tag.
fn named<'s>(roots: &'s [Root], word: &str) -> Result<Vec<FoundImage<'s>>> {
    let Ok(name) = word.parse::<Reference>() else { return Ok(Vec::new()) };
    let Some(digest) = name.digest() else {
        let name = name.or_latest();
        let found = roots.iter().filter(|root| root.names.contains(&name));
        return unique(found.collect(), word, |root| {
            FoundImage::with_names(root, vec![name.clone()])
        });
    };
    let there = |root: &&Root| {
        root.desc.digest == *digest && root.names.iter().any(|n| n.same_repository(&name))
    };
    let exact = || vec![name.with_digest(*digest)];
    Ok(roots
        .iter()
        .find(there)
        .map(|root| FoundImage::with_names(root, exact()))
        .into_iter()
        .collect())
}

/// Every tag of the repository that a word is; of an image that was pulled by its digest alone, that.
fn tags_of<'s>(roots: &'s [Root], word: &str) -> Vec<FoundImage<'s>> {
    let name = match word.parse::<Reference>() {
        Ok(name) if name.tag().is_none() && name.digest().is_none() => name,
        _ => return Vec::new(),
    };
    let of = |root: &'s Root| {
        let of = root.names.iter().filter(|n| n.same_repository(&name));
        let (tags, digests): (Vec<_>, Vec<_>) = of.cloned().partition(|n| n.tag().is_some());
        FoundImage::with_names(root, if tags.is_empty() { digests } else { tags })
    };
    roots.iter().map(of).filter(|found| !found.names.is_empty()).collect()
}

/// What stands behind a place, as skopeo has it.
fn placed<'s>(roots: &'s [Root], word: &str) -> Result<Vec<FoundImage<'s>>> {
    if let Some(position) = word.strip_prefix('@').and_then(|p| p.parse::<usize>().ok()) {
        let found = roots.iter().filter(|root| !root.companion).nth(position);
        let missing = || Error::missing(format!("no image at position {position}"));
        return found.map(|root| vec![FoundImage::whole(root)]).ok_or_else(missing);
    }
    let all = |fits: &dyn Fn(&Root) -> bool| {
        unique(roots.iter().filter(|root| fits(root)).collect(), word, FoundImage::whole)
    };
    let labelled = all(&|root| root.label.as_deref() == Some(word))?;
    if !labelled.is_empty() {
        return Ok(labelled);
    }
    if let Ok(digest) = word.trim_start_matches('@').parse::<Digest>() {
        return all(&|root| root.desc.digest == digest);
    }
    if let Ok(name) = word.parse::<Reference>() {
        let full = name.clone().or_latest();
        let found = roots.iter().filter(|root| root.names.contains(&full)).collect();
        let found = unique(found, word, |root| FoundImage::with_names(root, vec![full.clone()]))?;
        if !found.is_empty() {
            return Ok(found);
        }
        // Few places record digests in names, so the digest alone decides.
        if let Some(digest) = name.digest() {
            return all(&|root| root.desc.digest == *digest);
        }
    }
    if is_tag(word) {
        return all(&|root| root.names.iter().any(|name| name.tag() == Some(word)));
    }
    Ok(Vec::new())
}

/// The first of some roots, which are all the same image.
fn unique<'s>(
    roots: Vec<&'s Root>,
    word: &str,
    found: impl Fn(&'s Root) -> FoundImage<'s>,
) -> Result<Vec<FoundImage<'s>>> {
    let Some(first) = roots.first() else { return Ok(Vec::new()) };
    if roots.iter().any(|root| root.desc.digest != first.desc.digest) {
        let word = text::escape(word);
        return Err(Error::malformed(format!("{word:?} names more than one image")));
    }
    Ok(vec![found(first)])
}

/// The image whose ID or digest begins with `word`. One image may lie under several roots, in an index
/// and beside it; then the manifest itself goes before an index around it.
fn by_id<'s>(source: &'s dyn Source, word: &str, ctx: &Context) -> Result<Option<FoundImage<'s>>> {
    let hex = word.strip_prefix("sha256:").unwrap_or(word);
    if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let hex = hex.to_lowercase();
    let mut found: Option<(Digest, &Root)> = None;
    for root in source.roots() {
        let Some(id) = id_of(source, root, &hex, ctx) else { continue };
        match found {
            Some((known, _)) if known != id => {
                let word = text::escape(word);
                let what = format!("{word} is the prefix of more than one ID");
                return Err(Error::malformed(what));
            }
            Some((_, earlier)) if earlier.desc.media_type.role() != Role::Index => {}
            _ => found = Some((id, root)),
        }
    }
    Ok(found.map(|(_, root)| FoundImage::with_names(root, Vec::new())))
}

/// Which of a root's IDs begins with `hex`: its own digest, or the config of an image beneath it.
fn id_of(source: &dyn Source, root: &Root, hex: &str, ctx: &Context) -> Option<Digest> {
    let fits = |digest: &Digest| digest.hex().starts_with(hex);
    if fits(&root.desc.digest) {
        return Some(root.desc.digest);
    }
    // A damaged image must not hide the others.
    let tree = glance(source, root, ctx).ok()?;
    let manifests = tree.node.manifests();
    manifests.iter().filter_map(|m| Some(m.config.as_ref()?.digest)).find(fits)
}

/// What is said where a word means nothing.
pub fn no_image(word: &str) -> Error {
    let what = format!("no such image: {}", text::escape(word));
    Error::missing(what).because(Cause::NoSuchImage)
}

/// The roots of a place by their exact names, for many questions: no short form, no ID. With a digest
/// the digest decides, whatever the tag names now.
pub struct Exact<'r> {
    names: HashMap<&'r Reference, usize>,
    digests: HashMap<Digest, usize>,
}

impl<'r> Exact<'r> {
    /// Of some roots; the first that has a name is the one it means.
    pub fn of(roots: &'r [Root]) -> Self {
        let (mut names, mut digests) = (HashMap::new(), HashMap::new());
        for (at, root) in roots.iter().enumerate() {
            digests.entry(root.desc.digest).or_insert(at);
            for name in &root.names {
                names.entry(name).or_insert(at);
            }
        }
        Self { names, digests }
    }

    /// The position of the root that a name means.
    pub fn find(&self, name: &Reference) -> Option<usize> {
        match name.digest() {
            Some(digest) => self.digests.get(digest).copied(),
            None => self.names.get(name).copied(),
        }
    }
}

#[cfg(test)]
mod tests;
