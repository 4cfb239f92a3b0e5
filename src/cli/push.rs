//! `push`: images of the store, or of any place, to a registry.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use imgpack::Result;
use imgpack::reference::Reference;
use imgpack::transfer::{Images, Rename, Transfer};
use imgpack::transport::table::Place;

use super::args::Changes;
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{out, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack push registry.local:5000/web/nginx:1.27      an image of the store under its own name
  imgpack push nginx:1.27 registry.local:5000/web/nginx:1.27
  imgpack push -a registry.local:5000/web/nginx        all its tags
  imgpack push nginx.tar registry.local:5000/web/nginx:1.27

Uncompressed layers of a Docker archive are sent as gzip, as docker does, and the changed digests are
printed. --preserve-digests sends all bytes unchanged.")]
pub(crate) struct PushArgs {
    /// An image of the store by name or ID, or a place such as nginx.tar or oci:DIR:NAME
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Name in the registry (default: the name of the image)
    #[arg(value_name = "NAME")]
    target: Option<String>,
    /// Push every tag of the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Print only the full name, as docker does; with --all-tags, the repository
    #[arg(short, long)]
    quiet: bool,
    /// Write the digests of the pushed images to FILE
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Send all bytes unchanged: do not gzip the layers of a Docker archive
    #[arg(long, conflicts_with = "compress")]
    preserve_digests: bool,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &PushArgs, run: &Run) -> Result<Outcome> {
    let from = match Place::is_place(&args.image)? {
        true => Place::parse(&args.image)?,
        false => Place { image: Some(args.image.clone()), ..Place::store() },
    };
    let to = Place::registry(args.target.as_deref().unwrap_or_default());
    let from = Images::Pushed { from, all_tags: args.all_tags };
    let transfer = Transfer {
        rename: Rename { all_tags: args.all_tags, ..Rename::default() },
        preserve_digests: args.preserve_digests,
        ..Transfer::new(from, to, run.policy(&args.changes)?)
    };
    let ready = transfer.prepare(run.env())?;
    if !args.quiet {
        let images = ready.roots.iter().filter(|r| !r.companion);
        let repositories: BTreeSet<String> =
            images.flat_map(|r| &r.names).map(Reference::repository).collect();
        for repository in repositories {
            out::line(&format!("The push refers to repository [{repository}]"))?;
        }
    }
    let report = run.copy(ready)?;
    if !args.quiet {
        report::say_changes(&report);
    }
    report::write_digests(args.digestfile.as_deref(), &report)?;
    let images = || report.published.iter().filter(|i| !i.root.companion);
    if args.quiet {
        let shown = |name: &Reference| match args.all_tags {
            true => name.repository(),
            false => name.to_string(),
        };
        let names: BTreeSet<String> = images().flat_map(|i| &i.root.names).map(shown).collect();
        names.iter().try_for_each(|name| out::line(name))?;
    } else {
        for image in images() {
            let (digest, size) = (image.target.digest, image.target.size);
            for name in &image.root.names {
                out::line(&match name.tag() {
                    Some(tag) => format!("{tag}: digest: {digest} size: {size}"),
                    None => format!("digest: {digest}"),
                })?;
            }
        }
    }
    Ok(report::failures(&report, run))
}
