//! A stream that notes when bytes moved, so that a connection that stands still can be left.
//!
//! It knows no route. Bytes that come in are shown to `framing` on their way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use crate::serve::status::Status;

/// A stream with a count of its bytes.
pub(super) struct Progress<S> {
    stream: S,
    framing: Framing,
    activity: Arc<Activity>,
    status: Arc<Status>,
}

/// What is known of one connection.
pub(super) struct Activity {
    /// Bytes that moved either way.
    moved: AtomicU64,
    /// Requests that are being answered: these may take as long as a disk takes.
    working: AtomicU64,
    /// Requests whose answer is not out yet.
    unfinished: AtomicU64,
    /// Heads that were read, twice; and one when another has begun. The first one is awaited.
    heads: AtomicU64,
    /// Set once a request was framed in two ways.
    ambiguous: AtomicBool,
}

/// A request that is being answered.
pub(super) struct Working(Arc<Activity>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// A request whose answer is not out yet.
pub(super) struct Unfinished(Arc<Activity>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Relaxed);
    }
}

impl Activity {
    /// Notes a request whose answer is not out yet, until dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Unfinished {
        self.unfinished.fetch_add(1, Relaxed);
        Unfinished(self.clone())
    }

    /// Notes a request that is being answered, until dropped.
    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Relaxed);
        Working(self.clone())
    }

    /// Whether a request was framed in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }

    /// Ends once nothing moved for `idle`, a tenth of it between requests while it is `crowded`, or the
    /// head of a request took longer than `head`.
    pub(super) async fn stalled(&self, head: Duration, idle: Duration, crowded: impl Fn() -> bool) {
        let tick = (head.min(idle) / 4).max(Duration::from_millis(10));
        let look = || (self.moved.load(Relaxed), self.heads.load(Relaxed));
        let (mut moved, mut heads) = look();
        let (mut still, mut waiting) = (Duration::ZERO, Duration::ZERO);
        let between = || self.unfinished.load(Relaxed) == 0;
        let limit = || if between() && crowded() { idle / 10 } else { idle };
        while still < limit() && waiting < head {
            tokio::time::sleep(tick).await;
            let now = look();
            let busy = now.0 != moved || self.working.load(Relaxed) > 0;
            still = if busy { Duration::ZERO } else { still + tick };
            let same = now.1 == heads && heads % 2 == 1;
            waiting = if same { waiting + tick } else { Duration::ZERO };
            (moved, heads) = now;
        }
    }
}

impl<S> Progress<S> {
    /// `http1` says whether requests lie on it one behind the other.
    pub(super) fn new(stream: S, http1: bool, status: Arc<Status>) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity {
            moved: AtomicU64::new(0),
            working: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            heads: AtomicU64::new(u64::from(http1)),
            ambiguous: AtomicBool::new(false),
        });
        let framing = if http1 { Framing::default() } else { Framing::off() };
        (Self { stream, framing, activity: activity.clone(), status }, activity)
    }

    fn came(&mut self, bytes: &[u8]) {
        let seen = self.framing.pass(bytes);
        if seen.ambiguous {
            self.activity.ambiguous.store(true, Relaxed);
        }
        let heads = self.activity.heads.load(Relaxed);
        let begun = u64::from(self.framing.in_head());
        // Until the first head is over, one is awaited.
        if seen.heads > 0 || heads > 1 {
            self.activity.heads.store((heads / 2 + seen.heads) * 2 + begun, Relaxed);
        }
        self.activity.moved.fetch_add(bytes.len() as u64, Relaxed);
        self.status.metrics.received.fetch_add(bytes.len() as u64, Relaxed);
    }

    fn went(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = polled {
            self.activity.moved.fetch_add(*n as u64, Relaxed);
            self.status.metrics.sent.fetch_add(*n as u64, Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if !bytes.is_empty() {
            self.came(bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.went(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.went(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
