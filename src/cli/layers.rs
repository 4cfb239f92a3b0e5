//! The layers of one image, unpacked one after another: what `export` and `diff` look at.

use std::io::Read;
use std::sync::Arc;

use imgpack::copy::Manifest;
use imgpack::encoding::{Encoding, SNIFF_LEN};
use imgpack::flatten::LayerStreams;
use imgpack::platform::Platform;
use imgpack::transport::{Blob, Source};
use imgpack::{Context, Error, Result, layer};

use super::pick;
use super::run::Run;

/// Calls `then` with the unpacked layers of one image.
///
/// # Errors
/// `Missing`, and those of `then`.
pub(crate) fn with_layers<T>(
    target: &str,
    platform: Option<&Platform>,
    run: &Run,
    then: impl FnOnce(&Layers<'_>) -> Result<T>,
) -> Result<T> {
    let (source, root) = pick::one(target, run)?;
    let tree = imgpack::copy::walk(source.as_ref(), &root, run.ctx())?;
    let image = match platform {
        Some(platform) => tree.node.image_for(platform),
        None => tree.node.own_image(),
    };
    let image = image.ok_or_else(|| {
        let what = match platform {
            Some(platform) => format!("{} has no image for {platform}", root.title()),
            None => format!("{} is not an image", root.title()),
        };
        Error::missing(what)
    })?;
    let check = root.origin.is_unproven();
    then(&Layers { source: source.as_ref(), image, check, ctx: run.ctx() })
}

/// The layers of one image, each opened verified and unpacked.
pub(crate) struct Layers<'a> {
    source: &'a dyn Source,
    /// The image.
    pub(crate) image: &'a Manifest,
    /// Whether only their diff ids prove the layers.
    check: bool,
    ctx: &'a Context,
}

impl LayerStreams for Layers<'_> {
    fn len(&self) -> usize {
        self.image.layers.len()
    }

    fn open(&self, at: usize) -> Result<Box<dyn Read + Send + '_>> {
        let desc = &self.image.layers[at];
        let head = match self.source.extent(desc) {
            Some(extent) => extent.head(SNIFF_LEN)?,
            None => return Err(Error::absent(format_args!("layer {}", desc.digest))),
        };
        let encoding = Encoding::sniff(&head);
        let mut reader = Blob::new(self.source, desc.clone(), self.ctx).into_reader()?;
        if self.check {
            let claim = self.image.diff_ids.get(at).copied();
            reader = reader.unpacking(Some(encoding), Arc::default(), claim.into_iter().collect());
        }
        Ok(layer::decoder(encoding, reader, &self.ctx.limits.stream)?)
    }
}
