//! `export`: the flattened file system of an image as one tar.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use imgpack::encoding::Encoding;
use imgpack::flatten::{Options, flatten};
use imgpack::io::output::OutputFile;
use imgpack::layer::{Compression, Encoder};
use imgpack::{Error, Result, layer};

use super::exit::Outcome;
use super::layers::with_layers;
use super::out;
use super::registries::RegistryFlags;
use super::run::Run;

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
                let file = OutputFile::create(path, args.force, run.ctx().sync)?;
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
