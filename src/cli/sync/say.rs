//! What a sync says: its plan, its report, and what failed.

use imgpack::sync::SyncReport;
use imgpack::sync::plan::Plan;
use imgpack::sync::report::Status;
use imgpack::{Error, Kind, Result};

use crate::cli::exit::Outcome;
use crate::cli::run::Run;
use crate::cli::{human, out};

/// The plan of a dry run.
pub(super) fn plan(plan: &Plan, json: bool, quiet: bool) -> Result<Outcome> {
    if json {
        out::line(&plan.to_value().to_string())?;
    } else if !quiet {
        list(plan)?;
    }
    let told = |(source, why): &(String, Error)| line(source, why);
    for text in plan.skipped.iter().map(told) {
        out::error_line(&format!("imgpack: warning: {}", imgpack::text::escape_long(&text)));
    }
    let lines: Vec<String> = plan.failed.iter().map(told).collect();
    let Some(error) = plan.error() else { return Ok(Outcome::Done) };
    end(error, lines, |_| {})
}

/// What would be done with each image, and one line for all.
fn list(plan: &Plan) -> Result<()> {
    let mut there = 0;
    for image in plan.images.iter().filter(|image| !image.companion) {
        there += usize::from(image.unchanged);
        let what = if image.unchanged {
            "there".to_owned()
        } else {
            format!("copy {}", human::size(image.bytes))
        };
        let to = image.destination.as_ref().filter(|to| to.to_string() != image.source);
        let to = to.map(|to| format!(" -> {to}")).unwrap_or_default();
        out::line(&format!("{what:<12} {}{to}", image.source))?;
    }
    for name in &plan.removals {
        out::line(&format!("{:<12} {}", "remove", name.familiar()))?;
    }
    let images = plan.images.iter().filter(|image| !image.companion).count();
    out::line(&format!(
        "{}, {there} already there; {}, {}{} to send of {}",
        human::count(images, "image", "images"),
        human::count(plan.sent_blobs, "blob", "blobs"),
        if plan.recodes { "about " } else { "" },
        human::size(plan.sent_bytes),
        human::size(plan.bytes),
    ))
}

/// The report of a run.
pub(super) fn report(report: &SyncReport, json: bool, quiet: bool, run: &Run) -> Result<Outcome> {
    if json {
        out::line(&report.to_value().to_string())?;
    } else if !quiet {
        images(report)?;
    }
    let failures = report.entries.iter().filter_map(|entry| Some((entry, entry.error.as_ref()?)));
    let lines: Vec<String> = failures.map(|(entry, error)| line(&entry.source, error)).collect();
    let Some(error) = report.error() else {
        lines.iter().for_each(|line| run.ctx().warn(line));
        return Ok(Outcome::Done);
    };
    end(error, lines, |line| run.log(line))
}

/// One line for each image, and one for all.
fn images(report: &SyncReport) -> Result<()> {
    for entry in report.entries.iter().filter(|entry| !entry.companion) {
        let name = match &entry.destination {
            Some(name) => name.familiar(),
            None => imgpack::text::escape(&entry.source).into_owned(),
        };
        let digest = entry.digest.map(|digest| format!(" {digest}")).unwrap_or_default();
        match entry.status {
            Status::Copied => out::line(&format!("Copied image: {name}{digest}"))?,
            Status::Unchanged => out::line(&format!("Unchanged image: {name}{digest}"))?,
            Status::Deleted => out::line(&format!("Removed image: {name}"))?,
            Status::Failed | Status::Skipped => {}
        }
    }
    let count = |status| report.count(status);
    let mut parts = vec![
        format!("{} copied", count(Status::Copied)),
        format!("{} unchanged", count(Status::Unchanged)),
    ];
    for (status, word) in
        [(Status::Failed, "failed"), (Status::Skipped, "skipped"), (Status::Deleted, "removed")]
    {
        if count(status) > 0 {
            parts.push(format!("{} {word}", count(status)));
        }
    }
    out::line(&format!("{}; {} sent", parts.join(", "), human::size(report.totals.bytes_sent)))
}

/// What failed, and why.
fn line(source: &str, error: &Error) -> String {
    let named = error.subject().is_some_and(|subject| source.ends_with(subject));
    if named { error.to_string() } else { format!("{source}: {error}") }
}

/// A line for each failure; a single one is printed like an error, with its hint.
fn end(error: Error, lines: Vec<String>, log: impl Fn(&str)) -> Result<Outcome> {
    if let ([] | [_], false) = (&lines[..], error.kind() == Kind::Partial) {
        return Err(error);
    }
    for line in lines {
        let line = format!("imgpack: {}", imgpack::text::escape_long(&line));
        out::error_line(&line);
        log(&line);
    }
    Ok(Outcome::Failed(error.kind()))
}
