//! `sync`: many images between registries, directories and archives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use imgpack::io::look;
use imgpack::io::output::OutputFile;
use imgpack::sync::{Ends, Prepared, emit, prepare};
use imgpack::transport::table::Scheme;
use imgpack::{Error, Kind, Result};

use super::exit::Outcome;
use super::out;
use super::run::Run;

pub(super) mod args;
mod job;
mod say;

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
    let anew = job.to.scheme == Scheme::DockerArchive && !args.course.force && !args.course.dry_run;
    if anew && look::exists(&job.to.path)? {
        return Err(Error::file_exists(&job.to.path));
    }
    let mut env = run.env_forcing(args.course.force);
    for (host, access) in &job.selection.access {
        env.network.reach(host, access.login.as_ref(), access.cert_dir.as_ref(), access.tls_verify);
    }
    let prepared = prepare(&job, Ends::of(&job, &env)?, run.ctx())?;
    if let Some(path) = &args.course.lock_out {
        write(path, &prepared.lock().to_bytes(), run)?;
    }
    if args.course.dry_run {
        let plan = prepared.plan(run.ctx())?;
        run.finish();
        return say::plan(&plan, json, args.course.quiet);
    }
    confirm(&prepared, args.course.yes)?;
    let report = prepared.run(run.ctx())?;
    run.finish();
    if let Some(path) = &args.course.report {
        let mut text = serde_json::to_vec_pretty(&report.to_value()).unwrap_or_default();
        text.push(b'\n');
        write(path, &text, run)?;
    }
    let base = job.naming.base.as_ref().filter(|_| !args.course.emit.is_empty());
    let plain_http = match base {
        Some(base) => env.network.sink(run.ctx())?.speaks_http(&base.domain),
        None => false,
    };
    for pair in args.course.emit.chunks_exact(2) {
        let dir = Path::new(&pair[1]);
        let sync = run.ctx().sync;
        for warning in emit::write(dir, pair[0].parse()?, &report.moved, plain_http, sync)? {
            run.ctx().warn(&warning);
        }
    }
    say::report(&report, json, args.course.quiet, run)
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
