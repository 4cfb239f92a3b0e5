//! TLS: which certificates to trust for a host, and which to present.
//!
//! It knows no registry and no request. Directories as `containers-certs.d(5)`. The parts: `files` reads
//! certificates and keys, `trust` decides about a server, `connector` carries the bytes.

mod connector;
mod files;
mod trust;

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result};
use crate::registry::address;
use crate::registry::settings::Settings;

pub use connector::TlsConnector;
pub(crate) use files::{Pair, certificates, pair};
pub use trust::HandshakeError;
pub(crate) use trust::out_of_date;

/// The TLS configuration for a host, `host` or `host:port`. Whoever is listed as insecure may show any
/// certificate.
///
/// # Errors
/// `Io` when a file cannot be read, `Missing` when one that was named is not there, `Malformed` when it
/// holds no certificate or key.
pub fn client_config(settings: &Settings, host: &str) -> Result<Arc<ClientConfig>> {
    let insecure = settings.insecure || address::listed(&settings.insecure_hosts, host);
    config(settings, host, insecure)
}

/// The same, where a rule of this machine ([`super::rules::Endpoint::insecure`]) decides whether any
/// certificate is good.
///
/// # Errors
/// As [`client_config`].
pub fn config(settings: &Settings, host: &str, insecure: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let given = files::of_host(settings, host)?;
    let verifier: Arc<dyn rustls::client::danger::ServerCertVerifier> = if insecure {
        Arc::new(trust::TrustAnyone::new(algorithms))
    } else {
        let mut roots = RootCertStore::empty();
        // Old bundles hold certificates that cannot be read; those of the machine are no matter of ours.
        roots.add_parsable_certificates(files::system(settings)?);
        for (path, cert) in &given.authorities {
            roots
                .add(cert.clone())
                .map_err(|e| files::bad(path, &format!("a certificate: {e}")))?;
        }
        let pinned = given.authorities.into_iter().map(|(_, cert)| cert).collect();
        Arc::new(trust::TrustedRoots::new(roots, pinned, algorithms))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::unsupported(format!("TLS: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match given.client {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(pair.chain, pair.key)
            .map_err(|e| files::bad(&pair.path, &format!("a usable client certificate: {e}")))?,
    };
    Ok(Arc::new(config))
}

/// What a failed connection has to do with TLS; `None` when nothing.
pub fn trouble(err: &std::io::Error) -> Option<HandshakeError> {
    let inner = err.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(trust::explain(inner))
}

#[cfg(test)]
mod tests;
