//! `rmi`: removes names, and images that lose their last name.

use clap::Args;
use imgpack::digest::Digest;
use imgpack::find::{self, FoundImage, no_image};
use imgpack::images::Described;
use imgpack::reference::Reference;
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
            // What is to be gone is not there: for docker that is what force asked for.
            Err(e) if args.force && e.kind() == Kind::Missing => {
                out::error_line(&format!("imgpack: {e}"));
            }
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

fn remove(word: &str, args: &RmiArgs, run: &Run) -> Result<()> {
    let store = run.store();
    let source = store.source()?.ok_or_else(|| no_image(word))?;
    let FoundImage { root, names } = find::one(&source, word, run.ctx())?;
    let (root, id) = (root.clone(), id_of(&source, root, run));
    drop(source);
    let names = match names.first() {
        Some(name) => going_with(name, &root.names),
        None if args.force || is_single(&root.names) => root.names.clone(),
        None => {
            let what = format!(
                "unable to delete {} (must be forced) - image is referenced in multiple repositories",
                root.desc.digest.short()
            );
            return Err(Error::new(Kind::Conflict, what));
        }
    };
    let last = root.names.iter().all(|name| names.contains(name));
    if last {
        store.remove(&[root.desc.digest])?;
    } else {
        names.iter().try_for_each(|name| store.untag(name))?;
    }
    for name in &names {
        out::line(&format!("Untagged: {}", name.familiar()))?;
    }
    if last { out::line(&format!("Deleted: {id}")) } else { Ok(()) }
}

/// A name and what goes with it: with the last tag of a repository its digest, as docker has it.
fn going_with(name: &Reference, all: &[Reference]) -> Vec<Reference> {
    let near = |other: &&Reference| other.same_repository(name) && *other != name;
    let (tags, digests): (Vec<&Reference>, Vec<&Reference>) =
        all.iter().filter(near).partition(|other| other.tag().is_some());
    let with = digests.into_iter().filter(|_| name.tag().is_some() && tags.is_empty());
    std::iter::once(name).chain(with).cloned().collect()
}

/// Whether an ID may stand for all names of its image: they are of one repository, and one tag at most.
fn is_single(names: &[Reference]) -> bool {
    names.iter().all(|name| name.same_repository(&names[0]))
        && names.iter().filter(|name| name.tag().is_some()).count() <= 1
}

/// The ID that `images` shows; of a damaged image its digest.
fn id_of(source: &dyn Source, root: &Root, run: &Run) -> Digest {
    Described::new(source, root, run.ctx()).map_or(root.desc.digest, |image| image.id)
}
