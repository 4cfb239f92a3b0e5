//! `push`: images of the store, or of any place, to a registry.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use imgpack::reference::Reference;
use imgpack::transport::table::{Place, Scheme};
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result};

use super::args::Changes;
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{convert, copy, out};

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
    changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &PushArgs, run: &Run) -> Result<Outcome> {
    let mut policy = run.policy(&args.changes)?;
    convert::pack(&mut policy, args.preserve_digests);
    let from = match Place::is_place(&args.image) {
        true => Place::parse(&args.image)?,
        false => Place::parse(&format!("store:{}", args.image))?,
    };
    let to = Place::registry(args.target.as_deref().unwrap_or_default());
    let (source, sink) = convert::open(&from, &to, None, run.env())?;
    let mut roots = chosen(source.as_ref(), &from, args, run)?;
    if args.target.is_some() {
        rename(&mut roots, &to.reference()?, args.all_tags)?;
    }
    imgpack::images::name_companions(source.as_ref(), &mut roots, run.ctx());
    if !args.quiet {
        let images = roots.iter().filter(|r| !r.companion);
        let repositories: BTreeSet<String> =
            images.flat_map(|r| &r.names).map(Reference::repository).collect();
        for repository in repositories {
            out::line(&format!("The push refers to repository [{repository}]"))?;
        }
    }
    let report = run.copy(source.as_ref(), sink, &roots, &policy)?;
    if !args.quiet {
        convert::say_changes(&report);
    }
    convert::write_digests(args.digestfile.as_deref(), &report)?;
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
    Ok(convert::failures(&report, run))
}

fn chosen(source: &dyn Source, from: &Place, args: &PushArgs, run: &Run) -> Result<Vec<Root>> {
    if from.scheme != Scheme::Store {
        return convert::roots_of(source, from.choice(), run.ctx());
    }
    // A repository alone means `latest`, and all its tags only when that is asked for.
    let wanted = match args.image.parse::<Reference>() {
        Ok(name) if name.tag().is_none() && name.digest().is_none() && !args.all_tags => {
            let latest = name.clone().or_latest().to_string();
            match imgpack::images::find(source, &latest, run.ctx()) {
                Ok(_) => latest,
                // The start of an ID reads as a repository too.
                Err(_) if source.roots().iter().any(|r| of(r, &name)) => latest,
                Err(_) => args.image.clone(),
            }
        }
        _ => args.image.clone(),
    };
    let found = imgpack::images::find(source, &wanted, run.ctx())?;
    convert::with_companions(source, found, run.ctx())
}

fn of(root: &Root, repository: &Reference) -> bool {
    root.names.iter().any(|n| n.repository() == repository.repository())
}

/// Names what is pushed after the target: one image, or all tags into another repository.
fn rename(roots: &mut [Root], target: &Reference, all_tags: bool) -> Result<()> {
    let mut images: Vec<&mut Root> = roots.iter_mut().filter(|r| !r.companion).collect();
    if images.len() > 1 && !all_tags {
        let what = format!("the target names one image, the source holds {}", images.len());
        return Err(Error::new(Kind::Usage, format!("{what}; name one of them, or use `sync`")));
    }
    for root in &mut images {
        root.names = if all_tags {
            let tags = root.names.iter().filter_map(Reference::tag);
            tags.map(|tag| target.with_tag(tag)).collect::<Result<_>>()?
        } else {
            copy::same_digest(target, root)?;
            vec![target.clone().or_latest()]
        };
    }
    Ok(())
}
