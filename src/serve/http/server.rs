//! What all connections of a server share.
//!
//! It must not know a connection.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::settings::ServerSettings;
use super::turns::Turns;
use crate::serve::Registry;

/// What all connections share.
pub(super) struct Server {
    pub(super) registry: Arc<Registry>,
    pub(super) settings: ServerSettings,
    /// How many more connections there may be.
    pub(super) open: Arc<Semaphore>,
    pub(super) turns: Turns,
}

impl Server {
    pub(super) fn new(registry: Arc<Registry>, settings: ServerSettings) -> Self {
        let open = Arc::new(Semaphore::new(settings.connections));
        let turns = Turns::new(&settings);
        Self { registry, settings, open, turns }
    }
}
