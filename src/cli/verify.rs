//! `verify`: every size, digest and diff id of a place, in parallel.

use clap::Args;
use imgpack::copy::{Mode, Policy, Report};
use imgpack::transfer;
use imgpack::transport::discard::Discard;
use imgpack::transport::table::Place;
use imgpack::{Error, Kind, Result};
use serde_json::{Value, json};

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::{human, out};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack verify nginx.tar
  imgpack verify /media/usb/*.tar oci:layout
  imgpack verify store:
  imgpack verify --format json nginx.tar      one record for each place

Exit code: 0 intact, 3 damaged; every damaged blob is listed with its place and the images that need it.")]
pub(crate) struct VerifyArgs {
    /// Archives, directories, or store:
    #[arg(required = true, value_name = "PLACE")]
    pub(crate) places: Vec<String>,
    /// Do not unpack layers to check their diff ids, unless nothing else records what they are
    #[arg(long)]
    pub(crate) no_unpack_check: bool,
    /// Print only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Output format: table or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &VerifyArgs, run: &Run) -> Result<Outcome> {
    let json = match args.format.as_deref() {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => {
            let what = format!("--format {other:?}: expected table or json");
            return Err(Error::new(Kind::Usage, what));
        }
    };
    let mut outcome = Outcome::Done;
    let mut rows = Vec::new();
    for place in &args.places {
        match one(place, args, run) {
            Ok((report, warnings)) => {
                outcome = verdict(&report).unwrap_or(outcome);
                if json {
                    rows.push(row(place, &report, &warnings));
                } else {
                    say(place, &report, args.quiet)?;
                }
            }
            Err(e) if matches!(e.kind(), Kind::Corrupt | Kind::Malformed | Kind::Unsupported) => {
                rows.push(json!({"place": place, "ok": false, "error": e.to_string()}));
                if args.places.len() == 1 {
                    if json {
                        out::line(&Value::Array(rows).to_string())?;
                    }
                    return Err(e);
                }
                out::error_line(&format!(
                    "imgpack: {}",
                    imgpack::text::escape_long(&e.to_string())
                ));
                outcome = Outcome::Failed(Kind::Corrupt);
            }
            Err(e) => return Err(e),
        }
    }
    if json {
        out::line(&Value::Array(rows).to_string())?;
    }
    Ok(outcome)
}

fn one(place: &str, args: &VerifyArgs, run: &Run) -> Result<(Report, Vec<String>)> {
    let place = Place::parse(place)?;
    let source = place.source(run.env(), &|| run.scratch())?;
    for warning in source.warnings() {
        run.ctx().warn(warning);
    }
    let roots = transfer::choose(source.as_ref(), &place, run.ctx())?;
    let policy = Policy { mode: Mode::Survey, unpack: !args.no_unpack_check, ..Policy::default() };
    let sink = Box::new(Discard::new(run.env().temporary.clone(), run.ctx()));
    let report = imgpack::copy::copy(source.as_ref(), sink, &roots, &policy, run.ctx());
    run.finish();
    let report = report?;
    Ok((report, source.warnings().to_vec()))
}

/// What is wrong: damage, and only where there is none that a part could not be read.
fn verdict(report: &Report) -> Option<Outcome> {
    let damaged = !report.failed.is_empty() || !report.damage.is_empty();
    let unread = report.unreadable.iter().map(|(_, error)| error.kind());
    let kind = unread.fold(damaged.then_some(Kind::Corrupt), |worst, kind| match kind {
        Kind::Corrupt | Kind::Malformed | Kind::Unsupported => Some(Kind::Corrupt),
        other => worst.or(Some(other)),
    });
    kind.map(Outcome::Failed)
}

fn say(place: &str, report: &Report, quiet: bool) -> Result<()> {
    let place = place.strip_suffix(':').unwrap_or(place);
    for (_, error) in &report.unreadable {
        out::error_line(&imgpack::text::escape_long(&format!("imgpack: {error}")));
    }
    for damage in &report.damage {
        out::error_line(&imgpack::text::escape_long(&format!(
            "imgpack: {}; needed by {}",
            damage.error.clone().input_or(place).at(damage.digest.to_string()),
            damage.images.join(", ")
        )));
    }
    // The others are told with what is damaged.
    let told = |title: &String| report.damage.iter().any(|damage| damage.images.contains(title));
    for failed in report.failed.iter().filter(|failed| !told(&failed.title)) {
        let names = failed.names.join(", ");
        for error in &failed.errors {
            let line = format!("imgpack: {}: {names}", error.clone().input_or(place));
            out::error_line(&imgpack::text::escape_long(&line));
        }
    }
    if quiet {
        return Ok(());
    }
    let images = report.published.len();
    let names: usize = report.published.iter().map(|image| image.root.titles().len()).sum();
    if verdict(report).is_none() {
        let all = human::count(images, "image", "images");
        // `ls` has a line for each.
        let names = if names > images { format!(", {names} names") } else { String::new() };
        out::line(&format!("{place}: OK, {all}{names}"))
    } else {
        let bad = report.failed.len();
        let all = human::count(images + bad, "image", "images");
        let unread = match report.unreadable.len() {
            0 => String::new(),
            parts => format!(", {} not readable", human::count(parts, "part", "parts")),
        };
        out::line(&format!("{place}: DAMAGED, {bad} of {all}{unread}"))
    }
}

fn row(place: &str, report: &Report, warnings: &[String]) -> Value {
    let damage: Vec<Value> = report
        .damage
        .iter()
        .map(|d| {
            json!({
                "digest": d.digest.to_string(),
                "error": d.error.what(),
                "file": d.error.subject().unwrap_or(place),
                "where": d.error.place(),
                "images": d.images,
            })
        })
        .collect();
    let failed: Vec<Value> = report
        .failed
        .iter()
        .map(|f| {
            let errors: Vec<String> = f.errors.iter().map(ToString::to_string).collect();
            json!({"image": f.title, "names": f.names, "errors": errors})
        })
        .collect();
    let unreadable: Vec<Value> = report
        .unreadable
        .iter()
        .map(|(part, error)| json!({"part": part, "error": error.to_string()}))
        .collect();
    json!({
        "place": place,
        "ok": verdict(report).is_none(),
        "images": report.published.len(),
        "failed": failed,
        "damage": damage,
        "missing": report.missing,
        "unreadable": unreadable,
        "warnings": warnings,
    })
}
