//! `tag`: one more name for an image.

use clap::Args;
use imgpack::{Kind, Result};

use super::exit::Outcome;
use super::pick;
use super::run::Run;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack tag nginx:1.27 registry.local/web/nginx:1.27
  imgpack tag 4f06b0d5c1f7 nginx:stable")]
pub(crate) struct TagArgs {
    /// An image, by name or ID
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub(crate) source: String,
    /// The new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub(crate) target: String,
}

pub(crate) fn run(args: &TagArgs, run: &Run) -> Result<Outcome> {
    let target = imgpack::images::typed_name(&args.target).map_err(|e| e.kind_as(Kind::Usage))?;
    let (_, root) = pick::stored(&args.source, run)?;
    run.store().tag(&root.desc, &target)?;
    Ok(Outcome::Done)
}
