//! Who may do what at the test registry: Basic, or opaque tokens of a realm at `/token`.
//!
//! It knows one user. Docker's token specification.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::profiles::Auth;
use super::super::raw::basic;
use super::super::registry::{PASSWORD, USER};
use super::super::server::{Reply, Request};
use super::super::wire::parameters;
use super::{Place, State};

/// Tokens that were given: what they allow, and until when.
#[derive(Default)]
pub struct Tokens(Mutex<BTreeMap<String, (Vec<String>, Instant)>>);

impl Tokens {
    /// Takes none of them any more.
    pub fn forget(&self) {
        self.0.lock().expect("a lock").clear();
    }

    /// Whether a token allows an action on a repository (`None`: anything at all).
    fn allow(&self, token: &str, need: Option<(&str, &str)>) -> bool {
        let tokens = self.0.lock().expect("a lock");
        let Some((scopes, end)) = tokens.get(token) else { return false };
        let covers = |scope: &String, (name, action): (&str, &str)| {
            let mut parts = scope.rsplitn(2, ':');
            let actions = parts.next().unwrap_or_default();
            let allowed = actions.split(',').any(|a| a == action || a == "*");
            allowed && parts.next().is_some_and(|head| head.ends_with(&format!(":{name}")))
        };
        *end > Instant::now() && need.is_none_or(|need| scopes.iter().any(|s| covers(s, need)))
    }
}

impl State {
    /// The answer to a request that lacks the right, with the challenge that tells how to get it.
    pub(super) fn refuse(&self, request: &Request<'_>, place: &Place) -> Option<Reply> {
        let given = request.head.get("authorization");
        let words = Reply::error(401, "UNAUTHORIZED", "authentication required");
        match self.profile.auth {
            Auth::Open => None,
            _ if self.profile.open_sessions && matches!(place, Place::Upload(..)) => None,
            Auth::Basic | Auth::BasicAtRoot if given == Some(&basic(USER, PASSWORD)) => None,
            Auth::BasicAtRoot if !matches!(place, Place::Ping) => Some(words),
            Auth::Basic | Auth::BasicAtRoot => {
                Some(words.with("WWW-Authenticate", "Basic realm=\"registry\""))
            }
            Auth::Bearer => {
                let action = match request.head.method() {
                    "GET" | "HEAD" => "pull",
                    "DELETE" if !matches!(place, Place::Upload(..)) => "delete",
                    _ => "push",
                };
                let need = match place {
                    Place::Catalog => Some(("catalog", "*")),
                    other => other.name().map(|name| (name, action)),
                };
                let token = given.and_then(|v| v.strip_prefix("Bearer "));
                if token.is_some_and(|token| self.tokens.allow(token, need)) {
                    return None;
                } else if token.is_some() && self.profile.silent_401 {
                    return Some(words);
                }
                Some(words.with("WWW-Authenticate", challenge(request, place, action)))
            }
        }
    }

    /// A request for a token.
    pub(super) fn issue(&self, request: &mut Request<'_>) -> Reply {
        let form = parameters(&String::from_utf8_lossy(&request.read()));
        let field = |name: &str| {
            form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
        };
        let denied = || Reply::error(401, "UNAUTHORIZED", "incorrect username or password");
        let get = request.head.method() == "GET";
        let scopes: Vec<String> = if get {
            request.head.queries("scope")
        } else {
            field("scope").split(' ').map(str::to_owned).collect()
        };
        let known = match (get, field("grant_type")) {
            (true, _) => request.head.get("authorization") == Some(&basic(USER, PASSWORD)),
            (false, "refresh_token") => field("refresh_token") == format!("refresh-{USER}"),
            (false, _) if self.profile.token_post.is_some() => {
                let status = self.profile.token_post.unwrap_or_default();
                return Reply::error(status, "UNSUPPORTED", "no such grant");
            }
            (false, _) => field("username") == USER && field("password") == PASSWORD,
        };
        if !known {
            return denied();
        }
        if self.profile.strict_scopes {
            // A repository that is only to be read must be there.
            let unknown = |scope: &&String| {
                let name = scope.split(':').nth(1).unwrap_or_default();
                scope.ends_with(":pull") && !self.repositories().contains_key(name)
            };
            if let Some(scope) = scopes.iter().find(unknown) {
                self.complain(format!("scope {scope} failed the token request"));
                return denied();
            }
        }
        let token = format!("token-{}", self.number());
        let life = self.profile.token_life;
        let end = Instant::now() + life.max(Duration::from_millis(1));
        self.tokens.0.lock().expect("a lock").insert(token.clone(), (scopes, end));
        let answer = json!({"token": token, "expires_in": life.as_secs()});
        Reply::of(200, "application/json", answer.to_string())
    }
}

fn challenge(request: &Request<'_>, place: &Place, action: &str) -> String {
    let host = request.head.get("host").unwrap_or_default();
    let realm = format!("Bearer realm=\"http://{host}/token\",service=\"mock\"");
    let actions = if action == "push" { "pull,push" } else { action };
    match place {
        Place::Catalog => format!("{realm},scope=\"registry:catalog:*\""),
        other => match other.name() {
            Some(name) => format!("{realm},scope=\"repository:{name}:{actions}\""),
            None => realm,
        },
    }
}
