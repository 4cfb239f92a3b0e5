//! Where an upload goes. It sends nothing itself.

use crate::context::Context;
use crate::registry::auth::scope;
use crate::registry::http::{Scope, Wire};
use crate::registry::settings::Settings;
use crate::registry::upload::plan::HostCapabilities;

/// A repository that blobs are sent to.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// What carries the requests.
    pub wire: &'a dyn Wire,
    /// The registry, `host[:port]`.
    pub host: &'a str,
    /// The repository's path there.
    pub path: &'a str,
    /// Style, tries, and where sessions are remembered.
    pub settings: &'a Settings,
    /// What earlier uploads to the same host found out.
    pub learned: &'a HostCapabilities,
    /// Who listens, and whether to stop.
    pub ctx: &'a Context,
}

impl Target<'_> {
    /// What a token must allow to upload.
    pub(super) fn scopes(&self) -> [Scope; 1] {
        [scope::push(self.path)]
    }
}
