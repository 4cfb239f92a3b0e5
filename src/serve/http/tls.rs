//! TLS on accepted connections, with certificates that can be changed while the server runs.
//!
//! It knows no request. TLS 1.2 and 1.3; HTTP/2 is negotiated here and nowhere else. A connection keeps
//! its initial certificate. RFC 7301.

use std::sync::{Arc, RwLock};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Kind, Result};
use crate::locks::{read, write};
use crate::serve::certificates::Identity;

/// Whose certificates clients may show.
pub struct Clients {
    /// Who signs them.
    pub authorities: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Whether one may come without.
    pub optional: bool,
}

/// What is shown, and asked for; shared by all connections.
pub struct Tls(RwLock<Arc<ServerConfig>>);

impl Tls {
    /// Shows `identity`; asks for certificates of `clients`.
    ///
    /// # Errors
    /// `Malformed` when key and certificate do not belong together.
    pub fn new(identity: Identity, clients: Option<Clients>) -> Result<Self> {
        Ok(Self(RwLock::new(config(identity, clients)?)))
    }

    /// Shows something else from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; what was shown before is still shown then.
    pub fn replace(&self, identity: Identity, clients: Option<Clients>) -> Result<()> {
        let config = config(identity, clients)?;
        *write(&self.0) = config;
        Ok(())
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = read(&self.0).clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn config(identity: Identity, clients: Option<Clients>) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |e: &dyn std::fmt::Display| Error::malformed(format!("TLS: {e}"));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| Error::new(Kind::Other, format!("TLS: {e}")))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            for authority in clients.authorities {
                roots.add(authority).map_err(|e| unusable(&e))?;
            }
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if clients.optional {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(|e| unusable(&e))?)
        }
    };
    let mut config =
        builder.with_single_cert(identity.chain, identity.key).map_err(|e| unusable(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
