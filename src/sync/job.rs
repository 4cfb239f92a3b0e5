//! One sync as plain data: source, destination, selection, names.
//!
//! It knows no flags. All files given by flags have been read by then.

use std::fmt;
use std::path::PathBuf;

use crate::copy::Policy;
use crate::sync::lock::Lock;
use crate::sync::naming::RenameRules;
use crate::sync::policy::AdmissionPolicy;
use crate::sync::select::Selection;

/// One end of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Registries: the source's repositories say which; the destination is [`RenameRules::base`].
    Registry,
    /// A directory: one OCI layout to write; to read, also a folder of archives, layouts or skopeo's
    /// directories.
    Dir(PathBuf),
    /// An archive of images, one file.
    Archive(PathBuf),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry => f.write_str("registry"),
            Self::Dir(path) | Self::Archive(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A sync job.
#[derive(Clone, Debug)]
pub struct SyncJob {
    /// Where images are.
    pub from: End,
    /// Where they are to be.
    pub to: End,
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
