//! `dir:` skopeo's flat directory: one image, a file for each blob.
//!
//! It knows nothing of other transports. `version`, `manifest.json` with the manifest's own bytes,
//! `<hex>` for each blob, `<hex>.manifest.json` for the children of an index; observed in skopeo 1.9
//! and 1.22. Layer media types lie there, so every layer is sniffed.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::blobs::{Staging, check_size, is_sound};
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::dir::Dir;
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::locks::lock;
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::transport::{
    Accepts, Blob, Checked, Origin, Refused, Reused, Root, Sealed, Sink, Source,
};

const VERSION: &str = "Directory Transport Version: ";

/// A flat directory opened for reading.
pub struct DirSource {
    root: Dir,
    roots: Vec<Root>,
}

impl DirSource {
    /// Opens a flat directory.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Unsupported` for a newer version, `Io`.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let root = Dir::open(path)?;
        Self::read(root).map_err(|e| e.input_or(shown))
    }

    fn read(root: Dir) -> Result<Self> {
        if let Some(version) = root.read("version", 1 << 10)? {
            let version = String::from_utf8_lossy(&version);
            let number = version.trim().strip_prefix(VERSION).unwrap_or(&version);
            if !matches!(number, "1.0" | "1.1" | "1.2") {
                let number = crate::text::escape(number);
                return Err(Error::unsupported(format!("directory transport version {number:?}")));
            }
        }
        let bytes = root
            .read("manifest.json", MAX_DOCUMENT)?
            .ok_or_else(|| Error::absent("manifest.json"))?;
        let doc = Document::parse(&bytes, &"".into()).map_err(|e| e.within("manifest.json"))?;
        let root_desc = Descriptor::of(doc.media_type.as_str(), &bytes);
        let found = Root {
            names: Vec::new(),
            label: None,
            desc: root_desc,
            origin: Origin::Recorded,
            companion: false,
        };
        Ok(Self { root, roots: vec![found] })
    }

    fn names(&self, desc: &Descriptor) -> Vec<String> {
        if desc.digest == self.roots[0].desc.digest {
            return vec!["manifest.json".into()];
        }
        let plain = file_name(&desc.digest);
        vec![format!("{plain}.manifest.json"), plain]
    }

    fn find(&self, desc: &Descriptor) -> Result<Option<Extent>> {
        for name in self.names(desc) {
            if let Some((file, size)) = self.root.file(&name)? {
                return Ok(Some(Extent::whole(file, &self.root.join(&name), size)));
            }
        }
        Ok(None)
    }
}

/// `<hex>` for SHA-256, `<algorithm>-<hex>` for others.
fn file_name(digest: &Digest) -> String {
    match digest.algorithm() {
        Algorithm::Sha256 => digest.hex(),
        other => format!("{}-{}", other.name(), digest.hex()),
    }
}

impl Source for DirSource {
    fn place(&self) -> String {
        self.root.path().display().to_string()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        let extent =
            self.find(desc)?.ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        check_size(desc, extent.size)?;
        Ok(Box::new(extent.reader()))
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        self.find(desc).ok()?
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.find(desc)?.is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        self.names(desc).pop().unwrap_or_default()
    }
}

/// A flat directory opened for writing; holds one image.
pub struct DirSink {
    root: Arc<Dir>,
    staging: Staging,
    published: Mutex<Option<Sealed>>,
    parents: Mutex<Vec<Digest>>,
    ctx: Context,
}

impl DirSink {
    /// Opens a flat directory for a new image; one that holds an image already is replaced.
    ///
    /// # Errors
    /// `Conflict` when the directory holds something else, `Io`.
    pub fn create(path: &Path, ctx: &Context) -> Result<Self> {
        let root = Arc::new(Dir::create(path)?);
        let foreign = |name: &Vec<u8>| !name.starts_with(b".imgpack-");
        if root.stat("version")?.is_none() && root.names()?.iter().any(foreign) {
            let shown = path.display().to_string();
            let what = "directory is not empty and not a skopeo directory";
            return Err(Error::new(Kind::Conflict, what).input(shown));
        }
        let staging = Staging::new(root.clone(), ctx.sync)?;
        let (published, parents) = (Mutex::default(), Mutex::default());
        Ok(Self { root, staging, published, parents, ctx: ctx.clone() })
    }
}

impl Sink for DirSink {
    fn place(&self) -> String {
        self.root.path().display().to_string()
    }

    fn accepts(&self) -> Accepts {
        Accepts::staged(self.ctx.jobs)
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        Ok(self.staging.scratch())
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        let there = || is_sound(&self.root, &file_name(&desc.digest), desc, &self.ctx);
        Ok((self.staging.has(&desc.digest) || there()?).then(Reused::default))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        if blob.descriptor().media_type.role().is_parent() {
            lock(&self.parents).push(blob.descriptor().digest);
        }
        self.staging.put(blob)
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        if sealed.root.companion {
            return Ok(());
        }
        let mut published = lock(&self.published);
        if published.as_ref().is_some_and(|p| p.root.desc.digest != sealed.root.desc.digest) {
            let what = "dir: holds one image; use oci: for several";
            return Err(Error::unsupported(what).input(self.place()));
        }
        *published = Some(sealed);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        let Some(sealed) = lock(&self.published).take() else { return Ok(Vec::new()) };
        let target = sealed.root.desc.digest;
        let parents = std::mem::take(&mut *lock(&self.parents));
        let sha512 = sealed.blobs.iter().any(|b| b.digest.algorithm() == Algorithm::Sha512);
        let version = format!("{VERSION}{}\n", if sha512 { "1.2" } else { "1.1" });
        self.root.replace("version", version.as_bytes(), self.ctx.sync)?;
        self.staging.commit_as(&self.root, |digest| {
            if *digest == target {
                "manifest.json".into()
            } else if parents.contains(digest) {
                format!("{}.manifest.json", file_name(digest))
            } else {
                file_name(digest)
            }
        })?;
        Ok(Vec::new())
    }
}
