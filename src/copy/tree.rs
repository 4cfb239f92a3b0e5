//! What a walk finds: roots, and the graph of documents beneath each.
//!
//! It reads nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::Error;
use crate::manifest;
use crate::platform::Platform;
use crate::transport::Root;

/// A root with everything beneath it that is wanted and present.
#[derive(Debug)]
pub struct Tree {
    /// The root as the source has it, renamed where the user asked.
    pub root: Root,
    /// The graph.
    pub node: Arc<Node>,
    /// Platforms that an index lists and the source lacks.
    pub missing: Vec<Missing>,
}

/// An entry of an index that is not there.
#[derive(Clone, Debug)]
pub struct Missing {
    /// What the index points at.
    pub digest: Digest,
    /// For which platform.
    pub platform: Option<Platform>,
}

/// A document that cannot be read, or is not what it should be.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What should be there.
    pub digest: Digest,
    /// What is wrong.
    pub error: Error,
}

/// One blob of the graph and what it leads to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "always behind an Arc, and most are manifests")]
pub enum Node {
    /// An index.
    Index {
        /// Its descriptor.
        desc: Descriptor,
        /// Its bytes.
        bytes: Vec<u8>,
        /// What became of each entry, in order.
        children: Vec<Child>,
        /// How many steps the longest way down has.
        height: usize,
    },
    /// A manifest.
    Manifest(Manifest),
    /// Bytes to carry, of a kind we do not know.
    Opaque(Descriptor),
    /// A document of a survey, which goes on after each fault.
    Damaged(Descriptor, Error),
}

/// An entry of an index.
#[derive(Debug)]
pub enum Child {
    /// Wanted and present.
    Kept(Arc<Node>),
    /// Not wanted: its entry is removed from the index.
    Pruned,
    /// Wanted and absent: its entry stays.
    Absent(Descriptor),
}

/// A manifest, its config and its layers.
#[derive(Debug)]
pub struct Manifest {
    /// Its descriptor.
    pub desc: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its config, when it has one.
    pub config: Option<Descriptor>,
    /// The config's bytes, when it is an image's.
    pub config_bytes: Option<Vec<u8>>,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Diff ids the config claims; empty for what is no image.
    pub diff_ids: Vec<DiffId>,
    /// Where it runs.
    pub platform: Option<Platform>,
    /// What is wrong with its config, in a survey; then it is said to have none.
    pub fault: Option<Fault>,
}

impl Manifest {
    /// Whether its bytes say nothing but what the tables of a Docker archive say, so that they may be made
    /// anew.
    pub fn is_synthesised(&self) -> bool {
        let made = |config| self.bytes == manifest::synthesise(config, &self.layers);
        self.config_bytes.is_some() && self.config.as_ref().is_some_and(made)
    }
}

impl Node {
    /// Its descriptor.
    pub fn desc(&self) -> &Descriptor {
        match self {
            Self::Index { desc, .. } | Self::Opaque(desc) | Self::Damaged(desc, _) => desc,
            Self::Manifest(manifest) => &manifest.desc,
        }
    }

    /// Every node of the graph once, in order, parents first. One document may be listed many times; a
    /// walk along all paths to it need not end.
    pub fn nodes(self: &Arc<Self>) -> Vec<&Arc<Self>> {
        let (mut all, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![self]);
        while let Some(node) = open.pop() {
            if !seen.insert(node.desc().digest) {
                continue;
            }
            all.push(node);
            if let Self::Index { children, .. } = node.as_ref() {
                open.extend(children.iter().rev().filter_map(|child| match child {
                    Child::Kept(node) => Some(node),
                    Child::Pruned | Child::Absent(_) => None,
                }));
            }
        }
        all
    }

    /// Every manifest of the graph once, in order.
    pub fn manifests(self: &Arc<Self>) -> Vec<&Manifest> {
        self.nodes().into_iter().filter_map(|node| node.manifest()).collect()
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Manifest(manifest) => Some(manifest),
            Self::Index { .. } | Self::Opaque(_) | Self::Damaged(..) => None,
        }
    }

    /// The image for a platform.
    pub fn image_for(self: &Arc<Self>, platform: &Platform) -> Option<&Manifest> {
        let fits = |m: &&Manifest| m.platform.as_ref().is_some_and(|p| p.satisfies(platform));
        self.images().into_iter().find(fits)
    }

    /// The image that an engine on this machine would run; the first when none fits.
    pub fn own_image(self: &Arc<Self>) -> Option<&Manifest> {
        Platform::for_host(self.images(), |m| m.platform.as_ref())
    }

    fn images(self: &Arc<Self>) -> Vec<&Manifest> {
        let image = |m: &&Manifest| m.config_bytes.is_some() && !m.desc.is_attestation();
        self.manifests().into_iter().filter(image).collect()
    }

    /// Every leaf that a node lists with the diff id it must unpack to, configs first within each
    /// manifest.
    pub fn leaves(self: &Arc<Self>) -> Vec<(&Descriptor, Option<DiffId>)> {
        let mut all = Vec::new();
        for node in self.nodes() {
            match node.as_ref() {
                Self::Opaque(desc) => all.push((desc, None)),
                Self::Manifest(m) => {
                    let diff_ids = m.diff_ids.iter().copied().map(Some);
                    let layers = m.layers.iter().zip(diff_ids.chain(std::iter::repeat(None)));
                    all.extend(m.config.iter().map(|c| (c, None)).chain(layers));
                }
                Self::Index { .. } | Self::Damaged(..) => {}
            }
        }
        all
    }

    pub(super) fn height(&self) -> usize {
        match self {
            Self::Index { height, .. } => *height,
            Self::Manifest(_) | Self::Opaque(_) | Self::Damaged(..) => 0,
        }
    }

    /// How many descriptors the documents of the graph have.
    pub(super) fn entries(self: &Arc<Self>) -> usize {
        let of = |node: &Arc<Self>| match node.as_ref() {
            Self::Index { children, .. } => children.len(),
            Self::Manifest(m) => 1 + m.layers.len(),
            Self::Opaque(_) | Self::Damaged(..) => 1,
        };
        self.nodes().into_iter().map(of).sum()
    }
}

/// Entries of indexes that are not there.
pub(super) fn missing(node: &Arc<Node>) -> Vec<Missing> {
    let mut missing = Vec::new();
    for node in node.nodes() {
        if let Node::Index { children, .. } = node.as_ref() {
            missing.extend(children.iter().filter_map(|child| match child {
                Child::Absent(desc) => {
                    Some(Missing { digest: desc.digest, platform: desc.platform() })
                }
                Child::Kept(_) | Child::Pruned => None,
            }));
        }
    }
    missing
}

/// What is wrong with documents, found by a survey.
pub(super) fn faults(node: &Arc<Node>) -> Vec<Fault> {
    let of = |node: &Arc<Node>| match node.as_ref() {
        Node::Damaged(desc, error) => Some(Fault { digest: desc.digest, error: error.clone() }),
        Node::Manifest(manifest) => manifest.fault.clone(),
        Node::Index { .. } | Node::Opaque(_) => None,
    };
    node.nodes().into_iter().filter_map(of).collect()
}
