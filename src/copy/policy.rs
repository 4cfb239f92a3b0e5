//! What a copy may change, and how it treats damage.

use crate::layer::Compression;
use crate::platform::Platform;

/// The user's wishes. The default changes nothing and checks everything.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Keep only images for these platforms.
    pub platforms: Vec<Platform>,
    /// Recode layers that are in another encoding.
    pub compress: Option<Compression>,
    /// Recode plain layers whose manifest was made here: a registry should not be sent bare tars.
    pub pack: Option<Compression>,
    /// Unpack every layer and compare its diff id with the config.
    pub unpack: bool,
    /// Publish the sound images although others fail.
    pub keep_going: bool,
    /// Look at everything, find all damage, publish what is sound: `verify`.
    pub survey: bool,
    /// Refuse an index of which some platforms are absent.
    pub complete: bool,
    /// Look at documents alone, not at whether layers are there.
    pub glance: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            compress: None,
            pack: None,
            unpack: true,
            keep_going: false,
            survey: false,
            complete: false,
            glance: false,
        }
    }
}

impl Policy {
    /// Whether it leaves every root as it is.
    pub(super) fn keeps(&self) -> bool {
        self.platforms.is_empty() && self.compress.is_none() && !self.survey
    }
}
