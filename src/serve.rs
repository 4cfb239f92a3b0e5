//! A registry over places: what a source holds, given to docker, podman, containerd and imgpack.
//!
//! It knows no transport and no terminal. Places are opened as for any copy and answer straight from
//! where their bytes lie; nothing is unpacked and nothing copied. Read `route`, then `handlers`: a
//! request becomes an answer in plain functions; `http` alone knows sockets and is alone asynchronous.
//! OCI distribution-spec.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::Context;

pub mod answer;
pub mod catalogue;
pub mod handlers;
pub mod holdings;
pub mod http;
pub mod names;
pub mod outgoing;
pub mod places;
pub mod range;
pub mod request;
pub mod route;

use catalogue::Catalogue;
use names::Naming;

/// What answers: the catalogue of all served places, and what may be done with it.
pub struct Registry {
    catalogue: Catalogue,
    /// Set when something was not as it should be, so that places are looked at again at once.
    again: AtomicBool,
}

impl Registry {
    /// A registry that holds nothing yet.
    pub fn new(naming: Naming, ctx: &Context) -> Self {
        Self { catalogue: Catalogue::new(naming, ctx), again: AtomicBool::new(false) }
    }

    /// What it holds.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Asks for the places to be looked at again soon.
    pub fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked since the last call.
    pub fn asked_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }
}
