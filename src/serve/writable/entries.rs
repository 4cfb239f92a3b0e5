//! What repositories are in an index: names for tags, labels for manifests without one.
//!
//! It reads and writes no file. Other verbs see the same entries: a tag is an image with its full name,
//! `repository@digest` a label, and a referrer carries the annotation that makes it a companion.

use std::collections::{HashMap, HashSet};

use crate::descriptor::{ANNOTATION_NAME, ANNOTATION_REF, ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::layout::{is_about_another, name_of};
use crate::reference::Reference;
use crate::serve::holdings::{Parsed, Repository};
use crate::serve::names::RepositoryName;
use crate::transport::layout::index::{Change, Index};
use crate::transport::{Origin, Root};

/// The label of a manifest without a tag.
fn label(name: &RepositoryName, digest: &Digest) -> String {
    format!("{name}@{digest}")
}

fn tagged(name: &RepositoryName, tag: &str) -> String {
    format!("{name}:{tag}")
}

fn entry(repository: &Repository, desc: &Descriptor) -> Descriptor {
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
    repository: &Repository,
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
        // What had the tag until now can still be had by its digest.
        if let Some(before) = repository.tags.get(tag).filter(|before| **before != desc.digest) {
            let kept =
                |(other, digest): (&String, &Digest)| digest == before && !tags.contains(other);
            if let Some(old) =
                repository.descriptor(before).filter(|_| !repository.tags.iter().any(kept))
            {
                changes.push(set_label(entry(repository, &old), name));
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
    repository: &Repository,
    name: &RepositoryName,
    tag: &str,
) -> Option<Vec<Change>> {
    let digest = repository.tags.get(tag)?;
    let mut changes = Vec::new();
    let others = repository.tags.iter().any(|(other, named)| other != tag && named == digest);
    if let Some(desc) = repository.descriptor(digest).filter(|_| !others) {
        changes.push(set_label(entry(repository, &desc), name));
    }
    changes.push(Change::Unlist(tagged(name, tag)));
    Some(changes)
}

/// A manifest is taken out; what it lists stays, and stands for itself now.
pub(super) fn removed(
    repository: &Repository,
    name: &RepositoryName,
    digest: &Digest,
    children: &[Descriptor],
) -> Vec<Change> {
    let mut changes = Vec::new();
    for child in children {
        let tagged = repository.tags.values().any(|named| *named == child.digest);
        if let Some(desc) = repository.descriptor(&child.digest).filter(|_| !tagged) {
            changes.push(set_label(entry(repository, &desc), name));
        }
    }
    let tags = repository.tags.iter().filter(|(_, named)| *named == digest);
    changes.extend(tags.map(|(tag, _)| Change::Unlist(tagged(name, tag))));
    changes.push(Change::Unlist(label(name, digest)));
    changes
}

/// The roots of an index as repositories have them: one for all names of a digest, one for each label.
pub(super) fn roots(index: &Index) -> Vec<Root> {
    let mut roots: Vec<Root> = Vec::new();
    let mut named: HashMap<Digest, usize> = HashMap::new();
    for entry in index.entries() {
        let (name, label) = name_of(entry);
        let by_digest =
            |label: &String| label.parse::<Reference>().is_ok_and(|name| name.digest().is_some());
        let mut desc = entry.clone();
        desc.unannotate(ANNOTATION_NAME);
        desc.unannotate(ANNOTATION_REF);
        let root = |names: Vec<Reference>, label: Option<String>, companion: bool| Root {
            names,
            label,
            desc,
            origin: Origin::Recorded,
            companion,
        };
        match (name, label) {
            (Some(name), _) => match named.get(&entry.digest) {
                Some(&at) => roots[at].names.push(name),
                None => {
                    named.insert(entry.digest, roots.len());
                    roots.push(root(vec![name], None, false));
                }
            },
            (None, Some(label)) if by_digest(&label) => {
                roots.push(root(Vec::new(), Some(label), false));
            }
            (None, label) => {
                let companion = is_about_another(entry, label.as_deref());
                roots.push(root(Vec::new(), label, companion));
            }
        }
    }
    roots
}

/// What roots give to a repository by name, not only by leading there.
pub(super) fn named(roots: &[Root]) -> HashSet<(RepositoryName, Digest)> {
    let of = |root: &Root| -> Vec<(RepositoryName, Digest)> {
        let label = root.label.as_ref().and_then(|label| label.parse::<Reference>().ok());
        let label = label.filter(|name| name.digest().is_some());
        let names = root.names.iter().chain(label.as_ref());
        names.map(|name| (RepositoryName::of(name), root.desc.digest)).collect()
    };
    roots.iter().flat_map(of).collect()
}
