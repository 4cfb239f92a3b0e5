//! The state of the server: its metrics, whether it is stopping, the authority of its certificate.
//!
//! It knows no socket.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::locks::{read, write};
use crate::serve::metrics::Metrics;

/// What a server says of itself; shared by all connections.
#[derive(Default)]
pub struct ServerStatus {
    /// Its counts.
    pub metrics: Metrics,
    draining: AtomicBool,
    authority: RwLock<Option<Bytes>>,
}

impl ServerStatus {
    /// Says that no new work is taken.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Sets the certificate, in PEM, that clients are to trust.
    pub fn set_authority(&self, pem: Option<&str>) {
        let pem = pem.map(|pem| Bytes::copy_from_slice(pem.as_bytes()));
        *write(&self.authority) = pem;
    }

    /// That certificate.
    pub fn authority(&self) -> Option<Bytes> {
        read(&self.authority).clone()
    }
}
