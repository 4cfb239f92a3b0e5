//! `load`: images from an archive into the store, or into another place.

use std::collections::HashMap;
use std::io::IsTerminal;

use clap::Args;
use imgpack::copy::Report;
use imgpack::reference::Reference;
use imgpack::transfer::{Images, Rename, Transfer};
use imgpack::transport::table::{Place, Scheme};
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result};

use super::args::Changes;
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{out, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack load -i nginx.tar
  docker save nginx | imgpack load
  imgpack load -i all.tar.zst --prefix registry.local/mirror
  imgpack load -i all.tar.zst --into docker-daemon:
  imgpack load -i node.tar --into containerd: --containerd-namespace k8s.io")]
pub(crate) struct LoadArgs {
    /// Read FILE (or a directory, or a place like oci:DIR) instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<String>,
    /// Print only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Load into this place instead of the store: docker-daemon:, podman:, containerd:, oci:DIR, …
    #[arg(long, value_name = "PLACE", default_value = "store:")]
    pub(crate) into: String,
    /// Prefix every name with this registry and path
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Name the image (the archive must hold exactly one)
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &LoadArgs, run: &Run) -> Result<Outcome> {
    let input = args.input.as_deref().unwrap_or("-");
    if input == "-" && std::io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, "no archive on standard input; use -i FILE"));
    }
    let (from, into) = (Place::parse(input)?, Place::parse(&args.into)?);
    let stored = into.scheme == Scheme::Store;
    let transfer = Transfer {
        rename: Rename { prefix: args.prefix.clone(), tag: args.tag.clone(), all_tags: false },
        ..Transfer::new(Images::At(from), into, run.policy(&args.changes)?)
    };
    let ready = transfer.prepare(run.env())?;
    let before = if stored { names(run)? } else { Vec::new() };
    let report = run.copy(ready)?;
    report::say_changes(&report);
    if !args.quiet {
        say(&report, &before)?;
    }
    Ok(report::failures(&report, run))
}

/// Names in the store and the images that have them.
fn names(run: &Run) -> Result<Vec<Root>> {
    Ok(run.store().source()?.map(|s| s.roots().to_vec()).unwrap_or_default())
}

/// Docker's lines: what was loaded, and which name was taken from whom.
fn say(report: &Report, before: &[Root]) -> Result<()> {
    let owners: HashMap<&Reference, &Root> =
        before.iter().flat_map(|r| r.names.iter().map(move |n| (n, r))).collect();
    for image in report.published.iter().filter(|i| !i.root.companion) {
        for name in &image.root.names {
            let loser = owners.get(name).filter(|r| r.desc.digest != image.target.digest);
            if let Some(loser) = loser {
                out::line(&format!(
                    "The image {} already exists, renaming the old one with ID {} to empty string",
                    name.familiar(),
                    loser.desc.digest
                ))?;
            }
            out::line(&format!("Loaded image: {}", name.familiar()))?;
        }
        if image.root.names.is_empty() {
            let id = image.image_id.unwrap_or(image.target.digest);
            out::line(&format!("Loaded image ID: {id}"))?;
            if let Some(label) =
                image.root.label.as_deref().filter(|l| l.parse::<Reference>().is_ok())
            {
                let label = imgpack::text::escape(label).into_owned();
                out::error_line(&format!(
                    "hint: the archive calls it only {label:?}; name it with: imgpack tag {id} NAME:{label}"
                ));
            }
        }
    }
    Ok(())
}
