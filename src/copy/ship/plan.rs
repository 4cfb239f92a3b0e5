//! The plan of a copy: every leaf once, in order, and whether there is room for all of them.
//!
//! It moves no bytes.

use std::collections::{HashMap, HashSet};

use crate::context::Context;
use crate::copy::policy::Policy;
use crate::copy::tree::Tree;
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};

use crate::media_type::Role;
use crate::partial::Partials;
use crate::transport::{Arrival, Sink, Source};
use crate::units::binary_size;

/// One leaf to deliver.
pub(super) struct Leaf {
    /// Which it is in the order of delivery.
    pub(super) at: usize,
    pub(super) desc: Descriptor,
    /// Whether it is a file system layer.
    pub(super) layer: bool,
    /// Whether its diff id is to be checked: where the policy says so, and wherever nothing else proves
    /// it.
    pub(super) check: bool,
    /// What the images claim it unpacks to.
    pub(super) claimed: Vec<DiffId>,
    /// Whether every manifest that lists it is one that is made for Docker archives.
    pub(super) synthesised: bool,
    /// A config's bytes, which the walk has read.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Lists every leaf once, in plan order.
pub(super) fn plan(
    from: &dyn Source,
    trees: &[&Tree],
    policy: &Policy,
    ctx: &Context,
) -> Result<Vec<Leaf>> {
    let (mut leaves, mut elsewhere): (Vec<Leaf>, HashSet<Digest>) = Default::default();
    let mut at: HashMap<Digest, usize> = HashMap::new();
    for tree in trees {
        let manifests = tree.node.manifests();
        let images: HashSet<Digest> = manifests
            .iter()
            .filter(|m| !m.diff_ids.is_empty())
            .flat_map(|m| &m.layers)
            .map(|layer| layer.digest)
            .collect();
        let check = policy.unpack || tree.root.origin.is_unproven();
        for (desc, claimed) in tree.node.leaves() {
            let layer = images.contains(&desc.digest);
            if let Some(&i) = at.get(&desc.digest) {
                leaves[i].claimed.extend(claimed);
                leaves[i].layer |= layer;
                leaves[i].check |= check;
                continue;
            }
            if desc.media_type.role() == Role::ForeignLayer && !from.has(desc)? {
                if elsewhere.insert(desc.digest) {
                    let (title, layer) = (tree.root.title(), desc.digest);
                    let what = "lies elsewhere and is left out; --fetch-foreign fetches it";
                    ctx.warn(&format!("{title}: the foreign layer {layer} {what}"));
                }
                continue;
            }
            at.insert(desc.digest, leaves.len());
            let claimed = claimed.into_iter().collect();
            let desc = desc.clone();
            let (at, synthesised) = (leaves.len(), true);
            leaves.push(Leaf { at, desc, layer, check, claimed, synthesised, bytes: None });
        }
        for manifest in manifests {
            let (Some(config), Some(bytes)) = (&manifest.config, &manifest.config_bytes) else {
                continue;
            };
            if policy.pack.is_some() && !manifest.is_synthesised() {
                for layer in &manifest.layers {
                    if let Some(&i) = at.get(&layer.digest) {
                        leaves[i].synthesised = false;
                    }
                }
            }
            if let Some(&i) = at.get(&config.digest) {
                leaves[i].bytes = Some(bytes.clone());
            }
        }
    }
    Ok(leaves)
}

pub(super) fn total(leaves: &[Leaf]) -> u64 {
    leaves.iter().fold(0, |sum, leaf| sum.saturating_add(leaf.desc.size))
}

/// Fails before anything is written when it is certain that not all of it fits.
pub(super) fn check_room(from: &dyn Source, to: &dyn Sink, leaves: &[Leaf]) -> Result<()> {
    let Some(free) = to.free() else { return Ok(()) };
    // Nothing can be wrong where everything would fit even if it were new, and lay there twice.
    if total(leaves).saturating_mul(2) <= free {
        return Ok(());
    }
    let mut need = 0_u64;
    let scratch = if from.remote() { Some(to.scratch()?) } else { None };
    // What is fetched whole lies there twice until the sink is complete.
    let times = if to.accepts().arrival == Arrival::Fetched { 2 } else { 1 };
    for leaf in leaves {
        if let Some(scratch) = &scratch {
            if to.reuse(&leaf.desc)?.is_none() {
                let there = Partials::there(scratch.parent(), &leaf.desc.digest);
                need = need
                    .saturating_add((leaf.desc.size.saturating_mul(times)).saturating_sub(there));
            }
            continue;
        }
        // What was unpacked beside the target is moved, not written again.
        if from.spare(&leaf.desc).is_none() && to.reuse(&leaf.desc)?.is_none() {
            // A descriptor may lie; what lies there does not.
            let there = from.extent(&leaf.desc).map_or(0, |e| e.size);
            need = need.saturating_add(there.min(leaf.desc.size));
        }
    }
    if need <= free {
        return Ok(());
    }
    let (need, free) = (binary_size(need), binary_size(free));
    Err(Error::no_room(format!("needs {need}, {free} free")).input(to.place()))
}
