//! `tag`: one more name for an image.

use clap::Args;
use imgpack::{Error, Kind, Result};

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

pub(crate) fn run(args: &TagArgs, run: &Run) -> Result<u8> {
    let target = imgpack::images::typed_name(&args.target).map_err(|e| e.kind_as(Kind::Usage))?;
    let store = run.store();
    let missing = || {
        let source = imgpack::text::escape(&args.source);
        Error::missing(format!("no such image: {source}"))
    };
    let source = store.source()?.ok_or_else(missing)?;
    let root = one(&source, &args.source, run)?.ok_or_else(missing)?;
    store.tag(&root.desc, &target)?;
    Ok(0)
}

/// The one image a name means; a repository alone means its `latest`.
pub(crate) fn one(
    source: &dyn imgpack::transport::Source,
    wanted: &str,
    run: &Run,
) -> Result<Option<imgpack::transport::Root>> {
    if let Ok(reference) = wanted.parse::<imgpack::reference::Reference>() {
        let full = reference.or_latest();
        if let Some(root) = source.roots().iter().find(|r| r.names.contains(&full)) {
            return Ok(Some(root.clone()));
        }
    }
    let found = imgpack::images::find(source, wanted, run.ctx())?;
    let distinct: std::collections::HashSet<_> = found.iter().map(|r| r.desc.digest).collect();
    if distinct.len() > 1 {
        let wanted = imgpack::text::escape(wanted);
        return Err(Error::missing(format!("no such image: {wanted}:latest")));
    }
    Ok(found.into_iter().next())
}
