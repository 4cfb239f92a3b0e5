//! `prune`: removes what no image of the store uses.

use clap::Args;
use imgpack::Result;
use imgpack::digest::Digest;

use super::exit::Outcome;
use super::run::Run;
use super::{human, out};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack prune --dry-run
  imgpack prune
  imgpack prune -a")]
pub(crate) struct PruneArgs {
    /// Also remove untagged images
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only print what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Accepted for compatibility with docker: prune never asks
    #[arg(short, long)]
    pub(crate) force: bool,
}

pub(crate) fn run(args: &PruneArgs, run: &Run) -> Result<Outcome> {
    if args.all {
        let untagged: Vec<Digest> = match run.store().source()? {
            Some(source) => {
                use imgpack::transport::Source;
                let bare = |r: &&imgpack::transport::Root| r.names.is_empty() && !r.companion;
                source.roots().iter().filter(bare).map(|r| r.desc.digest).collect()
            }
            None => Vec::new(),
        };
        for digest in &untagged {
            out::line(&format!("Deleted: {digest}"))?;
        }
        if !untagged.is_empty() && !args.dry_run {
            run.store().remove(&untagged, &[])?;
        }
    }
    let mut garbage = run.store().prune(args.dry_run)?;
    garbage.extend(run.store().sweep(args.dry_run)?);
    for (digest, _) in &garbage {
        out::line(&format!("{}: {digest}", if args.dry_run { "Unused" } else { "Deleted" }))?;
    }
    let bytes = garbage.iter().map(|(_, size)| size).sum();
    out::line(&format!("Total reclaimed space: {}", human::size(bytes)))?;
    Ok(Outcome::Done)
}
