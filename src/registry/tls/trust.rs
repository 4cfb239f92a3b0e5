//! Whether a server's certificate is valid, and if not, why.
//!
//! It reads no file. In addition to what webpki accepts, a certificate that is byte for byte one of those
//! given for the host is accepted when its dates and names are right: air-gapped sites hand out the server's
//! own self-signed certificate as `ca.crt`, often one that `openssl req -x509` marked as an authority, and
//! webpki does not accept an authority as a server.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Trusts certificates signed by the roots, and those given for the host itself.
#[derive(Debug)]
pub(super) struct TrustedRoots {
    roots: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustedRoots {
    pub(super) fn new(
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { roots, pinned, algorithms }
    }
}

impl ServerCertVerifier for TrustedRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        let chain =
            verify_server_cert_signed_by_trust_anchor(&cert, &self.roots, intermediates, now, all);
        match chain {
            Ok(()) => {}
            // webpki looks at the dates of a certificate before anything else in it.
            Err(e) if out_of_date(&e) || !self.pinned.iter().any(|p| p == end_entity) => {
                return Err(e);
            }
            Err(_) => {}
        }
        verify_server_name(&cert, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Trusts any server, because the user said so.
#[derive(Debug)]
pub(super) struct TrustAnyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustAnyone {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the dates of a certificate are not those of now, or make no sense.
pub(crate) fn out_of_date(err: &Error) -> bool {
    use CertificateError::{
        BadEncoding, Expired, ExpiredContext, NotValidYet, NotValidYetContext, Revoked,
    };
    matches!(
        err,
        Error::InvalidCertificate(
            BadEncoding
                | Expired
                | ExpiredContext { .. }
                | NotValidYet
                | NotValidYetContext { .. }
                | Revoked
        )
    )
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other side speaks plain http (or at least no TLS).
    PlainHttp,
    /// The certificate it showed is not to be trusted; the text says why.
    Certificate(String),
    /// It wants to see a client certificate, or another than the one it saw.
    ClientCertificate,
    /// Anything else, in the TLS library's words.
    Other(String),
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("speaks plain http, not https"),
            Self::Certificate(why) => write!(f, "its certificate is not trusted: {why}"),
            Self::ClientCertificate => f.write_str("wants a client certificate it trusts"),
            Self::Other(text) => write!(f, "TLS: {text}"),
        }
    }
}

/// The words for a failed handshake.
pub(super) fn explain(err: &Error) -> HandshakeError {
    use CertificateError as C;
    let why = match err {
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            return HandshakeError::PlainHttp;
        }
        Error::AlertReceived(alert) => return explain_alert(*alert),
        Error::InvalidCertificate(why) => why,
        other => {
            return HandshakeError::Other(crate::text::escape(&other.to_string()).into_owned());
        }
    };
    HandshakeError::Certificate(match why {
        C::Expired | C::ExpiredContext { .. } => "it has expired".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "it is not valid yet (is this machine's clock right?)".into()
        }
        C::UnknownIssuer => "it is signed by an unknown authority".into(),
        C::NotValidForName => "it is for another name".into(),
        C::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "it names no host (a common name alone does not count)".into()
        }
        C::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(5).map(|name| plain(name)).collect::<Vec<_>>();
            format!("it is for {}", crate::text::escape(&names.join(", ")))
        }
        C::Other(_) if err.to_string().contains("CaUsedAsEndEntity") => {
            "it is the certificate of an authority that is not trusted here".into()
        }
        other => crate::text::escape(&other.to_string()).into_owned(),
    })
}

/// `DnsName("a.test")` as `a.test`: the library gives names in its own notation.
fn plain(name: &str) -> String {
    match name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')) {
        Some(inside) => inside.trim_matches('"').to_owned(),
        None => name.to_owned(),
    }
}

fn explain_alert(alert: rustls::AlertDescription) -> HandshakeError {
    use rustls::AlertDescription as A;
    match alert {
        A::CertificateRequired
        | A::BadCertificate
        | A::UnknownCA
        | A::CertificateUnknown
        | A::CertificateExpired
        | A::UnsupportedCertificate => HandshakeError::ClientCertificate,
        other => HandshakeError::Other(format!("the other side ended the handshake: {other:?}")),
    }
}
