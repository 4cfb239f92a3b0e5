//! The storage of the distribution registry, read only.
//!
//! It speaks no protocol and never writes there. Layout of `docker/registry/v2` as the distribution
//! project documents it; tags without an `index/` directory and revisions without a `link` (deleted)
//! occur.

use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::blobs::check_size;
use crate::companion::is_companion;
use crate::context::Context;
use crate::descriptor::{ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::dir::Dir;
use crate::io::look;
use crate::io::parts::Extent;
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::reference::Reference;
use crate::transport::{Checked, Origin, Root, Source};

/// The distribution registry's storage opened for reading.
pub struct RegistryFiles {
    root: Dir,
    roots: Vec<Root>,
}

/// `blobs/sha256/ab/ab…/data`.
fn data_path(digest: &Digest) -> String {
    let (hex, algorithm) = (digest.hex(), digest.algorithm().name());
    format!("blobs/{algorithm}/{}/{hex}/data", &hex[..2])
}

/// The `v2` directory of a registry storage, from any directory above it.
///
/// # Errors
/// `Io`.
pub fn storage_of(path: &Path) -> Result<Option<PathBuf>> {
    for below in ["docker/registry/v2", "."] {
        let found = path.join(below);
        if look::is_dir(&found.join("repositories"))? && look::is_dir(&found.join("blobs"))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl RegistryFiles {
    /// Opens a storage; its images are the tags of all repositories.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Io`.
    pub fn open(path: &Path, ctx: &Context) -> Result<Self> {
        let shown = path.display().to_string();
        let base = storage_of(path)?.ok_or_else(|| {
            Error::malformed("not the storage of a registry").input(shown.clone())
        })?;
        let root = Dir::open(&base)?;
        let mut found: Vec<(Reference, Digest)> = Vec::new();
        for entry in WalkDir::new(base.join("repositories")).sort_by_file_name() {
            ctx.check()?;
            let entry = entry.map_err(|e| look::walking(&base, &e))?;
            let below = entry.path().strip_prefix(&base).unwrap_or(entry.path());
            let Some(text) = below.to_str() else { continue };
            let Some(text) = text.strip_suffix("/current/link") else { continue };
            let Some((repository, tag)) = text.split_once("/_manifests/tags/") else { continue };
            let repository = repository.trim_start_matches("repositories/");
            let name: Reference = format!("{repository}:{tag}").parse()?;
            let link = format!("{text}/current/link");
            let Some(bytes) = root.read(&link, 1 << 10)? else { continue };
            let digest = String::from_utf8_lossy(&bytes).trim().parse::<Digest>();
            found.push((name, digest.map_err(|e| e.at(link))?));
        }
        let mut source = Self { root, roots: Vec::new() };
        for (name, digest) in found {
            source.add(name, digest).map_err(|e| e.input_or(shown.clone()))?;
        }
        if source.roots.is_empty() {
            return Err(Error::empty().input(shown));
        }
        Ok(source)
    }

    fn add(&mut self, name: Reference, digest: Digest) -> Result<()> {
        if let Some(root) = self.roots.iter_mut().find(|r| r.desc.digest == digest) {
            root.names.push(name);
            return Ok(());
        }
        // The media type is not stored: the document itself says what it is.
        let path = data_path(&digest);
        let bytes = self
            .root
            .read(&path, MAX_DOCUMENT)?
            .ok_or_else(|| Error::absent(digest).at(name.familiar()))?;
        let doc = Document::parse(&bytes, &"".into()).map_err(|e| e.within(path))?;
        let mut desc = Descriptor::new(doc.media_type.as_str(), digest, bytes.len() as u64);
        if let Some(subject) = &doc.subject {
            desc.annotate(ANNOTATION_SUBJECT, &subject.digest.to_string());
        }
        let companion = is_companion(&desc, name.tag());
        self.roots.push(Root {
            names: vec![name],
            label: None,
            desc,
            origin: Origin::Recorded,
            companion,
        });
        Ok(())
    }
}

impl Source for RegistryFiles {
    fn place(&self) -> String {
        self.root.path().display().to_string()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        let path = data_path(&desc.digest);
        let (file, size) = self
            .root
            .file(&path)?
            .ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        check_size(desc, size)?;
        Ok(Box::new(Extent::whole(file, &self.root.join(&path), size).reader()))
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        let path = data_path(&desc.digest);
        let (file, size) = self.root.file(&path).ok()??;
        Some(Extent::whole(file, &self.root.join(&path), size))
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.root.file(&data_path(&desc.digest))?.is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        data_path(&desc.digest)
    }
}
