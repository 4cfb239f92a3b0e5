//! `export`: the flattened file system of an image as one tar.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use clap::Args;
use imgpack::copy::Manifest;
use imgpack::encoding::{Encoding, SNIFF_LEN};
use imgpack::flatten::{LayerStreams, Options, flatten};
use imgpack::io::output::Output;
use imgpack::layer::{Compression, Encoder};
use imgpack::platform::Platform;
use imgpack::transport::{Blob, Source};
use imgpack::{Context, Error, Result, layer};

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{out, pick};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack export -o rootfs.tar nginx:1.27
  imgpack export nginx.tar | tar -tv")]
pub(crate) struct ExportArgs {
    /// An image of the store, or an archive or directory that holds one
    #[arg(value_name = "IMAGE|PLACE")]
    pub(crate) image: String,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Platform to use, for a multi-platform image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &ExportArgs, run: &Run) -> Result<Outcome> {
    let to_stdout = args.output.as_ref().is_none_or(|p| p.as_os_str() == "-");
    if to_stdout {
        out::refuse_terminal()?;
    }
    let platform = args.platform.as_deref().map(str::parse).transpose()?;
    with_layers(&args.image, platform.as_ref(), run, |layers| {
        let mut options = Options::new(run.env().temporary.clone());
        match &args.output {
            Some(path) if !to_stdout => {
                let whole = layer::output_encoding(path)?.unwrap_or(Encoding::Plain);
                let file = Output::create(path, args.force, run.ctx().sync)?;
                options.temp_dir = file.directory().to_path_buf();
                let encoder = Encoder::new(file, Compression::new(whole))?;
                let mut to = BufWriter::with_capacity(1 << 20, encoder);
                flatten(layers, &mut to, &options)?;
                let encoder = to.into_inner().map_err(|e| Error::from(e.into_error()))?;
                encoder.finish()?.commit()
            }
            _ => {
                let mut to = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
                flatten(layers, &mut to, &options)?;
                Ok(to.flush()?)
            }
        }
    })?;
    Ok(Outcome::Done)
}

/// Calls `then` with the unpacked layers of one image.
///
/// # Errors
/// `Missing`, and those of `then`.
pub(crate) fn with_layers<T>(
    target: &str,
    platform: Option<&Platform>,
    run: &Run,
    then: impl FnOnce(&Layers<'_>) -> Result<T>,
) -> Result<T> {
    let (source, root) = pick::one(target, run)?;
    let tree = imgpack::copy::walk(source.as_ref(), &root, run.ctx())?;
    let image = match platform {
        Some(platform) => tree.node.image_for(platform),
        None => tree.node.own_image(),
    };
    let image = image.ok_or_else(|| {
        let what = match platform {
            Some(platform) => format!("{} has no image for {platform}", root.title()),
            None => format!("{} is no image", root.title()),
        };
        Error::missing(what)
    })?;
    then(&Layers { source: source.as_ref(), image, ctx: run.ctx() })
}

/// The layers of one image, each opened verified and unpacked.
pub(crate) struct Layers<'a> {
    source: &'a dyn Source,
    /// The image.
    pub(crate) image: &'a Manifest,
    ctx: &'a Context,
}

impl LayerStreams for Layers<'_> {
    fn len(&self) -> usize {
        self.image.layers.len()
    }

    fn open(&self, at: usize) -> Result<Box<dyn Read + Send + '_>> {
        let desc = &self.image.layers[at];
        let head = match self.source.extent(desc) {
            Some(extent) => extent.head(SNIFF_LEN)?,
            None => return Err(Error::absent(format_args!("layer {}", desc.digest))),
        };
        let reader = Blob::new(self.source, desc.clone(), self.ctx).into_reader()?;
        let limits = &self.ctx.limits.stream;
        Ok(layer::decoder(Encoding::sniff(&head), reader, limits)?)
    }
}
