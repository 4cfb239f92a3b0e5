//! What a sync would do: images, unique blobs and bytes, what is already there.
//!
//! It prints nothing and sends nothing; small documents are read to know the blobs.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::context::Context;
use crate::copy::{Child, Node, glance};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Result;
use crate::reference::Reference;
use crate::sync::opener::Opener;
use crate::sync::prepare::{Prepared, title};
use crate::transport::Source;

/// One image of a plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its name at the source.
    pub source: String,
    /// Its name at the destination.
    pub destination: Option<Reference>,
    /// The digest of its manifest or index at the source.
    pub digest: Digest,
    /// Whether it is there already.
    pub unchanged: bool,
    /// Bytes of its blobs, each once; 0 for one that is there.
    pub bytes: u64,
    /// Whether it is a signature, an attestation or another companion.
    pub companion: bool,
}

/// What would be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Images, companions behind them.
    pub images: Vec<Planned>,
    /// Blobs of the images that are not there, each once.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of these blobs the destination has, as far as it says.
    pub present_blobs: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Names that would be removed.
    pub removals: Vec<Reference>,
    /// What was wanted and is not there, with the reason.
    pub failed: Vec<(String, String)>,
}

impl Plan {
    /// Bytes that would be sent.
    pub fn to_send(&self) -> u64 {
        self.bytes - self.present_bytes
    }

    /// The JSON document.
    pub fn to_value(&self) -> Value {
        let image = |image: &Planned| {
            json!({
                "source": image.source,
                "destination": image.destination.as_ref().map(ToString::to_string),
                "digest": image.digest.to_string(),
                "unchanged": image.unchanged,
                "bytes": image.bytes,
                "companion": image.companion,
            })
        };
        let failed = |(source, why): &(String, String)| json!({"source": source, "error": why});
        json!({
            "images": self.images.iter().map(image).collect::<Vec<_>>(),
            "blobs": self.blobs,
            "bytes": self.bytes,
            "present_blobs": self.present_blobs,
            "present_bytes": self.present_bytes,
            "removals": self.removals.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "failed": self.failed.iter().map(failed).collect::<Vec<_>>(),
        })
    }
}

impl Prepared<'_> {
    /// Works out what running it would do.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn plan(&self, opener: &dyn Opener, ctx: &Context) -> Result<Plan> {
        let mut plan = Plan { removals: self.removals.clone(), ..Plan::default() };
        for entry in &self.entries {
            let why = entry.error.as_ref().map(ToString::to_string).unwrap_or_default();
            plan.failed.push((entry.source.clone(), why));
        }
        let mut unique: HashMap<Digest, Descriptor> = HashMap::new();
        let mut repositories = Vec::new();
        for item in &self.items {
            ctx.check()?;
            let mut bytes = 0;
            if let (Some(_), Some(source)) = (item.to_copy(), &self.source) {
                match self.blobs(source.as_ref(), &item.root, ctx) {
                    Ok(blobs) => {
                        bytes = blobs.values().map(|blob| blob.size).sum();
                        unique.extend(blobs);
                    }
                    Err(e) => plan.failed.push((item.root.title(), e.to_string())),
                }
            }
            for name in &item.names {
                repositories.extend(name.target.clone());
                plan.images.push(Planned {
                    source: title(&item.root, name.source.as_ref()),
                    destination: name.target.clone(),
                    digest: item.root.desc.digest,
                    unchanged: name.unchanged,
                    bytes: if name.unchanged { 0 } else { bytes },
                    companion: item.root.companion,
                });
            }
        }
        let mut blobs: Vec<Descriptor> = unique.into_values().collect();
        blobs.sort_by_key(|blob| blob.digest);
        plan.blobs = blobs.len() as u64;
        plan.bytes = blobs.iter().map(|blob| blob.size).sum();
        let there = opener.holds(&self.job.to, &repositories, &blobs);
        for (blob, _) in blobs.iter().zip(there).filter(|(_, there)| *there) {
            plan.present_blobs += 1;
            plan.present_bytes += blob.size;
        }
        Ok(plan)
    }

    /// Every blob of an image, without those of platforms that are not wanted.
    fn blobs(
        &self,
        source: &dyn Source,
        root: &crate::transport::Root,
        ctx: &Context,
    ) -> Result<HashMap<Digest, Descriptor>> {
        let tree = glance(source, root, ctx)?;
        let platforms = &self.job.policy.platforms;
        let mut blobs = HashMap::new();
        let mut open = vec![tree.node.as_ref()];
        while let Some(node) = open.pop() {
            if let Node::Manifest(manifest) = node
                && !root.companion
                && !platforms.is_empty()
                && let Some(have) = &manifest.platform
                && !platforms.iter().any(|want| have.satisfies(want))
            {
                continue;
            }
            blobs.insert(node.desc().digest, node.desc().clone());
            if let Node::Index { children, .. } = node {
                open.extend(children.iter().filter_map(|child| match child {
                    Child::Kept(node) => Some(node.as_ref()),
                    Child::Pruned | Child::Absent(_) => None,
                }));
            } else {
                let leaves = node.leaves().into_iter();
                blobs.extend(leaves.map(|(leaf, _)| (leaf.digest, leaf.clone())));
            }
        }
        Ok(blobs)
    }
}
