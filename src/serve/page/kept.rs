//! The list of images with their sizes, cached until the catalogue changes.
//!
//! It writes no markup. Counting visits everything that is served, so only one request does it at a time,
//! and its result is kept for the others.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::listing::{self, ImageEntry, Weight};
use crate::digest::Digest;
use crate::locks::lock;
use crate::serve::catalogue::{Catalogue, Generation};
use crate::serve::names::RepositoryName;

/// The last result.
#[derive(Default)]
pub struct ImageListCache(Mutex<Option<(Generation, Arc<Counted>)>>);

impl ImageListCache {
    /// The images of a catalogue as it is now.
    pub(super) fn counted(&self, catalogue: &Catalogue) -> Arc<Counted> {
        let mut kept = lock(&self.0);
        // Read first: a change in the meantime is counted the next time.
        let now = catalogue.generation();
        if let Some((_, counted)) = kept.as_ref().filter(|(then, _)| *then == now) {
            return counted.clone();
        }
        // The old one goes first, so that there are never two.
        *kept = None;
        let counted = Arc::new(Counted::of(catalogue));
        *kept = Some((now, counted.clone()));
        counted
    }
}

/// Every image, by name.
pub(super) struct Counted {
    images: Vec<ListedImage>,
    /// Bytes of every document and blob; images hold the numbers of theirs.
    sizes: Vec<u64>,
}

/// One image of the list.
pub(super) struct ListedImage {
    /// What it is called.
    pub(super) entry: ImageEntry,
    /// Bytes of all beneath it, each thing once.
    pub(super) bytes: u64,
    /// Bytes of what other images use too.
    pub(super) shared: u64,
    things: Arc<[u32]>,
}

/// The totals of several images.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListTotals {
    /// Repositories.
    pub(super) repositories: usize,
    /// Bytes, what they share counted once.
    pub(super) bytes: u64,
    /// Bytes, what they share counted for each.
    pub(super) alone: u64,
}

impl Counted {
    fn of(catalogue: &Catalogue) -> Self {
        let entries = listing::entries(catalogue);
        let mut numbers: HashMap<Digest, u32> = HashMap::new();
        let mut sizes = Vec::new();
        let mut weighed: HashMap<(&RepositoryName, Digest), Arc<[u32]>> = HashMap::new();
        for entry in &entries {
            weighed.entry((&entry.name, entry.digest)).or_insert_with(|| {
                let weight = Weight::of(catalogue, &entry.name, &entry.digest);
                let number = |(digest, size)| {
                    *numbers.entry(digest).or_insert_with(|| {
                        sizes.push(size);
                        u32::try_from(sizes.len() - 1).unwrap_or(u32::MAX)
                    })
                };
                weight.into_iter().map(number).collect()
            });
        }
        let uses = listing::uses(catalogue, |digest| numbers.contains_key(digest));
        let mut several = vec![false; sizes.len()];
        for (digest, number) in &numbers {
            several[*number as usize] = uses.get(digest).is_some_and(|uses| *uses > 1);
        }
        let sum = |things: &[u32], which: &dyn Fn(usize) -> bool| {
            let sizes = things.iter().map(|n| *n as usize).filter(|n| which(*n)).map(|n| sizes[n]);
            sizes.fold(0, u64::saturating_add)
        };
        let things: Vec<Arc<[u32]>> =
            entries.iter().map(|entry| weighed[&(&entry.name, entry.digest)].clone()).collect();
        let image = |(entry, things): (ImageEntry, Arc<[u32]>)| ListedImage {
            bytes: sum(&things, &|_| true),
            shared: sum(&things, &|n| several[n]),
            entry,
            things,
        };
        drop(weighed);
        let images = entries.into_iter().zip(things).map(image).collect();
        Self { images, sizes }
    }

    /// The images whose name or digest contains all of these words.
    pub(super) fn found(&self, words: &[String]) -> Vec<&ListedImage> {
        let mut text = String::new();
        let matches =
            |image: &&ListedImage| words.is_empty() || image.entry.matches(words, &mut text);
        self.images.iter().filter(matches).collect()
    }

    /// What images of it are together.
    pub(super) fn totals(&self, images: &[&ListedImage]) -> ListTotals {
        let mut open = vec![true; self.sizes.len()];
        let (mut bytes, mut alone) = (0_u64, 0_u64);
        for image in images {
            alone = alone.saturating_add(image.bytes);
            for n in image.things.iter().map(|n| *n as usize) {
                if std::mem::take(&mut open[n]) {
                    bytes = bytes.saturating_add(self.sizes[n]);
                }
            }
        }
        let repositories: HashSet<&RepositoryName> =
            images.iter().map(|image| &image.entry.name).collect();
        ListTotals { repositories: repositories.len(), bytes, alone }
    }
}
