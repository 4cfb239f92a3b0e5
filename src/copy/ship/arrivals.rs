//! Leaves that come over a network: streamed, or first fetched into a file that survives the run.

use std::sync::{Arc, Mutex, OnceLock};

use crate::copy::ship::Run;
use crate::copy::ship::outcome::LeafOutcome;
use crate::copy::ship::plan::Leaf;
use crate::digest::DiffId;
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Result};
use crate::io::dir;
use crate::io::output::Named;
use crate::io::parts::Extent;
use crate::io::pump;
use crate::io::scratch::Scratch;
use crate::locks::lock;
use crate::partial::{Fetched, Partials};
use crate::transport::{Arrival, Blob};
use crate::verify::Unpacked;

/// Files that were fetched whole for a sink; they are kept until it is complete, so that a run that is
/// killed leaves them to the next.
#[derive(Default)]
pub(in crate::copy) struct Arrivals {
    partials: OnceLock<Partials>,
    kept: Mutex<Vec<Fetched>>,
}

impl Arrivals {
    /// Removes what the sink, complete now, has no more use for.
    pub(in crate::copy) fn done(self) {
        lock(&self.kept).iter().for_each(|fetched| self.drop_file(fetched));
    }

    fn drop_file(&self, fetched: &Fetched) {
        if let Some(partials) = self.partials.get() {
            partials.discard(&fetched.name);
        }
    }
}

/// A leaf that was fetched.
pub(super) struct FetchedLeaf {
    pub(super) extent: Extent,
    pub(super) diff_id: Option<DiffId>,
    fetched: Option<Fetched>,
}

/// A leaf on its way whose encoding is known.
pub(super) struct Parcel<'l> {
    pub(super) leaf: &'l Leaf,
    pub(super) encoding: Encoding,
    /// The file that it was fetched into.
    pub(super) local: Option<&'l FetchedLeaf>,
}

impl Run<'_> {
    /// Delivers a leaf that comes over a network: as it comes, or fetched whole first.
    pub(super) fn bring(&self, leaf: &Leaf) -> Result<(LeafOutcome, bool)> {
        let recoding = self.policy.compress.is_some() && leaf.layer;
        let whole = recoding || self.to.accepts().arrival == Arrival::Fetched;
        if !whole || leaf.bytes.is_some() {
            return self.carry(leaf, None, None);
        }
        if !recoding && !self.ordered && self.to.reuse(&leaf.desc)?.is_some() {
            return Ok((LeafOutcome::new(self.from, &leaf.desc, &leaf.desc, None), false));
        }
        let mut local = self.fetch(leaf)?;
        let encoding = Encoding::sniff(&local.extent.head(SNIFF_LEN)?);
        let done = self.pass(&Parcel { leaf, encoding, local: Some(&local) })?;
        if let Some(fetched) = local.fetched.take() {
            if self.ordered {
                lock(&self.arrivals.kept).push(fetched);
            } else {
                // What such a sink has taken it keeps, whatever becomes of this run.
                self.arrivals.drop_file(&fetched);
            }
        }
        Ok(done)
    }

    /// Fetches a leaf into a file that survives the run.
    fn fetch(&self, leaf: &Leaf) -> Result<FetchedLeaf> {
        let scratch = self.to.scratch()?;
        let partials = match self.arrivals.partials.get() {
            Some(partials) => partials,
            None => {
                let opened = Partials::open(scratch.parent())?;
                self.arrivals.partials.get_or_init(|| opened)
            }
        };
        let unpacked = Arc::new(Unpacked::default());
        let mut blob = Blob::new(self.from, leaf.desc.clone(), self.ctx);
        if leaf.check && !leaf.claimed.is_empty() {
            blob = blob.unpacking(None, unpacked.clone()).claiming(leaf.claimed.clone());
        }
        let size = leaf.desc.size;
        let fetched = partials.fetch(&blob)?;
        let (dir, name) = match &fetched {
            Some(fetched) => (partials.dir(), fetched.name.clone()),
            // Another run is fetching the same blob.
            None => (scratch.dir(), self.copy_of(&blob, &scratch)?),
        };
        let file = dir.file(&name)?.ok_or_else(|| Error::missing("scratch file is gone"))?.0;
        let extent = Extent::whole(file, &dir.join(&name), size);
        Ok(FetchedLeaf { extent, diff_id: unpacked.get(), fetched })
    }

    fn copy_of(&self, blob: &Blob<'_>, scratch: &Scratch) -> Result<String> {
        let (file, name) = scratch.file()?;
        let mut to = Named { file, path: scratch.path(&name) };
        pump::copy(&mut blob.open()?, &mut to)?;
        dir::close(to.file, &to.path)?;
        Ok(name)
    }
}
