//! One sync as plain data: source, destination, selection, names.
//!
//! It knows no flags. All files given by flags have been read by then.

use crate::copy::Policy;
use crate::sync::lock::Lock;
use crate::sync::naming::RenameRules;
use crate::sync::policy::AdmissionPolicy;
use crate::sync::select::Selection;
use crate::transport::table::Place;

/// A sync job.
#[derive(Clone, Debug)]
pub struct SyncJob {
    /// Where images are: registries, of which the selection says which, or a directory or an archive.
    pub from: Place,
    /// Where they are to be: the registry of [`RenameRules::base`], a layout, or an archive.
    pub to: Place,
    /// Which; an empty one means all that a directory or an archive holds.
    pub selection: Selection,
    /// Which digests exactly, when a lock file is replayed; its references are the selection then.
    pub pins: Option<Lock>,
    /// What they are called at the destination.
    pub naming: RenameRules,
    /// What may come in.
    pub intake: AdmissionPolicy,
    /// Whether signatures, attestations and other companions travel with their image.
    pub companions: bool,
    /// Whether what left the list is removed at the destination. Whoever sets it has asked.
    pub delete: bool,
    /// Whether it is removed even when that is most of what the destination has.
    pub delete_most: bool,
    /// Platforms, recoding, checks, and whether one failure ends everything.
    pub policy: Policy,
}
