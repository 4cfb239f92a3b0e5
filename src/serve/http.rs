//! Sockets: connections in, answers out. The only asynchronous part of imgpack.
//!
//! It knows no image. HTTP/1.1 and, over TLS, HTTP/2 come from hyper; this file says how much of
//! everything a stranger may use: connections, bytes of headers, seconds without progress. `tls` shakes
//! hands, `framing` and `progress` watch a connection, `exchange` answers a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::Request as Parts;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::serve::Registry;
use crate::serve::access::{Access, Peer, Rules};
use crate::serve::log::{self, Log};
use crate::serve::metrics::Gauge;

mod body;
mod exchange;
mod framing;
mod progress;
pub mod tls;

use exchange::{Connection, exchange, unread};
use progress::Progress;
use tls::Tls;

/// How strangers are received.
#[derive(Clone)]
pub struct Settings {
    /// Addresses to listen on: `127.0.0.1:5000`; port 0 takes any that is free.
    pub listen: Vec<String>,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Most bytes of headers.
    pub headers: usize,
    /// How long headers may take to arrive, and TLS to be agreed on.
    pub header_timeout: Duration,
    /// How long a connection may stand still; a tenth of it between requests, while others wait.
    pub idle_timeout: Duration,
    /// How long answers under way are given when the server is to stop.
    pub drain: Duration,
    /// TLS; plain HTTP without.
    pub tls: Option<Arc<Tls>>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Passwords that are checked at once.
    pub checks: Arc<Semaphore>,
    /// Who hears of requests.
    pub log: Arc<dyn Log>,
}

impl Settings {
    /// Plain HTTP for everybody, with limits that fit.
    ///
    /// # Errors
    /// Those of [`Access::new`].
    pub fn new(listen: Vec<String>) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            listen,
            connections: connections(),
            headers: 16 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(30),
            tls: None,
            access: Arc::new(Access::new(Rules::default(), None)?),
            checks: Arc::new(Semaphore::new(processors)),
            log: Arc::new(log::Silent),
        })
    }
}

/// Most connections at once.
const MAX_CONNECTIONS: u64 = 1024;
/// Files that places, threads and listeners need whoever is connected.
const RESERVED: u64 = 48;

/// As many as there can be when each of them has a socket and a blob: strangers must not take the files
/// that places are read with.
fn connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(MAX_CONNECTIONS, |files| files.saturating_sub(RESERVED) / 2);
    usize::try_from(share.clamp(8, MAX_CONNECTIONS)).unwrap_or(8)
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
    let settings = Arc::new(settings.clone());
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
    registry.status().drain();
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
    settings: Arc<Settings>,
    open: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No more files: wait for some to be closed instead of spinning.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (registry, settings, open) = (registry.clone(), settings.clone(), open.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            registry.status().metrics.accepted.fetch_add(1, Relaxed);
            let status = registry.shared_status();
            let _counted = Gauge::new(&status.metrics.connections);
            connection(stream, remote, registry, settings, open, watcher).await;
            drop(permit);
        });
    }
}

/// One connection, from its first byte to its last.
async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    registry: Arc<Registry>,
    settings: Arc<Settings>,
    open: Arc<Semaphore>,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    let address = remote.ip().to_canonical();
    let mut peer = Peer { address, certified: false, encrypted: false };
    let Some(tls) = settings.tls.clone() else {
        let shared = (registry, settings, open);
        return requests(stream, remote, peer, false, shared, watcher).await;
    };
    let shaken = tokio::time::timeout(settings.header_timeout, tls.accept(stream)).await;
    // Who cannot agree on TLS with us has been told so.
    let Ok(Ok(stream)) = shaken else { return };
    let session = stream.get_ref().1;
    (peer.encrypted, peer.certified) = (true, session.peer_certificates().is_some());
    let http2 = session.alpn_protocol() == Some(b"h2");
    requests(stream, remote, peer, http2, (registry, settings, open), watcher).await;
}

/// The requests of a connection.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    peer: Peer,
    http2: bool,
    (registry, settings, open): (Arc<Registry>, Arc<Settings>, Arc<Semaphore>),
    watcher: Watcher,
) {
    let (stream, activity) = Progress::new(stream, !http2, registry.shared_status());
    let (headers, head, idle) = (settings.headers, settings.header_timeout, settings.idle_timeout);
    let shared = Connection { registry, settings, open, activity: activity.clone(), remote, peer };
    let shared = Arc::new(shared);
    let (connection, open) = (shared.clone(), shared.open.clone());
    let service = service_fn(move |request: Parts<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(exchange(shared, request).await) }
    });
    let stream = TokioIo::new(stream);
    // Whatever else ends a connection is between it and its client.
    let serving = async {
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let most = u32::try_from(headers).unwrap_or(u32::MAX);
            builder.timer(TokioTimer::new()).max_header_list_size(most).max_concurrent_streams(64);
            let _ = watcher.watch(builder.serve_connection(stream, service)).await;
        } else {
            // How long heads may take is looked after by `stalled`: hyper counts idle time as well.
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(headers * 4);
            if let Err(e) = watcher.watch(builder.serve_connection(stream, service)).await {
                unread(&connection, &e);
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = activity.stalled(head, idle, || open.available_permits() == 0) => {}
    }
}

#[cfg(test)]
mod tests;
