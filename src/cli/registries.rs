//! How registries are reached: flags and environment gathered into plain settings.
//!
//! It opens no file and sends nothing; flags are named as in skopeo and docker. The library reads no
//! environment, so the variables that it needs are listed here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use imgpack::registry::settings::{Login, Secret, Settings, TransferStyle};
use imgpack::transport::registry::Network;
use imgpack::{Error, Kind, Result};

use super::run::Run;

/// The variables that registries, credentials, TLS and proxies look at.
const VARIABLES: [&str; 19] = [
    "HOME",
    "PATH",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_CONFIG",
    "DOCKER_AUTH_CONFIG",
    "REGISTRY_AUTH_FILE",
    "CONTAINERS_REGISTRIES_CONF",
    "REGISTRIES_CONFIG_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Text that may hold a password: not shown by `Debug`.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// How one registry is reached: what `login` needs too.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Registries")]
pub(crate) struct ConnectionFlags {
    /// Read credentials from FILE instead of the usual files
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Also trust these certificates (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Client certificate to present to registries (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of the client certificate (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Directory with *.crt, *.cert and *.key for every registry
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Use http instead of https for registries
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Accept any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Registry that may use http or any certificate (HOST[:PORT] or a network)
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
    /// false: every registry may use http or any certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) tls_verify: Option<bool>,
    /// Send credentials to token servers on HOST, even in another domain than the registry
    #[arg(long, value_name = "HOST", hide_short_help = true)]
    pub(crate) trust_realm: Vec<String>,
}

/// How registries are reached by verbs that talk to one side.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryFlags {
    /// User and password; visible in the process list, so prefer `imgpack login`
    #[arg(long, value_name = "USER[:PASSWORD]", hide_default_value = true)]
    pub(crate) creds: Option<Hidden>,
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,
    /// Try a mirror of a registry first
    #[arg(long, value_name = "HOST=MIRROR")]
    pub(crate) mirror: Vec<String>,
    /// Fetch foreign layers from the URLs in the manifest
    #[arg(long, hide_short_help = true)]
    pub(crate) fetch_foreign: bool,
    /// Attempts without progress before giving up
    #[arg(long, visible_alias = "retries", value_name = "N", default_value_t = 8)]
    pub(crate) retry_times: u32,
    /// Longest wait between attempts, unless the registry asks for more
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide_short_help = true)]
    pub(crate) retry_max_delay: u64,
    /// Maximum bytes per second, both directions together (500k, 5M, 1G)
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_rate: Option<String>,
    /// How to upload blobs: auto, mono, put, chunk:MIB
    #[arg(long, value_name = "PROFILE", default_value = "auto", hide_short_help = true)]
    pub(crate) registry_profile: String,
}

/// The same for verbs with two sides.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Registries")]
pub(crate) struct SideFlags {
    #[command(flatten)]
    pub(crate) common: RegistryFlags,
    /// User and password for the source
    #[arg(long, value_name = "USER[:PASSWORD]", hide_default_value = true)]
    pub(crate) src_creds: Option<Hidden>,
    /// User and password for the destination
    #[arg(long, value_name = "USER[:PASSWORD]", hide_default_value = true)]
    pub(crate) dest_creds: Option<Hidden>,
    /// Like --authfile, for the source
    #[arg(long, value_name = "FILE")]
    pub(crate) src_authfile: Option<PathBuf>,
    /// Like --authfile, for the destination
    #[arg(long, value_name = "FILE")]
    pub(crate) dest_authfile: Option<PathBuf>,
    /// Like --cert-dir, for the source
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub(crate) src_cert_dir: Option<PathBuf>,
    /// Like --cert-dir, for the destination
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub(crate) dest_cert_dir: Option<PathBuf>,
    /// Like --tls-verify, for the source
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_short_help = true)]
    pub(crate) src_tls_verify: Option<bool>,
    /// Like --tls-verify, for the destination
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_short_help = true)]
    pub(crate) dest_tls_verify: Option<bool>,
}

/// Which side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where from.
    Source,
    /// Where to.
    Target,
}

impl ConnectionFlags {
    /// What the library needs to know.
    pub(crate) fn settings(&self, run: &Run) -> Settings {
        let value = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
        let mut insecure_hosts = self.insecure_registry.clone();
        if self.tls_verify == Some(false) {
            insecure_hosts.push("*".into());
        }
        Settings {
            variables: VARIABLES.iter().filter_map(value).collect(),
            user_id: rustix::process::getuid().as_raw(),
            authfile: self.authfile.clone(),
            plain_http: self.plain_http,
            insecure: self.insecure,
            insecure_hosts,
            ca_certs: self.ca_cert.clone(),
            client_cert: self.client_cert.clone().zip(self.client_key.clone()),
            cert_dir: self.cert_dir.clone(),
            trusted_realms: self.trust_realm.clone(),
            state: state(),
            jobs: run.ctx().jobs,
            ..Settings::default()
        }
    }
}

impl RegistryFlags {
    /// What the library needs to know.
    ///
    /// # Errors
    /// `Usage` when a value cannot be understood.
    pub(crate) fn settings(&self, run: &Run) -> Result<Settings> {
        warn_of_passwords(run);
        let mut settings = self.connection.settings(run);
        settings.credentials = self.creds.as_ref().map(login).transpose()?;
        settings.mirrors = self.mirror.iter().map(|text| mirror(text)).collect::<Result<_>>()?;
        settings.fetch_foreign = self.fetch_foreign;
        settings.retries = self.retry_times;
        settings.longest_wait = Duration::from_secs(self.retry_max_delay);
        settings.limit_rate = self.limit_rate.as_deref().map(rate).transpose()?;
        settings.style = style(&self.registry_profile)?;
        Ok(settings)
    }
}

impl SideFlags {
    /// The registries of both sides; one set of connections when no flag sets them apart.
    ///
    /// # Errors
    /// As [`RegistryFlags::settings`].
    pub(crate) fn network(&self, run: &Run) -> Result<Network> {
        let apart = self.src_creds.is_some()
            || self.dest_creds.is_some()
            || self.src_authfile.is_some()
            || self.dest_authfile.is_some()
            || self.src_cert_dir.is_some()
            || self.dest_cert_dir.is_some()
            || self.src_tls_verify.is_some()
            || self.dest_tls_verify.is_some();
        let to = if apart { Some(self.settings(Side::Target, run)?) } else { None };
        Ok(Network::new(self.settings(Side::Source, run)?, to))
    }

    /// What the library needs to know of one side; flags for that side go before those for both.
    ///
    /// # Errors
    /// As [`RegistryFlags::settings`].
    pub(crate) fn settings(&self, side: Side, run: &Run) -> Result<Settings> {
        let (creds, authfile, cert_dir, verify) = match side {
            Side::Source => {
                (&self.src_creds, &self.src_authfile, &self.src_cert_dir, self.src_tls_verify)
            }
            Side::Target => {
                (&self.dest_creds, &self.dest_authfile, &self.dest_cert_dir, self.dest_tls_verify)
            }
        };
        let mut flags = self.common.clone();
        flags.creds = creds.clone().or(flags.creds);
        flags.connection.authfile = authfile.clone().or(flags.connection.authfile);
        flags.connection.cert_dir = cert_dir.clone().or(flags.connection.cert_dir);
        flags.connection.tls_verify = verify.or(flags.connection.tls_verify);
        flags.settings(run)
    }
}

/// Where uploads that were cut off are remembered: `$XDG_STATE_HOME/imgpack/uploads`.
fn state() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Some(base?.join("imgpack/uploads"))
}

/// Says that a password on the command line is seen by others; not so one from the environment.
fn warn_of_passwords(run: &Run) {
    const FLAGS: [&str; 3] = ["--creds", "--src-creds", "--dest-creds"];
    let typed = std::env::args_os().skip(1).any(|word| {
        let word = word.to_string_lossy();
        FLAGS
            .iter()
            .any(|flag| word.strip_prefix(flag).is_some_and(|r| r.is_empty() || r.starts_with('=')))
    });
    static SAID: std::sync::Once = std::sync::Once::new();
    if typed {
        SAID.call_once(|| {
            run.ctx().warn(
                "a password on the command line can be read by other users; imgpack login keeps it in a file",
            );
        });
    }
}

fn usage(what: impl Into<String>) -> Error {
    Error::new(Kind::Usage, what)
}

/// `user:password`; the password is asked for when there is none.
fn login(text: &Hidden) -> Result<Login> {
    let (user, password) = match text.0.split_once(':') {
        Some((user, password)) => (user, Secret::new(password)),
        None => (text.0.as_str(), super::password::ask()?),
    };
    if user.is_empty() {
        return Err(usage("credentials must be USER:PASSWORD; the user is missing"));
    }
    Ok(Login { username: user.to_owned(), password })
}

fn mirror(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((host, mirror)) if !host.is_empty() && !mirror.is_empty() => {
            Ok((host.to_owned(), mirror.to_owned()))
        }
        _ => {
            let text = imgpack::text::escape(text);
            Err(usage(format!("a mirror must be HOST=MIRROR, not {text:?}")))
        }
    }
}

/// Bytes per second: a number with k, M or G (thousands), or Ki, Mi, Gi (1024s).
fn rate(text: &str) -> Result<u64> {
    let bad = || {
        usage(format!("a rate must be like 500k, 5M or 1G, not {:?}", imgpack::text::escape(text)))
    };
    let bare = text.trim().trim_end_matches("/s").trim_end_matches(['B', 'b']);
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    let number: f64 = bare[..end].parse().map_err(|_| bad())?;
    let unit: f64 = match &bare[end..] {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        "Ki" | "ki" => 1024.0,
        "Mi" | "mi" => 1024.0 * 1024.0,
        "Gi" | "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let bytes = number * unit;
    if (1.0..1e15).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

fn style(text: &str) -> Result<TransferStyle> {
    let chunk = |size: &str| size.parse::<u64>().ok().filter(|n| (1..=4096).contains(n));
    Ok(match text {
        "auto" => TransferStyle::Auto,
        "mono" => TransferStyle::Monolithic,
        "put" => TransferStyle::PutOnly,
        other => match other.strip_prefix("chunk:").and_then(chunk) {
            Some(size) => TransferStyle::Chunked(size << 20),
            None => {
                let other = imgpack::text::escape(other);
                let what = format!("a profile must be auto, mono, put or chunk:MIB, not {other:?}");
                return Err(usage(what));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        sides: SideFlags,
    }

    fn settings(words: &str, side: Side) -> Result<Settings> {
        let typed = Typed::try_parse_from(format!("x {words}").split_whitespace()).unwrap();
        let global = crate::cli::verb::Cli::try_parse_from(["imgpack", "images"]).unwrap().global;
        typed.sides.settings(side, &Run::start(&global)?)
    }

    #[test]
    fn flags_of_one_side_go_before_those_of_both() {
        let words = "--creds a:b:c --dest-creds d:e --authfile both --src-authfile src --tls-verify=false --dest-tls-verify=true --src-cert-dir dir";
        let source = settings(words, Side::Source).unwrap();
        let target = settings(words, Side::Target).unwrap();
        let login = |u: &str, p: &str| Login { username: u.into(), password: Secret::new(p) };
        assert_eq!(source.credentials, Some(login("a", "b:c")));
        assert_eq!(target.credentials, Some(login("d", "e")));
        assert_eq!(source.authfile, Some("src".into()));
        assert_eq!(target.authfile, Some("both".into()));
        assert_eq!((source.cert_dir, target.cert_dir), (Some("dir".into()), None));
        assert_eq!(source.insecure_hosts, ["*"]);
        assert_eq!(target.insecure_hosts, [""; 0]);
    }

    #[test]
    fn every_flag_reaches_the_settings() {
        let words = "--ca-cert a --ca-cert b --client-cert c --client-key k --plain-http --insecure --insecure-registry h:1 --trust-realm r --mirror docker.io=m:5000 --fetch-foreign --retry-times 3 --limit-rate 5M --registry-profile chunk:16";
        let got = settings(words, Side::Source).unwrap();
        assert_eq!(got.ca_certs, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(got.client_cert, Some(("c".into(), "k".into())));
        assert!(got.plain_http && got.insecure && got.fetch_foreign);
        assert_eq!(got.insecure_hosts, ["h:1"]);
        assert_eq!(got.trusted_realms, ["r"]);
        assert_eq!(got.mirrors, [("docker.io".to_owned(), "m:5000".to_owned())]);
        assert_eq!((got.retries, got.limit_rate), (3, Some(5_000_000)));
        assert_eq!(got.style, TransferStyle::Chunked(16 << 20));
        let none = settings("", Side::Source).unwrap();
        assert_eq!((none.retries, none.limit_rate, none.style), (8, None, TransferStyle::Auto));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for words in [
            "--mirror docker.io",
            "--mirror =m",
            "--limit-rate fast",
            "--limit-rate 0",
            "--limit-rate 5T",
            "--registry-profile chunk:0",
            "--registry-profile twice",
            "--creds :hunter2",
        ] {
            let error = settings(words, Side::Source).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{words}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn rates_are_in_thousands_unless_they_say_otherwise() {
        for (text, want) in [
            ("1", 1),
            ("500k", 500_000),
            ("1.5M", 1_500_000),
            ("2G", 2_000_000_000),
            ("1MiB/s", 1 << 20),
            ("10MB", 10_000_000),
        ] {
            assert_eq!(rate(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_in_what_debug_shows() {
        let typed = Typed::try_parse_from(["x", "--creds", "u:hunter2"]).unwrap();
        assert!(!format!("{:?}", typed.sides).contains("hunter2"));
    }
}
