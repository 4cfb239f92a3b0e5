//! `completions` and `man`, generated from the command itself.

use std::path::PathBuf;

use clap::{Args, Command};
use imgpack::{Error, Result};

use super::exit::Outcome;
use super::out;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack completions bash > ~/.local/share/bash-completion/completions/imgpack
  imgpack completions zsh > ~/.zfunc/_imgpack
  imgpack completions fish > ~/.config/fish/completions/imgpack.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack man | man -l -
  imgpack man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a manual page for every verb into DIR instead
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "imgpack", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Result<Outcome> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, "creating the directory", &e))?;
        clap_mangen::generate_to(command, dir).map_err(|e| Error::io(dir, "writing", &e))?;
        return Ok(Outcome::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    out::print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Done)
}
