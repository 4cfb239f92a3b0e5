//! Validity periods of the certificates made here, and whether one is valid now.
//!
//! It knows no file and no clock. A machine whose clock was never set starts in 1970: a certificate made
//! then must still be valid later, and one made before must not be discarded. RFC 5280, 4.1.2.5.

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::error::{Error, Result};
use crate::registry::tls::out_of_date;

/// How long the authority lasts.
pub(super) const AUTHORITY: Duration = Duration::days(3650);
/// How long a certificate of it lasts; more than 398 days are refused by some clients.
pub(super) const LEAF: Duration = Duration::days(397);
/// How long before its expiry it is renewed.
pub(super) const RENEW: Duration = Duration::days(30);
/// A clock that shows less was never set.
const SET: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
const EPOCH: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// First and last second of a certificate.
pub(super) type Period = (OffsetDateTime, OffsetDateTime);

/// Of an authority made now. It is good for clients whose clock was never set, too.
pub(super) fn of_authority(now: OffsetDateTime) -> Period {
    (EPOCH, now.max(SET) + AUTHORITY)
}

/// Of what an authority signs now.
pub(super) fn of_leaf(now: OffsetDateTime) -> Period {
    match now < SET {
        // Clients may know better what time it is.
        true => of_authority(now),
        // From yesterday on, since clocks of offline machines are not exact.
        false => (now - Duration::days(1), now + LEAF),
    }
}

/// Whether an authority is of use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It ends within [`RENEW`].
    Ending,
    /// It has ended, or has not begun.
    Out,
}

/// How an authority stands; good while the clock was never set.
///
/// # Errors
/// `Malformed` when it is no certificate.
pub(super) fn standing(authority: &CertificateDer<'_>, now: OffsetDateTime) -> Result<Standing> {
    ParsedCertificate::try_from(authority).map_err(|_| Error::malformed("not a certificate"))?;
    // webpki takes no authority for a server, but looks at its dates before it says so.
    let is_out = |at| look(authority, &RootCertStore::empty(), at).is_err_and(|e| out_of_date(&e));
    Ok(match now {
        now if now < SET => Standing::Good,
        now if is_out(now) => Standing::Out,
        now if is_out(now + RENEW) => Standing::Ending,
        _ => Standing::Good,
    })
}

/// Whether a certificate is signed by `authority`, has begun, and does not end soon.
pub(super) fn is_good(
    leaf: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    now: OffsetDateTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.clone().into_owned()).is_err() {
        return false;
    }
    let good = |at| look(leaf, &roots, at).is_ok();
    // What was made before the clock was set lasts longer than some clients take.
    let provisional = || now >= SET && good(EPOCH);
    good(now) && good(now + RENEW) && !provisional()
}

fn look(
    cert: &CertificateDer<'_>,
    roots: &RootCertStore,
    at: OffsetDateTime,
) -> std::result::Result<(), rustls::Error> {
    let cert = ParsedCertificate::try_from(cert)?;
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let all = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&cert, roots, &[], at, all)
}
