//! Errors as one clear line, a hint, and the exit code that scripts read.

use std::process::ExitCode;

use imgpack::{Error, Kind};

use super::hints;
use super::run::Run;

/// How a verb ended that raised no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All was done.
    Done,
    /// What was compared is not the same.
    Different,
    /// Something failed, with this kind, and the error was printed.
    Failed(Kind),
}

/// Exit code of a kind of error; the table is in the README.
fn status(kind: Kind) -> u8 {
    match kind {
        Kind::Closed => 0,
        Kind::Other | Kind::Unsupported | Kind::Conflict => 1,
        Kind::Usage => 2,
        Kind::Corrupt | Kind::Malformed => 3,
        Kind::Missing => 4,
        Kind::Denied | Kind::Unreachable => 5,
        Kind::Busy => 6,
        Kind::Io => 7,
        Kind::Policy => 8,
        Kind::Partial => 9,
        Kind::Interrupted => 130,
    }
}

/// Prints an error and its hint; gives its exit code.
pub(crate) fn report(error: &Error, run: Option<&Run>) -> ExitCode {
    if error.kind() == Kind::Closed {
        return ExitCode::SUCCESS;
    }
    let signal = run.and_then(Run::signal).filter(|_| error.kind() == Kind::Interrupted);
    let line = format!("imgpack: {}", imgpack::text::escape_long(&error.to_string()));
    super::out::error_line(&line);
    if let Some(run) = run {
        run.log(&line);
    }
    if let Some(hint) = hints::of(error) {
        super::out::error_line(&format!("hint: {hint}"));
    }
    ExitCode::from(signal.unwrap_or_else(|| status(error.kind())))
}

/// The exit code of a run.
pub(crate) fn code(result: imgpack::Result<Outcome>, run: &Run) -> ExitCode {
    match result.and_then(|outcome| super::out::flush().map(|()| outcome)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Different) => ExitCode::FAILURE,
        Ok(Outcome::Failed(kind)) => ExitCode::from(status(kind)),
        Err(error) => report(&error, Some(run)),
    }
}

/// What clap has to say: help on standard output, errors on standard error.
pub(crate) fn usage(error: &clap::Error, typed: &[std::ffi::OsString]) -> ExitCode {
    // A reader that went away needs no help.
    let _ = error.print();
    if let Some(hint) = hints::of_usage(error, typed) {
        super::out::error_line(&format!("hint: {hint}"));
    }
    if error.use_stderr() { ExitCode::from(status(Kind::Usage)) } else { ExitCode::SUCCESS }
}
