//! Parsing an `Authorization` header.
//!
//! It decides nothing. RFC 7617, RFC 6750.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A name and a password.
pub struct BasicCredentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// The content of an `Authorization` header.
pub(super) enum AuthorizationHeader {
    Password(BasicCredentials),
    Token(String),
}

/// Reads the value of a header; nothing when it makes no sense.
pub(super) fn read(value: &[u8]) -> Option<AuthorizationHeader> {
    let (scheme, rest) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(AuthorizationHeader::Token(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(AuthorizationHeader::Password(BasicCredentials {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}
