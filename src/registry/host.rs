//! A registry's host: scheme, authorization, redirects, and retries around one exchange.
//!
//! It knows no manifest and no blob. `Authorization` never crosses origin (scheme, host, port), and a
//! challenge from another origin is not answered with credentials.

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Cause, Error, Kind, Result};
use crate::locks::lock;
use crate::registry::address;
use crate::registry::auth::challenge::{self, Challenge};
use crate::registry::auth::{Auth, Grant, GrantTarget};
use crate::registry::credentials::Keychain;
use crate::registry::http::client::{Client, Exchange, ExchangeError, PlainHttp};
use crate::registry::http::permits::Permits;
use crate::registry::http::url::{Url, encode};
use crate::registry::http::{Body, ErrorBody, HttpRequest, Method, Response, Wire};
use crate::registry::retry::{self, Backoff};
use crate::registry::rules::Endpoint;
use crate::registry::settings::{Credential, Login, Secret, Settings};

/// Where a registry answers that it is one.
const API: &str = "/v2/";
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 10;
/// Most tokens of one request that may end before it is answered.
const MAX_ENDED: u32 = 5;
/// How long a token must last when a body is sent that takes a while.
const LASTING: Duration = Duration::from_secs(60);
/// Tries at a host that never answered in this run, and at any mirror.
const FEW: u32 = 3;
/// The same where nothing listens: a registry that is restarted is back within a second or two.
const REFUSED: u32 = 2;

/// Which scheme a host speaks.
const UNDECIDED: u8 = 0;
const HTTPS: u8 = 1;
const HTTP: u8 = 2;

/// Which redirects are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// All.
    Any,
    /// Those that stay at the host.
    Inside,
}

/// A registry's host: what requests are sent to.
pub(crate) struct Host {
    client: Arc<Client>,
    endpoint: Endpoint,
    may_http: bool,
    scheme: AtomicU8,
    probed: Mutex<Probed>,
    probes: AtomicU64,
    answered: AtomicBool,
    auth: Auth,
    permits: Permits,
}

/// How the last attempt to find out the scheme failed.
#[derive(Default)]
struct Probed(Option<ExchangeError>);

impl Host {
    pub(crate) fn new(
        client: Arc<Client>,
        endpoint: Endpoint,
        keychain: Arc<Keychain>,
        fixed: Option<Credential>,
    ) -> Self {
        let settings = &client.settings;
        let may_http = settings.plain_http
            || endpoint.plain_http
            || address::is_loopback(&endpoint.host)
            || address::listed(&settings.insecure_hosts, &endpoint.host);
        let may_http = may_http || endpoint.http_only;
        let decided = match (settings.plain_http || endpoint.http_only, may_http) {
            (true, _) => HTTP,
            (_, true) => UNDECIDED,
            _ => HTTPS,
        };
        let permits = Permits::new(settings.jobs);
        let (scheme, answered) = (AtomicU8::new(decided), AtomicBool::new(false));
        let auth = Auth::new(keychain, fixed);
        let (probed, probes) = (Mutex::default(), AtomicU64::new(0));
        Self { client, endpoint, may_http, scheme, probed, probes, answered, auth, permits }
    }

    /// `host` or `host:port`.
    pub(crate) fn name(&self) -> &str {
        &self.endpoint.host
    }

    /// The settings of this side of the run.
    pub(crate) fn settings(&self) -> &Settings {
        &self.client.settings
    }

    /// What the run carries along.
    pub(crate) fn context(&self) -> &Context {
        &self.client.ctx
    }

    /// Sends a request and waits for the headers of its answer. A status is never an error here.
    ///
    /// # Errors
    /// `Unreachable` when no response came, `Denied` when no token was granted, `Interrupted`.
    pub(crate) fn send(&self, request: &HttpRequest<'_>) -> Result<Response> {
        self.deliver(request, Redirects::Any)
    }

    pub(crate) fn deliver(
        &self,
        request: &HttpRequest<'_>,
        redirects: Redirects,
    ) -> Result<Response> {
        let ctx = &self.client.ctx;
        let mut backoff = Backoff::new(&self.client.settings);
        if self.endpoint.mirror {
            backoff.at_most(FEW);
        }
        loop {
            let result = {
                let _permit = self.permits.take(ctx)?;
                self.once(request, redirects)
            };
            let again = request.again && backoff.goes_on();
            match result {
                Ok(response) => {
                    let status = response.status;
                    let asked = response.retry_after();
                    let halved = (status == 429 && asked.is_none()).then(|| self.permits.halve());
                    if !again || !retry::passes(status) {
                        return Ok(response);
                    }
                    let after = match halved {
                        // Twice as patient as with faults: this registry is there, and wants peace.
                        Some(_) => {
                            let most = self.client.settings.longest_wait.saturating_mul(2);
                            Some(Duration::from_secs(1 << backoff.tried().min(6)).min(most))
                        }
                        None => asked,
                    };
                    let cause = format!("{}: status {status}", self.name());
                    response.finish();
                    backoff.wait(after, &cause, ctx)?;
                }
                Err(trouble) if again && trouble.passes => {
                    if trouble.error.kind() == Kind::Malformed {
                        // What a proxy does to one answer it may do to all.
                        backoff.at_most(1);
                    } else if !self.answered.load(Ordering::Relaxed) {
                        backoff.at_most(if refused(&trouble) { REFUSED } else { FEW });
                    }
                    if !backoff.goes_on() {
                        return Err(said(trouble.error, backoff.tried()));
                    }
                    let cause = format!("{}: {}", self.name(), trouble.error.what());
                    backoff.wait(None, &cause, ctx)?;
                }
                Err(trouble) => return Err(said(trouble.error, backoff.tried())),
            }
        }
    }

    /// Whether it was found to speak plain http.
    pub(crate) fn speaks_http(&self) -> bool {
        self.scheme.load(Ordering::Relaxed) == HTTP
    }

    /// One try. Where the scheme is not known yet, one thread finds it out and the others wait for it.
    fn once(
        &self,
        request: &HttpRequest<'_>,
        redirects: Redirects,
    ) -> Result<Response, ExchangeError> {
        let known = || Some(self.scheme.load(Ordering::Relaxed)).filter(|s| *s != UNDECIDED);
        if let Some(scheme) = known() {
            return self.authorized(request, redirects, scheme == HTTPS);
        }
        // A body may come from a request to this very host, which would wait for this one.
        if matches!(request.body, Body::Stream { .. }) {
            return self.probe(request, redirects);
        }
        let before = self.probes.load(Ordering::SeqCst);
        let mut probed = lock(&self.probed);
        if let Some(scheme) = known() {
            drop(probed);
            return self.authorized(request, redirects, scheme == HTTPS);
        }
        // What failed for another while this one waited fails for both.
        if self.probes.load(Ordering::SeqCst) != before
            && let Some(trouble) = &probed.0
        {
            return Err(trouble.clone());
        }
        let result = self.probe(request, redirects);
        probed.0 = result.as_ref().err().cloned();
        self.probes.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// One try in https, then in http.
    fn probe(
        &self,
        request: &HttpRequest<'_>,
        redirects: Redirects,
    ) -> Result<Response, ExchangeError> {
        match self.authorized(request, redirects, true) {
            Ok(response) => {
                self.scheme.store(HTTPS, Ordering::Relaxed);
                Ok(response)
            }
            Err(trouble) if self.may_be_plain(&trouble) => {
                match self.authorized(request, redirects, false) {
                    // What a TLS server says to plain http, so its silence before meant something else.
                    Ok(r) if r.status == 400 && trouble.plain == PlainHttp::Perhaps => Err(trouble),
                    Ok(response) => {
                        self.scheme.store(HTTP, Ordering::Relaxed);
                        Ok(response)
                    }
                    Err(other) => Err(other),
                }
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether a failure in https leaves it open that the host speaks http. A certificate that is not
    /// trusted does not.
    fn may_be_plain(&self, trouble: &ExchangeError) -> bool {
        let (_, port) = address::split(&self.endpoint.host);
        trouble.plain != PlainHttp::No || (refused(trouble) && port.is_none())
    }

    /// One try with its authorization, and once more after a refusal; a token that has ended on the way
    /// is none.
    fn authorized(
        &self,
        request: &HttpRequest<'_>,
        redirects: Redirects,
        https: bool,
    ) -> Result<Response, ExchangeError> {
        let base = self.base(https)?;
        let url = self.target(&base, request.url)?;
        let party = GrantTarget {
            client: &self.client,
            url: base.clone(),
            may_http: self.may_http,
            insecure: self.endpoint.insecure,
        };
        let ours = url.same_origin(&base);
        let lasting = match request.body {
            Body::Stream { size, .. } if size > 1 << 20 => LASTING,
            _ => Duration::ZERO,
        };
        let mut grant = match ours {
            true => self.auth.grant(&party, request.scopes, lasting)?,
            false => None,
        };
        let (mut refusals, mut ended) = (0, 0);
        loop {
            let (response, home) = self.follow(request, &base, &url, grant.as_ref(), redirects)?;
            self.answered.store(true, Ordering::Relaxed);
            if response.status != 401 || !home {
                grant.iter().filter(|_| home).for_each(Grant::accepted);
                return Ok(response);
            }
            let response = kept(response);
            let more = match challenge::of(&response) {
                Some(Challenge::Bearer(b)) => b.error.as_deref() == Some("insufficient_scope"),
                _ => false,
            };
            let over = !more && grant.as_ref().is_some_and(Grant::has_ended);
            if over && ended < MAX_ENDED {
                ended += 1;
            } else {
                refusals += 1;
            }
            if refusals > if more { 2 } else { 1 } {
                return Ok(response);
            }
            let asked = match self.auth.needs_challenge(&response) {
                true => Some(self.asked(&base)?),
                false => None,
            };
            let refusal = asked.as_ref().unwrap_or(&response);
            match self.auth.answer(&party, refusal, request.scopes, grant.as_ref())? {
                Some(next) => grant = Some(next),
                None => return Ok(response),
            }
        }
    }

    /// What `/v2/` says to nobody: some registries say there alone what they ask for.
    fn asked(&self, base: &Url) -> Result<Response, ExchangeError> {
        let url = self.target(base, API)?;
        let (response, _) = self.follow(&ping(), base, &url, None, Redirects::Inside)?;
        Ok(kept(response))
    }

    /// Sends along redirects; the last answer, and whether it came from the host itself.
    fn follow(
        &self,
        request: &HttpRequest<'_>,
        base: &Url,
        url: &Url,
        grant: Option<&Grant>,
        redirects: Redirects,
    ) -> Result<(Response, bool), ExchangeError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let home = url.same_origin(base);
            let response = self.client.exchange(&Exchange {
                method: request.method,
                url: &url,
                headers: request.headers,
                body: &request.body,
                authorization: grant.filter(|_| home).map(|g| g.header.reveal()),
                insecure: self.endpoint.insecure && url.host == base.host,
                guarded: false,
            })?;
            let reads = matches!(request.method, Method::Get | Method::Head);
            let follows = match response.status {
                301..=303 => reads,
                307 | 308 => true,
                _ => false,
            };
            let Some(location) = response.header("location").filter(|_| follows) else {
                return Ok((response, home));
            };
            let next = self.mend(&url, location).ok_or_else(|| {
                let shown = crate::text::escape(location.split('?').next().unwrap_or_default());
                Error::malformed(format!("redirects to {shown:?}")).input(url.shown())
            })?;
            if redirects == Redirects::Inside && !next.same_origin(base) {
                return Ok((response, home));
            }
            self.may_visit(base, &next).map_err(|e| e.input(url.shown()))?;
            response.finish();
            url = next;
        }
        let what = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::malformed(what).input(self.name()).into())
    }

    /// Refuses the way down from https to http.
    fn may_visit(&self, base: &Url, next: &Url) -> Result<()> {
        let settings = &self.client.settings;
        let listed = address::listed(&settings.insecure_hosts, &next.authority());
        let allowed = listed || (self.may_http && next.host == base.host);
        if base.https && !next.https && !allowed {
            let what = format!("redirects from https to {}", next.shown());
            return Err(Error::new(Kind::Denied, what));
        }
        Ok(())
    }

    /// A location, with the scheme put right where a host behind a TLS proxy takes itself for http.
    fn mend(&self, from: &Url, location: &str) -> Option<Url> {
        let mut to = from.resolve(location)?;
        let itself = to.host == from.host && (to.port == from.port || to.port == 80);
        if from.https && !to.https && itself {
            (to.https, to.port) = (true, from.port);
        }
        Some(to)
    }

    fn base(&self, https: bool) -> Result<Url> {
        let bad = || Error::malformed("not a host name").input(self.name());
        Url::at(https, &self.endpoint.host, "/").ok_or_else(bad)
    }

    /// The URL of a request: its own, or a path at this host.
    fn target(&self, base: &Url, url: &str) -> Result<Url> {
        let bad = || Error::malformed("not a URL to send a request to").input(self.name());
        if !url.starts_with('/') {
            return Url::parse(url).ok_or_else(bad);
        }
        let target = base.resolve(url).ok_or_else(bad)?;
        Ok(match &self.endpoint.ns {
            Some(ns) => target.with_query(&format!("ns={}", encode(ns))),
            None => target,
        })
    }

    /// Tries a user's credentials; the identity token when the realm gave one for them.
    pub(crate) fn login(&self, login: &Login) -> Result<Option<Secret>> {
        // Without credentials first: only the answer tells where they may go.
        let open = Self::new(
            Arc::clone(&self.client),
            self.endpoint.clone(),
            Arc::new(Keychain::new(&Settings::default())),
            Some(Credential::Basic(login.clone())),
        );
        let refusal = open.deliver_bare(&ping())?;
        let https = open.scheme.load(Ordering::Relaxed) != HTTP;
        let party = GrantTarget {
            client: &open.client,
            url: open.base(https)?,
            may_http: open.may_http,
            insecure: open.endpoint.insecure,
        };
        let identity = match refusal.status {
            401 => open.auth.introduce(&party, &refusal, login)?,
            _ => None,
        };
        let response = open.send(&ping())?;
        match response.status {
            200 => match is_page(response) {
                true => {
                    Err(Error::malformed("not a registry: /v2/ is a web page").input(self.name()))
                }
                false => Ok(identity),
            },
            404 => Err(Error::malformed("not a registry: /v2/ is not there").input(self.name())),
            _ => Err(open.fault("GET /v2/", response)),
        }
    }

    /// Sends without any authorization; a refusal comes back with its body kept.
    fn deliver_bare(&self, request: &HttpRequest<'_>) -> Result<Response> {
        let nobody = Self::new(
            Arc::clone(&self.client),
            self.endpoint.clone(),
            Arc::new(Keychain::new(&Settings::default())),
            None,
        );
        nobody.auth.stay_silent();
        let response = nobody.deliver(request, Redirects::Inside)?;
        self.scheme.store(nobody.scheme.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(kept(response))
    }
}

impl Wire for Host {
    fn send(&self, request: &HttpRequest<'_>) -> Result<Response> {
        Self::send(self, request)
    }

    fn fault(&self, doing: &str, response: Response) -> Error {
        let status = response.status;
        let fault = ErrorBody::read(response);
        self.explain(doing, status, &fault)
    }

    fn locate(&self, response: &Response, location: &str) -> Option<String> {
        self.mend(&Url::parse(&response.url)?, location).map(|url| url.to_string())
    }
}

impl Host {
    /// The error for a refusal whose body has been read.
    pub(crate) fn explain(&self, doing: &str, status: u16, fault: &ErrorBody) -> Error {
        let host = self.name();
        let error = fault.error(doing, status);
        if fault.text.contains("HTTP request to an HTTPS server") {
            let what = "speaks https, not plain http";
            return Error::new(Kind::Unreachable, what).because(Cause::Https).input(host);
        }
        if status != 401 {
            return error.input(host);
        }
        let (user, withheld) = self.auth.known_as();
        let cause = if withheld.is_some() { Cause::Plain } else { Cause::NoCredentials };
        let what = match (user, withheld) {
            (_, Some(reason)) => reason,
            (Some(user), None) => {
                format!("authentication failed for {host} as {}", crate::text::escape(&user))
            }
            (None, None) if self.auth.has_credentials() => {
                "the registry does not say which credentials it takes".into()
            }
            (None, None) => "the registry requires credentials, and none were found".into(),
        };
        let what = format!("{what}: {}", error.what());
        Error::new(Kind::Denied, what).because(cause).input(host)
    }
}

/// The same answer with its body read, so that its connection serves the next request.
fn kept(mut response: Response) -> Response {
    let mut bytes = Vec::new();
    // A refusal is one with or without its explanation.
    let _ = std::io::Read::read_to_end(
        &mut std::io::Read::take(&mut response.body, 64 << 10),
        &mut bytes,
    );
    response.body = Box::new(Cursor::new(bytes));
    response
}

/// The question whether a registry is there.
fn ping() -> HttpRequest<'static> {
    let (method, url, body) = (Method::Get, API, Body::Empty);
    HttpRequest { method, url, headers: &[], body, scopes: &[], again: true }
}

/// Whether an answer is a page for people, which registries do not send.
fn is_page(response: Response) -> bool {
    let html = response.header("content-type").is_some_and(|of| of.contains("html"));
    let mut body = kept(response).body;
    let mut start = [0; 64];
    let read = std::io::Read::read(&mut body, &mut start).unwrap_or_default();
    html || start[..read].trim_ascii_start().starts_with(b"<")
}

/// Whether nobody listens there.
fn refused(trouble: &ExchangeError) -> bool {
    trouble.error.cause() == Cause::Refused
}

/// Says how often a request was tried, when more than once.
fn said(error: Error, waits: u32) -> Error {
    if waits == 0 || error.kind() != Kind::Unreachable {
        return error;
    }
    error.note(format!("gave up after {} tries", waits + 1))
}

#[cfg(test)]
mod tests;
