//! A stream that records progress, so that a stalled connection can be closed.
//!
//! It knows no route. Incoming bytes also pass through `framing`. Over HTTP/2, bytes move without any
//! request (RFC 9113, 6.7), and one of many answers may stall: there, requests and the bytes of each body
//! are what counts.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use crate::serve::status::ServerStatus;

/// A stream with a count of its bytes.
pub(super) struct CountedStream<S> {
    stream: S,
    framing: Framing,
    activity: Arc<Activity>,
    status: Arc<ServerStatus>,
}

/// What is known of one connection.
pub(super) struct Activity {
    /// Another number whenever something moved: bytes either way, over HTTP/2 those of bodies only.
    moved: AtomicU64,
    /// Over HTTP/2 the bodies that are on their way, and how many bytes of them are gone.
    bodies: Option<Mutex<HashMap<u64, Arc<AtomicU64>>>>,
    /// Requests that are being answered: these may take as long as a disk takes.
    working: AtomicU64,
    /// Requests whose answer is not out yet.
    unfinished: AtomicU64,
    /// Heads that were read, twice; and one when another has begun. The first one is awaited.
    heads: AtomicU64,
    /// Set once a request was framed in two ways.
    ambiguous: AtomicBool,
}

/// A body that is on its way over HTTP/2, until dropped.
pub(super) struct Moving {
    activity: Arc<Activity>,
    number: u64,
    gone: Arc<AtomicU64>,
}

impl Moving {
    /// Notes bytes that are gone.
    pub(super) fn moved(&self, bytes: usize) {
        self.gone.fetch_add(bytes as u64, Relaxed);
        self.activity.moved.fetch_add(bytes as u64, Relaxed);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(mut bodies) = self.activity.bodies() {
            bodies.remove(&self.number);
        }
    }
}

/// What was seen of a body lately: bytes that are gone, and for how long it stood still.
type BodyProgress = HashMap<u64, (u64, Duration)>;

/// A request that is being answered.
pub(super) struct ActiveRequest(Arc<Activity>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// A request whose answer is not out yet.
pub(super) struct PendingResponse(Arc<Activity>);

impl Drop for PendingResponse {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Relaxed);
    }
}

impl Activity {
    /// Notes a request whose answer is not out yet, until dropped.
    pub(super) fn begin(self: &Arc<Self>) -> PendingResponse {
        self.unfinished.fetch_add(1, Relaxed);
        self.moved.fetch_add(1, Relaxed);
        PendingResponse(self.clone())
    }

    /// Notes a body that is on its way, where it must be watched by itself.
    pub(super) fn send(self: &Arc<Self>) -> Option<Moving> {
        let gone = Arc::<AtomicU64>::default();
        // It only grows, so no two are the same.
        let number = self.moved.fetch_add(1, Relaxed);
        self.bodies()?.insert(number, gone.clone());
        Some(Moving { activity: self.clone(), number, gone })
    }

    fn bodies(&self) -> Option<MutexGuard<'_, HashMap<u64, Arc<AtomicU64>>>> {
        Some(self.bodies.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at all bodies again after `tick`; for how long the slowest one stood still.
    fn stuck(&self, seen: &mut BodyProgress, tick: Duration) -> Duration {
        let Some(bodies) = self.bodies() else { return Duration::ZERO };
        let look = |(number, gone): (&u64, &Arc<AtomicU64>)| {
            let gone = gone.load(Relaxed);
            let still = match seen.get(number) {
                Some((before, still)) if *before == gone => *still + tick,
                _ => Duration::ZERO,
            };
            (*number, (gone, still))
        };
        let now: BodyProgress = bodies.iter().map(look).collect();
        *seen = now;
        seen.values().map(|(_, still)| *still).max().unwrap_or_default()
    }

    /// Notes a request that is being answered, until dropped.
    pub(super) fn work(self: &Arc<Self>) -> ActiveRequest {
        self.working.fetch_add(1, Relaxed);
        ActiveRequest(self.clone())
    }

    /// Whether a request was framed in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }

    /// Ends once nothing or one of many bodies did not move for `idle`, a tenth of it between requests while it is `crowded`, or the
    /// head of a request took longer than `head`.
    pub(super) async fn stalled(&self, head: Duration, idle: Duration, crowded: impl Fn() -> bool) {
        let tick = (head.min(idle) / 4).max(Duration::from_millis(10));
        let look = || (self.moved.load(Relaxed), self.heads.load(Relaxed));
        let (mut moved, mut heads) = look();
        let (mut still, mut waiting) = (Duration::ZERO, Duration::ZERO);
        let (mut seen, mut stuck) = (BodyProgress::new(), Duration::ZERO);
        let between = || self.unfinished.load(Relaxed) == 0;
        let limit = || if between() && crowded() { idle / 10 } else { idle };
        while still < limit() && stuck < idle && waiting < head {
            tokio::time::sleep(tick).await;
            stuck = self.stuck(&mut seen, tick);
            let now = look();
            let busy = now.0 != moved || self.working.load(Relaxed) > 0;
            still = if busy { Duration::ZERO } else { still + tick };
            let same = now.1 == heads && heads % 2 == 1;
            waiting = if same { waiting + tick } else { Duration::ZERO };
            (moved, heads) = now;
        }
    }
}

impl<S> CountedStream<S> {
    /// `http1` says whether requests lie on it one behind the other.
    pub(super) fn new(stream: S, http1: bool, status: Arc<ServerStatus>) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity {
            moved: AtomicU64::new(0),
            bodies: (!http1).then(Mutex::default),
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
        self.moved(bytes.len());
        self.status.metrics.received.fetch_add(bytes.len() as u64, Relaxed);
    }

    fn moved(&self, bytes: usize) {
        if self.activity.bodies.is_none() {
            self.activity.moved.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn went(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = polled {
            self.moved(*n);
            self.status.metrics.sent.fetch_add(*n as u64, Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_body_that_stands_still_is_seen_among_those_that_move() {
        let (tick, second) = (Duration::from_millis(500), Duration::from_secs(1));
        let (_stream, activity) = CountedStream::new((), false, Arc::default());
        let (slow, fast) = (activity.send().unwrap(), activity.send().unwrap());
        let mut seen = BodyProgress::new();
        let mut look = || activity.stuck(&mut seen, tick);
        assert_eq!(look(), Duration::ZERO);
        fast.moved(1);
        assert_eq!(look(), tick);
        fast.moved(1);
        assert_eq!(look(), second);
        slow.moved(1);
        assert_eq!(look(), tick);
        drop((slow, fast));
        assert_eq!(look(), Duration::ZERO);
        assert!(
            CountedStream::new((), true, Arc::default()).1.send().is_none(),
            "it is alone there"
        );
    }

    #[test]
    fn what_http2_says_of_itself_is_no_progress() {
        for (http1, want) in [(true, 4), (false, 0)] {
            let (mut stream, activity) = CountedStream::new((), http1, Arc::default());
            stream.came(b"ab");
            stream.went(&Poll::Ready(Ok(2)));
            assert_eq!(activity.moved.load(Relaxed), want, "{http1}");
        }
    }
}
