//! Turns: how many requests are answered at once, over all connections.
//!
//! It knows no request. Over HTTP/2 one connection carries many requests, and each may hold a file and
//! memory for as long as its client likes; so requests are counted too, until the last byte of an answer
//! is sent. A request with a body also holds a thread, so there are fewer of those.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::ServerSettings;

/// How many answers at once are sent in large pieces.
const FEW: usize = 32;

/// The turns of one server.
pub(super) struct Turns {
    answers: Arc<Semaphore>,
    pushes: Arc<Semaphore>,
    /// How many answers there may be at once.
    most: usize,
    patience: Duration,
}

/// The right of one request to be answered, until dropped.
pub(super) struct Turn {
    answer: OwnedSemaphorePermit,
    push: Option<OwnedSemaphorePermit>,
    most: usize,
}

impl Turns {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        let [answers, pushes] =
            [settings.requests, settings.pushes].map(|most| Arc::new(Semaphore::new(most)));
        // Less than a connection may stall, so that a client that waited in vain gets an answer.
        let patience = settings.idle_timeout / 3;
        Self { answers, pushes, most: settings.requests, patience }
    }

    /// A turn, for a request that `brings` a body or not; nothing when others kept theirs for too long.
    pub(super) async fn take(&self, brings: bool) -> Option<Turn> {
        // In this order: who waits to push keeps nobody from reading.
        let push = match brings {
            true => Some(self.wait(&self.pushes).await?),
            false => None,
        };
        Some(Turn { answer: self.wait(&self.answers).await?, push, most: self.most })
    }

    /// How many answers there may be besides.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.answers.available_permits()
    }

    async fn wait(&self, kind: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(self.patience, kind.clone().acquire_owned()).await.ok()?.ok()
    }
}

impl Turn {
    /// Says that nothing more of a body is read.
    pub(super) fn has_read(&mut self) {
        self.push = None;
    }

    /// Whether there is memory for large pieces.
    pub(super) fn is_one_of_few(&self) -> bool {
        self.most.saturating_sub(self.answer.semaphore().available_permits()) <= FEW
    }
}
