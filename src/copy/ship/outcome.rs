//! The outcome of each leaf, and what it means for the images that list it.
//!
//! It reads and writes nothing; `seal` and the report ask it.

use std::collections::{HashMap, HashSet};

use crate::copy::report::{Changed, Damage};
use crate::copy::tree::{Tree, faults};
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::Error;
use crate::transport::Source;
use crate::verify::wrong_diff_id;

/// The outcome of the leaves.
#[derive(Default)]
pub(in crate::copy) struct Shipped {
    pub(super) outcome: HashMap<Digest, LeafOutcome>,
    /// Blobs stored.
    pub stored: u64,
    /// Blobs the sink already had.
    pub reused: u64,
}

impl Shipped {
    /// What is wrong with one image: its blobs' errors, and diff ids that do not match.
    pub(in crate::copy) fn errors_of(&self, tree: &Tree) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (desc, claimed) in tree.node.leaves() {
            let Some(outcome) = self.outcome.get(&desc.digest) else { continue };
            if !seen.insert((desc.digest, claimed)) {
                continue;
            }
            if desc.size != outcome.was.size {
                let what = format!("ambiguous: {} is listed with two sizes", desc.digest);
                errors.push(Error::corrupt(what));
            }
            errors.extend(outcome.fault(claimed));
        }
        errors
    }

    /// Damaged blobs and the images that need them, by every name.
    pub(in crate::copy) fn damage(&self, trees: &[&Tree]) -> Vec<Damage> {
        let mut damage: Vec<Damage> = Vec::new();
        let mut at: HashMap<Digest, usize> = HashMap::new();
        for tree in trees {
            let leaves = tree.node.leaves().into_iter().filter_map(|(desc, claimed)| {
                Some((desc.digest, self.outcome.get(&desc.digest)?.fault(claimed)?))
            });
            let documents = faults(&tree.node).into_iter().map(|f| (f.digest, f.error));
            for (digest, error) in documents.chain(leaves) {
                let i = *at.entry(digest).or_insert_with(|| {
                    damage.push(Damage { digest, error, images: Vec::new() });
                    damage.len() - 1
                });
                for name in tree.root.titles() {
                    if !damage[i].images.contains(&name) {
                        damage[i].images.push(name);
                    }
                }
            }
        }
        damage
    }

    /// Layers that were recoded.
    pub(in crate::copy) fn changed(&self) -> Vec<Changed> {
        let mut changed: Vec<Changed> = self
            .outcome
            .values()
            .filter(|o| o.error.is_none() && o.now.digest != o.was.digest)
            .map(|o| Changed { from: o.was.clone(), to: o.now.clone() })
            .collect();
        changed.sort_by_key(|c| c.from.digest);
        changed
    }

    /// What a leaf is at the sink.
    pub(in crate::copy) fn now<'d>(&'d self, was: &'d Descriptor) -> &'d Descriptor {
        let now = self.outcome.get(&was.digest).map(|outcome| &outcome.now);
        now.filter(|now| now.digest != was.digest).unwrap_or(was)
    }

    /// Whether a leaf was shipped.
    pub(in crate::copy) fn holds(&self, was: &Descriptor) -> bool {
        self.outcome.contains_key(&was.digest)
    }

    /// Whether a leaf was found to unpack to a diff id.
    pub(in crate::copy) fn proves(&self, was: &Descriptor, diff_id: DiffId) -> bool {
        self.outcome
            .get(&was.digest)
            .is_some_and(|o| o.error.is_none() && o.diff_id == Some(diff_id))
    }
}

pub(super) struct LeafOutcome {
    /// What it is at the sink.
    pub(super) now: Descriptor,
    pub(super) was: Descriptor,
    pub(super) error: Option<Error>,
    pub(super) diff_id: Option<DiffId>,
    /// Where it lies in the source, for messages.
    place: String,
}

impl LeafOutcome {
    pub(super) fn new(
        from: &dyn Source,
        was: &Descriptor,
        now: &Descriptor,
        diff_id: Option<DiffId>,
    ) -> Self {
        let place = from.whereabouts(was);
        Self { now: now.clone(), was: was.clone(), error: None, diff_id, place }
    }

    /// What is wrong with it as the layer that must unpack to `claimed`.
    fn fault(&self, claimed: Option<DiffId>) -> Option<Error> {
        if self.error.is_some() {
            return self.error.clone();
        }
        let (claimed, found) = (claimed?, self.diff_id?);
        let wrong = || wrong_diff_id(&self.was.digest, &[claimed], found).at(self.place.clone());
        (claimed != found).then(wrong)
    }
}
