//! `rmi`: removes names, and images that lose their last name.

use clap::Args;
use imgpack::digest::Digest;
use imgpack::images::Described;
use imgpack::reference::Reference;
use imgpack::transport::select::no_image;
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result};

use super::exit::Outcome;
use super::out;
use super::run::Run;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack rmi nginx:1.26
  imgpack rmi -f 4f06b0d5c1f7
  imgpack rmi $(imgpack images -q --filter dangling=true)")]
pub(crate) struct RmiArgs {
    /// Images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Remove an image even if it has several names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Keep the blobs; `prune` removes them later
    #[arg(long)]
    pub(crate) no_prune: bool,
}

pub(crate) fn run(args: &RmiArgs, run: &Run) -> Result<Outcome> {
    let mut first_error = None;
    let mut removed = false;
    for wanted in &args.images {
        match remove(wanted, args, run) {
            Ok(()) => removed = true,
            Err(e) => {
                if let Some(earlier) = first_error.replace(e) {
                    out::error_line(&format!("imgpack: {earlier}"));
                }
            }
        }
    }
    if removed && !args.no_prune {
        run.store().tidy()?;
    }
    first_error.map_or(Ok(Outcome::Done), Err)
}

fn remove(wanted: &str, args: &RmiArgs, run: &Run) -> Result<()> {
    let store = run.store();
    let missing = || no_image(wanted);
    let source = store.source()?.ok_or_else(missing)?;
    if let Ok(reference) = wanted.parse::<Reference>() {
        let full = reference.or_latest();
        if let Some(root) = source.roots().iter().find(|r| r.names.contains(&full)).cloned() {
            let id = id_of(&source, &root, run);
            drop(source);
            return untag(&root, &full, id, run);
        }
    }
    let root: Root = imgpack::images::find(&source, wanted, run.ctx())?
        .into_iter()
        .next()
        .and_then(|found| {
            source.roots().iter().find(|r| r.desc.digest == found.desc.digest).cloned()
        })
        .ok_or_else(missing)?;
    let id = id_of(&source, &root, run);
    drop(source);
    if root.names.len() > 1 && !args.force {
        let what = format!(
            "unable to delete {} (must be forced) - image is referenced in multiple repositories",
            root.desc.digest.short()
        );
        return Err(Error::new(Kind::Conflict, what));
    }
    for name in &root.names {
        out::line(&format!("Untagged: {}", name.familiar()))?;
    }
    store.remove(&[root.desc.digest])?;
    out::line(&format!("Deleted: {id}"))
}

/// The ID that `images` shows; of a damaged image its digest.
fn id_of(source: &dyn Source, root: &Root, run: &Run) -> Digest {
    Described::new(source, root, run.ctx()).map_or(root.desc.digest, |image| image.id)
}

fn untag(root: &Root, name: &Reference, id: Digest, run: &Run) -> Result<()> {
    let store = run.store();
    if root.names.len() > 1 {
        store.untag(name)?;
        return out::line(&format!("Untagged: {}", name.familiar()));
    }
    store.remove(&[root.desc.digest])?;
    out::line(&format!("Untagged: {}", name.familiar()))?;
    out::line(&format!("Deleted: {id}"))
}
