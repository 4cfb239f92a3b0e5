//! The engine: walk, ship, seal. Every verb is a call of [`copy`].
//!
//! It knows sources and sinks, never a format. *Walk* reads manifests from each root down and lists
//! the leaves once each; *ship* delivers them in parallel, verified and, where asked, recoded; *seal*
//! writes the parents bottom-up, with their original bytes unless a child changed, and publishes.

use std::collections::HashMap;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::transport::{Root, Sink, Source};

mod policy;
mod report;
mod seal;
mod ship;
mod walk;

pub use policy::Policy;
pub use report::{Changed, Damage, Failed, Published, Report};
pub use walk::{Child, Manifest, Missing, Node, Tree, glance, walk};

/// Copies roots from a source to a sink and completes the sink.
///
/// Without `policy.keep_going` nothing is published when any root fails; the first failure is the
/// error. With it the sound roots are published and the report lists the others.
///
/// # Errors
/// Those of the source, the sink and the policy; `Interrupted`.
pub fn copy(
    from: &dyn Source,
    to: Box<dyn Sink>,
    roots: &[Root],
    policy: &Policy,
    ctx: &Context,
) -> Result<Report> {
    let report = attempt(from, to, roots, policy, ctx)?;
    if report.published.is_empty()
        && let Some(failed) = report.failed.first()
        && !policy.survey
    {
        return Err(failed.error());
    }
    Ok(report)
}

/// Like [`copy`], but with `policy.keep_going` the report is given even when every root failed.
///
/// # Errors
/// As [`copy`].
pub fn attempt(
    from: &dyn Source,
    to: Box<dyn Sink>,
    roots: &[Root],
    policy: &Policy,
    ctx: &Context,
) -> Result<Report> {
    let report = transfer(from, to.as_ref(), roots, policy, ctx)?;
    if !report.published.is_empty() || report.failed.is_empty() || policy.survey {
        to.finish()?;
    }
    Ok(report)
}

fn transfer(
    from: &dyn Source,
    to: &dyn Sink,
    roots: &[Root],
    policy: &Policy,
    ctx: &Context,
) -> Result<Report> {
    let mut report = Report::default();
    let mut trees: Vec<Option<Tree>> = Vec::new();
    for found in walk::all(from, roots, to.accepts(), policy, ctx) {
        match found {
            Ok(tree) => {
                report.note_missing(&tree, ctx);
                trees.push(Some(tree));
            }
            Err(failed) if policy.survey || policy.keep_going => {
                if stops(&failed.error()) {
                    return Err(failed.error());
                }
                report.failed.push(failed);
                trees.push(None);
            }
            Err(failed) => return Err(failed.error()),
        }
    }
    let present: Vec<&Tree> = trees.iter().flatten().collect();
    let shipped = ship::ship(from, to, &present, policy, ctx)?;
    for damage in shipped.damage(&present) {
        report.damage.push(damage);
    }
    let renamed = shipped.renamed();
    for tree in &present {
        let errors = shipped.errors_of(tree);
        if let Some(error) = errors.first() {
            if !policy.survey && !policy.keep_going {
                return Err(error.clone().input_or(from.place()));
            }
            let (title, digest) = (tree.root.title(), tree.root.desc.digest);
            report.failed.push(Failed { title, digest, errors });
            continue;
        }
        let sealed = seal::seal(to, tree, &renamed, ctx)?;
        report.seal(tree, sealed, to, ctx)?;
    }
    report.changed = shipped.changed();
    report.stored = shipped.stored;
    report.reused = shipped.reused;
    Ok(report)
}

/// Errors that end the whole run, whatever may still be sound.
fn stops(error: &Error) -> bool {
    matches!(error.kind(), Kind::Interrupted | Kind::Closed)
}

/// Blobs that became others: what each was to what it is now.
type Renamed = HashMap<Digest, Descriptor>;
