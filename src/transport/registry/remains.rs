//! What a deleted image leaves behind in its repository: what refers to it.
//!
//! It deletes no image. cosign's tags, and the tags that stand in for the referrers API: OCI
//! distribution-spec 1.1 "Referrers Tag Schema".

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::companion::{self, Link, subject_of_tag};
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::lanes;
use crate::manifest::Document;
use crate::media_type::Role;
use crate::registry::{Repository, TagOrDigest};

/// The digest of an image, and of every manifest beneath it when it is an index.
///
/// # Errors
/// `Denied`, `Unreachable`; `Malformed`, `Corrupt` when an index is not right.
pub fn family(repository: &Repository, desc: &Descriptor) -> Result<BTreeSet<Digest>> {
    let all = companion::manifests(desc, |index| listed(repository, index))?;
    Ok(all.into_iter().collect())
}

fn listed(repository: &Repository, index: &Descriptor) -> Result<Vec<Descriptor>> {
    match repository.manifest(TagOrDigest::Digest(&index.digest))? {
        Some((desc, bytes)) => Ok(Document::parse(&bytes, &desc.media_type)?.into_entries()),
        None => Ok(Vec::new()),
    }
}

/// Deletes what refers to digests that are gone, and what refers to that: what the repository lists as
/// their referrers, and of `tags` those that are about nothing else. What an image under a tag that
/// stays needs is kept. What cannot be deleted is warned of.
///
/// # Errors
/// `Denied`, `Unreachable`; `Malformed`, `Corrupt` when what stays cannot be read.
pub fn sweep(
    repository: &Repository,
    tags: &[String],
    gone: &BTreeSet<Digest>,
    ctx: &Context,
) -> Result<()> {
    let mut about: HashMap<Digest, Vec<&String>> = HashMap::new();
    for tag in tags {
        if let Some(subject) = subject_of_tag(tag) {
            about.entry(subject).or_default().push(tag);
        }
    }
    let found = companion::follow::<_, Error>(gone.iter().copied(), |subjects| {
        let found = lanes::each(subjects, ctx.jobs, |subject| {
            let about = about.get(subject).map(Vec::as_slice).unwrap_or_default();
            referring(repository, subject, tags, about)
        });
        Ok(found.into_iter().collect::<Result<Vec<_>>>()?.concat())
    })?;
    if found.is_empty() {
        return Ok(());
    }
    let goes: HashSet<Digest> =
        gone.iter().copied().chain(found.iter().map(|link| link.digest)).collect();
    let others: Vec<&String> =
        tags.iter().filter(|tag| subject_of_tag(tag).is_none_or(|s| !goes.contains(&s))).collect();
    let stays =
        lanes::each(&others, ctx.jobs, |tag| match repository.head(TagOrDigest::Tag(tag))? {
            Some(desc) if subject_of_tag(tag).is_none() => family(repository, &desc),
            there => Ok(there.into_iter().map(|desc| desc.digest).collect()),
        });
    let stays: Vec<BTreeSet<Digest>> = stays.into_iter().collect::<Result<_>>()?;
    let mut stays: HashSet<Digest> = stays.into_iter().flatten().collect();
    // What is about something that stays does too.
    let kept = companion::closure(stays.clone(), found.iter().cloned());
    stays.extend(kept.into_iter().map(|link| link.digest));
    // What refers to others goes before them: a listing is read while what it lists is there.
    for Link { digest, item: tag, subject } in found.into_iter().rev() {
        if stays.contains(&digest) {
            continue;
        }
        let removed = match &tag {
            Some(tag) => match only_about(repository, tag, &subject) {
                Ok(true) => remove(repository, tag, &digest),
                Ok(false) => Ok(()),
                Err(e) => Err(e),
            },
            None => repository.delete(TagOrDigest::Digest(&digest)),
        };
        match removed {
            // Its tag was another of the same.
            Err(e) if e.kind() != Kind::Missing => {
                let what = tag.map_or(format!("@{digest}"), |tag| format!(":{tag}"));
                ctx.warn(&format!("{}{what} stays: {}", repository.name(), e.what()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What refers to a digest in a repository, by its tag or without one.
fn referring(
    repository: &Repository,
    subject: &Digest,
    tags: &[String],
    about: &[&String],
) -> Result<Vec<Link<Option<String>>>> {
    let link = |digest, item| Link { subject: *subject, digest, item };
    let mut found = Vec::new();
    for tag in about {
        if let Some(desc) = repository.head(TagOrDigest::Tag(tag))? {
            found.push(link(desc.digest, Some((*tag).clone())));
        }
    }
    let listed = repository.referrers(subject, Some(tags))?;
    found.extend(listed.into_iter().map(|desc| link(desc.digest, None)));
    Ok(found)
}

/// Whether a tag is cosign's, or leads to an index of nothing but referrers of the subject.
fn only_about(repository: &Repository, tag: &str, subject: &Digest) -> Result<bool> {
    if tag.contains('.') {
        return Ok(true);
    }
    let Some((desc, bytes)) = repository.manifest(TagOrDigest::Tag(tag))? else { return Ok(false) };
    // GitLab takes such a tag for the digest itself.
    if desc.digest == *subject || desc.media_type.role() != Role::Index {
        return Ok(false);
    }
    for child in Document::parse(&bytes, &desc.media_type)?.children() {
        let Some((desc, bytes)) = repository.manifest(TagOrDigest::Digest(&child.digest))? else {
            continue;
        };
        let document = Document::parse(&bytes, &desc.media_type)?;
        if document.subject.is_none_or(|named| named.digest != *subject) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes a tag and what it leads to; a registry may know how to delete only one of them.
fn remove(repository: &Repository, tag: &str, digest: &Digest) -> Result<()> {
    let tag = repository.delete(TagOrDigest::Tag(tag));
    repository.delete(TagOrDigest::Digest(digest)).or(tag)
}
