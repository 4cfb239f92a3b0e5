//! What a copy would make of one root, without a layer being read or anything being sent.
//!
//! It decides nothing: it is the walk and the seal of a copy, onto a sink that keeps nothing.

use std::collections::HashMap;

use crate::context::Context;
use crate::copy::policy::{Mode, Policy};
use crate::copy::ship::Shipped;
use crate::copy::{seal, walk};
use crate::error::Result;
use crate::platform::Platform;
use crate::transport::{Root, Sealed, Sink, Source};

/// What a root becomes when only these platforms are kept (all, when there are none): its descriptor
/// and every blob beneath it. `to` must keep nothing, such as `discard:`.
///
/// # Errors
/// `Missing` when it has none of the platforms; `Malformed`, `Corrupt`, those of the source.
pub fn preview(
    from: &dyn Source,
    to: &dyn Sink,
    root: &Root,
    platforms: &[Platform],
    ctx: &Context,
) -> Result<Sealed> {
    let policy = Policy { platforms: platforms.to_vec(), mode: Mode::Glance, ..Policy::default() };
    let tree = walk::one(from, root, to.accepts(), &policy, ctx);
    let tree = tree.map_err(|e| e.input_or(from.place()))?;
    seal::seal(to, &tree, &Shipped::default(), &mut HashMap::new(), ctx)
}
