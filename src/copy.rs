//! The engine: walk, ship, seal. Every verb is a call of [`copy`].
//!
//! It knows sources and sinks, never a format. *Walk* reads manifests from each root down and lists
//! the leaves once each; *ship* delivers them in parallel, verified and, where asked, recoded; *seal*
//! writes the parents bottom-up, with their original bytes unless a child changed, and publishes.

use std::collections::HashMap;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::lanes;
use crate::transport::{Blob, Need, NetworkSink, Refused, Root, Sink, Source};

mod orphans;
mod policy;
mod preview;
mod report;
mod seal;
mod ship;
mod tree;
mod walk;

use ship::Arrivals;

use policy::stops;
pub use policy::{Mode, Policy};
pub use preview::preview;
pub use report::{Changed, Damage, Failed, Orphan, Published, Report};
pub use tree::{Child, Fault, Manifest, Missing, Node, Tree};
pub use walk::{glance, walk, walk_wanted};

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
    let report = attempt(from, to, roots, &[], policy, ctx)?;
    // Where nothing at all arrived the first failure says more than a report.
    match report.failed.first() {
        Some(failed) if !policy.tolerates() => Err(failed.error()),
        Some(failed) if !policy.surveys() && report.published.is_empty() => Err(failed.error()),
        _ => Ok(report),
    }
}

/// Like [`copy`], but with `policy.keep_going` the report is given even when every root failed. `standing`
/// are manifests and indexes that are at the sink already, so that their companions may be copied.
///
/// # Errors
/// As [`copy`].
pub fn attempt(
    from: &dyn Source,
    to: Box<dyn Sink>,
    roots: &[Root],
    standing: &[Digest],
    policy: &Policy,
    ctx: &Context,
) -> Result<Report> {
    let mut report = Report { unreadable: from.unreadable().to_vec(), ..Report::default() };
    if let Some((_, error)) = report.unreadable.first()
        && (roots.is_empty() || !policy.tolerates())
    {
        return Err(error.clone());
    }
    let arrivals = transfer(from, to.as_ref(), roots, standing, policy, ctx, &mut report)?;
    if report.published.is_empty() && !report.failed.is_empty() && !policy.surveys() {
        return Ok(report);
    }
    let open = |desc: &Descriptor| {
        from.has(desc).is_ok_and(|has| has).then(|| Blob::new(from, desc.clone(), ctx))
    };
    if let Some(network) = to.network() {
        network.settle(&open)?;
    }
    for Refused { root, error } in to.finish()? {
        let failed = report.take_back(root);
        report.failed.push(Failed::new(&failed, error));
    }
    arrivals.into_iter().for_each(Arrivals::done);
    Ok(report)
}

fn transfer(
    from: &dyn Source,
    to: &dyn Sink,
    roots: &[Root],
    standing: &[Digest],
    policy: &Policy,
    ctx: &Context,
    report: &mut Report,
) -> Result<Vec<Arrivals>> {
    let mut present: Vec<Tree> = Vec::new();
    for found in
        walk::all(from, &wanting(from, to, roots, policy, ctx, report)?, to.accepts(), policy, ctx)
    {
        match found {
            Ok(tree) => {
                report.note_missing(&tree, ctx);
                present.push(tree);
            }
            Err(failed) if policy.tolerates() && !stops(&failed.error()) => {
                if policy.surveys() {
                    report.damage.push(Damage::of(&failed));
                }
                report.failed.push(*failed);
            }
            Err(failed) => return Err(failed.error()),
        }
    }
    let mut left: Vec<Orphan> = Vec::new();
    let mut became: HashMap<Digest, Digest> = HashMap::new();
    if policy.prunes() {
        (present, left) = orphans::split(present, standing);
    }
    let recodes = policy.compress.is_some() || policy.pack.is_some();
    if let Some(network) = to.network() {
        if recodes && !ctx.recheck {
            present = changed_since(to, network, present, policy, &mut became, ctx, report)?;
        }
        for tree in &present {
            network.expect(&tree.root, needs(from, tree));
        }
    }
    // What is about an image waits until it is known what became of the image.
    let (about, images): (Vec<Tree>, Vec<Tree>) =
        present.into_iter().partition(|tree| recodes && tree.root.companion);
    let mut arrivals = vec![deliver(from, to, &images, policy, &mut became, ctx, report)?];
    if !about.is_empty() {
        let (about, changed) = orphans::split_changed(about, &became);
        left.extend(changed);
        arrivals.push(deliver(from, to, &about, policy, &mut became, ctx, report)?);
    }
    report.leave(left, &became, ctx);
    Ok(arrivals)
}

/// Ships and seals trees; `became` learns which of their parents are others now.
fn deliver(
    from: &dyn Source,
    to: &dyn Sink,
    trees: &[Tree],
    policy: &Policy,
    became: &mut HashMap<Digest, Digest>,
    ctx: &Context,
    report: &mut Report,
) -> Result<Arrivals> {
    let trees: Vec<&Tree> = trees.iter().collect();
    let (shipped, arrivals) = ship::ship(from, to, &trees, policy, ctx)?;
    report.damage.extend(shipped.damage(&trees));
    for tree in &trees {
        let mut errors: Vec<Error> =
            tree::faults(&tree.node).into_iter().map(|fault| fault.error).collect();
        errors.extend(shipped.errors_of(tree));
        if errors.is_empty() {
            let sealed = seal::seal(to, tree, &shipped, became, ctx);
            match sealed.and_then(|sealed| report.seal(tree, sealed, to, ctx)) {
                Ok(()) => continue,
                Err(e) if to.network().is_some() && policy.tolerates() && !stops(&e) => {
                    errors.push(e)
                }
                Err(e) => return Err(e),
            }
        } else if !policy.tolerates() {
            return Err(errors.swap_remove(0).input_or(from.place()));
        }
        report.failed.push(Failed::of(&tree.root, errors));
    }
    report.changed.extend(shipped.changed());
    report.stored += shipped.stored;
    report.reused += shipped.reused;
    Ok(arrivals)
}

/// The roots that are not at the sink already; the others are reported as they stand. Asked only
/// where a network lies between: on one machine looking twice costs more than it saves.
fn wanting(
    from: &dyn Source,
    to: &dyn Sink,
    roots: &[Root],
    policy: &Policy,
    ctx: &Context,
    report: &mut Report,
) -> Result<Vec<Root>> {
    if ctx.recheck || !policy.keeps() || !(from.remote() || to.network().is_some()) {
        return Ok(roots.to_vec());
    }
    let standing = lanes::each(roots, ctx.jobs, |root| to.standing(root));
    let mut wanting = Vec::new();
    for (root, standing) in roots.iter().zip(standing) {
        match standing {
            Ok(Some(there)) if there.digest == root.desc.digest => {
                report.unchanged(root, &there, ctx);
            }
            Ok(_) => wanting.push(root.clone()),
            Err(error) if policy.keep_going && !stops(&error) => {
                report.failed.push(Failed::new(root, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(wanting)
}

/// Of images that will be recoded, those whose configs are not at the sink under their names: the
/// same configs are the same images, however their layers are packed.
fn changed_since(
    to: &dyn Sink,
    network: &dyn NetworkSink,
    trees: Vec<Tree>,
    policy: &Policy,
    became: &mut HashMap<Digest, Digest>,
    ctx: &Context,
    report: &mut Report,
) -> Result<Vec<Tree>> {
    // A manifest that was found goes as it is: another one there is another image.
    let changes = |tree: &Tree| {
        policy.compress.is_some() || tree.node.manifests().iter().any(|m| m.is_synthesised())
    };
    let ask =
        |tree: &Tree| if changes(tree) { network.configs(&tree.root) } else { Ok(Vec::new()) };
    let standing = lanes::each(&trees, ctx.jobs, ask);
    let mut changed = Vec::new();
    for (tree, standing) in trees.into_iter().zip(standing) {
        let manifests = tree.node.manifests();
        let images = manifests.iter().filter(|m| m.config_bytes.is_some());
        let configs: Vec<Digest> = images.filter_map(|m| Some(m.config.as_ref()?.digest)).collect();
        if !configs.is_empty() && standing? == configs {
            let there = to.standing(&tree.root)?.unwrap_or_else(|| tree.node.desc().clone());
            if there.digest != tree.node.desc().digest {
                let parents = manifests.iter().map(|m| m.desc.digest);
                became
                    .extend(parents.chain([tree.root.desc.digest]).map(|was| (was, there.digest)));
            }
            report.unchanged(&tree.root, &there, ctx);
        } else {
            changed.push(tree);
        }
    }
    Ok(changed)
}

fn needs(from: &dyn Source, tree: &Tree) -> Vec<Need> {
    let leaves = tree.node.leaves();
    let of = |desc: &Descriptor| Need { desc: desc.clone(), holders: from.holders(desc) };
    leaves.into_iter().map(|(desc, _)| of(desc)).collect()
}
