//! Foreign layers, which lie at the URLs of their descriptors, as a source without images of its own.
//!
//! It knows no place: beside one, it has what the place lacks.

use std::io::Read;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::io::parts::Extent;
use crate::media_type::Role;
use crate::registry::{Registries, download};
use crate::transport::{Checked, Root, Source};

/// Foreign layers wherever they lie.
pub struct ForeignLayers(pub Arc<Registries>);

impl Source for ForeignLayers {
    fn place(&self) -> String {
        "foreign layers".into()
    }

    fn roots(&self) -> &[Root] {
        &[]
    }

    fn open(&self, desc: &Descriptor, checked: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        self.open_at(desc, 0, checked)
    }

    fn open_at(
        &self,
        desc: &Descriptor,
        offset: u64,
        _: &Checked,
    ) -> Result<Box<dyn Read + Send + '_>> {
        self.0.foreign(desc, offset)
    }

    fn extent(&self, _: &Descriptor) -> Option<Extent> {
        None
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        let foreign = desc.media_type.role() == Role::ForeignLayer;
        Ok(foreign && !download::urls(desc).is_empty())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        download::urls(desc).into_iter().next().unwrap_or_default()
    }
}
