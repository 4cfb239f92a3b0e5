//! What a copy did, said to people: layers and images that changed, images that failed.

use std::path::Path;

use imgpack::copy::{Failed, Report};
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

/// Lists the images that failed, and what could not be opened at all.
pub(crate) fn failures(report: &Report, run: &Run) -> Outcome {
    let of = |failed: &'_ Failed| failed.errors.iter().map(|e| failed.line(e)).collect::<Vec<_>>();
    let images: Vec<String> = report.failed.iter().flat_map(of).collect();
    images.iter().for_each(|line| say(line, run));
    match (images.is_empty(), unreadable(&report.unreadable, run)) {
        (true, None) => Outcome::Done,
        _ => Outcome::Failed(Kind::Partial),
    }
}

/// Lists parts of a place that could not be opened; the outcome is that of the first.
pub(crate) fn unreadable(parts: &[(String, Error)], run: &Run) -> Option<Outcome> {
    parts.iter().for_each(|(_, error)| say(&error.to_string(), run));
    parts.first().map(|(_, error)| Outcome::Failed(error.kind()))
}

fn say(line: &str, run: &Run) {
    let line = format!("imgpack: {line}");
    out::error_line(&imgpack::text::escape_long(&line));
    run.log(&line);
}
