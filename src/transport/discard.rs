//! `discard:` accepts everything, checks everything, keeps nothing: the sink of `verify`.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::io::pump;
use crate::io::scratch::Scratch;
use crate::transport::{Accepts, Arrival, Blob, Refused, Reused, Sealed, Sink};

/// A sink that reads every blob to its end.
pub struct Discard {
    temporary: PathBuf,
    ctx: Context,
}

impl Discard {
    /// A new one; `temporary` is a directory for the rare blob that must be recoded.
    pub fn new(temporary: PathBuf, ctx: &Context) -> Self {
        Self { temporary, ctx: ctx.clone() }
    }
}

impl Sink for Discard {
    fn place(&self) -> String {
        "discard:".into()
    }

    fn accepts(&self) -> Accepts {
        // Hashing is all there is to do, so more writers than cores only cost memory.
        let writers = self.ctx.jobs.min(rayon::current_num_threads().max(1));
        Accepts { arrival: Arrival::Streamed, ..Accepts::staged(writers) }
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        Scratch::within(&self.temporary)
    }

    fn reuse(&self, _: &Descriptor) -> Result<Option<Reused>> {
        Ok(None)
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let mut reader = blob.open()?;
        let mut buf = vec![0; pump::CHUNK];
        while reader.read(&mut buf)? > 0 {}
        Ok(())
    }

    fn publish(&self, _: Sealed) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        Ok(Vec::new())
    }
}
