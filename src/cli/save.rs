//! `save`: images of the store, or of an engine, to an archive.

use std::path::{Path, PathBuf};

use clap::Args;
use imgpack::transfer::{Consumer, Images, Transfer};
use imgpack::transport::table::Place;
use imgpack::{Error, Kind, Result};

use super::args::{self, ArchiveFormat, Changes};
use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{out, report};

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
    #[arg(long = "for", value_name = "ENGINE", value_parser = args::consumers())]
    pub(crate) consumer: Option<Consumer>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &SaveArgs, run: &Run) -> Result<Outcome> {
    let to = Place::archive(args.output.as_deref().unwrap_or(Path::new("-")));
    let to_stdout = to.path.as_os_str() == "-";
    if to_stdout {
        out::refuse_terminal()?;
    }
    let transfer = Transfer {
        consumer: args.consumer,
        halves: Some(args.format.into()),
        ..Transfer::new(Images::Saved(args.images.clone()), to, run.policy(&args.changes)?)
    };
    let ready = transfer.prepare(&run.env_forcing(args.force))?;
    let place = ready.source.place();
    let report = run.copy(ready).map_err(|e| incomplete(e, to_stdout).input_or(place))?;
    report::say_changes(&report);
    Ok(report::failures(&report, run))
}

fn incomplete(error: Error, to_stdout: bool) -> Error {
    if to_stdout && !matches!(error.kind(), Kind::Closed | Kind::Missing | Kind::Usage) {
        error.context("the stream is incomplete")
    } else {
        error
    }
}
