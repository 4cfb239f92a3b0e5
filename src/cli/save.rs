//! `save`: images of the store, or of an engine, to an archive.

use std::path::PathBuf;

use clap::Args;
use imgpack::transport::archive::Halves;
use imgpack::transport::select::no_image;
use imgpack::transport::table::{self, Place, Scheme};
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result};

use super::args::{ArchiveFormat, Changes, Consumer};
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{convert, out};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack save -o nginx.tar nginx:1.27
  imgpack save -o all.tar.zst nginx redis:7 4f06b0d5c1f7
  imgpack save nginx | docker load
  imgpack save -o nginx.tar docker-daemon:nginx:1.27
  imgpack save --platform linux/arm64 --for k3s -o node.tar nginx:1.27")]
pub(crate) struct SaveArgs {
    /// Images by name, ID or ID prefix; or images of one engine, as docker-daemon:NAME
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Write to FILE instead of standard output; .gz and .zst compress the whole archive
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Which tables to write into the archive
    #[arg(long, value_name = "FORMAT", default_value = "union")]
    pub(crate) format: ArchiveFormat,
    /// Check and adapt the archive for an engine
    #[arg(long = "for", value_name = "ENGINE")]
    pub(crate) consumer: Option<Consumer>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// Which tables a format means.
pub(crate) fn halves(format: ArchiveFormat) -> Halves {
    match format {
        ArchiveFormat::Union => Halves::Union,
        ArchiveFormat::Docker => Halves::Docker,
        ArchiveFormat::Oci => Halves::Oci,
    }
}

pub(crate) fn run(args: &SaveArgs, run: &Run) -> Result<Outcome> {
    let to_stdout = args.output.as_ref().is_none_or(|p| p.as_os_str() == "-");
    if to_stdout {
        out::refuse_terminal()?;
    }
    let mut policy = run.policy(&args.changes)?;
    // An image of the store may be called podman:5, and is meant first.
    let (source, mut roots) = match of_store(args, run) {
        Err(e) if e.kind() == Kind::Missing => {
            let source = of_engine(&args.images)?.ok_or(e)?.source(run.env(), &|| run.scratch())?;
            let roots = source.roots().to_vec();
            (source, roots)
        }
        stored => stored?,
    };
    let source = source.as_ref();
    if let Some(consumer) = args.consumer {
        convert::adapt(consumer, source, &mut roots, &mut policy, run.ctx())?;
    }
    // A bad name in the command must not leave half an archive, so the file is opened last.
    let env = run.env_forcing(args.force);
    let halves = halves(args.format);
    let sink = match &args.output {
        Some(path) if !to_stdout => table::file(path, &env, halves)?,
        _ => table::stream(&env, halves)?,
    };
    let place = source.place();
    let report = run
        .copy(source, sink, &roots, &policy)
        .map_err(|e| incomplete(e, to_stdout).input_or(place))?;
    convert::say_changes(&report);
    Ok(convert::failures(&report, run))
}

/// The one place of an engine that all of `images` lie in; nothing when they are of the store.
fn of_engine(images: &[String]) -> Result<Option<Place>> {
    let places = images.iter().map(|i| Place::parse(i)).collect::<Result<Vec<_>>>()?;
    let Some(mut place) = places.iter().find(|p| matches!(p.scheme, Scheme::Engine(_))).cloned()
    else {
        return Ok(None);
    };
    let names: Vec<&str> = places
        .iter()
        .filter(|p| p.scheme == place.scheme)
        .filter_map(|p| p.image.as_deref())
        .collect();
    if names.len() != places.len() {
        let what = "the images of one archive are all of the store, or all of one engine and named";
        return Err(Error::new(Kind::Usage, what));
    }
    place.image = Some(names.join(","));
    Ok(Some(place))
}

/// Images of the store, each once with all the names it was asked for by.
fn of_store(args: &SaveArgs, run: &Run) -> Result<(Box<dyn Source>, Vec<Root>)> {
    let source = run.store().source()?.ok_or_else(|| no_image(&args.images[0]))?;
    let mut roots: Vec<Root> = Vec::new();
    for wanted in &args.images {
        for root in imgpack::images::find(&source, wanted, run.ctx())? {
            match roots.iter_mut().find(|r| r.desc.digest == root.desc.digest) {
                Some(known) => {
                    for name in root.names {
                        if !known.names.contains(&name) {
                            known.names.push(name);
                        }
                    }
                }
                None => roots.push(root),
            }
        }
    }
    let roots = convert::with_companions(&source, roots, run.ctx())?;
    Ok((Box::new(source), roots))
}

fn incomplete(error: Error, to_stdout: bool) -> Error {
    if to_stdout && !matches!(error.kind(), Kind::Closed | Kind::Missing | Kind::Usage) {
        error.context("the stream is incomplete")
    } else {
        error
    }
}
