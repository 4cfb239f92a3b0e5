//! Storage of registries, read only: the distribution registry's file system, and roots of zot or
//! olareg, where each repository is an OCI layout.
//!
//! It speaks no protocol and never writes there. Layout of `docker/registry/v2` as the distribution
//! project documents it; tags without an `index/` directory and revisions without a `link` (deleted)
//! occur.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::Dir;
use crate::io::parts::Extent;
use crate::layout::Reading;
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::reference::Reference;
use crate::transport::layout::{LayoutSource, check_size};
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
pub fn storage_of(path: &Path) -> Option<PathBuf> {
    ["docker/registry/v2", "."]
        .iter()
        .map(|below| path.join(below))
        .find(|p| p.join("repositories").is_dir() && p.join("blobs").is_dir())
}

impl RegistryFiles {
    /// Opens a storage; its images are the tags of all repositories.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Io`.
    pub fn open(path: &Path, ctx: &Context) -> Result<Self> {
        let shown = path.display().to_string();
        let base = storage_of(path)
            .ok_or_else(|| Error::malformed("no registry storage").input(shown.clone()))?;
        let root = Dir::open(&base)?;
        let mut found: Vec<(Reference, Digest)> = Vec::new();
        for entry in WalkDir::new(base.join("repositories")).sort_by_file_name() {
            ctx.check()?;
            let entry = entry.map_err(|e| Error::malformed(e.to_string()).input(shown.clone()))?;
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
            .ok_or_else(|| Error::malformed(format!("{digest} is missing")).at(name.familiar()))?;
        let doc = Document::parse(&bytes, &"".into()).map_err(|e| e.within(path))?;
        let desc = Descriptor::new(doc.media_type.as_str(), digest, bytes.len() as u64);
        let companion = doc.subject.is_some();
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
            .ok_or_else(|| Error::missing(format!("{} is missing", desc.digest)))?;
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

/// A directory of OCI layouts, each a repository named by its path.
pub struct LayoutTree {
    path: PathBuf,
    layouts: Vec<LayoutSource>,
    roots: Vec<Root>,
    owner: HashMap<Digest, usize>,
    warnings: Vec<String>,
}

impl LayoutTree {
    /// Opens every layout beneath `path`.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Io`.
    pub fn open(path: &Path, reading: Reading, ctx: &Context) -> Result<Self> {
        let mut tree = Self {
            path: path.to_path_buf(),
            layouts: Vec::new(),
            roots: Vec::new(),
            owner: HashMap::new(),
            warnings: Vec::new(),
        };
        let shown = path.display().to_string();
        for entry in WalkDir::new(path).sort_by_file_name() {
            ctx.check()?;
            let entry = entry.map_err(|e| Error::malformed(e.to_string()).input(shown.clone()))?;
            if entry.file_name() != "oci-layout" || !entry.file_type().is_file() {
                continue;
            }
            let Some(dir) = entry.path().parent() else { continue };
            let repository = dir.strip_prefix(path).unwrap_or(dir).to_string_lossy().into_owned();
            match LayoutSource::open(dir, reading, ctx) {
                Ok(source) => tree.add(source, &repository),
                // An empty repository is no defect of the others.
                Err(e) if e.is_empty() => {}
                Err(e) => return Err(e),
            }
        }
        if tree.roots.is_empty() {
            return Err(Error::empty().input(shown));
        }
        Ok(tree)
    }

    fn add(&mut self, source: LayoutSource, repository: &str) {
        for root in source.roots() {
            let mut root = root.clone();
            // A tag beside a full name is that name's own.
            let bare = root.label.as_deref().filter(|_| root.names.is_empty());
            let named = bare.filter(|l| crate::reference::is_tag(l));
            if let Some(name) = named.and_then(|tag| format!("{repository}:{tag}").parse().ok()) {
                root.names.push(name);
            }
            self.owner.entry(root.desc.digest).or_insert(self.layouts.len());
            self.roots.push(root);
        }
        self.warnings.extend(source.warnings().iter().map(|w| format!("{repository}: {w}")));
        self.layouts.push(source);
    }

    fn holder(&self, desc: &Descriptor) -> Option<&LayoutSource> {
        if let Some(&at) = self.owner.get(&desc.digest) {
            return self.layouts.get(at);
        }
        self.layouts.iter().find(|l| l.has(desc).unwrap_or_default())
    }
}

impl Source for LayoutTree {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, checked: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        self.holder(desc)
            .ok_or_else(|| Error::missing(format!("{} is missing", desc.digest)))?
            .open(desc, checked)
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        self.holder(desc)?.extent(desc)
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.holder(desc).is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        match self.holder(desc) {
            Some(layout) => format!("{}/{}", layout.place(), desc.digest.blob_path()),
            None => desc.digest.to_string(),
        }
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
