//! `rootfs:` a bare root file system tar as a one-layer image: the source of `import`.
//!
//! It unpacks nothing. The tar is read once, its headers are checked, and it becomes the layer as it
//! is; only what no engine takes as a layer (xz, bzip2) is stored uncompressed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::encoding::Encoding;
use crate::error::{Error, Kind, Result};
use crate::import;
use crate::io::output::Named;
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::io::tar::Ending;
use crate::layer;
use crate::manifest;
use crate::media_type::{self, MediaType};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::transport::{Checked, Origin, Root, Source};

/// What an imported image says of itself.
pub struct Facts {
    /// Its name, if it gets one.
    pub name: Option<Reference>,
    /// The `config` object, from Dockerfile instructions.
    pub changes: Map<String, Value>,
    /// The history's message.
    pub message: String,
    /// Where it runs.
    pub platform: Platform,
    /// RFC 3339.
    pub created: String,
    /// Whether names may be absolute or lead upwards.
    pub unsafe_names: bool,
}

/// A root file system as an image.
pub struct RootfsSource {
    place: String,
    roots: Vec<Root>,
    documents: HashMap<Digest, Vec<u8>>,
    layer: Descriptor,
    diff_id: DiffId,
    scratch: Arc<Scratch>,
    file: String,
    warnings: Vec<String>,
}

impl RootfsSource {
    /// Reads a tar, compressed or not, into `scratch`.
    ///
    /// # Errors
    /// `Malformed` when it is no tar or has names that lead out, `Io`.
    pub fn read(
        from: impl Read + Send,
        place: String,
        facts: Facts,
        scratch: Arc<Scratch>,
        ctx: &Context,
    ) -> Result<Self> {
        let (file, name) = scratch.file()?;
        let path = scratch.path(&name);
        let result = ingest(from, Named { file, path }, &facts, ctx);
        let ingested = result.map_err(|e| e.input_or(place.clone()))?;
        let kind = MediaType::from(media_type::OCI_LAYER)
            .with_encoding(ingested.encoding)
            .ok_or_else(|| Error::unsupported("no media type for such a layer"))?;
        let layer = Descriptor::new(kind, ingested.digest, ingested.size);
        let (diff_id, created) = (ingested.diff_id, &facts.created);
        let config =
            import::config(diff_id, &facts.changes, &facts.message, &facts.platform, created);
        let config_desc = Descriptor::of(media_type::OCI_CONFIG, &config);
        let image = manifest::image(&config_desc, std::slice::from_ref(&layer));
        let desc = Descriptor::of(media_type::OCI_MANIFEST, &image);
        let documents = [(config_desc.digest, config), (desc.digest, image)].into();
        let root = Root {
            names: facts.name.into_iter().collect(),
            label: None,
            desc,
            origin: Origin::Synthesised,
            companion: false,
        };
        let warnings = ingested.warnings;
        let roots = vec![root];
        Ok(Self { place, roots, documents, layer, diff_id, scratch, file: name, warnings })
    }
}

struct Ingested {
    encoding: Encoding,
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    warnings: Vec<String>,
}

fn ingest(from: impl Read + Send, to: Named, facts: &Facts, ctx: &Context) -> Result<Ingested> {
    let (encoding, from) = layer::sniffed(from)?;
    let mut warnings = Vec::new();
    // Layers in xz or bzip2 load in few engines; those become plain tars.
    let keep = matches!(encoding, Encoding::Plain | Encoding::Gzip | Encoding::Zstd);
    let mut stored = Stored { to, hasher: Hasher::new(Algorithm::Sha256), size: 0 };
    let mut unpacked = Hasher::new(Algorithm::Sha256);
    let summary = if encoding == Encoding::Plain {
        import::check_rootfs(Cancelling { from, ctx }, &mut stored, facts.unsafe_names)?
    } else if keep {
        let mut tee = Tee { from: Cancelling { from, ctx }, to: &mut stored };
        let summary = {
            let mut decoded = layer::decoder(encoding, &mut tee, &ctx.limits.stream)?;
            import::check_rootfs(&mut decoded, &mut unpacked, facts.unsafe_names)?
        };
        io::copy(&mut tee, &mut io::sink())?;
        summary
    } else {
        warnings.push(format!("the {encoding} tar is stored uncompressed"));
        let mut decoded = layer::decoder(encoding, Cancelling { from, ctx }, &ctx.limits.stream)?;
        import::check_rootfs(&mut decoded, &mut stored, facts.unsafe_names)?
    };
    if summary.members == 0 && summary.bytes == 0 {
        return Err(Error::malformed("empty input, not a tar"));
    }
    match summary.ending {
        Ending::NoEndMarker => warnings.push("no end-of-archive marker".into()),
        Ending::Junk { offset } | Ending::SecondArchive { offset } => {
            warnings.push(format!("junk after the end of the tar [offset {offset}]"));
        }
        Ending::Unknown | Ending::Clean | Ending::ZeroPadded => {}
    }
    if summary.image_archive {
        warnings.push("this is an image archive; `imgpack load -i` makes its images".into());
    }
    if summary.unsafe_names > 0 {
        warnings.push(format!("{} names are absolute or lead upwards", summary.unsafe_names));
    }
    crate::io::dir::close(stored.to.file, &stored.to.path)?;
    let digest = stored.hasher.finish();
    let kept = if keep { encoding } else { Encoding::Plain };
    let diff_id = DiffId(if kept == Encoding::Plain { digest } else { unpacked.finish() });
    Ok(Ingested { encoding: kept, digest, size: stored.size, diff_id, warnings })
}

/// What is kept: written, hashed, counted.
struct Stored {
    to: Named,
    hasher: Hasher,
    size: u64,
}

impl Write for Stored {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.to.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what is read.
struct Tee<'a, R> {
    from: R,
    to: &'a mut Stored,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.to.write_all(&buf[..n])?;
        Ok(n)
    }
}

/// Stops when the user interrupts.
struct Cancelling<'a, R> {
    from: R,
    ctx: &'a Context,
}

impl<R: Read> Read for Cancelling<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ctx.check()?;
        self.from.read(buf)
    }
}

impl Source for RootfsSource {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = self.documents.get(&desc.digest) {
            return Ok(Box::new(bytes.as_slice()));
        }
        let extent =
            self.extent(desc).ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        Ok(Box::new(extent.reader()))
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        if desc.digest != self.layer.digest {
            return None;
        }
        let (file, size): (File, u64) = self.scratch.dir().file(&self.file).ok()??;
        Some(Extent::whole(file, &self.scratch.path(&self.file), size))
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(desc.digest == self.layer.digest || self.documents.contains_key(&desc.digest))
    }

    fn spare(&self, desc: &Descriptor) -> Option<(Arc<Scratch>, String)> {
        (desc.digest == self.layer.digest).then(|| (self.scratch.clone(), self.file.clone()))
    }

    fn diff_id(&self, desc: &Descriptor) -> Option<DiffId> {
        (desc.digest == self.layer.digest).then_some(self.diff_id)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
