//! Images whose manifest was made here, checked before they are listed. Nothing recorded their digests, so
//! that the diff ids of their layers are all that what came can be compared with.
//!
//! It decides nothing itself: the check is a copy that keeps nothing. Each layer is unpacked once;
//! `io::digests` remembers its diff id as long as its file stays what it is.

use std::path::Path;
use std::sync::Arc;

use crate::context::Context;
use crate::copy::{self, Failed, Mode, Policy};
use crate::digest::{DiffId, Digest};
use crate::error::Result;
use crate::io::parts::Extent;
use crate::progress::{Event, Silent};
use crate::transport::discard::Discard;
use crate::transport::{Root, Source};

/// What was found.
#[derive(Default)]
pub struct Unproven {
    /// The images that are not what their configs say, and why.
    pub failed: Vec<Failed>,
    /// Whether a digest in the cache may be to blame: it was removed, and the place is to be read again.
    pub cached: bool,
}

/// Finds the images of a source that are not what their configs say.
///
/// # Errors
/// `Interrupted`.
pub fn unproven(source: &dyn Source, temporary: &Path, ctx: &Context) -> Result<Unproven> {
    let mut open: Vec<Root> = Vec::new();
    let mut layers = Vec::new();
    for root in source.roots().iter().filter(|root| root.origin.is_unproven()) {
        match packed(source, root, ctx) {
            Ok(all) if all.iter().all(|layer| layer.is_known(ctx)) => continue,
            Ok(all) => layers.extend(all),
            // The copy says what is wrong.
            Err(_) => {}
        }
        open.push(root.clone());
    }
    if open.is_empty() {
        return Ok(Unproven::default());
    }
    let bytes = layers.iter().map(|layer| layer.extent.size).sum();
    ctx.progress.event(Event::Checking(&source.place(), bytes));
    let before: Vec<_> = layers.iter().map(|layer| ctx.digests.before(&layer.extent)).collect();
    let policy = Policy { mode: Mode::Survey, ..Policy::default() };
    let sink = Box::new(Discard::new(temporary.to_path_buf(), ctx));
    let quiet = Context { progress: Arc::new(Silent), ..ctx.clone() };
    let report = copy::attempt(source, sink, &open, &[], &policy, &quiet)?;
    let wrong = |layer: &Packed| report.failed.iter().any(|failed| failed.digest == layer.root);
    let mut cached = false;
    for (layer, before) in layers.iter().zip(before) {
        if wrong(layer) {
            cached |= ctx.digests.forget(&layer.extent);
        } else {
            ctx.digests.unpacked(before, &layer.extent, layer.digest, layer.diff_id);
        }
    }
    Ok(Unproven { failed: report.failed, cached })
}

/// A compressed layer of an image, and what it must unpack to.
struct Packed {
    root: Digest,
    extent: Extent,
    digest: Digest,
    diff_id: DiffId,
}

impl Packed {
    fn is_known(&self, ctx: &Context) -> bool {
        ctx.digests.diff_id(&self.extent, &self.digest) == Some(self.diff_id)
    }
}

/// The compressed layers of an image. Of the others the digest says what they unpack to.
fn packed(source: &dyn Source, root: &Root, ctx: &Context) -> Result<Vec<Packed>> {
    let tree = copy::walk(source, root, ctx)?;
    let leaves = tree.node.leaves();
    let packed = leaves.into_iter().filter_map(|(desc, claimed)| {
        let diff_id = claimed.filter(|claimed| claimed.0 != desc.digest)?;
        let extent = source.extent(desc)?;
        Some(Packed { root: root.desc.digest, extent, digest: desc.digest, diff_id })
    });
    Ok(packed.collect())
}
