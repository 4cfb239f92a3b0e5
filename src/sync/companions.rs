//! Signatures, attestations and SBOMs of the chosen images, and what they are called beside them.
//!
//! It chooses no image. A companion under a cosign tag keeps that tag in the repository its image
//! goes to; one that says its subject itself goes by its digest.

use std::collections::HashMap;

use crate::context::Context;
use crate::copy::glance;
use crate::digest::Digest;
use crate::error::Result;
use crate::images;
use crate::layout::{said_subject, subject_of_tag};
use crate::reference::Reference;
use crate::transport::{Root, Source};

/// A chosen image: its root and its names at the source and at the destination.
pub(super) struct Image<'a> {
    pub root: &'a Root,
    pub sources: Vec<&'a Reference>,
    pub targets: Vec<&'a Reference>,
}

/// The companions of images, named as they are to be called. `remote` says that both the source's
/// roots are the wanted ones only (it is a registry), `by_digest` that the destination wants names for
/// all (it is one).
///
/// # Errors
/// `Malformed` when an image has too many.
pub(super) fn of(
    source: &dyn Source,
    images: &[Image<'_>],
    remote: bool,
    by_digest: bool,
    ctx: &Context,
) -> Result<Vec<Root>> {
    let candidates: Vec<Root> = if remote {
        source.roots().iter().filter(|root| root.companion).cloned().collect()
    } else {
        let roots: Vec<Root> = images.iter().map(|image| image.root.clone()).collect();
        images::companions(source, &roots, ctx)?
    };
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let owners = Owners { source, images, remote, ctx, beneath: std::cell::OnceCell::new() };
    // Whose companion each of those found is, for what is about it in turn.
    let mut whose: HashMap<Digest, Vec<&Image<'_>>> = HashMap::new();
    let mut found = Vec::new();
    for root in candidates {
        let owners = owners.of(&root, &whose);
        if !owners.is_empty() {
            let targets = owners.iter().flat_map(|image| image.targets.iter().copied());
            let digest = root.desc.digest;
            found.push(named(root, targets, by_digest)?);
            whose.entry(digest).or_default().extend(owners);
        }
    }
    Ok(found)
}

fn named<'t>(
    mut root: Root,
    targets: impl Iterator<Item = &'t Reference>,
    by_digest: bool,
) -> Result<Root> {
    let words = root.names.iter().filter_map(Reference::tag);
    let label = root.label.as_deref().and_then(|label| label.rsplit(['/', ':']).next());
    // The same bytes may be there under two tags.
    let tags: Vec<&str> = words.chain(label).filter(|tag| subject_of_tag(tag).is_some()).collect();
    let mut names = Vec::new();
    for target in targets {
        let mut called = tags.iter().map(|tag| target.with_tag(tag)).collect::<Result<Vec<_>>>()?;
        if called.is_empty() && by_digest {
            called.push(target.with_digest(root.desc.digest));
        }
        for name in called {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if !names.is_empty() {
        root.label = None;
    }
    root.names = names;
    Ok(root)
}

struct Owners<'a> {
    source: &'a dyn Source,
    images: &'a [Image<'a>],
    remote: bool,
    ctx: &'a Context,
    /// Which images have a manifest beneath them; read when it is first needed.
    beneath: std::cell::OnceCell<HashMap<Digest, Vec<usize>>>,
}

impl<'a> Owners<'a> {
    /// The images that a companion is about.
    fn of(&self, root: &Root, whose: &HashMap<Digest, Vec<&'a Image<'a>>>) -> Vec<&'a Image<'a>> {
        if let Some(subject) = said_subject(&root.desc, root.tags()) {
            let own = self.images.iter().filter(|image| image.root.desc.digest == subject);
            let own: Vec<_> = own.collect();
            if !own.is_empty() {
                return own;
            }
            if let Some(owners) = whose.get(&subject) {
                return owners.clone();
            }
        }
        if self.remote {
            // About something in an image's repository: one of its platforms.
            let repositories: Vec<String> = root.names.iter().map(Reference::repository).collect();
            let near = |image: &&Image<'_>| {
                image.sources.iter().any(|name| repositories.contains(&name.repository()))
            };
            return self.images.iter().filter(near).collect();
        }
        let beneath = self.beneath.get_or_init(|| self.beneath());
        let subject = images::subject_of(self.source, root, self.ctx);
        if let Some(owners) = subject.and_then(|subject| whose.get(&subject)) {
            return owners.clone();
        }
        let owners = subject.and_then(|subject| beneath.get(&subject));
        owners.into_iter().flatten().filter_map(|at| self.images.get(*at)).collect()
    }

    fn beneath(&self) -> HashMap<Digest, Vec<usize>> {
        let mut all: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (at, image) in self.images.iter().enumerate() {
            all.entry(image.root.desc.digest).or_default().push(at);
            if let Ok(tree) = glance(self.source, image.root, self.ctx) {
                for manifest in tree.node.manifests() {
                    let owners = all.entry(manifest.desc.digest).or_default();
                    if !owners.contains(&at) {
                        owners.push(at);
                    }
                }
            }
        }
        all
    }
}
