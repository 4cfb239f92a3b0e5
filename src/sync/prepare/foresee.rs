//! What images become under `--platform`, before the destination is contacted.
//!
//! It sends nothing.

use std::collections::HashSet;

use super::{Prepared, SyncItem};
use crate::context::Context;
use crate::digest::Digest;
use crate::error::Result;
use crate::media_type::Role;
use crate::reference::Reference;
use crate::sync::kept;

impl Prepared<'_> {
    /// Finds what images become, so that they can be asked for. One that goes by its digest has
    /// another name then; companions whose subject stays behind stay there too.
    pub(super) fn foresee(&mut self, ctx: &Context) -> Result<()> {
        let (policy, Some(source)) = (&self.policy, &self.source) else { return Ok(()) };
        if !policy.prunes() {
            return Ok(());
        }
        for item in &mut self.items {
            ctx.check()?;
            item.kept = kept::known(&item.root, policy, &self.indexes);
            let by_digest = |name: &Reference| name.tag().is_none() && name.digest().is_some();
            let mut targets = item.names.iter_mut().filter_map(|name| name.target.as_mut());
            if !targets.any(|target| by_digest(target)) {
                continue;
            }
            if item.kept.is_none() {
                // What fails here also fails in the copy, which reports it.
                item.kept = kept::foreseen(source.as_ref(), &item.root, policy, ctx).ok().flatten();
            }
            let Some(kept) = &item.kept else { continue };
            let targets = item.names.iter_mut().filter_map(|name| name.target.as_mut());
            for target in targets.filter(|target| by_digest(target)) {
                *target = target.with_digest(kept.target);
            }
        }
        self.leave_orphans();
        Ok(())
    }

    /// Takes out companions of what is known to stay behind; of the others the copy finds out.
    fn leave_orphans(&mut self) {
        let unknown = |item: &SyncItem| {
            let index = item.root.desc.media_type.role() == Role::Index;
            item.kept.is_none() && !item.root.companion && index
        };
        if self.items.iter().any(unknown) {
            return;
        }
        // Companions come after their subjects.
        let mut there: HashSet<Digest> = HashSet::new();
        self.items.retain(|item| {
            let stays = !kept::orphan(&item.root, &there);
            if stays {
                there.extend(item.becomes());
            }
            stays
        });
    }
}
