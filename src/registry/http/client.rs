//! One exchange with one server: connections, time-outs, and clear errors.
//!
//! It follows no redirect, retries nothing and adds no authorization of its own; see `Host` for that.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{ConnectProxyConnector, Connector};
use ureq::{Agent, Timeout, http};

use super::body::{RequestBodyReader, ResponseBodyReader};
use super::message::{Body, Method, Response};
use super::quota;
use super::socket::{self, Lookup, Tcp};
use super::url::Url;
use crate::context::Context;
use crate::error::{Cause, Error, Kind, Result};
use crate::locks::lock;
use crate::progress::Event;
use crate::registry::rate::Rate;
use crate::registry::settings::Settings;
use crate::registry::tls::{self, TlsConnector};
use crate::registry::{address, proxy};
use crate::text;

/// Buffer of a connection, in bytes, in each direction.
const BUFFER: usize = 256 << 10;
/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Bodies above this size are announced first, so that a refusal costs no bytes.
const ANNOUNCED: u64 = 1 << 20;

/// A failed exchange.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeError {
    /// What to tell.
    pub(crate) error: Error,
    /// Whether it may be otherwise the next time.
    pub(crate) passes: bool,
    /// Whether the server spoke no TLS.
    pub(crate) plain: PlainHttp,
}

/// Whether a server that was contacted over https uses plain http.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    /// It does not, or it is not known.
    No,
    /// It hung up before it said anything.
    Perhaps,
    /// It answered in plain text.
    Yes,
}

impl From<Error> for ExchangeError {
    fn from(error: Error) -> Self {
        Self { error, passes: false, plain: PlainHttp::No }
    }
}

/// A request to a server.
pub(crate) struct Exchange<'a, 'b> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: &'a Body<'b>,
    pub(crate) authorization: Option<&'a str>,
    /// Whether any certificate is good.
    pub(crate) insecure: bool,
    /// Whether this machine's own addresses are refused.
    pub(crate) guarded: bool,
}

/// The connections of one side of a run.
pub(crate) struct Client {
    pub(crate) settings: Settings,
    pub(crate) ctx: Context,
    rate: Option<Arc<Rate>>,
    agents: Mutex<HashMap<ConnectionKey, Arc<ServerConnections>>>,
    warnings: Mutex<BTreeSet<String>>,
    /// What was last said of each host's allowance.
    quotas: Mutex<HashMap<String, String>>,
}

/// What shared connections must have in common: https, authority, insecure, guarded.
type ConnectionKey = (bool, String, bool, bool);

/// The connections to one server.
struct ServerConnections {
    agent: Agent,
    /// The proxy before it, as it may be shown.
    proxy: Option<String>,
}

impl Client {
    pub(crate) fn new(settings: Settings, ctx: &Context) -> Self {
        let rate = settings.limit_rate.map(|limit| Arc::new(Rate::new(limit)));
        let (agents, warnings, quotas) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { settings, ctx: ctx.clone(), rate, agents, warnings, quotas }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn exchange(&self, call: &Exchange<'_, '_>) -> Result<Response, ExchangeError> {
        self.ctx.check()?;
        let line = self.line(call)?;
        let began = Instant::now();
        let result = socket::request(|| self.run(&line.agent, call));
        let took = began.elapsed().as_millis();
        let about = format!(
            "{} {} {}",
            call.method.name(),
            call.url.authority(),
            text::escape(call.url.path())
        );
        match result {
            Ok(answer) => {
                let response = self.response(call, answer);
                let sent = call.body.size();
                let length = response.header("content-length").and_then(|l| l.parse().ok());
                let bytes =
                    if call.method == Method::Head { 0 } else { length.unwrap_or(0).max(sent) };
                let status = response.status;
                self.detail(&format!("{about} {status} {took} ms {bytes} bytes"));
                self.heed(&response);
                self.count(call, &response);
                match encoding(call, &response) {
                    Ok(()) => Ok(response),
                    Err(error) => Err(ExchangeError { error, passes: true, plain: PlainHttp::No }),
                }
            }
            Err(e) => {
                let trouble = self.trouble(call, &line, e);
                self.detail(&format!("{about} failed {took} ms: {}", trouble.error.what()));
                Err(trouble)
            }
        }
    }

    pub(crate) fn detail(&self, text: &str) {
        self.ctx.progress.event(Event::Detail(text));
    }

    fn run(
        &self,
        agent: &Agent,
        call: &Exchange<'_, '_>,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut head =
            http::Request::builder().method(call.method.name()).uri(call.url.to_string());
        for (name, value) in call.headers {
            head = head.header(*name, value);
        }
        if let Some(value) = call.authorization {
            let mut value = http::HeaderValue::from_str(value).map_err(http::Error::from)?;
            value.set_sensitive(true);
            head = head.header("authorization", value);
        }
        let size = call.body.size();
        if size > ANNOUNCED {
            head = head.header("expect", "100-continue");
        }
        match call.body {
            Body::Empty if call.method.has_body() => agent.run(head.body(&[][..])?),
            Body::Empty => agent.run(head.body(())?),
            Body::Bytes(bytes) => agent.run(head.body(*bytes)?),
            Body::Stream { open, .. } => {
                let inner = open().map_err(std::io::Error::other)?;
                let mut body = RequestBodyReader::new(inner, size, self.rate.clone(), &self.ctx);
                head = head.header("content-length", size);
                agent.run(head.body(ureq::SendBody::from_reader(&mut body))?)
            }
        }
    }

    fn response(&self, call: &Exchange<'_, '_>, answer: http::Response<ureq::Body>) -> Response {
        let (head, body) = answer.into_parts();
        let value = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(n, v)| (n.as_str().to_owned(), value(v))).collect();
        let idle = self.settings.idle_timeout;
        let host = call.url.authority();
        let body =
            ResponseBodyReader::new(body.into_reader(), host, idle, self.rate.clone(), &self.ctx);
        let url = call.url.to_string();
        Response { status: head.status.as_u16(), headers, url, body: Box::new(body) }
    }

    /// The connections for a call.
    fn line(&self, call: &Exchange<'_, '_>) -> Result<Arc<ServerConnections>> {
        let url = call.url;
        let authority = url.authority();
        let insecure = call.insecure
            || self.settings.insecure
            || address::listed(&self.settings.insecure_hosts, &authority);
        let key = (url.https, authority.clone(), insecure, call.guarded);
        let mut agents = lock(&self.agents);
        if let Some(line) = agents.get(&key) {
            return Ok(Arc::clone(line));
        }
        let proxy = proxy::for_url(&self.settings, url.https, &url.host, url.port)?;
        let line = Arc::new(self.open(url, insecure, call.guarded, proxy)?);
        agents.insert(key, Arc::clone(&line));
        Ok(line)
    }

    fn open(
        &self,
        url: &Url,
        insecure: bool,
        guarded: bool,
        proxy: Option<String>,
    ) -> Result<ServerConnections> {
        let settings = &self.settings;
        // Certificates are no matter, not even wrong ones, where nothing speaks TLS.
        let tls = match url.https || proxy.as_ref().is_some_and(|p| p.starts_with("https:")) {
            true => Some(tls::config(settings, &url.authority(), insecure)?),
            false => None,
        };
        let shown = proxy.as_deref().map(proxy::shown);
        let via = match &proxy {
            Some(url) => Some(ureq::Proxy::new(url).map_err(|_| {
                Error::new(
                    Kind::Usage,
                    format!("{:?} is not the URL of a proxy", proxy::shown(url)),
                )
            })?),
            None => None,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(via)
            .user_agent(concat!("imgpack/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_response_header_size(MAX_HEAD)
            .max_idle_connections_per_host(settings.jobs.clamp(4, 64))
            .max_idle_connections(64)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.header_timeout))
            .timeout_per_read(Some(settings.idle_timeout))
            .timeout_per_write(Some(settings.idle_timeout))
            .timeout_await_100(Some(Duration::from_secs(1)))
            .build();
        let cancel = &self.ctx.cancel;
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(Tcp { cancel: Arc::clone(cancel) })
                .chain(TlsConnector(tls));
        let lookup = Lookup { cancel: Arc::clone(cancel), guarded };
        Ok(ServerConnections { agent: Agent::with_parts(config, connector, lookup), proxy: shown })
    }

    /// Shows how many pulls a registry still allows, whenever it is another number.
    fn count(&self, call: &Exchange<'_, '_>, response: &Response) {
        let Some(left) = quota::left(response) else { return };
        let host = call.url.authority();
        let mut quotas = lock(&self.quotas);
        if quotas.get(&host) != Some(&left) {
            self.detail(&format!("{host}: {left}"));
            quotas.insert(host, left);
        }
    }

    /// Shows a registry's warnings, each once.
    fn heed(&self, response: &Response) {
        let warnings = response.headers.iter().filter(|(n, _)| n == "warning").take(8);
        for (_, value) in warnings {
            let Some(text) = value.strip_prefix("299 ").and_then(|v| v.split_once('"')) else {
                continue;
            };
            let text = text.1.trim_end_matches('"').replace("\\\"", "\"");
            let mut known = lock(&self.warnings);
            if known.len() < 100 && known.insert(text.clone()) {
                let host = Url::parse(&response.url).map(|u| u.authority()).unwrap_or_default();
                self.ctx.warn(&format!("{host} says: {}", text::escape(&text)));
            }
        }
    }

    /// What went wrong, in plain words.
    fn trouble(
        &self,
        call: &Exchange<'_, '_>,
        line: &ServerConnections,
        e: ureq::Error,
    ) -> ExchangeError {
        if let Err(interrupted) = self.ctx.check() {
            return interrupted.into();
        }
        let seconds = |limit: Duration| format!("{} s", limit.as_secs_f64());
        let settings = &self.settings;
        let (mut passes, mut plain, mut kind) = (true, PlainHttp::No, Kind::Unreachable);
        let mut cause = Cause::Plain;
        let what = match e {
            ureq::Error::Io(e) => {
                if let Some(own) = e.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
                    // The body's source failed, not the server.
                    return own.clone().into();
                }
                if let Some(trouble) = tls::trouble(&e) {
                    plain = if trouble == tls::HandshakeError::PlainHttp {
                        PlainHttp::Yes
                    } else {
                        PlainHttp::No
                    };
                    passes = matches!(trouble, tls::HandshakeError::Other(_));
                    cause = match trouble {
                        tls::HandshakeError::PlainHttp => Cause::PlainHttp,
                        tls::HandshakeError::Certificate(_) => Cause::Untrusted,
                        tls::HandshakeError::ClientCertificate => Cause::WantsCertificate,
                        tls::HandshakeError::Other(_) => cause,
                    };
                    trouble.to_string()
                } else {
                    match e.kind() {
                        ErrorKind::ConnectionRefused => {
                            cause = Cause::Refused;
                            "connection refused".into()
                        }
                        ErrorKind::UnexpectedEof
                        | ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe => {
                            plain = if call.url.https { PlainHttp::Perhaps } else { PlainHttp::No };
                            let reset = e.kind() == ErrorKind::ConnectionReset;
                            let how = if reset { "was reset" } else { "was closed" };
                            format!("the connection {how} before an answer came")
                        }
                        ErrorKind::PermissionDenied => {
                            (passes, kind) = (false, Kind::Denied);
                            e.to_string()
                        }
                        _ => Error::from_io(&e).what().to_owned(),
                    }
                }
            }
            ureq::Error::HostNotFound => {
                (passes, cause) = (false, Cause::UnknownHost);
                "unknown host".into()
            }
            ureq::Error::Timeout(Timeout::Resolve) => {
                "its name could not be looked up in time".into()
            }
            ureq::Error::Timeout(Timeout::Connect) => {
                format!("no connection within {}", seconds(settings.connect_timeout))
            }
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                format!("no answer within {}", seconds(settings.header_timeout))
            }
            ureq::Error::Timeout(_) => {
                format!("nothing moved for {}", seconds(settings.idle_timeout))
            }
            ureq::Error::ConnectProxyFailed(why) => {
                passes = !why.contains("40");
                format!("its proxy refuses: {}", text::escape(&why))
            }
            ureq::Error::Protocol(why) => {
                format!("its response is not HTTP: {}", text::escape(&why.to_string()))
            }
            ureq::Error::LargeResponseHeader(..) => {
                (passes, kind) = (false, Kind::Malformed);
                format!("the head of its answer is larger than {MAX_HEAD} bytes")
            }
            other => {
                passes = false;
                text::escape(&other.to_string()).into_owned()
            }
        };
        let via = line.proxy.as_ref().map(|p| format!(" (through proxy {p})")).unwrap_or_default();
        let error = Error::new(kind, format!("{what}{via}")).because(cause);
        let error = error.input(call.url.authority());
        ExchangeError { error, passes, plain }
    }
}

/// A content coding makes other bytes of a blob than its digest speaks of.
fn encoding(call: &Exchange<'_, '_>, response: &Response) -> Result<()> {
    let coding = response.header("content-encoding").unwrap_or("identity").trim();
    let harmless = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    if harmless || call.method != Method::Get || !(200..300).contains(&response.status) {
        return Ok(());
    }
    let what = format!("the registry or a proxy applied {} on the way", text::escape(coding));
    Err(Error::malformed(what).input(call.url.shown()))
}
