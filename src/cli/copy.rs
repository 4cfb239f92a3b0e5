//! `copy`: images from any place to any place.

use std::path::PathBuf;

use clap::Args;
use imgpack::transfer::{Images, Transfer};
use imgpack::transport::archive::Halves;
use imgpack::transport::table::{Place, Scheme};
use imgpack::{Error, Kind, Result};

use super::args::{ArchiveFormat, Changes};
use super::exit::Outcome;
use super::registries::SideFlags;
use super::run::Run;
use super::{out, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Places:
  docker-archive:FILE[:NAME]   oci-archive:FILE[:NAME]   oci:DIR[:NAME]   dir:DIR   store:[NAME]
  docker://NAME                a registry
  docker-daemon:[NAME]   podman:[NAME]   containerd:[NAME]    an engine of this machine
  or a path, recognised by its content (a new file: by its ending .tar, .tar.gz, .tar.zst)

Examples:
  imgpack copy nginx.tar oci:layout:nginx:1.27
  imgpack copy --compress gzip docker-archive:nginx.tar oci:layout
  imgpack copy oci:layout:nginx:1.27 nginx.tar
  imgpack copy store:nginx:1.27 dir:nginx
  imgpack copy docker-daemon:nginx:1.27 containerd:
  imgpack copy docker://quay.io/a/b:1 docker://registry.local:5000/a/b:1")]
pub(crate) struct CopyArgs {
    /// Source place
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Destination place
    #[arg(value_name = "DST")]
    pub(crate) target: String,
    /// Copy all images of the source (the default when none is named)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Write the digest of the copied image to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) digestfile: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Which tables to write into an archive
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ArchiveFormat>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Send all bytes unchanged: do not gzip the layers of a Docker archive
    #[arg(long, conflicts_with = "compress")]
    pub(crate) preserve_digests: bool,
    #[command(flatten)]
    pub(crate) sides: SideFlags,
}

pub(crate) fn run(args: &CopyArgs, run: &Run) -> Result<Outcome> {
    let from = Place::parse(&args.source)?;
    let to = Place::parse(&args.target)?;
    let to_stdout = to.path.as_os_str() == "-";
    if to_stdout {
        out::refuse_terminal()?;
    }
    // Of a registry's image `--all` means every platform, as skopeo has it, and they come anyway.
    if args.all && from.image.is_some() && from.scheme != Scheme::Registry {
        return Err(Error::new(Kind::Usage, "--all cannot be combined with a named image"));
    }
    let transfer = Transfer {
        halves: args.format.map(Halves::from),
        preserve_digests: args.preserve_digests,
        ..Transfer::new(Images::At(from), to, run.policy(&args.changes)?)
    };
    let report = run.copy(transfer.prepare(&run.env_forcing(args.force))?)?;
    report::say_changes(&report);
    report::write_digests(args.digestfile.as_deref(), &report)?;
    if !args.quiet {
        for image in report.published.iter().filter(|i| !i.root.companion) {
            let line = format!("Copied image: {} {}", image.root.title(), image.target.digest);
            // The archive itself may be on standard output.
            if to_stdout { out::error_line(&line) } else { out::line(&line)? }
        }
    }
    Ok(report::failures(&report, run))
}
