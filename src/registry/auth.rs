//! Authorization at a host: answers challenges; fetches, keeps and drops tokens.
//!
//! It does not decide whether a request is retried. Tokens are kept by host and scopes, and expire counting
//! from when they were received; for one set of scopes only one thread asks.

pub(crate) mod challenge;
pub(crate) mod realm;
pub(crate) mod scope;
pub(crate) mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Cause, Error, Kind, Result};
use crate::locks::lock;
use crate::registry::credentials::Keychain;
use crate::registry::http::client::{Client, Exchange};
use crate::registry::http::fault::ErrorBody;
use crate::registry::http::url::Url;
use crate::registry::http::{Body, Method, Response, Scope};
use crate::registry::retry::{self, Backoff};
use crate::registry::settings::{Credential, Login, Secret};

use challenge::{Bearer, Challenge};
use realm::Trust;
use token::{TokenMethod, TokenRequest, TokenResponse};

/// Largest reply of a realm, in bytes.
const MAX_REPLY: u64 = 1 << 20;
/// How often a thread that waits for another's token looks whether the run goes on.
const SLICE: Duration = Duration::from_millis(200);
/// What `expires_in` is counted in.
const SECOND: Duration = Duration::from_secs(1);

/// What a request is authorized with.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// The value of `Authorization`.
    pub(crate) header: Secret,
    /// Of a token: when it ends, and whether the host has accepted it before.
    token: Option<(Instant, Arc<AtomicBool>)>,
}

impl Grant {
    /// Takes note that the host accepted it.
    pub(crate) fn accepted(&self) {
        if let Some((_, accepted)) = &self.token {
            accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is a token that was good and, since it is refused now, has ended: by its own
    /// `expires_in`, which counts whole seconds, or before.
    pub(crate) fn has_ended(&self) -> bool {
        self.token.as_ref().is_some_and(|(until, accepted)| {
            accepted.load(Ordering::Relaxed) || *until <= Instant::now() + SECOND
        })
    }
}

/// The registry that grants are for.
pub(crate) struct GrantTarget<'a> {
    pub(crate) client: &'a Client,
    /// Its URL.
    pub(crate) url: Url,
    /// Whether plain http may be spoken to it.
    pub(crate) may_http: bool,
    /// Whether any certificate is good.
    pub(crate) insecure: bool,
}

/// A host's challenges, credentials and tokens.
pub(crate) struct Auth {
    keychain: Arc<Keychain>,
    fixed: Option<Credential>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the host asked for last.
    asked: Option<Challenge>,
    /// Credentials by repository; helpers are slow.
    credentials: HashMap<String, Option<Credential>>,
    tokens: Vec<HeldToken>,
    /// Scopes that a thread is asking for.
    asking: Vec<Vec<Scope>>,
    /// Who we said we are.
    user: Option<String>,
    /// Why credentials were kept back.
    withheld: Option<String>,
    /// Whether refusals are not answered at all.
    silent: bool,
    /// Whether the host is on this machine, once that is known.
    here: Option<bool>,
}

struct HeldToken {
    scopes: Vec<Scope>,
    header: Secret,
    until: Instant,
    life: Duration,
    accepted: Arc<AtomicBool>,
}

impl HeldToken {
    fn new(scopes: Vec<Scope>, reply: &TokenResponse) -> Self {
        let header = Secret::new(format!("Bearer {}", reply.token.reveal()));
        let (until, life) = (Instant::now() + reply.life, reply.life);
        Self { scopes, header, until, life, accepted: Arc::default() }
    }

    fn grant(&self) -> Grant {
        let token = Some((self.until, self.accepted.clone()));
        Grant { header: self.header.clone(), token }
    }
}

impl Auth {
    /// Knows nothing yet; `fixed` goes before the keychain.
    pub(crate) fn new(keychain: Arc<Keychain>, fixed: Option<Credential>) -> Self {
        Self { keychain, fixed, state: Mutex::default(), changed: Condvar::new() }
    }

    /// What to send without being asked, from what the host asked for before. It lasts for `lasting`
    /// where its realm gives tokens that do.
    pub(crate) fn grant(
        &self,
        party: &GrantTarget<'_>,
        scopes: &[Scope],
        lasting: Duration,
    ) -> Result<Option<Grant>> {
        let asked = self.lock().asked.clone();
        match asked {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(party, scopes),
            Some(Challenge::Bearer(bearer)) => {
                let scopes = scope::merge(scopes.iter().map(|s| s.0.as_str()));
                self.token(party, &bearer, &scopes, lasting).map(Some)
            }
        }
    }

    /// What to send after a refusal; `None` when there is nothing else to try.
    pub(crate) fn answer(
        &self,
        party: &GrantTarget<'_>,
        refusal: &Response,
        scopes: &[Scope],
        used: Option<&Grant>,
    ) -> Result<Option<Grant>> {
        // gcr.io says nothing on later refusals, so what was asked before holds.
        let asked = challenge::of(refusal).or_else(|| self.lock().asked.clone());
        if self.lock().silent {
            return Ok(None);
        }
        let Some(asked) = asked else {
            // Looked up all the same: who reads the refusal is told whether there are any.
            return self.credential(party, scopes).map(|_| None);
        };
        let grant = match &asked {
            Challenge::Basic => {
                self.lock().asked = Some(Challenge::Basic);
                self.basic(party, scopes)?
            }
            Challenge::Bearer(bearer) => {
                let kept = Bearer { scope: None, error: None, ..bearer.clone() };
                let mut state = self.lock();
                state.asked = Some(Challenge::Bearer(kept));
                if let Some(used) = used {
                    state.tokens.retain(|held| held.header != used.header);
                }
                drop(state);
                let first = bearer.scope.iter().flat_map(|s| s.split_ascii_whitespace());
                let all = scope::merge(first.chain(scopes.iter().map(|s| s.0.as_str())));
                Some(self.token(party, bearer, &all, Duration::ZERO)?)
            }
        };
        Ok(grant.filter(|grant| used.is_none_or(|used| used.header != grant.header)))
    }

    /// Whether a refusal says nothing of what is asked for, and nothing was asked for before.
    pub(crate) fn needs_challenge(&self, refusal: &Response) -> bool {
        let state = self.lock();
        !state.silent && state.asked.is_none() && challenge::of(refusal).is_none()
    }

    /// Whether there are credentials that might be presented.
    pub(crate) fn has_credentials(&self) -> bool {
        self.fixed.is_some() || self.lock().credentials.values().any(Option::is_some)
    }

    /// Answers no refusal from now on.
    pub(crate) fn stay_silent(&self) {
        self.lock().silent = true;
    }

    /// The identity that was presented to the host, and why no other.
    pub(crate) fn known_as(&self) -> (Option<String>, Option<String>) {
        let state = self.lock();
        (state.user.clone(), state.withheld.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn credential(&self, party: &GrantTarget<'_>, scopes: &[Scope]) -> Result<Option<Credential>> {
        if let Some(fixed) = &self.fixed {
            return Ok(Some(fixed.clone()));
        }
        let path = scopes.iter().find_map(scope::repository).unwrap_or_default().to_owned();
        if let Some(known) = self.lock().credentials.get(&path) {
            return Ok(known.clone());
        }
        let host = party.url.authority();
        let found = self.keychain.find(&host, &path, &party.client.ctx)?;
        self.lock().credentials.insert(path, found.clone());
        Ok(found)
    }

    fn basic(&self, party: &GrantTarget<'_>, scopes: &[Scope]) -> Result<Option<Grant>> {
        let Some(credential) = self.credential(party, scopes)? else { return Ok(None) };
        Ok(Some(self.present(&credential)))
    }

    /// The credential itself as a header.
    fn present(&self, credential: &Credential) -> Grant {
        let (user, header) = match credential {
            Credential::Basic(login) => {
                (login.username.clone(), token::basic(&login.username, &login.password))
            }
            Credential::Identity { username, token } => {
                (username.clone(), token::basic(username, token))
            }
            Credential::Bearer(token) => (String::new(), format!("Bearer {}", token.reveal())),
        };
        self.lock().user = Some(user).filter(|u| !u.is_empty());
        Grant { header: Secret::new(header), token: None }
    }

    /// A token from the cache or from the realm.
    fn token(
        &self,
        party: &GrantTarget<'_>,
        bearer: &Bearer,
        scopes: &[Scope],
        lasting: Duration,
    ) -> Result<Grant> {
        let mut state = self.lock();
        loop {
            party.client.ctx.check()?;
            let now = Instant::now();
            state.tokens.retain(|held| held.until > now);
            let found = state.tokens.iter().find(|held| {
                let left = held.until - now;
                // Of a short life no more than half may be asked for.
                scope::covers(&held.scopes, scopes) && left >= lasting.min(held.life / 2)
            });
            if let Some(held) = found {
                return Ok(held.grant());
            }
            if !state.asking.iter().any(|other| scope::covers(other, scopes)) {
                break;
            }
            let waited = self.changed.wait_timeout(state, SLICE);
            state = waited.map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
        state.asking.push(scopes.to_vec());
        drop(state);
        let result = self.fetch(party, bearer, scopes);
        let mut state = self.lock();
        if let Some(at) = state.asking.iter().position(|s| s == scopes) {
            state.asking.remove(at);
        }
        self.changed.notify_all();
        let (scopes, reply) = result?;
        let held = HeldToken::new(scopes, &reply);
        let grant = held.grant();
        state.tokens.push(held);
        Ok(grant)
    }

    /// Asks the realm, first for all scopes; which of them the token is for.
    fn fetch(
        &self,
        party: &GrantTarget<'_>,
        bearer: &Bearer,
        scopes: &[Scope],
    ) -> Result<(Vec<Scope>, TokenResponse)> {
        let credential = self.credential(party, scopes)?;
        if let Some(Credential::Bearer(token)) = &credential {
            // Given to be sent as it is, for as long as it is good.
            let (token, life) = (token.clone(), Duration::from_secs(60));
            return Ok((scopes.to_vec(), TokenResponse { token, life, refresh: None }));
        }
        match self.ask(party, bearer, scopes, credential.as_ref(), false) {
            Err(e) if e.kind() == Kind::Denied && scopes.len() > 1 => {
                // Docker Hub refuses the whole request for one name that it does not like.
                party.client.detail(&format!("{}; requesting less", e.what()));
                let first = vec![scopes[0].clone()];
                let reply = self.ask(party, bearer, &first, credential.as_ref(), false)?;
                Ok((first, reply))
            }
            other => Ok((scopes.to_vec(), other?)),
        }
    }

    /// Asks a realm with these credentials for a token that allows nothing, to see whether it knows them.
    pub(crate) fn introduce(
        &self,
        party: &GrantTarget<'_>,
        refusal: &Response,
        login: &Login,
    ) -> Result<Option<Secret>> {
        let Some(Challenge::Bearer(bearer)) = challenge::of(refusal) else { return Ok(None) };
        let credential = Credential::Basic(login.clone());
        let reply = self.ask(party, &bearer, &[], Some(&credential), true)?;
        if let Some(withheld) = self.known_as().1 {
            return Err(Error::new(Kind::Denied, withheld).input(party.url.authority()));
        }
        let mut state = self.lock();
        state.tokens.push(HeldToken::new(Vec::new(), &reply));
        state.asked = Some(Challenge::Bearer(Bearer { scope: None, error: None, ..bearer }));
        Ok(reply.refresh)
    }

    fn ask(
        &self,
        party: &GrantTarget<'_>,
        bearer: &Bearer,
        scopes: &[Scope],
        credential: Option<&Credential>,
        offline: bool,
    ) -> Result<TokenResponse> {
        let host = party.url.authority();
        let client = party.client;
        let Some(realm) = Url::parse(&bearer.realm) else {
            let what =
                format!("its token realm {:?} is not a URL", crate::text::escape(&bearer.realm));
            return Err(Error::new(Kind::Denied, what).input(host));
        };
        let here = self.is_here(party);
        let registry = realm::TokenRequester {
            url: &party.url,
            may_http: party.may_http,
            here,
            trusted: &client.settings.trusted_realms,
        };
        let credential = match realm::judge(&registry, &realm)? {
            Trust::Full => credential,
            Trust::Anonymous(reason) if credential.is_some() => {
                client.detail(&reason);
                self.lock().withheld = Some(reason);
                None
            }
            Trust::Anonymous(_) => None,
        };
        let user = match credential {
            Some(Credential::Basic(login)) => Some(login.username.clone()),
            Some(Credential::Identity { username, .. }) => Some(username.clone()),
            _ => None,
        };
        self.lock().user = user.clone().filter(|u| !u.is_empty());
        let mut refused = None;
        for way in token::ways(credential) {
            let question = token::question(&realm, bearer, scopes, &way, offline);
            let response = self.put(party, &question, !here)?;
            let status = response.status;
            if status == 200 {
                let bytes = read_all(response, MAX_REPLY)?;
                return token::reply(&bytes)
                    .map_err(|e| e.context(format!("token realm {}", realm.shown())).input(host));
            }
            let fault = ErrorBody::read(response);
            refused.get_or_insert((status, fault));
            // What a realm that does not know this way of asking says.
            if !matches!(status, 400 | 401 | 404 | 405) {
                break;
            }
            client.detail(&format!("token realm {} refuses {}", realm.shown(), name(&way)));
        }
        let (status, fault) = refused.unwrap_or_default();
        let said = fault.error(&format!("token realm {}", realm.shown()), status);
        Err(match (status, user) {
            (400 | 401 | 403, Some(user)) => {
                let user = crate::text::escape(&user).into_owned();
                let what = format!("authentication failed for {host} as {user}");
                let what = format!("{what}: {}", said.what());
                Error::new(Kind::Denied, what).because(Cause::NoCredentials)
            }
            (400..=404, _) => said.kind_as(Kind::Denied),
            _ => said,
        }
        .input(host))
    }

    /// Puts a question to a realm, again while what is wrong may pass.
    fn put(
        &self,
        party: &GrantTarget<'_>,
        question: &TokenRequest,
        guarded: bool,
    ) -> Result<Response> {
        let client = party.client;
        let mut headers = vec![("accept", "application/json".to_owned())];
        let body = match &question.form {
            Some(form) => {
                headers.push(("content-type", "application/x-www-form-urlencoded".into()));
                Body::Bytes(form.as_bytes())
            }
            None => Body::Empty,
        };
        let mut backoff = Backoff::new(&client.settings);
        loop {
            let call = Exchange {
                method: if question.form.is_some() { Method::Post } else { Method::Get },
                url: &question.url,
                headers: &headers,
                body: &body,
                authorization: question.authorization.as_deref(),
                insecure: party.insecure && question.url.host == party.url.host,
                guarded,
            };
            let shown = question.url.shown();
            match client.exchange(&call) {
                Ok(r) if retry::passes(r.status) && backoff.goes_on() => {
                    let after = r.retry_after();
                    backoff.wait(after, &format!("{shown}: status {}", r.status), &client.ctx)?;
                }
                Ok(response) => return Ok(response),
                Err(trouble) if trouble.passes && backoff.goes_on() => {
                    backoff.at_most(3);
                    backoff.wait(
                        None,
                        &format!("{shown}: {}", trouble.error.what()),
                        &client.ctx,
                    )?;
                }
                Err(trouble) => {
                    return Err(trouble.error.context(format!("token realm {shown}")));
                }
            }
        }
    }

    fn is_here(&self, party: &GrantTarget<'_>) -> bool {
        if let Some(here) = self.lock().here {
            return here;
        }
        let cancel = &party.client.ctx.cancel;
        let here = crate::registry::http::socket::is_this_machine(&party.url.host, cancel);
        self.lock().here = Some(here);
        here
    }
}

fn name(way: &TokenMethod<'_>) -> &'static str {
    match way {
        TokenMethod::Get(None) => "an anonymous request",
        TokenMethod::Get(Some(_)) => "user and password",
        TokenMethod::Refresh(_) => "the identity token",
        TokenMethod::Password(_) => "user and password in a form",
    }
}

/// Reads a small body to its end.
fn read_all(response: Response, limit: u64) -> Result<Vec<u8>> {
    crate::registry::http::read_to_end(response, limit)
}
