//! `sync`: many images between registries, directories and archives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use imgpack::io::look;
use imgpack::io::output::OutputFile;
use imgpack::sync::local::LocalOpener;
use imgpack::sync::registries::RegistryOpener;
use imgpack::sync::report::Status;
use imgpack::sync::{End, Prepared, SyncReport, emit, plan::Plan, prepare};
use imgpack::{Error, Kind, Result};

use super::exit::Outcome;
use super::run::Run;
use super::{human, out};

pub(super) mod args;
mod job;

use args::SyncArgs;

pub(crate) fn run(args: &SyncArgs, run: &Run) -> Result<Outcome> {
    let json = match args.course.format.as_str() {
        "text" => false,
        "json" => true,
        other => {
            let what = format!("--format {other:?}: expected text or json");
            return Err(Error::new(Kind::Usage, what));
        }
    };
    let text = |(key, value): (OsString, OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    let variables: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
    let Some(job) = job::job(args, &variables)? else {
        return out::line("Nothing failed; nothing to try again").map(|()| Outcome::Done);
    };
    if let End::Archive(path) = &job.to
        && look::exists(path)?
        && !args.course.force
        && !args.course.dry_run
    {
        return Err(Error::file_exists(path));
    }
    let mut env = run.env_forcing(args.course.force);
    for (host, access) in &job.selection.access {
        env.network.reach(host, access.login.as_ref(), access.cert_dir.as_ref(), access.tls_verify);
    }
    let network = env.network.clone();
    let opener = RegistryOpener::new(LocalOpener::new(env.clone()), env);
    let prepared = prepare(&job, &opener, run.ctx())?;
    if let Some(path) = &args.course.lock_out {
        write(path, &prepared.lock().to_bytes(), run)?;
    }
    if args.course.dry_run {
        let plan = prepared.plan(&opener, run.ctx())?;
        run.finish();
        return show(&plan, json, args.course.quiet);
    }
    confirm(&prepared, args.course.yes)?;
    let report = prepared.run(&opener, run.ctx())?;
    run.finish();
    if let Some(path) = &args.course.report {
        let mut text = serde_json::to_vec_pretty(&report.to_value()).unwrap_or_default();
        text.push(b'\n');
        write(path, &text, run)?;
    }
    let base = job.naming.base.as_ref().filter(|_| !args.course.emit.is_empty());
    let plain_http = match base {
        Some(base) => network.sink(run.ctx())?.speaks_http(&base.domain),
        None => false,
    };
    for pair in args.course.emit.chunks_exact(2) {
        let dir = Path::new(&pair[1]);
        let sync = run.ctx().sync;
        for warning in emit::write(dir, pair[0].parse()?, &report.moved, plain_http, sync)? {
            run.ctx().warn(&warning);
        }
    }
    if json {
        out::line(&report.to_value().to_string())?;
    } else if !args.course.quiet {
        say(&report)?;
    }
    verdict(&report, run)
}

/// Writes a file that appears whole or not at all; an older one is replaced.
fn write(path: &Path, bytes: &[u8], run: &Run) -> Result<()> {
    let mut output = OutputFile::create(path, true, run.ctx().sync)?;
    output.write_all(bytes)?;
    output.commit()
}

/// Shows what would be removed and asks; fails when nobody can be asked.
fn confirm(prepared: &Prepared<'_>, yes: bool) -> Result<()> {
    let removals = prepared.removals();
    if removals.is_empty() || yes {
        return Ok(());
    }
    for name in removals {
        out::error_line(&format!("would remove: {}", name.familiar()));
    }
    let asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !asked {
        let what = format!("{} images would be removed; confirm with --yes", removals.len());
        return Err(Error::new(Kind::Usage, what));
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "Remove {} images at the destination? [y/N] ", removals.len());
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| Error::io(Path::new("standard input"), "reading", &e))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, "nothing was done: the removal was not confirmed"))
}

/// The plan of a dry run.
fn show(plan: &Plan, json: bool, quiet: bool) -> Result<Outcome> {
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

/// One line for each image, and one for all.
fn say(report: &SyncReport) -> Result<()> {
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

/// A line for each failure.
fn verdict(report: &SyncReport, run: &Run) -> Result<Outcome> {
    let failures = report.entries.iter().filter_map(|entry| Some((entry, entry.error.as_ref()?)));
    let lines: Vec<String> = failures.map(|(entry, error)| line(&entry.source, error)).collect();
    let Some(error) = report.error() else {
        lines.iter().for_each(|line| run.ctx().warn(line));
        return Ok(Outcome::Done);
    };
    end(error, lines, |line| run.log(line))
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
