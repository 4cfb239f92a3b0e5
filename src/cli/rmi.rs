//! `rmi`: removes names, and images that lose their last name.

use clap::Args;
use imgpack::digest::Digest;
use imgpack::find::{self, FoundImage, no_image};
use imgpack::images::Described;
use imgpack::reference::Reference;
use imgpack::transport::layout::LayoutSource;
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
    let store = run.store();
    let (mut source, mut gone, mut first_error) = (store.source()?, Gone::default(), None);
    for word in &args.images {
        match gone.add(word, source.as_mut(), args.force, run) {
            Ok(()) => {}
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
    drop(source);
    if !gone.lines.is_empty() {
        store.remove(&gone.images, &gone.names)?;
        gone.lines.iter().try_for_each(|line| out::line(line))?;
        if !args.no_prune {
            store.tidy()?;
        }
    }
    first_error.map_or(Ok(Outcome::Done), Err)
}

/// What is to be removed, all at once.
#[derive(Default)]
struct Gone {
    images: Vec<Digest>,
    /// Of images that stay.
    names: Vec<Reference>,
    /// What docker says of it.
    lines: Vec<String>,
}

impl Gone {
    /// Adds what a word means, and takes it from `source`, so that the next word is understood as docker
    /// would after this one.
    fn add(
        &mut self,
        word: &str,
        source: Option<&mut LayoutSource>,
        force: bool,
        run: &Run,
    ) -> Result<()> {
        let source = source.ok_or_else(|| no_image(word))?;
        let FoundImage { root, names } = find::one(source, word, run.ctx())?;
        let (root, id) = (root.clone(), id_of(source, root, run));
        let names = match names.first() {
            Some(name) => going_with(name, &root.names),
            None if force || is_single(&root.names) => root.names.clone(),
            None => {
                let what = format!(
                    "unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    root.desc.digest.short()
                );
                return Err(Error::new(Kind::Conflict, what));
            }
        };
        source.forget(&root.desc.digest, &names);
        self.lines.extend(names.iter().map(|name| format!("Untagged: {}", name.familiar())));
        if root.names.iter().all(|name| names.contains(name)) {
            self.images.push(root.desc.digest);
            self.lines.push(format!("Deleted: {id}"));
        } else {
            self.names.extend(names);
        }
        Ok(())
    }
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
