//! `pull`: images of registries into the store.

use clap::Args;
use imgpack::copy::Published;
use imgpack::reference::Reference;
use imgpack::registry::no_repository;
use imgpack::transfer::{Images, Transfer};
use imgpack::transport::table::Place;
use imgpack::{Error, Kind, Result};

use super::args::Changes;
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{out, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack pull nginx:1.27
  imgpack pull --platform linux/amd64,linux/arm64 registry.local:5000/web/nginx
  imgpack pull -a registry.local:5000/web/nginx        all its tags
  imgpack pull quay.io/a/b@sha256:0123…

A multi-platform image is pulled whole, so that its digest stays the same; --platform selects a part.")]
pub(crate) struct PullArgs {
    /// Images by name, with a tag or a digest
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Pull every tag of the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Print only the full name, as docker does; with --all-tags, the repository
    #[arg(short, long)]
    quiet: bool,
    /// Do not pull signatures, attestations and other referrers
    #[arg(long)]
    no_companions: bool,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &PullArgs, run: &Run) -> Result<Outcome> {
    let ctx = run.ctx();
    let registries = run.env().network.source(ctx)?;
    let mut asked: Vec<Asked> = Vec::new();
    for text in &args.names {
        let name = Place::registry(text).reference()?;
        let bare = name.tag().is_none() && name.digest().is_none();
        if args.all_tags {
            if !bare {
                let what = "--all-tags takes a repository without a tag";
                return Err(Error::new(Kind::Usage, what).input(text.clone()));
            }
            let tags = registries.repository(&name)?.tags()?;
            let tags = tags.ok_or_else(|| no_repository(&name))?;
            let cosign = |tag: &String| imgpack::companion::subject_of_tag(tag).is_some();
            let tags = tags.iter().filter(|t| !cosign(t)).map(|tag| name.with_tag(tag));
            asked.push(Asked { images: tags.collect::<Result<_>>()?, name });
            continue;
        }
        if bare && !args.quiet {
            out::line("Using default tag: latest")?;
        }
        let name = name.or_latest();
        asked.push(Asked { images: vec![name.clone()], name });
    }
    let names = asked.iter().flat_map(|one| one.images.clone()).collect();
    let images = Images::Pulled { names, companions: !args.no_companions };
    let transfer = Transfer::new(images, Place::store(), run.policy(&args.changes)?);
    let ready = transfer.prepare(run.env())?;
    let report = run.copy(ready)?;
    if !args.quiet {
        report::say_changes(&report);
    }
    for one in &asked {
        let found = |name| Some((name, report.published.iter().find(|i| is(i, name))?));
        let pulled: Vec<(&Reference, &Published)> = one.images.iter().filter_map(found).collect();
        if pulled.is_empty() {
            continue;
        }
        if !args.quiet {
            say(&one.name, &pulled)?;
        }
        out::line(&one.name.to_string())?;
    }
    Ok(report::failures(&report, run))
}

/// What one argument asks for.
struct Asked {
    /// It, as docker shows it at the end: an image, or a repository when all its tags are wanted.
    name: Reference,
    images: Vec<Reference>,
}

fn is(image: &Published, name: &Reference) -> bool {
    let plain = name.tag().and_then(|tag| name.with_tag(tag).ok());
    match plain {
        Some(plain) => image.root.names.contains(&plain),
        None => name.digest() == Some(&image.root.desc.digest),
    }
}

/// Docker's lines: two for each image, and how it went for all that one argument asked for.
fn say(asked: &Reference, pulled: &[(&Reference, &Published)]) -> Result<()> {
    for (name, image) in pulled {
        let what = name.tag().map_or_else(|| image.target.digest.to_string(), str::to_owned);
        out::line(&format!("{what}: Pulling from {}", name.path()))?;
        out::line(&format!("Digest: {}", image.target.digest))?;
    }
    let status = match pulled.iter().all(|(_, image)| image.unchanged) {
        true => "Image is up to date for",
        false => "Downloaded newer image for",
    };
    out::line(&format!("Status: {status} {}", asked.familiar()))
}
