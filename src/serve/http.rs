//! Sockets: connections in, answers out. The only asynchronous part of imgpack.
//!
//! It knows no image. HTTP/1.1 and, over TLS, HTTP/2 come from hyper; this file says how much of
//! everything a stranger may use: connections, bytes of headers, seconds without progress.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request as Parts, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::serve::answer::{Answer, Code, Fault};
use crate::serve::request::Request;
use crate::serve::route::{self, Route};
use crate::serve::{Registry, handlers};

mod body;
mod progress;

use body::{Reply, Upload};
use progress::Progress;

/// How strangers are received.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on: `127.0.0.1:5000`; port 0 takes any that is free.
    pub listen: Vec<String>,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Most bytes of headers.
    pub headers: usize,
    /// How long headers may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may stand still.
    pub idle_timeout: Duration,
    /// How long answers under way are given when the server is to stop.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:5000".into()],
            connections: 1024,
            headers: 16 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

/// Serves until the run is cancelled; `ready` hears where, once connections are taken.
///
/// # Errors
/// `Io` when an address cannot be listened on.
pub fn serve(
    registry: &Arc<Registry>,
    settings: &Settings,
    ctx: &Context,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve")
        .build()
        .map_err(|e| Error::new(Kind::Io, format!("starting threads: {e}")))?;
    let served = runtime.block_on(run(registry, settings, ctx, ready));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(
    registry: &Arc<Registry>,
    settings: &Settings,
    ctx: &Context,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let listener = TcpListener::bind(address).await.map_err(|e| refused(address, &e))?;
        listeners.push(listener);
    }
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let open = Arc::new(Semaphore::new(settings.connections));
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = Vec::new();
    for listener in listeners {
        let (registry, settings) = (registry.clone(), settings.clone());
        let (open, graceful) = (open.clone(), graceful.clone());
        accepting.push(tokio::spawn(accept(listener, registry, settings, open, graceful)));
    }
    ready(&addresses);
    while ctx.check().is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for task in &accepting {
        task.abort();
    }
    for task in accepting {
        let _ = task.await;
    }
    if let Some(graceful) = Arc::into_inner(graceful) {
        let _ = tokio::time::timeout(settings.drain, graceful.shutdown()).await;
    }
    Ok(())
}

fn refused(address: &str, error: &std::io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot listen: {error}")).input(address)
}

async fn accept(
    listener: TcpListener,
    registry: Arc<Registry>,
    settings: Settings,
    open: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // No more files: wait for some to be closed instead of spinning.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (registry, settings) = (registry.clone(), settings.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            connection(stream, registry, &settings, watcher).await;
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    registry: Arc<Registry>,
    settings: &Settings,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let (stream, progress) = Progress::new(stream);
    let limit = settings.headers;
    let service = service_fn(move |request: Parts<Incoming>| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(exchange(registry, request, limit).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(limit.max(8 << 10) * 4);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    // Whatever ends a connection is between it and its client.
    let serving = watcher.watch(serving.into_owned());
    let stalled = progress.stalled(settings.idle_timeout);
    tokio::select! {
        _ = serving => {}
        () = stalled => {}
    }
}

/// One request.
async fn exchange(
    registry: Arc<Registry>,
    request: Parts<Incoming>,
    limit: usize,
) -> Response<Reply> {
    let (parts, incoming) = request.into_parts();
    let head = parts.method == http::Method::HEAD;
    let size: usize = parts.headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum();
    if size > limit {
        let fault = Fault::new(Code::SizeInvalid, format!("more than {limit} bytes of headers"));
        return reply(fault.status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).into(), head);
    }
    let route = match route::read(parts.uri.path()) {
        Ok(route) => route,
        Err(stray) => return reply(handlers::stray(stray), head),
    };
    let request = Request {
        method: parts.method,
        route,
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
    };
    if is_light(&registry, &request) {
        return reply(handlers::answer(&registry, &request, &mut std::io::empty()), head);
    }
    let mut upload = Upload::new(incoming, tokio::runtime::Handle::current());
    let answered = tokio::task::spawn_blocking(move || {
        let answer = handlers::answer(&registry, &request, &mut upload);
        (answer, upload)
    });
    match answered.await {
        Ok((answer, upload)) => {
            upload.drain();
            reply(answer, head)
        }
        // It panicked: this request is lost, the server is not.
        Err(_) => reply(Fault::new(Code::Unknown, "the request failed").into(), head),
    }
}

/// Whether a request is answered from memory, so that no thread need be woken for it.
fn is_light(registry: &Registry, request: &Request) -> bool {
    match &request.route {
        Route::Base | Route::Health => true,
        Route::Tags(_) | Route::Referrers(..) => request.is_read(),
        Route::Blob(..) => request.is_head(),
        Route::Manifest(name, wanted) if request.is_read() => {
            let found = registry.catalogue().find(name, request.ns().as_deref());
            let stored = found.as_ref().and_then(|found| found.manifest(wanted));
            stored.is_none_or(|s| registry.catalogue().cached(&s.descriptor().digest).is_some())
        }
        _ => false,
    }
}

fn reply(answer: Answer, head: bool) -> Response<Reply> {
    let length = answer.body.len();
    let mut response = Response::new(Reply::new(answer.body, head));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if response.status() != StatusCode::NOT_MODIFIED && response.status() != StatusCode::NO_CONTENT
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}
