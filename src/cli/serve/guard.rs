//! The protection of a server: certificates and passwords, from flags; read again on request.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use imgpack::serve::Registry;
use imgpack::serve::access::htpasswd::Users;
use imgpack::serve::access::{Access, AccessRules};
use imgpack::serve::certificates::{self, Identity};
use imgpack::serve::http::tls::{Clients, Tls};
use imgpack::{Error, Kind, Result};
use time::OffsetDateTime;

use super::machine;
use crate::cli::run::Run;

/// Seconds to wait for another server that makes certificates in the same directory.
const WAIT: u64 = 10;

/// Flags of TLS and passwords.
#[derive(Args, Debug)]
#[command(next_help_heading = "Security")]
pub(crate) struct GuardFlags {
    /// Use TLS with a self-signed certificate; further names of this machine follow =
    #[arg(long, value_name = "self-signed[=NAME,…]", conflicts_with = "tls_cert")]
    tls: Option<String>,
    /// Use TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Require client certificates signed by one of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Require a user name and password from this file, made with htpasswd -B
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Require a password only for changes
    #[arg(long)]
    anonymous_pull: bool,
    /// Directory for the self-signed certificate and remembered digests (default: $STATE_DIRECTORY, else
    /// ~/.local/state/imgpack/serve)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Where the certificate comes from.
enum Shown {
    Given(PathBuf, PathBuf),
    Own(PathBuf, Vec<String>),
}

impl GuardFlags {
    /// Whether connections are encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.tls.is_some() || self.tls_cert.is_some()
    }

    /// Whether the certificate is one that nobody trusts yet.
    pub(crate) fn is_own(&self) -> bool {
        self.tls.is_some() && self.tls_cert.is_none()
    }

    /// Whether a password is asked for before reads.
    pub(crate) fn asks(&self) -> bool {
        self.htpasswd.is_some() && !self.anonymous_pull
    }

    /// Where what lasts is kept.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(machine::state_dir)
    }

    fn shown(&self) -> Result<Option<Shown>> {
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Ok(Some(Shown::Given(cert.clone(), key.clone())));
        }
        let Some(text) = &self.tls else {
            if self.client_ca.is_some() {
                let what = "--client-ca needs --tls or --tls-cert";
                return Err(Error::new(Kind::Usage, what));
            }
            return Ok(None);
        };
        let more = match text.split_once('=') {
            None if text == "self-signed" => "",
            Some(("self-signed", names)) => names,
            _ => {
                let what = "--tls: expected self-signed or self-signed=NAME,NAME";
                return Err(Error::new(Kind::Usage, what).input(text.clone()));
            }
        };
        let more = more.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Some(Shown::Own(self.state_dir(), more.map(str::to_owned).collect())))
    }

    fn clients(&self) -> Result<Option<Clients>> {
        let Some(path) = &self.client_ca else { return Ok(None) };
        let authorities = certificates::authorities(path)?;
        Ok(Some(Clients { authorities, optional: self.anonymous_pull }))
    }

    fn users(&self) -> Result<Option<Users>> {
        self.htpasswd.as_deref().map(Users::read).transpose()
    }

    fn rules(&self) -> AccessRules {
        AccessRules { anonymous_pull: self.anonymous_pull, certificates: self.client_ca.is_some() }
    }
}

/// What guards a running server.
pub(crate) struct Guard<'f> {
    flags: &'f GuardFlags,
    /// Passwords.
    pub(crate) access: Arc<Access>,
    /// Certificates.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The certificate of our own authority, in PEM.
    pub(crate) authority: Option<String>,
    /// The SHA-256 of the certificate to trust.
    pub(crate) fingerprint: Option<String>,
}

impl<'f> Guard<'f> {
    /// Reads files, and makes certificates where there are none.
    ///
    /// # Errors
    /// `Usage`, `Io`, `Missing`, `Malformed`.
    pub(crate) fn new(flags: &'f GuardFlags, run: &Run) -> Result<Self> {
        if flags.anonymous_pull && flags.htpasswd.is_none() && flags.client_ca.is_none() {
            let what = "--anonymous-pull needs --htpasswd or --client-ca; without them, no password is asked for";
            return Err(Error::new(Kind::Usage, what));
        }
        let access = Arc::new(Access::new(flags.rules(), flags.users()?)?);
        let mut guard = Self { flags, access, tls: None, authority: None, fingerprint: None };
        if let Some(identity) = identity(flags, run)? {
            guard.authority = identity.authority().map(str::to_owned);
            guard.fingerprint = Some(identity.fingerprint());
            guard.tls = Some(Arc::new(Tls::new(identity, flags.clients()?)?));
        }
        Ok(guard)
    }

    /// Reads the files again; what cannot be read stays unchanged, with a warning.
    pub(crate) fn reload(&self, registry: &Registry, run: &Run) {
        let tell = |what: &str, e: &Error| {
            run.ctx().warn(&format!("{what} is unchanged: {e}"));
        };
        if self.flags.htpasswd.is_some() {
            match self.flags.users() {
                Ok(users) => self.access.replace(users),
                Err(e) => tell("the list of users", &e),
            }
        }
        let Some(tls) = &self.tls else { return };
        let replaced = identity(self.flags, run).and_then(|identity| {
            let Some(identity) = identity else { return Ok(()) };
            let authority = identity.authority().map(str::to_owned);
            tls.replace(identity, self.flags.clients()?)?;
            registry.status().set_authority(authority.as_deref());
            Ok(())
        });
        if let Err(e) = replaced {
            tell("the certificate", &e);
        }
    }
}

fn identity(flags: &GuardFlags, run: &Run) -> Result<Option<Identity>> {
    match flags.shown()? {
        None => Ok(None),
        Some(Shown::Given(cert, key)) => {
            if machine::is_open_to_others(&key) {
                run.ctx().warn(&format!("{}: others can read this key", key.display()));
            }
            certificates::given(&cert, &key).map(Some)
        }
        Some(Shown::Own(dir, more)) => {
            let mut names = machine::names();
            names.extend(more);
            let identity = certificates::own(&dir, &names, OffsetDateTime::now_utc(), WAIT)?;
            if let Some(news) = identity.news() {
                run.ctx().warn(news);
            }
            Ok(Some(identity))
        }
    }
}
