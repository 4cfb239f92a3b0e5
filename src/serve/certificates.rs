//! Certificates to show: those of files, or an authority of our own and what it signs.
//!
//! It knows no socket and no clock. The authority stays the same for ten years, so that nodes need to
//! trust it once; what it signs is made anew when its names change or its time runs out. RFC 5280.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::dir::Dir;
use crate::registry::tls::{Pair, certificates, pair};

/// Days that the authority lasts.
const AUTHORITY: i64 = 3650;
/// Days that a certificate of it lasts; more than 398 are refused by some clients.
const LEAF: i64 = 397;
/// Days before its end when it is made anew.
const RENEW: i64 = 30;
/// Largest file here, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What a server shows.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    authority: Option<String>,
}

impl Identity {
    /// The certificate, in PEM, that clients are to trust, when it is our own authority.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The SHA-256 of the last certificate that is shown, as `openssl x509 -fingerprint` writes it. For
    /// our own authority that is the one to trust.
    pub fn fingerprint(&self) -> String {
        let Some(last) = self.chain.last() else { return String::new() };
        let hex = Digest::of(last).hex().to_uppercase();
        let pairs = hex.as_bytes().chunks(2).map(String::from_utf8_lossy);
        pairs.collect::<Vec<_>>().join(":")
    }
}

/// What lies in two files: a certificate with who signed it, and its key.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub fn given(cert: &Path, key: &Path) -> Result<Identity> {
    let Pair { chain, key, .. } = pair(cert, key)?;
    Ok(Identity { chain, key, authority: None })
}

/// The authorities of client certificates in a file.
///
/// # Errors
/// `Io`, `Missing`, `Malformed`.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    certificates(path)
}

/// What is known of the certificate that lies beside it.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Known {
    names: Vec<String>,
    /// Seconds since 1970.
    expires: i64,
}

/// Our own: the authority in `dir`, made when there is none, and a certificate for `names`, hosts and
/// addresses, made when there is none that fits. Keys are for their owner alone.
///
/// # Errors
/// `Io`, `Busy`, `Malformed` when what lies there is damaged, `Usage` for a name that is none.
pub fn own(dir: &Path, names: &[String], now: OffsetDateTime, wait: u64) -> Result<Identity> {
    let dir = Dir::create(dir)?;
    let _alone = dir.lock(true, wait)?;
    let (authority, issuer) = authority(&dir, now)?;
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    let shown = |name: &str| dir.join(name).display().to_string();
    if let (Some(cert), Some(key), Some(known)) =
        (text(&dir, "server.crt")?, text(&dir, "server.key")?, text(&dir, "server.json")?)
        && let Ok(known) = serde_json::from_str::<Known>(&known)
        && known.names == names
        && known.expires > (now + Duration::days(RENEW)).unix_timestamp()
        && let Ok(identity) = identity(&cert, &authority, &key)
    {
        return Ok(identity);
    }
    let params = leaf(&names, now)?;
    let expires = params.not_after.unix_timestamp();
    let key = KeyPair::generate().map_err(|e| failed(&e))?;
    let cert = params.signed_by(&key, &issuer).map_err(|e| failed(&e))?.pem();
    let key = key.serialize_pem();
    // What says that all is well comes last.
    dir.replace_private("server.key", key.as_bytes(), true)?;
    dir.replace("server.crt", cert.as_bytes(), true)?;
    let known = serde_json::to_vec(&Known { names, expires }).unwrap_or_default();
    dir.replace("server.json", &known, true)?;
    identity(&cert, &authority, &key).map_err(|e| e.input(shown("server.crt")))
}

/// The authority of a directory, in PEM, and what signs in its name.
fn authority(dir: &Dir, now: OffsetDateTime) -> Result<(String, Issuer<'static, KeyPair>)> {
    let shown = |name: &str| dir.join(name).display().to_string();
    if let Some(pem) = text(dir, "ca.crt")? {
        let what = || "the key of ca.crt is not there; remove ca.crt to make a new authority";
        let key =
            text(dir, "ca.key")?.ok_or_else(|| Error::missing(what()).input(shown("ca.key")))?;
        let key = KeyPair::from_pem(&key)
            .map_err(|_| Error::malformed("not a private key").input(shown("ca.key")))?;
        return Ok((pem, Issuer::new(issuer(&key, now), key)));
    }
    let key = KeyPair::generate().map_err(|e| failed(&e))?;
    let params = issuer(&key, now);
    let pem = params.self_signed(&key).map_err(|e| failed(&e))?.pem();
    dir.replace_private("ca.key", key.serialize_pem().as_bytes(), true)?;
    dir.replace("ca.crt", pem.as_bytes(), true)?;
    Ok((pem, Issuer::new(params, key)))
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
    lasting(&mut params, now, AUTHORITY);
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
    lasting(&mut params, now, LEAF);
    Ok(params)
}

/// From yesterday on, since clocks of offline machines are not exact.
fn lasting(params: &mut CertificateParams, now: OffsetDateTime, days: i64) {
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(days);
}

fn identity(cert: &str, authority: &str, key: &str) -> Result<Identity> {
    let bad = |_| Error::malformed("not a certificate with its key");
    let chain = [cert, authority]
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
        .into_iter()
        .collect::<std::result::Result<_, _>>()
        .map_err(bad)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(bad)?;
    Ok(Identity { chain, key, authority: Some(authority.to_owned()) })
}

fn text(dir: &Dir, name: &str) -> Result<Option<String>> {
    let bytes = dir.read(name, MAX_FILE)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn failed(error: &rcgen::Error) -> Error {
    Error::new(Kind::Other, format!("making a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_stays_and_its_certificate_follows_names_and_time() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("state");
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let make =
            |text: &str, days| own(&dir, &names(text), now + Duration::days(days), 1).unwrap();
        let first = make("localhost 127.0.0.1 ::1", 0);
        let again = make("127.0.0.1 localhost ::1 localhost", 100);
        assert_eq!(again.chain, first.chain, "the same names in another order");
        for (text, days) in [("localhost reg.lan", 100), ("localhost 127.0.0.1 ::1", LEAF - RENEW)]
        {
            let other = make(text, days);
            assert_ne!(other.chain[0], first.chain[0]);
            assert_eq!(other.chain[1], first.chain[1]);
            assert_eq!(other.fingerprint(), first.fingerprint());
            assert_eq!(other.authority(), first.authority());
        }
        for (name, mode) in [("ca.key", 0o600), ("server.key", 0o600)] {
            let meta = std::fs::metadata(dir.join(name)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
        }
        assert_eq!(first.fingerprint().len(), 32 * 3 - 1);
        std::fs::remove_file(dir.join("ca.key")).unwrap();
        let error = own(&dir, &names("localhost"), now, 1).err().unwrap();
        assert_eq!(error.kind(), Kind::Missing);
    }

    #[test]
    fn names_that_no_host_has_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "a b", "a/b", "bad\nname", "ä"] {
            let made = own(dir.path(), &[name.to_owned()], OffsetDateTime::UNIX_EPOCH, 1);
            assert_eq!(made.err().map(|e| e.kind()), Some(Kind::Usage), "{name:?}");
        }
    }
}
