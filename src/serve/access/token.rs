//! Tokens: a user, an expiry time, and a keyed hash of both.
//!
//! A token is valid only in the process that issued it, and only while the list of users is unchanged. There
//! are anonymous tokens too, because a client that was sent for a token expects to get one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// How long a token is good.
pub(super) const LIFE: Duration = Duration::from_secs(300);

/// A token for `user` of the list `generation`, made when the server ran for `now`.
pub(super) fn make(key: &hmac::Key, generation: u64, user: Option<&str>, now: Duration) -> String {
    let end = (now + LIFE).as_secs();
    let who = user.map(|user| format!("u{user}")).unwrap_or_default();
    let text = format!("{end}.{}", URL_SAFE_NO_PAD.encode(who));
    let tag = hmac::sign(key, signed(generation, &text).as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// What is signed; the key has other uses.
fn signed(generation: u64, text: &str) -> String {
    format!("token:{generation}:{text}")
}

/// The owner of a token, if it has one; nothing when the token is invalid or has expired.
pub(super) fn read(
    key: &hmac::Key,
    generation: u64,
    token: &str,
    now: Duration,
) -> Option<Option<String>> {
    let (text, tag) = token.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    // Compares in constant time.
    hmac::verify(key, signed(generation, text).as_bytes(), &tag).ok()?;
    let (end, who) = text.split_once('.')?;
    let who = String::from_utf8(URL_SAFE_NO_PAD.decode(who).ok()?).ok()?;
    let fresh = now.as_secs() <= end.parse().ok()?;
    fresh.then(|| who.strip_prefix('u').map(str::to_owned))
}
