//! What images become when only some platforms are kept, and which companions that leaves without
//! their subject.
//!
//! It asks no place what it has. An index is looked at once; afterwards its digest and the platforms
//! tell.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::companion;
use crate::context::Context;
use crate::copy::{Policy, Published, preview};
use crate::digest::Digest;
use crate::error::Result;
use crate::media_type::Role;
use crate::transport::discard::Discard;
use crate::transport::registry::indexes::{Indexes, PrunedIndex};
use crate::transport::{Origin, Root, Sealed, Source};

/// Whether the platforms alone decide what becomes of an image.
fn decides(root: &Root, policy: &Policy) -> bool {
    !policy.platforms_of(root).is_empty()
        && policy.compress.is_none()
        && !root.companion
        && root.origin == Origin::Recorded
        && root.desc.media_type.role() == Role::Index
}

/// What an image became in an earlier run, where that is known.
pub(super) fn known(root: &Root, policy: &Policy, indexes: &Indexes) -> Option<PrunedIndex> {
    let platforms = policy.platforms_of(root);
    decides(root, policy).then(|| indexes.kept(&root.desc.digest, platforms)).flatten()
}

/// What an image will become, from its documents; nothing for one that stays as it is.
pub(super) fn foreseen(
    source: &dyn Source,
    root: &Root,
    policy: &Policy,
    ctx: &Context,
) -> Result<Option<PrunedIndex>> {
    if !decides(root, policy) {
        return Ok(None);
    }
    Ok(Some(kept(&sealed(source, root, policy, ctx)?)))
}

/// Every blob of what an image will become.
pub(super) fn sealed(
    source: &dyn Source,
    root: &Root,
    policy: &Policy,
    ctx: &Context,
) -> Result<Sealed> {
    // Nothing is recoded, so it needs no directory.
    let nowhere = Discard::new(PathBuf::new(), ctx);
    preview(source, &nowhere, root, policy.platforms_of(root), ctx)
}

fn kept(sealed: &Sealed) -> PrunedIndex {
    PrunedIndex { target: sealed.root.desc.digest, documents: documents(&sealed.blobs) }
}

fn documents(blobs: &[crate::descriptor::Descriptor]) -> Vec<Digest> {
    blobs.iter().filter(|b| b.media_type.role().is_parent()).map(|b| b.digest).collect()
}

/// Tells the next run what images became.
pub(super) fn note(published: &[Published], policy: &Policy, indexes: &Indexes) {
    let became = |image: &Published| PrunedIndex {
        target: image.target.digest,
        documents: documents(&image.blobs),
    };
    for image in published.iter().filter(|i| !i.unchanged && decides(&i.root, policy)) {
        let platforms = policy.platforms_of(&image.root);
        indexes.note_kept(&image.root.desc.digest, platforms, &became(image));
    }
    indexes.save();
}

/// Whether a companion says that it is about something that is not among `kept`, nor in turn about
/// what was found with it.
pub(super) fn orphan(root: &Root, kept: &HashSet<Digest>) -> bool {
    let subjects = companion::subjects(&root.desc, root.tags());
    root.companion && !subjects.is_empty() && subjects.iter().all(|s| !kept.contains(s))
}
