//! What images are called where they go.
//!
//! It moves no name at the source. Companions are named after their images, once these have their names.

use crate::error::{Error, Kind, Result};
use crate::images;
use crate::reference::{self, Reference};
use crate::transport::Root;
use crate::transport::table::{Place, Scheme};

/// How names change, beside the one that the target may say.
#[derive(Clone, Debug, Default)]
pub struct Rename {
    /// A registry and a path that are put before every name.
    pub prefix: Option<String>,
    /// The name of the one image.
    pub tag: Option<String>,
    /// Whether the target is a repository, for all tags of what is brought.
    pub all_tags: bool,
}

impl Rename {
    /// Renames the images among `roots`.
    pub(super) fn apply(&self, roots: &mut [Root], to: &Place) -> Result<()> {
        if let Some(tag) = &self.tag {
            one(roots, "--tag names", "the archive")?.names = vec![typed(tag)?];
        }
        if let Some(prefix) = &self.prefix {
            for root in &mut *roots {
                let names = root.names.iter().map(|n| images::prefixed(n, prefix));
                root.names = names.collect::<Result<_>>().map_err(|e| e.kind_as(Kind::Usage))?;
            }
        }
        match &to.image {
            Some(_) if self.all_tags => retag(roots, &to.reference()?),
            Some(image) => name(roots, image, to),
            None if to.scheme == Scheme::Registry => tagged(roots),
            None => Ok(()),
        }
    }
}

/// All tags of what is brought, in another repository.
fn retag(roots: &mut [Root], target: &Reference) -> Result<()> {
    for root in roots.iter_mut().filter(|r| !r.companion) {
        let tags = root.names.iter().filter_map(Reference::tag);
        root.names = tags.map(|tag| target.with_tag(tag)).collect::<Result<_>>()?;
    }
    Ok(())
}

/// A name in the target renames the one image that is brought.
fn name(roots: &mut [Root], image: &str, to: &Place) -> Result<()> {
    let root = one(roots, "the target names", "the source")?;
    match to.scheme {
        // skopeo takes any string there; the sink records it as it is.
        Scheme::Oci => root.names = image.parse().ok().into_iter().collect(),
        Scheme::OciArchive if reference::is_tag(image) => {
            root.names.clear();
            root.label = Some(image.to_owned());
        }
        Scheme::Registry => {
            let name = to.reference()?.or_latest();
            same_digest(&name, root)?;
            root.names = vec![name];
        }
        _ => root.names = vec![typed(image)?],
    }
    Ok(())
}

/// What goes to a registry under the names it has needs a tag among them, as docker has it.
fn tagged(roots: &[Root]) -> Result<()> {
    let untagged = |root: &&Root| root.names.iter().all(|name| name.tag().is_none());
    match roots.iter().filter(|root| !root.companion).find(untagged) {
        None => Ok(()),
        Some(root) => {
            let what = "has no tag to be pushed under; say its name in the registry";
            Err(Error::new(Kind::Usage, what).input(root.title()))
        }
    }
}

/// The one image that a name is meant for.
fn one<'r>(roots: &'r mut [Root], who: &str, where_from: &str) -> Result<&'r mut Root> {
    let mut images: Vec<&mut Root> = roots.iter_mut().filter(|r| !r.companion).collect();
    match images.pop() {
        Some(only) if images.is_empty() => Ok(only),
        last => {
            let count = images.len() + usize::from(last.is_some());
            let what = format!("{who} one image, {where_from} holds {count}; name one of them");
            Err(Error::new(Kind::Usage, what))
        }
    }
}

fn typed(name: &str) -> Result<Reference> {
    images::typed_name(name).map_err(|e| e.kind_as(Kind::Usage))
}

/// A digest in the name of a target is a claim about what is sent.
fn same_digest(name: &Reference, root: &Root) -> Result<()> {
    match name.digest() {
        Some(digest) if *digest != root.desc.digest => {
            let what = format!("the target says {digest}, the image is {}", root.desc.digest);
            Err(Error::new(Kind::Usage, what).input(name.familiar()))
        }
        _ => Ok(()),
    }
}
