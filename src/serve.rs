//! A registry over places, for docker, podman, containerd and imgpack. OCI distribution-spec.
//!
//! It knows no transport and no terminal. Places are opened as for any copy, and blobs are sent straight
//! from their files; nothing is unpacked or copied.
//!
//! - `http` alone knows sockets, and it alone is asynchronous. `access` admits a request before its
//!   body is read.
//! - `route` parses a path, `range` a range header; with the headers they make a `request`. `handlers`,
//!   plain functions, make an `answer` from the `catalogue`.
//! - `names` resolves repository names: the registry is in `?ns=`, in the path, or the default one. A
//!   served image has only these names; a pushed image is found under its pushed name with any `ns=`,
//!   since a mirror filled by `sync` has no registries in its names.
//! - `places` are watched; `holdings` list their content, `unproven` what must be unpacked first.
//!   `outgoing` sends blobs from files and detects when a file changed.
//! - `writable` is the store that can be pushed to: `uploads` are sessions as files, `deletions` what
//!   was deleted from a repository, `adopt` copies blobs of read-only places.
//! - `certificates` reads or makes the server's certificate; `page` is the web page; `status`,
//!   `metrics` and `log` report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::Context;

pub mod access;
pub mod adopt;
pub mod answer;
pub mod catalogue;
pub mod certificates;
pub mod deletions;
pub mod handlers;
pub mod holdings;
pub mod http;
pub mod log;
pub mod metrics;
pub mod names;
pub mod outgoing;
pub mod page;
pub mod places;
pub mod range;
pub mod request;
pub mod route;
pub mod status;
pub mod unproven;
pub mod uploads;
pub mod writable;

use catalogue::Catalogue;
use names::NameResolver;
use status::ServerStatus;
use writable::Writable;

/// The registry: the catalogue of all served places, and what clients may do with it.
pub struct Registry {
    catalogue: Catalogue,
    /// Where what is pushed goes; nothing when it is read only.
    writable: Option<Writable>,
    /// Set when something was wrong, so that places are checked again at once.
    again: AtomicBool,
    status: Arc<ServerStatus>,
    kept: page::ImageListCache,
}

impl Registry {
    /// A registry that holds nothing yet.
    pub fn new(naming: NameResolver, ctx: &Context) -> Self {
        // What is answered when the run ends is still answered to its end.
        let ctx = Context { cancel: Arc::default(), ..ctx.clone() };
        let status = Arc::<ServerStatus>::default();
        let catalogue = Catalogue::new(naming, &ctx, status.clone());
        let (again, kept) = (AtomicBool::new(false), page::ImageListCache::default());
        Self { catalogue, writable: None, again, status, kept }
    }

    /// The same, with a store that is written to; its images come before those of other places.
    #[must_use]
    pub fn with_writable(mut self, writable: Writable) -> Self {
        self.catalogue.replace(vec![writable.part()], Vec::new());
        self.writable = Some(writable);
        self
    }

    /// Where what is pushed goes.
    pub fn writable(&self) -> Option<&Writable> {
        self.writable.as_ref()
    }

    /// What it holds.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What the page counted last.
    pub fn kept(&self) -> &page::ImageListCache {
        &self.kept
    }

    /// What the server says of itself.
    pub fn status(&self) -> &ServerStatus {
        &self.status
    }

    /// The same, to be kept.
    pub fn shared_status(&self) -> Arc<ServerStatus> {
        self.status.clone()
    }

    /// Requests that the places are checked again soon.
    pub fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked since the last call.
    pub fn asked_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }
}
