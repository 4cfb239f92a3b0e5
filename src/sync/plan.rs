//! The plan of a sync: images, unique blobs and bytes, what is already there.
//!
//! It prints nothing and sends nothing; small documents are read to know the blobs.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::sync::kept;
use crate::sync::prepare::{Prepared, SyncItem, title};
use crate::sync::report::{self, Status};
use crate::transport::Origin;

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

/// The plan of a sync.
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
    /// How many of the others are sent as blobs: all but manifests and indexes.
    pub sent_blobs: u64,
    /// Their bytes, as they lie in the source.
    pub sent_bytes: u64,
    /// Whether some of them may be recoded, and have another size then.
    pub recodes: bool,
    /// Names that would be removed.
    pub removals: Vec<Reference>,
    /// Why nothing would be removed although something left the list.
    pub withheld: Option<Error>,
    /// What would fail, with the reason.
    pub failed: Vec<(String, Error)>,
    /// What would not be tried, with the reason.
    pub skipped: Vec<(String, Error)>,
}

impl Plan {
    /// The error that a run would end with, as far as that can be known.
    pub fn error(&self) -> Option<Error> {
        let well = self.images.iter().filter(|image| !image.companion).count();
        report::whole(self.failed.iter().map(|(_, why)| why), well)
            .or_else(|| self.withheld.clone())
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
        let told = |all: &[(String, Error)]| -> Vec<Value> {
            let one = |(source, why): &(String, Error)| json!({"source": source, "error": report::told(why)});
            all.iter().map(one).collect()
        };
        let mut value = json!({
            "images": self.images.iter().map(image).collect::<Vec<_>>(),
            "blobs": self.blobs,
            "bytes": self.bytes,
            "present_blobs": self.present_blobs,
            "present_bytes": self.present_bytes,
            "sent_blobs": self.sent_blobs,
            "sent_bytes": self.sent_bytes,
            "recodes": self.recodes,
            "removals": self.removals.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "failed": told(&self.failed),
            "skipped": told(&self.skipped),
        });
        if let Some(why) = &self.withheld {
            value["withheld"] = report::told(why);
        }
        value
    }
}

impl Prepared<'_> {
    /// Works out what running it would do.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn plan(&self, ctx: &Context) -> Result<Plan> {
        let (removals, withheld) = (self.removals.clone(), self.withheld.clone());
        let mut plan = Plan { removals, withheld, ..Plan::default() };
        for entry in &self.entries {
            let Some(why) = entry.error.clone() else { continue };
            let skipped = entry.status == Status::Skipped;
            let list = if skipped { &mut plan.skipped } else { &mut plan.failed };
            list.push((entry.source.clone(), why));
        }
        let mut unique: HashMap<Digest, Descriptor> = HashMap::new();
        let mut repositories = Vec::new();
        // What companions may be about: everything that will be there.
        let mut there: HashSet<Digest> = HashSet::new();
        let order = |item: &&SyncItem| item.root.companion;
        let (companions, images): (Vec<&SyncItem>, Vec<&SyncItem>) =
            self.items.iter().partition(order);
        for item in images.into_iter().chain(companions) {
            ctx.check()?;
            let (root, policy) = (&item.root, &self.policy);
            if policy.prunes() && kept::orphan(root, &there) {
                continue;
            }
            let mut bytes = 0;
            there.extend(item.becomes());
            if let (Some(_), Some(source)) = (item.to_copy(), &self.source) {
                let sealed = match kept::sealed(source.as_ref(), root, policy, ctx) {
                    Ok(sealed) => sealed,
                    Err(e) => {
                        plan.failed.push((root.title(), e));
                        continue;
                    }
                };
                let made_here = root.origin == Origin::Synthesised;
                plan.recodes |= policy.compress.is_some() || (policy.pack.is_some() && made_here);
                bytes = sealed.blobs.iter().map(|blob| blob.size).sum();
                if sealed.root.desc.digest != root.desc.digest {
                    there.remove(&root.desc.digest);
                }
                there.extend(sealed.blobs.iter().map(|blob| blob.digest));
                unique.extend(sealed.blobs.into_iter().map(|blob| (blob.digest, blob)));
            }
            for name in &item.names {
                repositories.extend(name.target.clone());
                plan.images.push(Planned {
                    source: title(root, name.source.as_ref()),
                    destination: name.target.clone(),
                    digest: root.desc.digest,
                    unchanged: name.unchanged,
                    bytes: if name.unchanged { 0 } else { bytes },
                    companion: root.companion,
                });
            }
        }
        let mut blobs: Vec<Descriptor> = unique.into_values().collect();
        blobs.sort_by_key(|blob| blob.digest);
        plan.blobs = blobs.len() as u64;
        plan.bytes = blobs.iter().map(|blob| blob.size).sum();
        let there = self.to.holds(&repositories, &blobs);
        for (blob, there) in blobs.iter().zip(there) {
            if there {
                plan.present_blobs += 1;
                plan.present_bytes += blob.size;
            } else if !blob.media_type.role().is_document() {
                plan.sent_blobs += 1;
                plan.sent_bytes += blob.size;
            }
        }
        Ok(plan)
    }
}
