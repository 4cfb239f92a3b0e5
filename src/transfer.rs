//! A transfer: images of one place brought to another. What `load`, `save`, `push`, `pull`, `copy` and
//! `import` do is this, each with other values.
//!
//! It knows places and no flags: a [`Transfer`] is data. [`Transfer::prepare`] opens both ends, chooses,
//! renames, names companions, adapts to whoever will load the images and packs for a registry;
//! [`Ready::run`] is one call of the engine.

use crate::companion;
use crate::context::Context;
use crate::copy::{self, Policy, Report};
use crate::encoding::Encoding;
use crate::error::Result;
use crate::layer::Compression;
use crate::transport::ambiguous;
use crate::transport::archive::Halves;
use crate::transport::table::{Env, Place, Scheme};
use crate::transport::{Root, Sink, Source};

mod choose;
mod consumer;
mod images;
mod rename;

pub use choose::choose;
pub use consumer::{Consumer, Takes};
pub use images::Images;
pub use rename::Rename;

/// What is to be brought where, and how.
pub struct Transfer {
    /// Where the images are, and which of them are meant.
    pub from: Images,
    /// Where they are to be; a name in it renames the one image that is brought.
    pub to: Place,
    /// How else their names change.
    pub rename: Rename,
    /// Who will load what is written. An engine that is written into is asked what it is.
    pub consumer: Option<Consumer>,
    /// Which tables an archive carries; without it those of its scheme.
    pub halves: Option<Halves>,
    /// Whether a registry is sent every byte as it is.
    pub preserve_digests: bool,
    /// What may change.
    pub policy: Policy,
}

/// A transfer whose ends are open, and of which all is decided.
pub struct Ready {
    /// Where the images are.
    pub source: Box<dyn Source>,
    /// What will be copied, under its new names.
    pub roots: Vec<Root>,
    sink: Box<dyn Sink>,
    policy: Policy,
}

impl Transfer {
    /// Images brought as they are, but for what the policy and the target say.
    pub fn new(from: Images, to: Place, policy: Policy) -> Self {
        let rename = Rename::default();
        Self { from, to, rename, consumer: None, halves: None, preserve_digests: false, policy }
    }

    /// Opens both ends and decides everything; nothing is published so far. The target is opened first:
    /// what must be unpacked goes beside what will be written.
    ///
    /// # Errors
    /// Those of either place; `Missing` for images that are not there, `Usage` for names that contradict
    /// one another, `Policy` for what the consumer cannot load.
    pub fn prepare(self, env: &Env) -> Result<Ready> {
        let Self { from, to, rename, consumer, halves, preserve_digests, mut policy } = self;
        from.check()?;
        let sink = to.sink(env, halves)?;
        let images::Opened { source, mut roots } = from.open(env, &|| sink.scratch())?;
        source.warnings().iter().for_each(|warning| env.ctx.warn(warning));
        rename.apply(&mut roots, &to)?;
        let images = || roots.iter().filter(|root| !root.companion);
        ambiguous::refuse(images()).map_err(|e| e.input(source.place()))?;
        if to.scheme == Scheme::Registry {
            roots = companion::named(source.as_ref(), roots, &env.ctx);
            if !preserve_digests {
                pack(&mut policy);
            }
        }
        let takes = match consumer {
            None => Takes::behind(&to, env)?,
            Some(consumer) => Some(consumer.takes()),
        };
        if let Some(takes) = takes {
            takes.adapt(source.as_ref(), &mut roots, &mut policy, &env.ctx)?;
            takes.check_archive(&to, halves, &roots)?;
        }
        if !policy.unpack && roots.iter().any(|root| !root.companion && !root.origin.is_unproven())
        {
            env.ctx.warn("diff ids are not checked");
        }
        Ok(Ready { source, roots, sink, policy })
    }
}

impl Ready {
    /// Copies.
    ///
    /// # Errors
    /// Those of [`copy::copy`].
    pub fn run(self, ctx: &Context) -> Result<Report> {
        copy::copy(self.source.as_ref(), self.sink, &self.roots, &self.policy, ctx)
    }
}

/// What a registry is sent: layers that lie uncompressed in a Docker archive become gzip, as docker does
/// it, unless layers are recoded anyway.
pub fn pack(policy: &mut Policy) {
    if policy.compress.is_none() {
        policy.pack = Some(Compression::new(Encoding::Gzip));
    }
}
