//! Bodies: blobs read on threads that may block on a disk, and uploads as a `Read`.
//!
//! It knows no route.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::progress::PendingResponse;
use super::sending::{BodyChunk, BodyInFlight};
use crate::error::Error;
use crate::serve::answer;
use crate::serve::log::{RequestLog, RequestRecord};
use crate::serve::outgoing::{LARGE_PIECE, Outgoing, PIECE};

/// The body of an answer, and the log record to write once it is sent.
pub(super) struct StreamedBody {
    content: Content,
    sending: Arc<BodyInFlight>,
    account: Account,
}

enum Content {
    Bytes(Option<Bytes>),
    Blob(BlobBody),
}

/// The log record of a request, written when this is dropped: its answer was sent or abandoned.
pub(super) struct Account {
    pub(super) log: Arc<dyn RequestLog>,
    pub(super) remote: SocketAddr,
    pub(super) user: Option<String>,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) status: u16,
    /// Bytes of the body that were handed on.
    pub(super) bytes: u64,
    pub(super) began: Instant,
    pub(super) agent: Option<HeaderValue>,
    pub(super) id: HeaderValue,
    pub(super) _unfinished: PendingResponse,
}

impl Drop for Account {
    fn drop(&mut self) {
        let target = self.target.path_and_query().map_or(self.target.path(), |t| t.as_str());
        let agent = self.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        self.log.entry(&RequestRecord {
            remote: self.remote,
            user: self.user.as_deref(),
            method: self.method.as_str(),
            target,
            status: self.status,
            bytes: self.bytes,
            elapsed: self.began.elapsed(),
            agent: agent.as_deref(),
            id: self.id.to_str().unwrap_or_default(),
        });
    }
}

struct BlobBody {
    /// Bytes that hyper has not been given.
    left: u64,
    outgoing: Option<Outgoing>,
    reading: Option<JoinHandle<(Outgoing, crate::Result<Option<Bytes>>)>>,
}

impl StreamedBody {
    pub(super) fn new(
        body: answer::ResponseBody,
        head: bool,
        sending: Arc<BodyInFlight>,
        account: Account,
    ) -> Self {
        let content = match body {
            _ if head => Content::Bytes(None),
            answer::ResponseBody::Bytes(bytes) => {
                Content::Bytes(Some(bytes).filter(|b| !b.is_empty()))
            }
            answer::ResponseBody::Length(_) => Content::Bytes(None),
            answer::ResponseBody::Blob(outgoing) => {
                let left = outgoing.len();
                Content::Blob(BlobBody { left, outgoing: Some(outgoing), reading: None })
            }
        };
        Self { content, sending, account }
    }
}

impl BlobBody {
    /// The next piece, of at most `most` bytes.
    fn poll(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Bytes, Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(mut outgoing) = self.outgoing.take() {
            // What the system has in memory needs no other thread.
            if let Some(piece) = outgoing.piece_at_hand(most).transpose() {
                let piece = piece?;
                self.left -= piece.len() as u64;
                self.outgoing = Some(outgoing);
                return Poll::Ready(Some(Ok(piece)));
            }
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let piece = outgoing.next_piece(most);
                (outgoing, piece)
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let failed = |e: Error| Poll::Ready(Some(Err(e)));
        match read {
            Ok((outgoing, Ok(Some(piece)))) => {
                self.left -= piece.len() as u64;
                self.outgoing = Some(outgoing);
                Poll::Ready(Some(Ok(piece)))
            }
            Ok((_, Ok(None))) => Poll::Ready(None),
            Ok((_, Err(e))) => failed(e),
            Err(_) => failed(Error::new(crate::Kind::Other, "reading was given up")),
        }
    }
}

impl Body for StreamedBody {
    type Data = BodyChunk;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BodyChunk>, Error>>> {
        let Self { content, sending, account } = self.get_mut();
        let polled = match content {
            Content::Bytes(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Content::Blob(blob) => {
                blob.poll(cx, if sending.is_one_of_few() { LARGE_PIECE } else { PIECE })
            }
        };
        polled.map_ok(|bytes| {
            account.bytes += bytes.len() as u64;
            Frame::data(sending.piece(bytes))
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Bytes(bytes) => bytes.is_none(),
            Content::Blob(blob) => blob.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::Blob(blob) => blob.left,
        })
    }
}

/// How long the next bytes of an upload may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is read on of a body that nobody wants, so that its sender comes to read our answer: some
/// look for it only once they have sent everything.
const LINGERING: Duration = Duration::from_secs(30);
/// How long the next bytes of such a body may take.
const PAUSE: Duration = Duration::from_secs(5);

/// How many pieces of an upload wait to be read, while more come: of 64 KiB each at the most.
const AHEAD: usize = 2;

/// What a client sends, read by a thread that may wait.
pub(super) struct UploadBody {
    incoming: UploadState,
    runtime: Handle,
    current: Bytes,
    /// Whether the client sends already, or waits until it is read from (`Expect: 100-continue`).
    begun: bool,
}

enum UploadState {
    /// Not asked for so far.
    Waiting(Incoming),
    /// Coming in on a task of its own.
    Flowing(mpsc::Receiver<io::Result<Bytes>>),
    /// Over, or broken.
    Ended,
}

impl UploadBody {
    pub(super) fn new(incoming: Incoming, runtime: Handle, headers: &HeaderMap) -> Self {
        let begun = !headers.contains_key(header::EXPECT);
        Self { incoming: UploadState::Waiting(incoming), runtime, current: Bytes::new(), begun }
    }

    /// Whether anything comes that was not asked for so far.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(&self.incoming, UploadState::Waiting(incoming) if !incoming.is_end_stream())
    }

    /// Reads on for a while what nobody wanted: who hangs up on bytes that come in takes back the answer
    /// that goes out. Not when the client waits for a word before it sends.
    pub(super) fn drain(self) {
        // What flows already drains by itself once nobody receives it.
        if let UploadState::Waiting(incoming) = self.incoming
            && self.begun
            && !incoming.is_end_stream()
        {
            self.runtime.spawn(drain(incoming));
        }
    }

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.incoming = match std::mem::replace(&mut self.incoming, UploadState::Ended) {
            UploadState::Waiting(incoming) => {
                let (to, from) = mpsc::channel(AHEAD);
                self.runtime.spawn(pump(incoming, to));
                UploadState::Flowing(from)
            }
            flowing => flowing,
        };
        match &mut self.incoming {
            UploadState::Flowing(from) => from.blocking_recv(),
            _ => None,
        }
    }
}

/// Hands on what comes in, a little ahead of whoever reads it.
async fn pump(mut incoming: Incoming, to: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match tokio::time::timeout(PATIENCE, incoming.frame()).await {
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => return,
            Ok(Some(Err(e))) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, e)),
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
        };
        let broken = piece.is_err();
        if to.send(piece).await.is_err() {
            return drain(incoming).await;
        }
        if broken {
            return;
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let drained = async {
        while let Ok(Some(Ok(_))) = tokio::time::timeout(PAUSE, incoming.frame()).await {}
    };
    let _ = tokio::time::timeout(LINGERING, drained).await;
}

impl Read for UploadBody {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.next() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
