//! What leaves an index when images do: their entries, and the companions that are about no other.
//!
//! It changes nothing itself and collects no blob. Documents are read only where something refers to
//! what goes.

use std::collections::{HashMap, HashSet};

use crate::companion::{self, Link};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::dir::Dir;
use crate::layout::entry::{self, full_name};
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::transport::layout::index::{Change, Index};

/// The changes that take away entries, and what is about images that lose their last one.
///
/// # Errors
/// As [`orphans`].
pub fn removals(
    root: &Dir,
    index: &Index,
    goes: impl Fn(&Descriptor) -> bool,
) -> Result<Vec<Change>> {
    let mut stays: HashMap<Digest, bool> = HashMap::new();
    for entry in index.entries() {
        *stays.entry(entry.digest).or_default() |= !goes(entry);
    }
    let stays = |entry: &Descriptor| stays.get(&entry.digest) == Some(&true);
    let (left, gone): (Vec<&Descriptor>, Vec<&Descriptor>) =
        index.entries().partition(|entry| stays(entry));
    let orphans = orphans(root, &left, gone.iter().copied())?;
    let mut changes: Vec<Change> = Vec::new();
    for entry in index.entries() {
        if !stays(entry) || orphans.contains(&entry.digest) {
            changes.push(Change::Remove(entry.digest));
        } else if goes(entry) {
            let label = entry.annotation(crate::descriptor::ANNOTATION_REF).map(str::to_owned);
            changes.extend(full_name(entry).map(Change::Untag).or(label.map(Change::Unlist)));
        }
    }
    Ok(changes)
}

/// The companions among the entries that are left which are about what is gone, and about nothing that
/// is left.
pub fn orphans<'e>(
    root: &Dir,
    left: &[&Descriptor],
    gone: impl IntoIterator<Item = &'e Descriptor>,
) -> Result<HashSet<Digest>> {
    let mut links: Vec<Link<()>> = Vec::new();
    for entry in left {
        let link = |subject| Link { subject, digest: entry.digest, item: () };
        links.extend(entry::subjects(entry).into_iter().map(link));
    }
    if links.is_empty() {
        return Ok(HashSet::new());
    }
    // The platforms of an image go with it, where they are no images themselves.
    let there: HashSet<Digest> = left.iter().map(|entry| entry.digest).collect();
    let beneath = |entry: &Descriptor| companion::manifests(entry, |index| entries(root, index));
    let mut subjects = Vec::new();
    for entry in gone {
        // Of what is damaged and goes only itself is known.
        subjects.extend(beneath(entry).unwrap_or_else(|_| vec![entry.digest]));
    }
    subjects.retain(|digest| !there.contains(digest));
    let about = companion::closure(subjects, links.clone());
    let mut orphans: HashSet<Digest> = about.into_iter().map(|link| link.digest).collect();
    if orphans.is_empty() {
        return Ok(orphans);
    }
    let mut stay = Vec::new();
    for entry in left.iter().filter(|entry| !orphans.contains(&entry.digest)) {
        stay.extend(beneath(entry)?);
    }
    for link in companion::closure(stay, links) {
        orphans.remove(&link.digest);
    }
    Ok(orphans)
}

/// What an index of a directory lists; nothing when it is absent.
///
/// # Errors
/// `Malformed` when it is damaged, `Io`.
pub fn entries(root: &Dir, desc: &Descriptor) -> Result<Vec<Descriptor>> {
    let path = desc.digest.blob_path();
    let Some(bytes) = root.read(&path, MAX_DOCUMENT)? else { return Ok(Vec::new()) };
    let document = Document::parse(&bytes, &desc.media_type);
    let document = document.map_err(|e| e.input_or(root.join(&path).display().to_string()));
    document.map(Document::into_entries)
}
