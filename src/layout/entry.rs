//! Entries of an index.json: what each is called, and which of them are one image.
//!
//! It reads no file. Names as docker, containerd and skopeo write them; a manifest that a registry holds
//! without a tag is labelled `repository@digest`.

use std::collections::{HashMap, HashSet};

use crate::companion;
use crate::descriptor::{ANNOTATION_NAME, ANNOTATION_REF, Descriptor};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::transport::{Origin, Root};

/// What an entry is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryName {
    /// A full name with a tag.
    Full(Reference),
    /// `repository@digest`, which names no other image.
    ByDigest(Reference),
    /// A bare tag, or any string skopeo was given.
    Label(String),
}

impl EntryName {
    /// What an entry is called, if anything.
    pub fn of(entry: &Descriptor) -> Option<Self> {
        let label = entry.annotation(ANNOTATION_REF);
        let full = entry.annotation(ANNOTATION_NAME).and_then(|name| name.parse().ok());
        let name = full.or_else(|| label.filter(|l| l.contains(['/', ':', '@']))?.parse().ok());
        let name = name.map(Reference::or_latest).filter(|name: &Reference| name.tag().is_some());
        match (name, label) {
            (Some(name), _) => Some(Self::Full(name)),
            (None, Some(label)) => Some(match Reference::by_digest(label, &entry.digest) {
                Some(name) => Self::ByDigest(name),
                None => Self::Label(label.to_owned()),
            }),
            (None, None) => None,
        }
    }

    /// The name in a repository, by tag or by digest.
    pub fn reference(self) -> Option<Reference> {
        match self {
            Self::Full(name) | Self::ByDigest(name) => Some(name),
            Self::Label(_) => None,
        }
    }
}

/// The full name of an entry, if it has one.
pub fn full_name(entry: &Descriptor) -> Option<Reference> {
    match EntryName::of(entry)? {
        EntryName::Full(name) => Some(name),
        EntryName::ByDigest(_) | EntryName::Label(_) => None,
    }
}

/// What an entry says that it refers to.
pub fn subjects(entry: &Descriptor) -> Vec<Digest> {
    companion::subjects(entry, entry.annotation(ANNOTATION_REF).into_iter())
}

/// All entries of one digest.
#[derive(Clone, Debug)]
pub struct Group {
    /// The first of them, without its names.
    pub desc: Descriptor,
    /// Full names and names by digest, each once, in the order of the entries.
    pub names: Vec<Reference>,
    /// The first label, which may be the tag of a full name.
    pub label: Option<String>,
}

impl Group {
    /// The root under its names, with its label.
    pub fn root(self, companion: bool) -> Root {
        let Self { desc, names, label } = self;
        Root { names, label, desc, origin: Origin::Recorded, companion }
    }
}

/// Entries grouped by digest, in the order in which each digest comes first.
pub fn groups<'e>(entries: impl IntoIterator<Item = &'e Descriptor>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at: HashMap<Digest, usize> = HashMap::new();
    let mut named: HashSet<(usize, Reference)> = HashSet::new();
    for entry in entries {
        let known = *at.entry(entry.digest).or_insert(groups.len());
        if known == groups.len() {
            let mut desc = entry.clone();
            desc.unannotate(ANNOTATION_NAME);
            desc.unannotate(ANNOTATION_REF);
            groups.push(Group { desc, names: Vec::new(), label: None });
        }
        let group = &mut groups[known];
        let name = EntryName::of(entry).and_then(EntryName::reference);
        group.names.extend(name.filter(|name| named.insert((known, name.clone()))));
        let label = || entry.annotation(ANNOTATION_REF).map(str::to_owned);
        group.label = group.label.take().or_else(label);
    }
    groups
}
