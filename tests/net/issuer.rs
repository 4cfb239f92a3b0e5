//! An issuer of Bearer tokens as docker-registry takes them: ES256 JWT with its certificate (`x5c`).
//!
//! It knows one user and no repository. distribution takes a token for 60 s after its `exp`; `life` is
//! how long a token really works, so that much is taken off here. Docker's token specification.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::raw::basic;
use super::registry::{PASSWORD, USER, openssl};
use super::server::{self, Listener, Reply, Request, Service};
use super::wire::parameters;

/// distribution's `Leeway`, in seconds.
const LEEWAY: i64 = 60;

/// How the issuer behaves.
#[derive(Clone, Debug)]
pub struct Modes {
    /// How long a token works.
    pub life: Duration,
    /// What `expires_in` says, in seconds; absent when `None`.
    pub told: Option<u64>,
    /// Seconds that `issued_at` is off; absent when `None`.
    pub issued_at: Option<i64>,
    /// Only `access_token` in the answer, not `token`.
    pub access_token_only: bool,
    /// What POST answers instead of a token.
    pub post: Option<u16>,
    /// Only the first `scope` parameter is looked at.
    pub first_scope_only: bool,
    /// Answers with a page of HTML.
    pub html: bool,
    /// How many requests are answered with 503 first.
    pub unavailable: usize,
    /// Whether one may pull without a name.
    pub anonymous: bool,
    /// The password of the one user.
    pub password: String,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(300),
            told: Some(300),
            issued_at: Some(0),
            access_token_only: false,
            post: None,
            first_scope_only: false,
            html: false,
            unavailable: 0,
            anonymous: false,
            password: PASSWORD.to_owned(),
        }
    }
}

/// A request for a token.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub scopes: Vec<String>,
    pub grant: String,
    pub headers: Vec<(String, String)>,
    pub status: u16,
}

/// A running issuer.
pub struct Issuer {
    listener: Listener,
    state: Arc<State>,
    dir: tempfile::TempDir,
}

struct State {
    key: EcdsaKeyPair,
    certificate: String,
    modes: Mutex<Modes>,
    asked: Mutex<Vec<Asked>>,
}

impl Issuer {
    /// Starts it with a key of its own.
    pub fn start(modes: Modes) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        openssl(
            dir.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
             -keyout tok.key -out tok.crt -subj /CN=tok -days 3650",
        );
        let key = STANDARD.decode(pem(&dir.path().join("tok.key"))).expect("base64");
        let rng = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &rng);
        let state = Arc::new(State {
            key: key.expect("a P-256 key"),
            certificate: pem(&dir.path().join("tok.crt")),
            modes: Mutex::new(modes),
            asked: Mutex::default(),
        });
        let service: Arc<dyn Service> = Arc::clone(&state) as Arc<dyn Service>;
        Self { listener: server::start(service), state, dir }
    }

    /// Where tokens are asked for.
    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.listener.port())
    }

    /// What signs the tokens.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tok.crt")
    }

    /// Behaves otherwise from now on.
    pub fn modes(&self, modes: Modes) {
        *self.state.modes.lock().expect("a lock") = modes;
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("a lock").clone()
    }

    /// A token, as a test may need one for itself.
    pub fn token(&self, scope: &str) -> String {
        self.state.sign(&[scope.to_owned()], Duration::from_secs(300))
    }
}

/// The base64 of a PEM file's one block.
fn pem(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().filter(|line| !line.starts_with("-----")).collect()
}

impl State {
    fn sign(&self, scopes: &[String], life: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("a date");
        let life = i64::try_from(life.as_secs()).expect("seconds");
        let access: Vec<Value> = scopes.iter().filter_map(|scope| access(scope)).collect();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": "imgpack-test",
            "sub": USER,
            "aud": "imgpack-reg",
            "exp": now + life - LEEWAY,
            "nbf": now - LEEWAY,
            "iat": now,
            "jti": format!("{now}"),
            "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signed = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed.as_ref()))
    }

    /// The answer to a request whose credentials are good, or to nobody's.
    fn grant(&self, modes: &Modes, scopes: &[String], known: bool, refresh: bool) -> Reply {
        let count = if modes.first_scope_only { 1 } else { scopes.len() };
        let mut scopes: Vec<String> = scopes.iter().take(count).cloned().collect();
        if !known {
            scopes.retain(|scope| scope.ends_with(":pull"));
        }
        let token = self.sign(&scopes, modes.life);
        let mut answer = json!({"access_token": token});
        if !modes.access_token_only {
            answer["token"] = json!(token);
        }
        if let Some(told) = modes.told {
            answer["expires_in"] = json!(told);
        }
        if let Some(off) = modes.issued_at {
            let time = time::OffsetDateTime::now_utc() + time::Duration::seconds(off);
            let format = &time::format_description::well_known::Rfc3339;
            answer["issued_at"] = json!(time.format(format).expect("a date"));
        }
        if refresh {
            answer["refresh_token"] = json!(format!("refresh-{USER}"));
        }
        Reply::of(200, "application/json", answer.to_string())
    }

    fn decide(&self, modes: &Modes, request: &Request<'_>, form: &[(String, String)]) -> Reply {
        let field = |name: &str| {
            form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
        };
        if request.head.method() == "GET" {
            let scopes = request.head.queries("scope");
            let refresh = request.head.query("offline_token").is_some_and(|v| v == "true");
            return match request.head.get("authorization") {
                Some(given) if given == basic(USER, &modes.password) => {
                    self.grant(modes, &scopes, true, refresh)
                }
                None if modes.anonymous => self.grant(modes, &scopes, false, false),
                _ => unauthorized(),
            };
        }
        if let Some(status) = modes.post {
            return Reply::error(status, "UNSUPPORTED", "no such grant");
        }
        let scopes: Vec<String> = field("scope").split(' ').map(str::to_owned).collect();
        let known = match field("grant_type") {
            "password" => field("username") == USER && field("password") == modes.password,
            "refresh_token" => field("refresh_token") == format!("refresh-{USER}"),
            _ => return Reply::error(400, "UNSUPPORTED", "grant_type"),
        };
        let refresh = field("access_type") == "offline" || field("grant_type") == "refresh_token";
        if known { self.grant(modes, &scopes, true, refresh) } else { unauthorized() }
    }
}

fn unauthorized() -> Reply {
    Reply::error(401, "UNAUTHORIZED", "incorrect username or password")
        .with("WWW-Authenticate", "Basic realm=\"token\"")
}

/// `repository:name:pull,push` as a claim.
fn access(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}

impl Service for State {
    fn serve(&self, request: &mut Request<'_>) -> Reply {
        let form = parameters(&String::from_utf8_lossy(&request.read()));
        let mut modes = self.modes.lock().expect("a lock");
        let reply = if modes.unavailable > 0 {
            modes.unavailable -= 1;
            Reply::error(503, "UNAVAILABLE", "come back later")
        } else if modes.html {
            Reply::of(200, "text/html", "<!DOCTYPE html><html>Please log in</html>")
        } else {
            let modes = modes.clone();
            self.decide(&modes, request, &form)
        };
        let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let mut scopes = request.head.queries("scope");
        scopes.extend(field("scope").iter().flat_map(|s| s.split(' ')).map(str::to_owned));
        self.asked.lock().expect("a lock").push(Asked {
            method: request.head.method().to_owned(),
            scopes,
            grant: field("grant_type").unwrap_or_default(),
            headers: request.head.headers.clone(),
            status: reply.status,
        });
        reply
    }
}
