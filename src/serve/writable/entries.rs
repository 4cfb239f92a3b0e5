//! What repositories are in an index: names for tags, labels for manifests without one.
//!
//! It reads and writes no file. Other verbs see the same entries: a tag is an image with its full name,
//! `repository@digest` a label, and a referrer carries the annotation that makes it a companion.

use std::collections::HashSet;

use crate::companion::is_companion;
use crate::descriptor::{ANNOTATION_NAME, ANNOTATION_REF, ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::layout::entry;
use crate::serve::holdings::{Parsed, ServedRepository};
use crate::serve::names::RepositoryName;
use crate::transport::Root;
use crate::transport::layout::index::{Change, Index};

/// The label of a manifest without a tag.
fn label(name: &RepositoryName, digest: &Digest) -> String {
    format!("{name}@{digest}")
}

fn tagged(name: &RepositoryName, tag: &str) -> String {
    format!("{name}:{tag}")
}

fn entry_of(repository: &ServedRepository, desc: &Descriptor) -> Descriptor {
    let mut entry = Descriptor::new(desc.media_type.clone(), desc.digest, desc.size);
    let about = |list: &Vec<Descriptor>| list.iter().any(|listed| listed.digest == desc.digest);
    if let Some((subject, _)) = repository.referrers.iter().find(|(_, list)| about(list)) {
        entry.annotate(ANNOTATION_SUBJECT, &subject.to_string());
    }
    entry
}

fn set(mut entry: Descriptor, name: &str) -> Change {
    entry.annotate(ANNOTATION_NAME, name);
    entry.annotate(ANNOTATION_REF, name);
    Change::Set { entry, replace: false }
}

fn set_label(mut entry: Descriptor, name: &RepositoryName) -> Change {
    let label = label(name, &entry.digest);
    entry.annotate(ANNOTATION_REF, &label);
    Change::Set { entry, replace: false }
}

/// A manifest is pushed under `tags`, or under its digest alone.
pub(super) fn published(
    repository: &ServedRepository,
    name: &RepositoryName,
    desc: &Descriptor,
    parsed: &Parsed,
    tags: &[String],
) -> Vec<Change> {
    let mut new = Descriptor::new(desc.media_type.clone(), desc.digest, desc.size);
    if let Some((subject, _)) = &parsed.referrer {
        new.annotate(ANNOTATION_SUBJECT, &subject.to_string());
    }
    let mut changes = Vec::new();
    for tag in tags {
        // The previous image of the tag stays available by its digest.
        if let Some(before) = repository.tags.get(tag).filter(|before| **before != desc.digest) {
            let kept =
                |(other, digest): (&String, &Digest)| digest == before && !tags.contains(other);
            if let Some(old) =
                repository.descriptor(before).filter(|_| !repository.tags.iter().any(kept))
            {
                changes.push(set_label(entry_of(repository, &old), name));
            }
        }
        changes.push(set(new.clone(), &tagged(name, tag)));
    }
    if !tags.is_empty() {
        changes.push(Change::Unlist(label(name, &desc.digest)));
    } else if !repository.tags.values().any(|digest| *digest == desc.digest) {
        changes.push(set_label(new, name));
    }
    // An index stands for what it lists.
    let listed = parsed.documents.iter().filter(|child| child.digest != desc.digest);
    changes.extend(listed.map(|child| Change::Unlist(label(name, &child.digest))));
    changes
}

/// A tag is taken away; nothing when there is none.
pub(super) fn untagged(
    repository: &ServedRepository,
    name: &RepositoryName,
    tag: &str,
) -> Option<Vec<Change>> {
    let digest = repository.tags.get(tag)?;
    let mut changes = Vec::new();
    let others = repository.tags.iter().any(|(other, named)| other != tag && named == digest);
    if let Some(desc) = repository.descriptor(digest).filter(|_| !others) {
        changes.push(set_label(entry_of(repository, &desc), name));
    }
    changes.push(Change::Unlist(tagged(name, tag)));
    Some(changes)
}

/// Removes a manifest; what it lists stays, with entries of its own.
pub(super) fn removed(
    repository: &ServedRepository,
    name: &RepositoryName,
    digest: &Digest,
    children: &[Descriptor],
) -> Vec<Change> {
    let mut changes = Vec::new();
    for child in children {
        let tagged = repository.tags.values().any(|named| *named == child.digest);
        if let Some(desc) = repository.descriptor(&child.digest).filter(|_| !tagged) {
            changes.push(set_label(entry_of(repository, &desc), name));
        }
    }
    let tags = repository.tags.iter().filter(|(_, named)| *named == digest);
    changes.extend(tags.map(|(tag, _)| Change::Unlist(tagged(name, tag))));
    changes.push(Change::Unlist(label(name, digest)));
    changes
}

/// The roots of an index as repositories have them. Only what has no name may be a companion, which goes
/// where its subject is.
pub(super) fn roots(index: &Index) -> Vec<Root> {
    let root = |group: entry::Group| {
        if !group.names.is_empty() {
            return Root { label: None, ..group.root(false) };
        }
        let companion = is_companion(&group.desc, group.label.as_deref());
        group.root(companion)
    };
    entry::groups(index.entries()).into_iter().map(root).collect()
}

/// What roots give to a repository by name, not only by leading there.
pub(super) fn named(roots: &[Root]) -> HashSet<(RepositoryName, Digest)> {
    let of = |root: &Root| -> Vec<(RepositoryName, Digest)> {
        root.names.iter().map(|name| (RepositoryName::of(name), root.desc.digest)).collect()
    };
    roots.iter().flat_map(of).collect()
}
