//! The server's certificate: from files, or signed by an authority that is made here.
//!
//! It knows no socket and no clock. The authority is valid for ten years, so that nodes need to trust it
//! only once; the certificate is renewed when its names change or it is about to expire (`dates`).
//! RFC 5280.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::dir::Dir;
use crate::registry::tls::{Pair, certificates, pair};

mod dates;

use dates::{Period, Standing};

/// Largest file here, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// The certificate chain and key of a server.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    authority: Option<String>,
    news: Option<String>,
}

impl Identity {
    /// The certificate, in PEM, that clients are to trust, when it is our own authority.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The SHA-256 of the last certificate that is shown, as `openssl x509 -fingerprint` writes it. For
    /// our own authority that is the one to trust.
    pub fn fingerprint(&self) -> String {
        self.chain.last().map(|last| fingerprint(last)).unwrap_or_default()
    }

    /// A message about the authority: that there is a new one, or will be soon.
    pub fn news(&self) -> Option<&str> {
        self.news.as_deref()
    }
}

fn fingerprint(cert: &CertificateDer<'_>) -> String {
    let hex = Digest::of(cert).hex().to_uppercase();
    let pairs = hex.as_bytes().chunks(2).map(String::from_utf8_lossy);
    pairs.collect::<Vec<_>>().join(":")
}

/// What lies in two files: a certificate with who signed it, and its key.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub fn given(cert: &Path, key: &Path) -> Result<Identity> {
    let Pair { chain, key, .. } = pair(cert, key)?;
    Ok(Identity { chain, key, authority: None, news: None })
}

/// The authorities of client certificates in a file.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    certificates(path)
}

/// The `server.json` of the certificate.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Known {
    names: Vec<String>,
}

/// The authority of a directory.
struct Authority {
    pem: String,
    cert: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    news: Option<String>,
}

/// Our own: the authority in `dir`, made when there is none that is good `now`, and a certificate for
/// `names`, hosts and addresses, made when there is none that fits. Keys are for their owner alone.
/// Waits `wait` seconds for another process that makes them.
///
/// # Errors
/// `Io`, `Busy`, `Malformed` when what lies there is damaged, `Usage` for a name that is none.
pub fn own(dir: &Path, names: &[String], now: OffsetDateTime, wait: u64) -> Result<Identity> {
    let dir = Dir::create(dir)?;
    let _alone = dir.lock(true, wait)?;
    let authority = authority(&dir, now)?;
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    if let (Some(cert), Some(key), Some(known)) =
        (text(&dir, "server.crt")?, text(&dir, "server.key")?, text(&dir, "server.json")?)
        && let Ok(known) = serde_json::from_str::<Known>(&known)
        && known.names == names
        && let Ok(cert) = certificate(&cert)
        && dates::is_good(&cert, &authority.cert, now)
        && let Ok(key) = PrivateKeyDer::from_pem_slice(key.as_bytes())
    {
        return Ok(authority.vouches(cert, key));
    }
    let params = leaf(&names, now)?;
    let key = KeyPair::generate().map_err(|e| failed(&e))?;
    let cert = params.signed_by(&key, &authority.issuer).map_err(|e| failed(&e))?;
    // What says that all is well comes last.
    dir.replace_private("server.key", key.serialize_pem().as_bytes(), true)?;
    dir.replace("server.crt", cert.pem().as_bytes(), true)?;
    let known = serde_json::to_vec(&Known { names }).unwrap_or_default();
    dir.replace("server.json", &known, true)?;
    Ok(authority.vouches(cert.der().clone(), PrivateKeyDer::from(key)))
}

impl Authority {
    fn vouches(self, cert: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Identity {
        let chain = vec![cert, self.cert];
        Identity { chain, key, authority: Some(self.pem), news: self.news }
    }
}

/// The authority of a directory, a new one when it has none that is good.
fn authority(dir: &Dir, now: OffsetDateTime) -> Result<Authority> {
    let shown = |name: &str| dir.join(name).display().to_string();
    let Some(pem) = text(dir, "ca.crt")? else {
        // Clients that trusted one before are only known by what it signed.
        let before = dir.stat("server.crt")?.is_some();
        return made(dir, before.then_some("is not there"), now);
    };
    let cert = certificate(&pem).map_err(|e| e.input(shown("ca.crt")))?;
    let news = match dates::standing(&cert, now).map_err(|e| e.input(shown("ca.crt")))? {
        Standing::Out => return made(dir, Some("is not valid at this time"), now),
        Standing::Good => None,
        Standing::Ending => Some(format!(
            "{} ends in less than {} days: remove it and send SIGHUP for a new one, which all clients \
             must be given then",
            shown("ca.crt"),
            dates::RENEW.whole_days()
        )),
    };
    let what = || "the key of ca.crt is not there; remove ca.crt to make a new authority";
    let key = text(dir, "ca.key")?.ok_or_else(|| Error::missing(what()).input(shown("ca.key")))?;
    let key = KeyPair::from_pem(&key)
        .map_err(|_| Error::malformed("not a private key").input(shown("ca.key")))?;
    Ok(Authority { pem, cert, issuer: Issuer::new(issuer(&key, now), key), news })
}

/// A new authority; `why` it is not the one that clients trust.
fn made(dir: &Dir, why: Option<&str>, now: OffsetDateTime) -> Result<Authority> {
    let key = KeyPair::generate().map_err(|e| failed(&e))?;
    let params = issuer(&key, now);
    let cert = params.self_signed(&key).map_err(|e| failed(&e))?;
    let pem = cert.pem();
    dir.replace_private("ca.key", key.serialize_pem().as_bytes(), true)?;
    dir.replace("ca.crt", pem.as_bytes(), true)?;
    let cert = cert.der().clone();
    let told = |why| {
        let (path, print) = (dir.join("ca.crt"), fingerprint(&cert));
        let path = path.display();
        format!(
            "{path} {why}: a new authority was made, and all clients must be given its certificate \
             (/ca.crt, SHA-256 {print})"
        )
    };
    let news = why.map(told);
    Ok(Authority { pem, cert, issuer: Issuer::new(params, key), news })
}

/// The authority with this key; its name follows from the key, so that it is the same each time.
fn issuer(key: &KeyPair, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = Digest::of(key.public_key_raw()).hex();
    let name = format!("imgpack authority {}", id.get(..12).unwrap_or(&id));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasting(&mut params, dates::of_authority(now));
    params
}

fn leaf(names: &[String], now: OffsetDateTime) -> Result<CertificateParams> {
    let named = |name: &&String| name.parse::<IpAddr>().is_err();
    for name in names.iter().filter(named) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
            let what = format!("no name of a host: {:?}", crate::text::escape(name));
            return Err(Error::new(Kind::Usage, what));
        }
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(|e| failed(&e))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "imgpack serve");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    lasting(&mut params, dates::of_leaf(now));
    Ok(params)
}

fn lasting(params: &mut CertificateParams, (begin, end): Period) {
    (params.not_before, params.not_after) = (begin, end);
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>> {
    let bad = |_| Error::malformed("not a certificate");
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(bad)
}

fn text(dir: &Dir, name: &str) -> Result<Option<String>> {
    let bytes = dir.read(name, MAX_FILE)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn failed(error: &rcgen::Error) -> Error {
    Error::new(Kind::Other, format!("making a certificate: {error}"))
}

#[cfg(test)]
mod tests;
