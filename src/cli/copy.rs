//! `copy`: images from any place to any place.

use std::path::PathBuf;

use clap::Args;
use imgpack::reference::Reference;
use imgpack::transport::table::{Place, Scheme};
use imgpack::transport::{Root, Source};
use imgpack::{Error, Kind, Result};

use super::args::{ArchiveFormat, Changes};
use super::exit::Outcome;
use super::registries::SideFlags;
use super::run::Run;
use super::save::halves;
use super::{convert, out};

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
    if to.path.as_os_str() == "-" {
        out::refuse_terminal()?;
    }
    let mut policy = run.policy(&args.changes)?;
    if to.scheme == Scheme::Registry {
        convert::pack(&mut policy, args.preserve_digests);
    }
    let env = run.env_forcing(args.force);
    let (source, sink) = convert::open(&from, &to, args.format.map(halves), &env)?;
    let mut roots = chosen(source.as_ref(), &from, run)?;
    // Of a registry's image `--all` means every platform, as skopeo has it, and they come anyway.
    if args.all && from.image.is_some() && from.scheme != Scheme::Registry {
        return Err(Error::new(Kind::Usage, "--all and a named image contradict each other"));
    }
    name_target(&mut roots, &to)?;
    if to.scheme == Scheme::Registry {
        imgpack::images::name_companions(source.as_ref(), &mut roots, run.ctx());
    }
    convert::adapt_to(&to, source.as_ref(), &mut roots, &mut policy, &env)?;
    let report = run.copy(source.as_ref(), sink, &roots, &policy)?;
    convert::say_changes(&report);
    convert::write_digests(args.digestfile.as_deref(), &report)?;
    if !args.quiet {
        for image in report.published.iter().filter(|i| !i.root.companion) {
            let line = format!("Copied image: {} {}", image.root.title(), image.target.digest);
            // The archive itself may be on standard output.
            if to.path.as_os_str() == "-" { out::error_line(&line) } else { out::line(&line)? }
        }
    }
    Ok(convert::failures(&report, run))
}

fn chosen(source: &dyn Source, from: &Place, run: &Run) -> Result<Vec<Root>> {
    if from.scheme != Scheme::Store {
        return convert::roots_of(source, from.choice(), run.ctx());
    }
    match &from.image {
        None => Ok(source.roots().to_vec()),
        Some(image) => {
            let found = imgpack::images::find(source, image, run.ctx())?;
            convert::with_companions(source, found, run.ctx())
        }
    }
}

/// A name in the target renames the one image that is copied.
///
/// # Errors
/// `Usage` when there are several, or when it is no name.
pub(crate) fn name_target(roots: &mut [Root], to: &Place) -> Result<()> {
    let Some(image) = &to.image else { return Ok(()) };
    let mut images: Vec<&mut Root> = roots.iter_mut().filter(|r| !r.companion).collect();
    if images.len() != 1 {
        let what = format!(
            "the target names one image, the source holds {}; name one of them",
            images.len()
        );
        return Err(Error::new(Kind::Usage, what));
    }
    let root = &mut images[0];
    match to.scheme {
        // skopeo takes any string there; the sink records it as it is.
        Scheme::Oci => root.names = image.parse().ok().into_iter().collect(),
        Scheme::OciArchive if imgpack::reference::is_tag(image) => {
            root.names.clear();
            root.label = Some(image.clone());
        }
        Scheme::Registry => {
            let name = to.reference()?.or_latest();
            same_digest(&name, root)?;
            root.names = vec![name];
        }
        _ => {
            let name = imgpack::images::typed_name(image).map_err(|e| e.kind_as(Kind::Usage))?;
            root.names = vec![name];
        }
    }
    Ok(())
}

/// A digest in the name of a target is a claim about what is sent.
///
/// # Errors
/// `Usage` when it is another image's.
pub(crate) fn same_digest(name: &Reference, root: &Root) -> Result<()> {
    match name.digest() {
        Some(digest) if *digest != root.desc.digest => {
            let what = format!("the target says {digest}, the image is {}", root.desc.digest);
            Err(Error::new(Kind::Usage, what).input(name.familiar()))
        }
        _ => Ok(()),
    }
}
