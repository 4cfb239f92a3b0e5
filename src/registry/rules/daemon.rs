//! The registries in docker's `daemon.json`: `insecure-registries` and `registry-mirrors`.
//!
//! It reads nothing else there. Networks in `insecure-registries` apply to hosts given as addresses; names
//! are not resolved here.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::registry::settings::Settings;

use super::file::text_of;

/// The two lists.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    /// Hosts, `host[:port]`, and networks that may speak http or show any certificate.
    pub(super) insecure: Vec<String>,
    /// URLs of mirrors of Docker Hub.
    pub(super) mirrors: Vec<String>,
}

/// Reads the daemon's file: the user's own (rootless docker), else the system's.
///
/// # Errors
/// `Io`, `Malformed`.
pub(super) fn load(settings: &Settings) -> Result<Daemon> {
    let user = settings.config_home().map(|dir| dir.join("docker/daemon.json"));
    let system = settings.root.join("etc/docker/daemon.json");
    for path in user.into_iter().chain([system]) {
        let Some(text) = text_of(&path)? else { continue };
        if text.trim().is_empty() {
            continue;
        }
        let all: Value = serde_json::from_str(&text).map_err(|e| {
            let at = format!("line {}, column {}", e.line(), e.column());
            Error::malformed("is not valid JSON").input(path.display().to_string()).at(at)
        })?;
        let strings = |key: &str| {
            let items = all[key].as_array().map_or(&[][..], Vec::as_slice);
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        return Ok(Daemon {
            insecure: strings("insecure-registries"),
            mirrors: strings("registry-mirrors"),
        });
    }
    Ok(Daemon::default())
}
