//! Access control: passwords of an htpasswd file, tokens issued for them, anonymous reads.
//!
//! It knows no socket. Whether a request is admitted is decided from its head, before any body is read.
//! bcrypt is slow on purpose, so a correct password is remembered for a while, as a keyed hash of the
//! header that carried it. RFC 7617; Docker's token specification.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderName, StatusCode, header};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use crate::error::{Error, Kind, Result};
use crate::locks::{lock, read, write};
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::request::Request;
use crate::serve::route::Route;

pub mod htpasswd;
mod limits;
mod offer;
mod token;

use htpasswd::Users;
pub use limits::PendingCheck;
#[cfg(test)]
pub(crate) use limits::{MAX_FAILURES, MAX_WAITING};
use limits::{PasswordLimits, WINDOW};
pub use offer::BasicCredentials;

/// How long a password that was right need not be checked again.
const KNOWN: Duration = Duration::from_secs(300);
/// Most passwords that are remembered at once.
const MAX_KNOWN: usize = 4096;

/// What is allowed without a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessRules {
    /// Anyone may read.
    pub anonymous_pull: bool,
    /// Client certificates are configured and replace the password.
    pub certificates: bool,
}

/// The access control; shared by all connections.
pub struct Access {
    rules: AccessRules,
    roll: RwLock<Arc<UserList>>,
    key: hmac::Key,
    began: Instant,
    known: Mutex<HashMap<[u8; 32], (Instant, String)>>,
    limits: PasswordLimits,
}

/// The users, and how many other lists of them there were before. Whatever is remembered of a password
/// names that number, so that it ends with its list.
struct UserList {
    generation: u64,
    users: Option<Users>,
}

/// An authenticated client.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's name, or `certificate`.
    pub name: String,
    /// Of the list by which that was found.
    generation: u64,
}

/// The client: its address, and whether it presented a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Whether a client certificate was shown and is good.
    pub certified: bool,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// Whether a request is admitted.
pub enum Admission {
    /// It is admitted, with the caller if authenticated.
    Open(Option<Caller>),
    /// A password must be checked first, which takes a while: [`Access::check`].
    Check(BasicCredentials),
    /// It is refused.
    Refuse(Box<Answer>),
}

impl Access {
    /// Without `users`, everybody may do everything that certificates do not guard.
    ///
    /// # Errors
    /// `Other` when the system gives no random bytes.
    pub fn new(rules: AccessRules, users: Option<Users>) -> Result<Self> {
        let mut secret = [0; 32];
        let random = SystemRandom::new().fill(&mut secret);
        random.map_err(|_| Error::new(Kind::Other, "the system gives no random bytes"))?;
        Ok(Self {
            rules,
            roll: RwLock::new(Arc::new(UserList { generation: 0, users })),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            began: Instant::now(),
            known: Mutex::default(),
            limits: PasswordLimits::default(),
        })
    }

    /// Replaces the list of users: passwords are checked again, and old tokens are invalid.
    /// The same list changes nothing.
    pub fn replace(&self, users: Option<Users>) {
        let mut roll = write(&self.roll);
        if roll.users == users {
            return;
        }
        *roll = Arc::new(UserList { generation: roll.generation + 1, users });
        drop(roll);
        lock(&self.known).clear();
    }

    /// Whether anybody is asked for anything before something is changed.
    pub fn guards_writes(&self) -> bool {
        self.rules.certificates || self.roll().users.is_some()
    }

    fn roll(&self) -> Arc<UserList> {
        read(&self.roll).clone()
    }

    /// Looks at a request; never slow.
    pub fn look(&self, request: &Request, peer: Peer) -> Admission {
        if is_open(&request.route) {
            return Admission::Open(None);
        }
        let roll = self.roll();
        if peer.certified {
            let generation = roll.generation;
            return Admission::Open(Some(Caller { name: "certificate".into(), generation }));
        }
        let Some(users) = &roll.users else {
            let fine = !self.rules.certificates || (self.rules.anonymous_pull && request.is_read());
            let fault = || ApiError::new(Code::Denied, "a client certificate is required");
            return if fine {
                Admission::Open(None)
            } else {
                Admission::Refuse(Box::new(fault().into()))
            };
        };
        let Some(value) = request.headers.get(header::AUTHORIZATION) else {
            return self.without(request);
        };
        match offer::read(value.as_bytes()) {
            // Else who had a password once could renew it for ever.
            Some(offer::AuthorizationHeader::Token(_)) if request.route == Route::Token => {
                Admission::Refuse(self.challenge(request, "a token requires a password"))
            }
            Some(offer::AuthorizationHeader::Token(token)) => match self.bearer(&token, &roll) {
                // A certificate is no user's: its token is of use beside it only.
                Some(Some(user)) if users.has(&user) => {
                    Admission::Open(Some(Caller { name: user, generation: roll.generation }))
                }
                Some(None) => self.without(request),
                _ => Admission::Refuse(self.challenge(request, "the token is no longer valid")),
            },
            Some(offer::AuthorizationHeader::Password(offer)) => {
                match self.known(&offer, roll.generation) {
                    Some(caller) => Admission::Open(Some(caller)),
                    None if self.limits.is_suspect(peer.address) => {
                        let why = "too many wrong passwords from this address";
                        Admission::Refuse(too_many(why, WINDOW))
                    }
                    None => Admission::Check(offer),
                }
            }
            None => Admission::Refuse(self.challenge(request, "the authorization is not valid")),
        }
    }

    /// A request that shows nothing, or a token of nobody's.
    fn without(&self, request: &Request) -> Admission {
        // The base tells clients how to log in; they take what they learn there for all they do. Who
        // has no password fetches a token of nobody's there.
        let shown = request.headers.contains_key(header::AUTHORIZATION);
        let open = match request.route {
            Route::Token => true,
            Route::Base => shown,
            _ => request.is_read(),
        };
        if self.rules.anonymous_pull && open {
            return Admission::Open(None);
        }
        Admission::Refuse(self.challenge(request, "a user name and a password are required"))
    }

    /// A place among the passwords that wait to be checked, to be kept until [`Access::check`] is done.
    /// Whoever had to wait looks again then: others may have been wrong too often, or right with the same.
    ///
    /// # Errors
    /// The refusal, when too many of the same address wait.
    pub fn wait(&self, peer: Peer) -> Result<PendingCheck, Box<Answer>> {
        let why = "too many pending password checks from this address";
        self.limits.wait(peer.address).ok_or_else(|| too_many(why, Duration::from_secs(1)))
    }

    /// Checks a password, at the pace of bcrypt; a name that is unknown costs as much.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(
        &self,
        offer: &BasicCredentials,
        request: &Request,
        peer: Peer,
    ) -> Result<Caller, Box<Answer>> {
        let roll = self.roll();
        let users = roll.users.as_ref();
        if users.is_some_and(|users| users.verify(&offer.user, &offer.password)) {
            let caller = Caller { name: offer.user.clone(), generation: roll.generation };
            let mut known = lock(&self.known);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            // The list may be another by now; this is remembered of the one that was asked.
            known.insert(self.tag(offer, roll.generation), (Instant::now(), offer.user.clone()));
            return Ok(caller);
        }
        self.limits.failed(peer.address);
        Err(self.challenge(request, "wrong user name or password"))
    }

    /// A token for a user, or an anonymous one, as a JSON answer.
    pub fn token(&self, caller: Option<&Caller>) -> Answer {
        let generation = caller.map_or_else(|| self.roll().generation, |caller| caller.generation);
        let user = caller.map(|caller| caller.name.as_str());
        let token = token::make(&self.key, generation, user, self.began.elapsed());
        let life = token::LIFE.as_secs();
        Answer::json(&json!({"token": token, "access_token": token, "expires_in": life}))
            .with(header::CACHE_CONTROL, "no-store")
    }

    /// The owner of a token, if it has one; nothing when it is invalid or of another list of users.
    fn bearer(&self, token: &str, roll: &UserList) -> Option<Option<String>> {
        token::read(&self.key, roll.generation, token, self.began.elapsed())
    }

    /// What is remembered of an offer.
    fn tag(&self, offer: &BasicCredentials, generation: u64) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&generation.to_le_bytes());
        context.update(&(offer.user.len() as u64).to_le_bytes());
        context.update(offer.user.as_bytes());
        context.update(offer.password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn known(&self, offer: &BasicCredentials, generation: u64) -> Option<Caller> {
        let tag = self.tag(offer, generation);
        let mut known = lock(&self.known);
        let (since, user) = known.get(&tag)?;
        if since.elapsed() < KNOWN {
            return Some(Caller { name: user.clone(), generation });
        }
        known.remove(&tag);
        None
    }

    /// 401, with how to do better. Clients of the API do not show a password to a registry that lets
    /// them read without one; a token they fetch by themselves, with a password when they have one.
    fn challenge(&self, request: &Request, why: &str) -> Box<Answer> {
        let answer = Answer::from(ApiError::new(Code::Unauthorized, why));
        let tokens = self.rules.anonymous_pull && request.route != Route::Token;
        let api = !matches!(request.route, Route::Page(_) | Route::Metrics);
        let realm = match request.header(header::HOST).filter(|host| is_host(host)) {
            Some(host) if tokens && api => {
                let scheme = if request.secure { "https" } else { "http" };
                format!("Bearer realm=\"{scheme}://{host}/token\",service=\"imgpack\"")
            }
            _ => "Basic realm=\"imgpack\", charset=\"UTF-8\"".to_owned(),
        };
        let version = HeaderName::from_static("docker-distribution-api-version");
        Box::new(answer.with(header::WWW_AUTHENTICATE, &realm).with(version, "registry/2.0"))
    }
}

/// Whether a route is for everybody: probes, and the certificate that one needs to come back.
fn is_open(route: &Route) -> bool {
    matches!(route, Route::Health | Route::Ready | Route::Authority)
}

/// Whether a `Host` can stand in a header of ours.
fn is_host(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) && !host.is_empty()
}

/// 429, and when to come back.
fn too_many(why: &str, later: Duration) -> Box<Answer> {
    let fault = ApiError::new(Code::TooManyRequests, why);
    let answer = Answer::from(fault.status(StatusCode::TOO_MANY_REQUESTS));
    Box::new(answer.with(header::RETRY_AFTER, &later.as_secs().to_string()))
}

#[cfg(test)]
mod tests;
