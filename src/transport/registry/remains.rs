//! What a deleted image leaves behind in its repository: the tags of its referrers.
//!
//! It deletes no image. cosign's tags, and the tags that stand in for the referrers API: OCI
//! distribution-spec 1.1 "Referrers Tag Schema".

use std::collections::BTreeSet;

use crate::companion::subject_of_tag;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::lanes;
use crate::layout::MAX_NESTING;
use crate::manifest::Document;
use crate::media_type::Role;
use crate::registry::{Repository, Wanted};

/// The digest of an image, and of every manifest beneath it when it is an index.
///
/// # Errors
/// `Denied`, `Unreachable`; `Malformed`, `Corrupt` when an index is not right.
pub fn family(repository: &Repository, desc: &Descriptor) -> Result<BTreeSet<Digest>> {
    let mut all = BTreeSet::new();
    collect(repository, desc, 0, &mut all)?;
    Ok(all)
}

fn collect(
    repository: &Repository,
    desc: &Descriptor,
    depth: usize,
    all: &mut BTreeSet<Digest>,
) -> Result<()> {
    if !all.insert(desc.digest) || desc.media_type.role() != Role::Index || depth > MAX_NESTING {
        return Ok(());
    }
    let Some((desc, bytes)) = repository.manifest(Wanted::Digest(&desc.digest))? else {
        return Ok(());
    };
    for child in Document::parse(&bytes, &desc.media_type)?.children() {
        collect(repository, child, depth + 1, all)?;
    }
    Ok(())
}

/// Deletes the tags of `tags` that are about nothing but digests that are gone. What an image under a
/// tag that stays needs is kept. A tag that cannot be deleted is warned of.
///
/// # Errors
/// `Denied`, `Unreachable`; `Malformed`, `Corrupt` when what stays cannot be read.
pub fn sweep(
    repository: &Repository,
    tags: &[String],
    gone: &BTreeSet<Digest>,
    ctx: &Context,
) -> Result<()> {
    let about = |tag: &String| subject_of_tag(tag).filter(|subject| gone.contains(subject));
    if !tags.iter().any(|tag| about(tag).is_some()) {
        return Ok(());
    }
    let images: Vec<&String> = tags.iter().filter(|tag| subject_of_tag(tag).is_none()).collect();
    let stays = lanes::each(&images, ctx.jobs, |tag| match repository.head(Wanted::Tag(tag))? {
        Some(desc) => family(repository, &desc),
        None => Ok(BTreeSet::new()),
    });
    let stays: Vec<BTreeSet<Digest>> = stays.into_iter().collect::<Result<_>>()?;
    for tag in tags {
        let Some(subject) = about(tag) else { continue };
        if stays.iter().any(|needed| needed.contains(&subject)) {
            continue;
        }
        let removed = match only_about(repository, tag, &subject) {
            Ok(true) => remove(repository, tag),
            Ok(false) => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = removed {
            ctx.warn(&format!("{}:{tag} stays: {}", repository.name(), e.what()));
        }
    }
    Ok(())
}

/// Whether a tag is cosign's, or leads to an index of nothing but referrers of the subject.
fn only_about(repository: &Repository, tag: &str, subject: &Digest) -> Result<bool> {
    if tag.contains('.') {
        return Ok(true);
    }
    let Some((desc, bytes)) = repository.manifest(Wanted::Tag(tag))? else { return Ok(false) };
    // GitLab takes such a tag for the digest itself.
    if desc.digest == *subject || desc.media_type.role() != Role::Index {
        return Ok(false);
    }
    for child in Document::parse(&bytes, &desc.media_type)?.children() {
        let Some((desc, bytes)) = repository.manifest(Wanted::Digest(&child.digest))? else {
            continue;
        };
        let document = Document::parse(&bytes, &desc.media_type)?;
        if document.subject.is_none_or(|named| named.digest != *subject) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes a tag, where a registry deletes none by way of what it leads to.
fn remove(repository: &Repository, tag: &str) -> Result<()> {
    let there = repository.head(Wanted::Tag(tag))?;
    repository.delete(Wanted::Tag(tag)).or_else(|e| match there {
        Some(desc) => repository.delete(Wanted::Digest(&desc.digest)),
        None => Err(e),
    })
}
