//! The body of an answer being sent: its bytes, and the turn they hold until they are sent.
//!
//! It knows no route. Over HTTP/2, bytes stay here while the client's window is closed, even when the body
//! was read to its end; so each piece keeps the turn of its request and records when it is sent.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::progress::Moving;
use super::turns::Turn;

/// One body on its way; its pieces share it.
pub(super) struct BodyInFlight {
    moving: Option<Moving>,
    turn: Option<Turn>,
}

/// Bytes of a body.
pub(super) struct BodyChunk {
    bytes: Bytes,
    sending: Arc<BodyInFlight>,
}

impl BodyInFlight {
    pub(super) fn new(moving: Option<Moving>, turn: Option<Turn>) -> Arc<Self> {
        Arc::new(Self { moving, turn })
    }

    /// Whether there is memory for large pieces.
    pub(super) fn is_one_of_few(&self) -> bool {
        self.turn.as_ref().is_none_or(Turn::is_one_of_few)
    }

    /// Bytes of it, to be sent.
    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> BodyChunk {
        BodyChunk { bytes, sending: self.clone() }
    }
}

impl Buf for BodyChunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
        if let Some(moving) = &self.sending.moving {
            moving.moved(n);
        }
    }
}
