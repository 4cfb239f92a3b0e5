//! Asking a realm for a token: the forms of the request, and the response.
//!
//! It sends nothing itself. The distribution project's "Token Authentication Specification" (GET) and
//! "OAuth2 Token Authentication" (POST).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::challenge::Bearer;
use crate::error::{Error, Result};
use crate::registry::http::Scope;
use crate::registry::http::url::{Url, encode};
use crate::registry::settings::{Credential, Login, Secret};
use crate::text;

/// Our name at realms.
const CLIENT: &str = "imgpack";
/// A token's life when the realm does not say.
const DEFAULT_LIFE: u64 = 60;
/// Longest life that is believed, in seconds: a day.
const MAX_LIFE: f64 = 86_400.0;

/// How a token is requested.
#[derive(Debug)]
pub(crate) enum TokenMethod<'a> {
    /// GET, with user and password when there are some.
    Get(Option<(&'a str, &'a Secret)>),
    /// POST with a refresh token.
    Refresh(&'a Secret),
    /// POST with user and password.
    Password(&'a Login),
}

/// The ways for a credential, the usual one first.
pub(crate) fn ways(credential: Option<&Credential>) -> Vec<TokenMethod<'_>> {
    match credential {
        None | Some(Credential::Bearer(_)) => vec![TokenMethod::Get(None)],
        Some(Credential::Basic(login)) => {
            vec![
                TokenMethod::Get(Some((&login.username, &login.password))),
                TokenMethod::Password(login),
            ]
        }
        Some(Credential::Identity { username, token }) => {
            vec![TokenMethod::Refresh(token), TokenMethod::Get(Some((username, token)))]
        }
    }
}

/// A request to a realm.
pub(crate) struct TokenRequest {
    /// The URL, with its query.
    pub(crate) url: Url,
    /// The form, when it is a POST.
    pub(crate) form: Option<String>,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
}

/// The value of `Authorization` for a user and password.
pub(crate) fn basic(username: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal())))
}

/// Puts a question; `offline` also asks for a refresh token.
pub(crate) fn question(
    realm: &Url,
    bearer: &Bearer,
    scopes: &[Scope],
    way: &TokenMethod<'_>,
    offline: bool,
) -> TokenRequest {
    let service = bearer.service.as_deref();
    let mut pairs: Vec<(&str, String)> = Vec::new();
    pairs.extend(service.map(|s| ("service", s.to_owned())));
    let each = scopes.iter().map(|s| s.0.clone());
    if let TokenMethod::Get(user) = way {
        // Several scopes are several parameters here, and one with spaces in a form.
        pairs.extend(each.map(|s| ("scope", s)));
        pairs.extend(user.filter(|(name, _)| !name.is_empty()).map(|u| ("account", u.0.into())));
        pairs.push(("client_id", CLIENT.into()));
        pairs.extend(offline.then(|| ("offline_token", "true".into())));
        let authorization = user.map(|(name, password)| basic(name, password));
        return TokenRequest {
            url: realm.clone().with_query(&join(&pairs)),
            form: None,
            authorization,
        };
    }
    if !scopes.is_empty() {
        pairs.push(("scope", each.collect::<Vec<_>>().join(" ")));
    }
    pairs.push(("client_id", CLIENT.into()));
    pairs.extend(offline.then(|| ("access_type", "offline".into())));
    match way {
        TokenMethod::Refresh(token) => {
            pairs.push(("grant_type", "refresh_token".into()));
            pairs.push(("refresh_token", token.reveal().into()));
        }
        TokenMethod::Password(login) => {
            pairs.push(("grant_type", "password".into()));
            pairs.push(("username", login.username.clone()));
            pairs.push(("password", login.password.reveal().into()));
        }
        TokenMethod::Get(_) => {}
    }
    TokenRequest { url: realm.clone(), form: Some(join(&pairs)), authorization: None }
}

fn join(pairs: &[(&str, String)]) -> String {
    let each = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    each.collect::<Vec<_>>().join("&")
}

/// The response of a realm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenResponse {
    /// The token.
    pub(crate) token: Secret,
    /// How long it may be used from now on.
    pub(crate) life: Duration,
    /// For new tokens without the password.
    pub(crate) refresh: Option<Secret>,
}

/// Parses a realm's response. Its `issued_at` is ignored, since clocks differ.
///
/// # Errors
/// `Malformed` when there is no token in it.
pub(crate) fn reply(bytes: &[u8]) -> Result<TokenResponse> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| Error::malformed(format!("no JSON: {}", text::escape_bytes(head(bytes)))))?;
    let secret = |name: &str| {
        let text = value.get(name).and_then(Value::as_str).filter(|t| !t.is_empty())?;
        // It becomes a header, and must not become two.
        text.bytes().all(|b| b.is_ascii_graphic()).then(|| Secret::new(text))
    };
    let token = secret("token").or_else(|| secret("access_token"));
    let token = token.ok_or_else(|| Error::malformed("no token in the reply"))?;
    let told = match value.get("expires_in") {
        Some(Value::String(text)) => text.parse::<f64>().ok(),
        Some(other) => other.as_f64(),
        None => None,
    };
    let told = told.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(DEFAULT_LIFE as f64);
    let told = told.min(MAX_LIFE);
    // Some of it passes on the way and at the other end.
    let life = Duration::from_secs_f64((told - (told / 10.0).min(5.0)).max(1.0));
    Ok(TokenResponse { token, life, refresh: secret("refresh_token") })
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..80).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer() -> Bearer {
        Bearer { service: Some("reg".into()), ..Bearer::default() }
    }

    #[test]
    fn questions_have_the_forms_that_realms_know() {
        let realm = Url::parse("https://auth.example/token?x=1").unwrap();
        let scopes = [Scope("repository:a/b:pull,push".into()), Scope("repository:c:pull".into())];
        let login = Login { username: "al ice".into(), password: Secret::new("s3&cret") };
        let identity =
            Credential::Identity { username: String::new(), token: Secret::new("refresh") };
        let basic = Credential::Basic(login.clone());
        let get = "https://auth.example/token?x=1&service=reg&scope=repository:a/b:pull,push\
                   &scope=repository:c:pull";
        let form =
            "service=reg&scope=repository:a/b:pull,push%20repository:c:pull&client_id=imgpack";
        let ask = |credential: Option<&Credential>, at: usize, offline| {
            let q = question(&realm, &bearer(), &scopes, &ways(credential)[at], offline);
            (q.url.to_string(), q.form, q.authorization)
        };
        assert_eq!(ask(None, 0, false), (format!("{get}&client_id=imgpack"), None, None));
        let (url, none, authorization) = ask(Some(&basic), 0, true);
        assert_eq!(url, format!("{get}&account=al%20ice&client_id=imgpack&offline_token=true"));
        assert_eq!((none, authorization.unwrap()), (None, "Basic YWwgaWNlOnMzJmNyZXQ=".into()));
        assert_eq!(
            ask(Some(&basic), 1, false).1.unwrap(),
            format!("{form}&grant_type=password&username=al%20ice&password=s3%26cret")
        );
        assert_eq!(
            ask(Some(&identity), 0, true).1.unwrap(),
            format!("{form}&access_type=offline&grant_type=refresh_token&refresh_token=refresh")
        );
        assert!(ask(Some(&identity), 1, false).2.unwrap().starts_with("Basic "));
    }

    #[test]
    fn replies_are_read_in_all_their_forms() {
        for (body, token, life) in [
            (r#"{"token":"a","expires_in":300}"#, "a", 295.0),
            (r#"{"access_token":"b","expires_in":20}"#, "b", 18.0),
            (r#"{"token":"","access_token":"c"}"#, "c", 55.0),
            (r#"{"token":"d","expires_in":"100"}"#, "d", 95.0),
            (r#"{"token":"e","expires_in":1}"#, "e", 1.0),
            (r#"{"token":"f","expires_in":-5}"#, "f", 55.0),
            (r#"{"token":"g","expires_in":6,"issued_at":"1999-01-01T00:00:00Z"}"#, "g", 5.4),
            (r#"{"token":"h","expires_in":1e30}"#, "h", 86_395.0),
        ] {
            let reply = reply(body.as_bytes()).unwrap();
            assert_eq!(reply.token.reveal(), token, "{body}");
            assert_eq!(reply.life, Duration::from_secs_f64(life), "{body}");
        }
        let with = reply(br#"{"token":"a","refresh_token":"r"}"#).unwrap();
        assert_eq!(with.refresh.unwrap().reveal(), "r");
        for body in [&b"{}"[..], b"<html>", b"", b"[]", br#"{"token":"a\nb"}"#, br#"{"token":5}"#] {
            assert!(reply(body).is_err(), "{body:?}");
        }
    }
}
