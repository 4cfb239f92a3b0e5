//! The two ends of a sync, chosen once from its places.
//!
//! It moves nothing. What may be asked of an end is said in `source` and `destination`.

use std::sync::Arc;

use crate::error::Result;
use crate::sync::destination::Destination;
use crate::sync::files::{ArchiveFile, LayoutDir};
use crate::sync::job::SyncJob;
use crate::sync::registries::{Downstream, Upstream};
use crate::sync::source::SyncSource;
use crate::transport::registry::indexes::Indexes;
use crate::transport::table::{Env, Scheme};

/// Where images come from and go to.
pub struct Ends {
    /// The source.
    pub from: SyncSource,
    /// The destination.
    pub to: Box<dyn Destination>,
    /// What is known of indexes from earlier runs.
    pub indexes: Arc<Indexes>,
}

impl Ends {
    /// Chooses the ends of a job. A source on this machine is opened, a registry not yet asked.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of(job: &SyncJob, env: &Env) -> Result<Self> {
        let from = match job.from.scheme {
            Scheme::Registry => SyncSource::Registries(Box::new(Upstream::new(env))),
            _ => SyncSource::Place(job.from.named_source(env)?),
        };
        let to: Box<dyn Destination> = match job.to.scheme {
            Scheme::Registry => Box::new(Downstream::new(env)),
            Scheme::Oci => Box::new(LayoutDir::new(&job.to.path, &env.ctx)),
            _ => Box::new(ArchiveFile { place: job.to.clone(), env: env.clone() }),
        };
        Ok(Self { from, to, indexes: env.network.indexes() })
    }
}
