//! Bodies: blobs read on threads that may wait for a disk, and uploads as something to read from.
//!
//! It knows no route.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::serve::answer;
use crate::serve::outgoing::Outgoing;

/// The body of an answer.
pub(super) enum Reply {
    Bytes(Option<Bytes>),
    Blob(Blob),
}

pub(super) struct Blob {
    /// Bytes that hyper has not been given.
    left: u64,
    outgoing: Option<Outgoing>,
    reading: Option<JoinHandle<(Outgoing, crate::Result<Option<Bytes>>)>>,
}

impl Reply {
    pub(super) fn new(body: answer::Body, head: bool) -> Self {
        match body {
            _ if head => Self::Bytes(None),
            answer::Body::Bytes(bytes) => Self::Bytes(Some(bytes).filter(|b| !b.is_empty())),
            answer::Body::Length(_) => Self::Bytes(None),
            answer::Body::Blob(outgoing) => {
                let left = outgoing.len();
                Self::Blob(Blob { left, outgoing: Some(outgoing), reading: None })
            }
        }
    }
}

impl Blob {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(mut outgoing) = self.outgoing.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let piece = outgoing.next_piece();
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
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Ok((_, Ok(None))) => Poll::Ready(None),
            Ok((_, Err(e))) => failed(e),
            Err(_) => failed(Error::new(crate::Kind::Other, "reading was given up")),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Blob(blob) => blob.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::Blob(blob) => blob.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Blob(blob) => blob.left,
        })
    }
}

/// How long the next bytes of an upload may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read of a body that nobody wants, so that its sender comes to read our answer.
const DRAINED: usize = 1 << 20;

/// What a client sends, read by a thread that may wait.
pub(super) struct Upload {
    incoming: Incoming,
    runtime: Handle,
    current: Bytes,
    begun: bool,
}

impl Upload {
    pub(super) fn new(incoming: Incoming, runtime: Handle) -> Self {
        Self { incoming, runtime, current: Bytes::new(), begun: false }
    }

    /// Reads on for a while what nobody wanted; not when the client waits for a word before it sends.
    pub(super) fn drain(mut self) {
        if !self.begun || self.incoming.is_end_stream() {
            return;
        }
        self.runtime.clone().spawn(async move {
            let mut left = DRAINED;
            let drained = async {
                while let Some(Ok(frame)) = self.incoming.frame().await {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    left = left.saturating_sub(length);
                    if left == 0 {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), drained).await;
        });
    }
}

impl Read for Upload {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            self.begun = true;
            let next = self.incoming.frame();
            let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, next).await });
            match next {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(None) => return Ok(0),
                Ok(Some(Err(e))) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, e)),
                Ok(Some(Ok(frame))) => self.current = frame.into_data().unwrap_or_default(),
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
