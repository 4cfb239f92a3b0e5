//! What a copy did, said to people: layers and images that changed, images that failed.

use std::path::Path;

use imgpack::copy::Report;
use imgpack::{Error, Kind, Result};

use super::exit::Outcome;
use super::out;
use super::run::Run;

/// Says what changed on the way: layers that were recoded, roots with a new digest.
pub(crate) fn say_changes(report: &Report) {
    for changed in &report.changed {
        out::error_line(&format!(
            "layer {} became {} ({})",
            changed.from.digest, changed.to.digest, changed.to.media_type
        ));
    }
    for image in &report.published {
        if !image.unchanged && image.target.digest != image.root.desc.digest {
            let (old, new) = (image.root.desc.digest, image.target.digest);
            out::error_line(&format!("{}: {old} became {new}", image.root.title()));
        }
    }
}

/// Writes the digests of what was published, one a line.
///
/// # Errors
/// `Io`.
pub(crate) fn write_digests(path: Option<&Path>, report: &Report) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let images = report.published.iter().filter(|i| !i.root.companion);
    let digests: Vec<String> = images.map(|i| i.target.digest.to_string()).collect();
    std::fs::write(path, digests.join("\n")).map_err(|e| Error::io(path, "writing", &e))
}

/// Lists the images that failed.
pub(crate) fn failures(report: &Report, run: &Run) -> Outcome {
    for failed in &report.failed {
        for error in &failed.errors {
            let line = format!("imgpack: {}", failed.line(error));
            out::error_line(&imgpack::text::escape_long(&line));
            run.log(&line);
        }
    }
    match report.failed.is_empty() {
        true => Outcome::Done,
        false => Outcome::Failed(Kind::Partial),
    }
}
