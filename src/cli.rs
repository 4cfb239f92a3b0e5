//! The command line: one file for each verb, and what they share.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

mod args;
mod config;
mod copy;
mod diff;
mod exit;
mod export;
mod filter;
mod hints;
mod history;
mod human;
mod images;
mod import;
mod inspect;
mod layers;
mod list;
mod load;
mod log;
mod login;
mod ls;
mod manual;
mod out;
mod password;
mod pick;
mod progress;
mod prune;
mod pull;
mod push;
mod registries;
mod remote;
mod report;
mod rmi;
mod run;
mod save;
mod serve;
mod signals;
mod sync;
mod table;
mod tag;
mod template;
mod verb;
mod verify;
mod words;

use verb::{Cli, Verb};

/// Runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    let command = match config::command(Cli::command()) {
        Ok(command) => command,
        Err(error) => return exit::report(&error, None),
    };
    let typed = words::read(&command, std::env::args_os().collect());
    let matches = command.try_get_matches_from(&typed);
    let cli = match matches.and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error, &typed),
    };
    let mut run = match run::Run::start(&cli.global) {
        Ok(run) => run,
        Err(error) => return exit::report(&error, None),
    };
    run.recheck(cli.verb.rechecks());
    match cli.verb.network(&run) {
        Ok(Some(network)) => run.reach(network),
        Ok(None) => {}
        Err(error) => return exit::report(&error, Some(&run)),
    }
    let result = match &cli.verb {
        Verb::Save(args) => save::run(args, &run),
        Verb::Load(args) => load::run(args, &run),
        Verb::Import(args) => import::run(args, &run),
        Verb::Export(args) => export::run(args, &run),
        Verb::Images(args) => images::run(args, &run),
        Verb::Inspect(args) => inspect::run(args, &run),
        Verb::History(args) => history::run(args, &run),
        Verb::Tag(args) => tag::run(args, &run),
        Verb::Rmi(args) => rmi::run(args, &run),
        Verb::Prune(args) => prune::run(args, &run),
        Verb::Pull(args) => pull::run(args, &run),
        Verb::Push(args) => push::run(args, &run),
        Verb::Tags(args) => remote::tags(args, &run),
        Verb::Digest(args) => remote::digest(args, &run),
        Verb::Search(args) => remote::search(args, &run),
        Verb::Delete(args) => remote::delete(args, &run),
        Verb::Copy(args) => copy::run(args, &run),
        Verb::Sync(args) => sync::run(args, &run),
        Verb::Serve(args) => serve::run(args, &run),
        Verb::Verify(args) => verify::run(args, &run),
        Verb::Ls(args) => ls::run(args, &run),
        Verb::Diff(args) => diff::run(args, &run),
        Verb::Login(args) => login::login(args, &run),
        Verb::Logout(args) => login::logout(args, &run),
        Verb::Completions(args) => manual::completions(args, Cli::command()),
        Verb::Man(args) => manual::man(args, Cli::command()),
    };
    run.finish();
    exit::code(result, &run)
}
