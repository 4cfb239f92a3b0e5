//! What the registry client needs to know of its environment, as plain data.
//!
//! It opens nothing: the binary gathers the values from flags, the environment and the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A password or token; never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Takes charge of a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for a request header and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What a registry asks to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Basic(Login),
    /// A refresh token, to be exchanged at the realm.
    Identity {
        /// The account it belongs to; may be empty.
        username: String,
        /// The refresh token.
        token: Secret,
    },
    /// A token to be sent as it is.
    Bearer(Secret),
}

/// How blobs are uploaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferStyle {
    /// One PATCH with the whole blob; smaller requests when the registry or something before it
    /// refuses them.
    #[default]
    Auto,
    /// One PATCH and a closing PUT, never less.
    Monolithic,
    /// One PUT with the whole blob: registries that know no PATCH.
    PutOnly,
    /// PATCH requests of so many bytes.
    Chunked(u64),
}

/// How one host is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// User and password.
    pub login: Option<Login>,
    /// A directory of certificates.
    pub cert_dir: Option<PathBuf>,
}

/// What one side of a transfer needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The environment variables that matter here: `HOME`, `DOCKER_CONFIG`, `HTTPS_PROXY`, …
    pub variables: BTreeMap<String, String>,
    /// The user's number, for `/run/containers/<uid>`.
    pub user_id: u32,
    /// Where `/etc`, `/run` and the like lie.
    pub root: PathBuf,
    /// User and password that go before every file.
    pub credentials: Option<Login>,
    /// Settings of single hosts, which override those of all hosts.
    pub hosts: BTreeMap<String, HostSettings>,
    /// The one credentials file to read, instead of the usual ones.
    pub authfile: Option<PathBuf>,
    /// Speak plain http to every registry.
    pub plain_http: bool,
    /// Do not verify certificates.
    pub insecure: bool,
    /// Hosts that may speak http or show any certificate.
    pub insecure_hosts: Vec<String>,
    /// Certificate authorities to trust beside the machine's.
    pub ca_certs: Vec<PathBuf>,
    /// Certificate and key to show to a registry that asks.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// A directory of `*.crt`, `*.cert` and `*.key` files, for every registry.
    pub cert_dir: Option<PathBuf>,
    /// Registry host to mirror host, tried before registries.conf.
    pub mirrors: Vec<(String, String)>,
    /// Hosts of token realms that credentials may be sent to although they are not the registry's.
    pub trusted_realms: Vec<String>,
    /// Fetch layers that lie elsewhere (`urls`).
    pub fetch_foreign: bool,
    /// How often a request is tried again without any byte of progress.
    pub retries: u32,
    /// The longest wait of our own choice before a next try.
    pub longest_wait: Duration,
    /// Most bytes per second, both directions together.
    pub limit_rate: Option<u64>,
    /// How blobs are uploaded.
    pub style: TransferStyle,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// From the request to the headers of its answer.
    pub header_timeout: Duration,
    /// Without a single byte, in either direction.
    pub idle_timeout: Duration,
    /// Where upload sessions are remembered over runs; nowhere when absent.
    pub state: Option<PathBuf>,
    /// Requests at once to one host.
    pub jobs: usize,
    /// Largest manifest, in bytes.
    pub max_document: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            user_id: 0,
            root: PathBuf::from("/"),
            credentials: None,
            hosts: BTreeMap::new(),
            authfile: None,
            plain_http: false,
            insecure: false,
            insecure_hosts: Vec::new(),
            ca_certs: Vec::new(),
            client_cert: None,
            cert_dir: None,
            mirrors: Vec::new(),
            trusted_realms: Vec::new(),
            fetch_foreign: false,
            retries: 8,
            longest_wait: Duration::from_secs(30),
            limit_rate: None,
            style: TransferStyle::Auto,
            connect_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            state: None,
            jobs: 8,
            max_document: crate::manifest::MAX_DOCUMENT,
        }
    }
}

impl Settings {
    /// A variable of the environment that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The user's directory, from `HOME`.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// The user's directory of configuration: `XDG_CONFIG_HOME`, else `~/.config`.
    pub fn config_home(&self) -> Option<PathBuf> {
        let set = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        set.or_else(|| Some(self.home()?.join(".config")))
    }
}
