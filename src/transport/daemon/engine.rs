//! The engines, where they are, and what all of them are fed.
//!
//! It must not know how to speak with any of them.

use std::io::Write;
use std::path::PathBuf;

use crate::error::Result;
use crate::reference::Reference;

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Docker, by its API.
    Docker,
    /// podman, by its program.
    Podman,
    /// containerd, by `ctr` or `k3s ctr`.
    Containerd,
}

impl Engine {
    /// The scheme of its places, without the colon.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Docker => "docker-daemon",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }
}

/// Where the engines are, as the user or the environment says it.
#[derive(Clone, Debug, Default)]
pub struct Engines {
    /// `unix:///PATH` or `tcp://HOST:PORT`; the usual socket when none is given.
    pub docker_host: Option<String>,
    /// Whether a `tcp:` engine is spoken to by TLS.
    pub docker_tls: bool,
    /// A directory with `ca.pem`, `cert.pem` and `key.pem`.
    pub docker_cert_path: Option<PathBuf>,
    /// containerd's socket; the usual one when none is given.
    pub containerd_address: Option<String>,
    /// containerd's namespace; `default` when none is given.
    pub containerd_namespace: Option<String>,
}

/// Something that is fed an archive. Dropped before `end`, it forgets what it was fed.
pub(super) trait ArchiveFeed: Write + Send {
    /// All was written: waits until the engine is done, and gives its lines.
    fn end(self: Box<Self>) -> Result<Vec<String>>;
}

/// A name in full, as engines without Docker's short forms need it; an ID stays what it is.
pub(super) fn full(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) if !name.starts_with("sha256:") => reference.or_latest().to_string(),
        _ => name.to_owned(),
    }
}
