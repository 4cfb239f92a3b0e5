//! What a copy may change, and how it treats damage.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::error::{Cause, Error, Kind};
use crate::layer::Compression;
use crate::platform::Platform;
use crate::transport::Root;

/// What a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// To publish images.
    #[default]
    Copy,
    /// To find all damage: it looks at everything, goes on after each fault and believes no memory of
    /// earlier checks.
    Survey,
    /// To look at documents alone, not at whether layers are there.
    Glance,
}

/// What the user wishes of a run. The default changes nothing and checks everything.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Keep only images for these platforms.
    pub platforms: Vec<Platform>,
    /// Images that have platforms of their own, by the digest of their root.
    pub own_platforms: HashMap<Digest, Vec<Platform>>,
    /// Recode layers that are in another encoding.
    pub compress: Option<Compression>,
    /// Recode plain layers whose manifest was made here: a registry should not be sent bare tars.
    pub pack: Option<Compression>,
    /// Unpack every layer and compare its diff id with the config. Where a manifest was made here, that
    /// is done in any case.
    pub unpack: bool,
    /// Publish the sound images although others fail.
    pub keep_going: bool,
    /// Refuse an index of which some platforms are absent.
    pub complete: bool,
    /// What the run is for.
    pub mode: Mode,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            own_platforms: HashMap::new(),
            compress: None,
            pack: None,
            unpack: true,
            keep_going: false,
            complete: false,
            mode: Mode::default(),
        }
    }
}

impl Policy {
    /// The platforms that are kept of an image; all, when there are none.
    pub fn platforms_of(&self, root: &Root) -> &[Platform] {
        self.own_platforms.get(&root.desc.digest).unwrap_or(&self.platforms)
    }

    /// Whether it leaves out platforms of any image.
    pub fn prunes(&self) -> bool {
        !self.platforms.is_empty() || !self.own_platforms.is_empty()
    }

    /// Whether the run is to find all damage.
    pub(super) fn surveys(&self) -> bool {
        self.mode == Mode::Survey
    }

    /// Whether sound images go on when others fail.
    pub(super) fn tolerates(&self) -> bool {
        self.surveys() || self.keep_going
    }

    /// Whether it leaves every root as it is.
    pub(super) fn keeps(&self) -> bool {
        !self.prunes() && self.compress.is_none() && !self.surveys()
    }
}

/// Errors that end the whole run, whatever may still be sound.
pub(super) fn stops(error: &Error) -> bool {
    matches!(error.kind(), Kind::Interrupted | Kind::Closed)
        || error.cause() == Cause::TooManyEntries
}
