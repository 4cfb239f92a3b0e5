//! The registries of both sides of a run, opened when first needed.
//!
//! It sends nothing: a run that names no registry reads no credentials and opens no connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::context::Context;
use crate::error::Result;
use crate::locks::lock;
use crate::registry::Registries;
use crate::registry::settings::{HostSettings, Login, Settings};
use crate::transport::registry::indexes::Indexes;

/// How the registries of a run are reached.
#[derive(Clone, Default)]
pub struct Network {
    /// The side that is read.
    pub from: Settings,
    /// The side that is written, when it differs.
    pub to: Option<Settings>,
    /// Where what may be forgotten is kept over runs.
    pub memory: Option<PathBuf>,
    opened: Arc<Mutex<Opened>>,
}

#[derive(Default)]
struct Opened {
    from: Option<Arc<Registries>>,
    to: Option<Arc<Registries>>,
    indexes: Option<Arc<Indexes>>,
}

impl Network {
    /// The registries of a run; one set of connections when both sides are reached the same way.
    pub fn new(from: Settings, to: Option<Settings>) -> Self {
        // Beside the uploads that were cut off.
        let memory = from.state.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        Self { from, to, memory, opened: Arc::default() }
    }

    /// Says how one host of the side that is read is reached.
    pub fn reach(
        &mut self,
        host: &str,
        login: Option<&Login>,
        cert_dir: Option<&PathBuf>,
        verify: Option<bool>,
    ) {
        // Settings of the source do not apply to the destination.
        self.to.get_or_insert_with(|| self.from.clone());
        let settings = HostSettings { login: login.cloned(), cert_dir: cert_dir.cloned() };
        self.from.hosts.insert(host.to_owned(), settings);
        if verify == Some(false) {
            self.from.insecure_hosts.push(host.to_owned());
        }
        self.opened = Arc::default();
    }

    /// The side that is read.
    ///
    /// # Errors
    /// As [`Registries::new`].
    pub fn source(&self, ctx: &Context) -> Result<Arc<Registries>> {
        let mut opened = lock(&self.opened);
        if let Some(known) = &opened.from {
            return Ok(known.clone());
        }
        let made = Registries::new(self.from.clone(), ctx)?;
        opened.from = Some(made.clone());
        Ok(made)
    }

    /// What is known of indexes from earlier runs.
    pub fn indexes(&self) -> Arc<Indexes> {
        let mut opened = lock(&self.opened);
        opened.indexes.get_or_insert_with(|| Arc::new(Indexes::open(self.memory.clone()))).clone()
    }

    /// The side that is written.
    ///
    /// # Errors
    /// As [`Registries::new`].
    pub fn sink(&self, ctx: &Context) -> Result<Arc<Registries>> {
        let Some(settings) = &self.to else { return self.source(ctx) };
        let mut opened = lock(&self.opened);
        if let Some(known) = &opened.to {
            return Ok(known.clone());
        }
        let made = Registries::new(settings.clone(), ctx)?;
        opened.to = Some(made.clone());
        Ok(made)
    }
}
