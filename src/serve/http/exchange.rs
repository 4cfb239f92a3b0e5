//! One request: checked, admitted, answered, logged.
//!
//! It knows no socket. No body is read before it is clear that its sender may write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;

use super::body::{Account, StreamedBody, UploadBody};
use super::progress::Activity;
use super::sending::BodyInFlight;
use super::server::Server;
use super::turns::Turn;
use crate::serve::access::{Admission, Caller, Peer};
use crate::serve::answer::{Answer, ApiError, Code};
use crate::serve::log::RequestRecord;
use crate::serve::metrics::{Gauge, Operation};
use crate::serve::request::{Request, came_over_tls};
use crate::serve::route::{self, Route};
use crate::serve::{Registry, handlers};

/// What a request is known by in logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest one that is taken over from a client.
const MAX_ID: usize = 128;
/// Seconds after which who found too many others may ask again.
const RETRY: &str = "10";
/// What we are called.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("imgpack/", env!("CARGO_PKG_VERSION")));

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) activity: Arc<Activity>,
    pub(super) remote: SocketAddr,
    pub(super) peer: Peer,
}

/// Answers one request.
pub(super) async fn exchange(
    connection: Arc<Connection>,
    request: http::Request<Incoming>,
) -> Response<StreamedBody> {
    let began = Instant::now();
    let (parts, incoming) = request.into_parts();
    let route = route::read(parts.uri.path());
    let operation = Operation::of(&parts.method, route.as_ref().ok());
    let mut account = Account {
        log: connection.server.settings.log.clone(),
        remote: connection.remote,
        user: None,
        method: parts.method.clone(),
        target: parts.uri.clone(),
        status: 0,
        bytes: 0,
        began,
        agent: parts.headers.get(header::USER_AGENT).cloned(),
        id: id(&parts),
        _unfinished: connection.activity.begin(),
    };
    let head = parts.method == http::Method::HEAD;
    let http1 = parts.version <= http::Version::HTTP_11;
    let working = connection.activity.work();
    let refused = refused(&connection, &parts);
    // Where others wait for a connection nobody keeps one.
    let close = refused.is_some() || connection.server.open.available_permits() == 0;
    let (answer, turn) = match (refused, route) {
        (Some(answer), _) => (answer, None),
        (None, Err(stray)) => (handlers::stray(stray), None),
        (None, Ok(route)) => {
            let mut headers = parts.headers;
            // HTTP/2 names the host in the URI, and `refused` saw that no header names another.
            if let Some(authority) = parts.uri.authority()
                && let Ok(host) = authority.as_str().parse()
            {
                headers.insert(header::HOST, host);
            }
            let secure = connection.peer.encrypted || came_over_tls(&headers);
            let request = Request {
                method: parts.method,
                route,
                query: parts.uri.query().map(str::to_owned),
                headers,
                secure,
            };
            answer(&connection, request, incoming, &mut account).await
        }
    };
    drop(working);
    account.status = answer.status.as_u16();
    let status = connection.server.registry.status();
    status.metrics.answered(operation, answer.status, began.elapsed());
    let moving = Some(&connection.activity).filter(|_| !head && !answer.body.is_empty());
    let sending = BodyInFlight::new(moving.and_then(Activity::send), turn);
    let mut response = reply(answer, head, sending, account);
    if close && http1 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Notes what hyper refused by itself, since it could not be read as a request: counted, and told to the
/// access log without what it asked for.
pub(super) fn unread(connection: &Connection, error: &hyper::Error) {
    if !error.is_parse() {
        return;
    }
    let status = match error.is_parse_too_large() {
        false => StatusCode::BAD_REQUEST,
        // hyper tells the two apart in words only.
        true if error.to_string().starts_with("URI") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    connection.server.registry.status().metrics.answered(Operation::Other, status, Duration::ZERO);
    connection.server.settings.log.entry(&RequestRecord {
        remote: connection.remote,
        user: None,
        method: "-",
        target: "-",
        status: status.as_u16(),
        bytes: 0,
        elapsed: Duration::ZERO,
        agent: None,
        id: "-",
    });
}

/// What is refused whoever asks for whatever.
fn refused(connection: &Connection, parts: &Parts) -> Option<Answer> {
    let bad =
        |what| Some(ApiError::new(Code::Unsupported, what).status(StatusCode::BAD_REQUEST).into());
    if connection.activity.is_ambiguous() {
        return bad("a request has either a length or chunks, not both");
    }
    // hyper looks at the last word only.
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return bad("chunked is the only transfer coding accepted");
    }
    // Whom a request is for must be clear to everything it comes through.
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    let absent = parts.version == http::Version::HTTP_11 && hosts == 0;
    let other = parts.uri.authority().is_some_and(|authority| {
        let is_other = |host: &HeaderValue| {
            !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        };
        parts.headers.get(header::HOST).is_some_and(is_other)
    });
    if hosts > 1 || absent || other {
        return bad("a request must name exactly one host");
    }
    let limit = connection.server.settings.headers;
    let size: usize = parts.headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum();
    (size > limit).then(|| {
        let fault = ApiError::new(Code::SizeInvalid, format!("more than {limit} bytes of headers"));
        fault.status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).into()
    })
}

/// Lets a request in, and has it answered; its turn lasts for as long as its answer is being sent.
async fn answer(
    connection: &Connection,
    request: Request,
    incoming: Incoming,
    account: &mut Account,
) -> (Answer, Option<Turn>) {
    let (settings, peer) = (&connection.server.settings, connection.peer);
    let runtime = tokio::runtime::Handle::current();
    let upload = UploadBody::new(incoming, runtime, &request.headers);
    let (request, caller) = match settings.access.look(&request, peer) {
        Admission::Refuse(answer) => {
            upload.drain();
            return (*answer, None);
        }
        Admission::Open(caller) => (request, caller),
        Admission::Check(_) => match checked(connection, request).await {
            Ok(found) => found,
            Err(answer) => {
                upload.drain();
                return (*answer, None);
            }
        },
    };
    account.user = caller.as_ref().map(|caller| caller.name.clone());
    if request.route == Route::Token && request.is_read() && settings.access.guards_writes() {
        return (settings.access.token(caller.as_ref()), None);
    }
    handled(connection, request, upload).await
}

/// Has a request answered that was let in, once it is its turn.
async fn handled(
    connection: &Connection,
    request: Request,
    mut upload: UploadBody,
) -> (Answer, Option<Turn>) {
    let turn = if needs_turn(&request.route) {
        let brings = !request.is_read() && upload.is_waiting();
        let Some(turn) = connection.server.turns.take(brings).await else {
            upload.drain();
            return (busy(), None);
        };
        Some(turn)
    } else {
        None
    };
    let registry = connection.server.registry.clone();
    if is_light(&registry, &request) {
        return (handlers::answer(&registry, &request, &mut std::io::empty()), turn);
    }
    // The turn goes along: the thread has it when the client does not wait for its answer.
    let answered = tokio::task::spawn_blocking(move || {
        let count = &registry.status().metrics.uploading;
        let uploading = matches!(request.route, Route::Uploads(_) | Route::Upload(..));
        let _counted = (uploading && !request.is_read()).then(|| Gauge::new(count));
        let answer = handlers::answer(&registry, &request, &mut upload);
        (answer, upload, turn)
    });
    let Ok((answer, upload, mut turn)) = answered.await else { return (lost(), None) };
    upload.drain();
    if let Some(turn) = &mut turn {
        turn.has_read();
    }
    (answer, turn)
}

/// Whether an answer may be long or need a file; who watches a server that is busy waits for nobody.
fn needs_turn(route: &Route) -> bool {
    !matches!(
        route,
        Route::Base
            | Route::Health
            | Route::Ready
            | Route::Metrics
            | Route::Authority
            | Route::Token
    )
}

/// Others kept their turns for too long.
fn busy() -> Answer {
    let fault = ApiError::new(Code::Unavailable, "too many requests are being answered");
    Answer::from(fault).with(header::RETRY_AFTER, RETRY)
}

/// Has the password of a request checked when it is its turn; what is given back is who that is.
async fn checked(
    connection: &Connection,
    request: Request,
) -> Result<(Request, Option<Caller>), Box<Answer>> {
    let (access, peer) = (connection.server.settings.access.clone(), connection.peer);
    let waiting = access.wait(peer)?;
    // As many at once as there are processors: checking a password is meant to be hard.
    let turn = connection.server.settings.checks.clone().acquire_owned().await;
    let turn = turn.map_err(|_| Box::new(lost()))?;
    let offer = match access.look(&request, peer) {
        Admission::Check(offer) => offer,
        Admission::Open(caller) => return Ok((request, caller)),
        Admission::Refuse(answer) => return Err(answer),
    };
    let checked = tokio::task::spawn_blocking(move || {
        // Not given back before the work is done, though the client may be gone by then.
        let _held = (waiting, turn);
        let checked = access.check(&offer, &request, peer);
        checked.map(|caller| (request, Some(caller)))
    });
    let checked = checked.await.map_err(|_| Box::new(lost()))?;
    checked.inspect_err(|_| {
        connection.server.registry.status().metrics.denied.fetch_add(1, Relaxed);
    })
}

/// A thread panicked: this request is lost, the server is not.
fn lost() -> Answer {
    ApiError::new(Code::Unknown, "the request failed").into()
}

/// Whether a request is answered from memory, so that no thread need be woken for it.
pub(super) fn is_light(registry: &Registry, request: &Request) -> bool {
    match &request.route {
        Route::Base | Route::Health | Route::Ready | Route::Authority => true,
        Route::Tags(_) => request.is_read(),
        // Where something is written, a blob is looked for on the medium.
        Route::Blob(..) => request.is_head() && registry.writable().is_none(),
        Route::Manifest(name, wanted) if request.is_read() => {
            let found = registry.catalogue().find(name, request.ns().as_deref());
            let stored = found.as_ref().and_then(|found| found.manifest(wanted));
            stored.is_none_or(|s| registry.catalogue().cached(&s.descriptor().digest).is_some())
        }
        _ => false,
    }
}

/// The client's own id of a request, or a new one.
fn id(parts: &Parts) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = parts.headers.get(REQUEST_ID).filter(plain).cloned();
    given.unwrap_or_else(|| {
        let made = format!("{:016x}", fastrand::u64(..));
        HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("-"))
    })
}

fn reply(
    answer: Answer,
    head: bool,
    sending: Arc<BodyInFlight>,
    account: Account,
) -> Response<StreamedBody> {
    let length = answer.body.len();
    let id = account.id.clone();
    let mut response = Response::new(StreamedBody::new(answer.body, head, sending, account));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::SERVER, SERVER);
    // A browser must not take for a page what comes from an archive.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.status != StatusCode::NOT_MODIFIED && answer.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}
