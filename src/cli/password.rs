//! A password asked for at the terminal.
//!
//! It must not know what it is for.

use std::io::IsTerminal;

use imgpack::registry::settings::Secret;
use imgpack::{Error, Kind, Result};

/// Asks for a password at the terminal, without echo.
///
/// # Errors
/// `Usage` when there is no terminal.
pub(crate) fn ask() -> Result<Secret> {
    need_terminal()?;
    let typed = rpassword::prompt_password("Password: ");
    let asked = |e| Error::io(std::path::Path::new("terminal"), "asking for the password", &e);
    typed.map(Secret::new).map_err(asked)
}

/// Whether there is somebody to ask.
///
/// # Errors
/// `Usage` when there is no terminal.
pub(crate) fn need_terminal() -> Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let what = "there is no terminal to ask at; give --username USER and --password-stdin";
    Err(Error::new(Kind::Usage, what))
}
