//! `login` and `logout`: credentials, checked and then saved where docker and podman find them.
//!
//! It knows neither files nor helpers; `imgpack::registry::credentials` decides where a login is saved. A
//! password is never read from the command line.

use std::io::{BufRead, IsTerminal, Read, Write};

use clap::Args;
use imgpack::io::look;
use imgpack::progress::Event;
use imgpack::registry::Registries;
use imgpack::registry::address;
use imgpack::registry::credentials::{self, Keychain};
use imgpack::registry::settings::{Credential, Login, Secret, Settings};
use imgpack::{Error, Kind, Result};

use super::exit::Outcome;
use super::out;
use super::password;
use super::registries::ConnectionFlags;
use super::run::Run;

/// Longest password on standard input, in bytes; tokens are some kilobytes.
const MAX_PASSWORD: u64 = 1 << 20;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack login registry.local:5000
  imgpack login -u ci --password-stdin registry.local:5000 < token
  imgpack login --get-login quay.io

The login is saved in the file given by --authfile or $REGISTRY_AUTH_FILE, else in docker's config.json,
which podman, skopeo and others also read, or in the credential helper configured there.")]
pub(crate) struct LoginArgs {
    /// The registry, HOST[:PORT] (default: Docker Hub)
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
    /// User name
    #[arg(short, long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Print who is logged in, and exit
    #[arg(long, conflicts_with_all = ["username", "password_stdin"])]
    pub(crate) get_login: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack logout registry.local:5000")]
pub(crate) struct LogoutArgs {
    /// The registry, HOST[:PORT] (default: Docker Hub)
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,
}

pub(crate) fn login(args: &LoginArgs, run: &Run) -> Result<Outcome> {
    let target = Target::parse(args.registry.as_deref())?;
    let settings = args.connection.settings(run);
    if args.get_login {
        return who(&target, &settings, run);
    }
    if args.username.is_none() && !args.password_stdin && again(&target, &settings, run)? {
        out::line("Login Succeeded")?;
        return Ok(Outcome::Done);
    }
    let login = Login { username: username(args)?, password: password(args)? };
    let token = verify(&settings, &target.domain, &login, run)?;
    let place = credentials::store(&settings, &target.key, &login, token.as_ref(), run.ctx())?;
    run.ctx().progress.event(Event::Detail(&format!("the login is saved by {place}")));
    out::line("Login Succeeded")?;
    Ok(Outcome::Done)
}

pub(crate) fn logout(args: &LogoutArgs, run: &Run) -> Result<Outcome> {
    let target = Target::parse(args.registry.as_deref())?;
    let settings = args.connection.settings(run);
    let shown = credentials::server_key(&target.key);
    if credentials::erase(&settings, &target.key, run.ctx())? {
        out::line(&format!("Removing login credentials for {shown}"))?;
    } else {
        out::line(&format!("Not logged in to {shown}"))?;
    }
    Ok(Outcome::Done)
}

/// Which registry is meant.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// As in references: `docker.io`, `host:port`.
    domain: String,
    /// The same, optionally followed by a namespace.
    key: String,
    /// The namespace, or nothing.
    namespace: String,
}

impl Target {
    /// A host, as docker takes it: with or without a scheme, with or without the API's version; and as
    /// podman, with a namespace.
    fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or("docker.io");
        let bare = address::without_scheme(text).trim_end_matches('/');
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b);
        if address::split(host).0.is_empty() || !host.bytes().all(plain) {
            // A URL with a password in it must not be shown.
            let shown = imgpack::registry::proxy::shown(text);
            let what = format!("a registry must be HOST[:PORT], not {shown:?}");
            return Err(Error::new(Kind::Usage, what));
        }
        let domain = if address::is_hub(host) { "docker.io" } else { host }.to_owned();
        let namespace = if matches!(path, "v1" | "v2") { "" } else { path }.to_owned();
        let key = match namespace.as_str() {
            "" => domain.clone(),
            namespace => format!("{domain}/{namespace}"),
        };
        Ok(Self { domain, key, namespace })
    }
}

/// Prints who is logged in.
fn who(target: &Target, settings: &Settings, run: &Run) -> Result<Outcome> {
    let found = Keychain::new(settings).find(&target.domain, &target.namespace, run.ctx())?;
    match found {
        Some(Credential::Basic(Login { username, .. }) | Credential::Identity { username, .. }) => {
            out::line(&imgpack::text::escape(&username))?;
            Ok(Outcome::Done)
        }
        Some(Credential::Bearer(_)) => {
            out::line("<token>")?;
            Ok(Outcome::Done)
        }
        None => Err(Error::missing("not logged in").input(target.key.clone())),
    }
}

/// Tries the credentials that are known already; whether they are good still.
fn again(target: &Target, settings: &Settings, run: &Run) -> Result<bool> {
    // A file that --authfile names is made by the login that follows.
    if let Some(path) = &settings.authfile
        && !look::exists(path)?
    {
        return Ok(false);
    }
    let found = Keychain::new(settings).find(&target.domain, &target.namespace, run.ctx())?;
    let Some(Credential::Basic(login)) = found else { return Ok(false) };
    out::error_line("Authenticating with existing credentials...");
    match verify(settings, &target.domain, &login, run) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::Denied && std::io::stdin().is_terminal() => {
            out::error_line(&format!("imgpack: {e}"));
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

fn username(args: &LoginArgs) -> Result<String> {
    let name = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin => {
            return Err(Error::new(Kind::Usage, "--password-stdin needs a user: --username USER"));
        }
        None => ask_line("Username: ")?,
    };
    if name.is_empty() || name.contains(':') {
        let what = "a user name must not be empty or contain a colon";
        return Err(Error::new(Kind::Usage, what));
    }
    Ok(name)
}

fn password(args: &LoginArgs) -> Result<Secret> {
    let password = if args.password_stdin {
        let mut text = String::new();
        let mut input = std::io::stdin().lock().take(MAX_PASSWORD);
        input.read_to_string(&mut text).map_err(|e| {
            Error::io(std::path::Path::new("standard input"), "reading the password", &e)
        })?;
        // One end of line, as docker takes it off; a password may end in a space.
        let bare = text.strip_suffix('\n').unwrap_or(&text);
        Secret::new(bare.strip_suffix('\r').unwrap_or(bare))
    } else {
        password::ask()?
    };
    if password.reveal().is_empty() {
        return Err(Error::new(Kind::Usage, "the password is empty"));
    }
    Ok(password)
}

fn ask_line(prompt: &str) -> Result<String> {
    password::need_terminal()?;
    let asked = |e: std::io::Error| Error::io(std::path::Path::new("terminal"), "asking", &e);
    let mut err = std::io::stderr().lock();
    err.write_all(prompt.as_bytes()).and_then(|()| err.flush()).map_err(asked)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(asked)?;
    Ok(line.trim().to_owned())
}

/// Tries credentials at the registry; the identity token that is to be kept in the password's place, when
/// it gave one.
fn verify(settings: &Settings, domain: &str, login: &Login, run: &Run) -> Result<Option<Secret>> {
    // A person waits: an unreachable host is more likely a wrong name than a bad connection.
    let settings = Settings { retries: settings.retries.min(2), ..settings.clone() };
    Registries::new(settings, run.ctx())?.login(domain, login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_taken_as_docker_and_podman_take_it() {
        for (text, domain, key) in [
            (None, "docker.io", "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io", "docker.io"),
            (Some("registry-1.docker.io"), "docker.io", "docker.io"),
            (Some("reg.test:5000"), "reg.test:5000", "reg.test:5000"),
            (Some("https://reg.test/v2/"), "reg.test", "reg.test"),
            (Some("quay.io/team"), "quay.io", "quay.io/team"),
            (Some("[::1]:5000"), "[::1]:5000", "[::1]:5000"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.domain.as_str(), target.key.as_str()), (domain, key), "{text:?}");
        }
        for text in ["", "https://", "a b", "u:hunter2@reg.test", "/x"] {
            let error = Target::parse(Some(text)).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
