//! `completions` and `man`, generated from the command itself.

use clap::CommandFactory;
use imgpack::{Error, Result};

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::out;

pub(crate) fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "imgpack", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

pub(crate) fn man(args: &ManArgs) -> Result<u8> {
    let command = Cli::command();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, "creating the directory", &e))?;
        clap_mangen::generate_to(command, dir).map_err(|e| Error::io(dir, "writing", &e))?;
        return Ok(0);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    out::print(&String::from_utf8_lossy(&page))?;
    Ok(0)
}
