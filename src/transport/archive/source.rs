//! An archive opened for reading, from a file or from a stream.
//!
//! A plain tar file is read in place, by position; a compressed file, a pipe or standard input is first
//! written to scratch files on the file system of the target.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::blobs::check_size;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Kind, Result};
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::layer;
use crate::layout::{Layout, Reading, interpret};
use crate::progress::Event;
use crate::transport::archive::members::Archive;
use crate::transport::{Checked, Root, Source};

/// An archive of images.
pub struct ArchiveSource {
    archive: Archive,
    layout: Layout,
}

impl ArchiveSource {
    /// Opens an archive file. `scratch` is asked for only when it is compressed or no regular file.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Corrupt`, `Io`.
    pub fn open(
        path: &Path,
        scratch: impl FnOnce() -> Result<Arc<Scratch>>,
        reading: Reading,
        ctx: &Context,
    ) -> Result<Self> {
        let shown = path.display().to_string();
        let file = crate::io::open_input(path)?;
        let meta = file.metadata().map_err(|e| Error::io(path, "looking at", &e))?;
        if !meta.is_file() {
            return Self::stream(file, &shown, scratch()?, reading, ctx);
        }
        let extent = Extent::whole(file, path, meta.len());
        let head = extent.head(SNIFF_LEN)?;
        if Encoding::sniff(&head) != Encoding::Plain {
            ctx.progress.event(Event::Unpacking(&shown, extent.size));
            return Self::stream(extent.reader(), &shown, scratch()?, reading, ctx);
        }
        if meta.len() == 0 {
            return Err(Error::malformed("empty file, not an archive").input(shown));
        }
        let archive =
            Archive::index(extent.indexed()?, ctx).map_err(|e| e.input_or(shown.clone()))?;
        Self::interpreted(archive, reading, ctx).map_err(|e| e.input_or(shown))
    }

    /// Reads an archive from a stream, compressed or not.
    ///
    /// # Errors
    /// As [`ArchiveSource::open`].
    pub fn stream(
        from: impl Read + Send,
        name: &str,
        scratch: Arc<Scratch>,
        reading: Reading,
        ctx: &Context,
    ) -> Result<Self> {
        let result = (|| {
            let (encoding, from) = layer::sniffed(from)?;
            // Whatever an archive unpacks to is bounded by its members, not by a layer's limit.
            let limits = layer::StreamLimits { max_output: u64::MAX, ..ctx.limits.stream };
            let mut plain = layer::decoder(encoding, from, &limits)?;
            let archive = Archive::ingest(&mut plain, name, scratch, ctx)?;
            // What follows the tar is read too: a bad checksum or a cut shows only there.
            std::io::copy(&mut plain, &mut std::io::sink())?;
            Self::interpreted(archive, reading, ctx)
        })();
        result.map_err(|e: Error| e.input_or(name))
    }

    fn interpreted(archive: Archive, reading: Reading, ctx: &Context) -> Result<Self> {
        let mut layout = interpret(&archive, reading, ctx)?;
        layout.warnings.splice(0..0, archive.warnings.iter().cloned());
        Ok(Self { archive, layout })
    }

    fn member(&self, desc: &Descriptor) -> String {
        let own = || desc.digest.blob_path();
        self.layout.members.get(&desc.digest).cloned().unwrap_or_else(own)
    }
}

impl Source for ArchiveSource {
    fn place(&self) -> String {
        self.archive.path().to_owned()
    }

    fn roots(&self) -> &[Root] {
        &self.layout.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = self.layout.documents.get(&desc.digest) {
            return Ok(Box::new(bytes.as_slice()));
        }
        let extent = self
            .archive
            .extent(&self.member(desc))?
            .ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        check_size(desc, extent.size)?;
        Ok(Box::new(extent.reader()))
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        self.archive.extent(&self.member(desc)).ok()?
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.layout.documents.contains_key(&desc.digest)
            || self.archive.extent(&self.member(desc))?.is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        if self.layout.documents.contains_key(&desc.digest) {
            return format!("{}, made from manifest.json", desc.digest);
        }
        self.archive.whereabouts(&self.member(desc))
    }

    fn spare(&self, desc: &Descriptor) -> Option<(Arc<Scratch>, String)> {
        use crate::layout::Members;
        let name = self.member(desc);
        let spare = self.archive.spare(&name)?;
        // Only when the bytes hashed on arrival are the ones that are wanted.
        let arrived = self.archive.digest(&name).ok()?;
        if arrived != desc.digest || self.archive.extent(&name).ok()??.size != desc.size {
            return None;
        }
        Some(spare)
    }

    fn warnings(&self) -> &[String] {
        &self.layout.warnings
    }
}
