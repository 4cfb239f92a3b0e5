//! TLS to an engine, from the three files that docker's own client reads.
//!
//! It opens no connection.

use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};
use crate::io::look;

/// The settings: `ca.pem` says whom to trust, `cert.pem` and `key.pem` who we are. None of them has to
/// be there but for `ca.pem`.
///
/// # Errors
/// `Missing`, `Malformed`, `Io`.
pub(super) fn config(dir: &Path) -> Result<TlsConfig> {
    let roots = certificates(&dir.join("ca.pem"))?;
    let own = dir.join("cert.pem");
    let client = if look::exists(&own)? {
        let path = dir.join("key.pem");
        let key = PrivateKey::from_pem(&read(&path)?).map_err(|_| unreadable(&path))?;
        Some(ClientCert::new_with_certs(&certificates(&own)?, key))
    } else {
        None
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| unreadable(path))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(unreadable(path)) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::no_such_file(path),
        _ => Error::io(path, "reading", &e),
    })
}

fn unreadable(path: &Path) -> Error {
    Error::malformed("holds no certificate or key in PEM").input(path.display().to_string())
}
