//! Sockets: connections in, answers out. The only asynchronous part of imgpack.
//!
//! It knows no image. HTTP/1.1 and, over TLS, HTTP/2 come from hyper; this file limits what a client may
//! use: connections, requests, bytes of headers, seconds without progress. `tls` does handshakes, `framing`
//! and `progress` watch a connection, `exchange` answers one request in its turn (`turns`), `body` and
//! `sending` hold the bytes.

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

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::serve::Registry;
use crate::serve::access::Peer;
use crate::serve::metrics::Gauge;

mod body;
mod exchange;
mod framing;
mod progress;
mod sending;
mod server;
mod settings;
pub mod tls;
mod turns;

use exchange::{Connection, exchange, unread};
use progress::CountedStream;
use server::Server;
pub use settings::ServerSettings;

/// Threads that may wait for a disk, beside those that wait for what a client sends.
const THREADS: usize = 256;
/// Requests at once of one connection over HTTP/2; clients have three to six, and open another one.
const MAX_STREAMS: u32 = 16;
/// Serves until the run is cancelled; `ready` hears where, once connections are taken.
///
/// # Errors
/// `Io` when an address cannot be listened on.
pub fn serve(
    registry: &Arc<Registry>,
    settings: &ServerSettings,
    ctx: &Context,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve")
        .max_blocking_threads(settings.pushes + THREADS)
        .build()
        .map_err(|e| Error::new(Kind::Io, format!("starting threads: {e}")))?;
    let served = runtime.block_on(run(registry, settings, ctx, ready));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(
    registry: &Arc<Registry>,
    settings: &ServerSettings,
    ctx: &Context,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<()> {
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let listener = TcpListener::bind(address).await.map_err(|e| refused(address, &e))?;
        listeners.push(listener);
    }
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let server = Arc::new(Server::new(registry.clone(), settings.clone()));
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = Vec::new();
    for listener in listeners {
        accepting.push(tokio::spawn(accept(listener, server.clone(), graceful.clone())));
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

async fn accept(listener: TcpListener, server: Arc<Server>, graceful: Arc<GracefulShutdown>) {
    loop {
        let Ok(permit) = server.open.clone().acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No more files: wait for some to be closed instead of spinning.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (server, watcher) = (server.clone(), graceful.watcher());
        tokio::spawn(async move {
            let status = server.registry.shared_status();
            status.metrics.accepted.fetch_add(1, Relaxed);
            let _counted = Gauge::new(&status.metrics.connections);
            connection(stream, remote, server, watcher).await;
            drop(permit);
        });
    }
}

/// One connection, from its first byte to its last.
async fn connection(stream: TcpStream, remote: SocketAddr, server: Arc<Server>, watcher: Watcher) {
    let _ = stream.set_nodelay(true);
    let address = remote.ip().to_canonical();
    let mut peer = Peer { address, certified: false, encrypted: false };
    let Some(tls) = server.settings.tls.clone() else {
        return requests(stream, remote, peer, false, server, watcher).await;
    };
    let shaken = tokio::time::timeout(server.settings.header_timeout, tls.accept(stream)).await;
    // A failed handshake has been answered with an alert.
    let Ok(Ok(stream)) = shaken else { return };
    let session = stream.get_ref().1;
    (peer.encrypted, peer.certified) = (true, session.peer_certificates().is_some());
    let http2 = session.alpn_protocol() == Some(b"h2");
    requests(stream, remote, peer, http2, server, watcher).await;
}

/// The requests of a connection.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    peer: Peer,
    http2: bool,
    server: Arc<Server>,
    watcher: Watcher,
) {
    let (stream, activity) = CountedStream::new(stream, !http2, server.registry.shared_status());
    let (headers, open) = (server.settings.headers, server.open.clone());
    let (head, idle) = (server.settings.header_timeout, server.settings.idle_timeout);
    let connection = Arc::new(Connection { server, activity: activity.clone(), remote, peer });
    let asked = connection.clone();
    let service = service_fn(move |request: Parts<Incoming>| {
        let connection = asked.clone();
        async move { Ok::<_, Infallible>(exchange(connection, request).await) }
    });
    let stream = TokioIo::new(stream);
    // Whatever else ends a connection is between it and its client.
    let serving = async {
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let most = u32::try_from(headers).unwrap_or(u32::MAX);
            builder.timer(TokioTimer::new()).max_header_list_size(most);
            builder.max_concurrent_streams(MAX_STREAMS);
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
