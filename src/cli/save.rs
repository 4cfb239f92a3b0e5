//! `save`: images of the store to an archive.

use imgpack::transport::archive::Halves;
use imgpack::transport::{Root, Source, table};
use imgpack::{Error, Kind, Result};

use super::args::{ArchiveFormat, SaveArgs};
use super::run::Run;
use super::{convert, out};

/// Which tables a format means.
pub(crate) fn halves(format: ArchiveFormat) -> Halves {
    match format {
        ArchiveFormat::Union => Halves::Union,
        ArchiveFormat::Docker => Halves::Docker,
        ArchiveFormat::Oci => Halves::Oci,
    }
}

pub(crate) fn run(args: &SaveArgs, run: &Run) -> Result<u8> {
    let to_stdout = args.output.as_ref().is_none_or(|p| p.as_os_str() == "-");
    if to_stdout {
        out::refuse_terminal()?;
    }
    let mut policy = run.policy(&args.changes)?;
    let source = run.store().source()?.ok_or_else(|| {
        let what = format!("no such image: {}", imgpack::text::escape(&args.images[0]));
        Error::missing(what)
    })?;
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
    let mut roots = convert::with_companions(&source, roots, run.ctx())?;
    if let Some(consumer) = args.consumer {
        convert::adapt(consumer, &source, &mut roots, &mut policy, run.ctx())?;
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
        .copy(&source, sink, &roots, &policy)
        .map_err(|e| incomplete(e, to_stdout).input_or(place))?;
    convert::say_changes(&report);
    Ok(convert::failures(&report, run))
}

fn incomplete(error: Error, to_stdout: bool) -> Error {
    if to_stdout && !matches!(error.kind(), Kind::Closed | Kind::Missing | Kind::Usage) {
        error.context("the stream is incomplete")
    } else {
        error
    }
}
