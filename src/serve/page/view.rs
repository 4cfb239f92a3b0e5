//! One manifest or index, read for the page: platforms, layers, history, labels.
//!
//! It writes no markup. OCI image-spec `manifest.md`, `image-index.md`, `config.md`.

use serde_json::Value;

use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Result;
use crate::json;
use crate::manifest::{Document, DocumentKind};
use crate::platform::Platform;
use crate::serve::catalogue::{Catalogue, FoundRepository};
use crate::serve::names::RepositoryName;
use crate::serve::route::ManifestReference;

/// Keys and values, as they were written.
pub(super) type Pairs = Vec<(String, String)>;

/// A manifest or an index.
pub(super) struct View {
    /// What it is.
    pub desc: Descriptor,
    /// What it says.
    pub document: Document,
    /// Its annotations.
    pub annotations: Pairs,
    /// The config of an image; `None` when it is absent, or no image's.
    pub config: Option<Config>,
}

/// A repository by its whole name.
pub(super) fn repository<'c>(
    catalogue: &'c Catalogue,
    name: &RepositoryName,
) -> Option<FoundRepository<'c>> {
    catalogue.find(name.path(), Some(name.domain()))
}

impl View {
    /// Reads a manifest of a repository; `None` when it is not there.
    ///
    /// # Errors
    /// `Missing`, `Corrupt`, `Malformed`, `Io`.
    pub(super) fn read(found: &FoundRepository<'_>, digest: &Digest) -> Result<Option<Self>> {
        let Some(stored) = found.manifest(&ManifestReference::Digest(*digest)) else {
            return Ok(None);
        };
        let (desc, bytes) = (stored.descriptor().clone(), found.document(&stored)?);
        let document = Document::parse(&bytes, &desc.media_type)?;
        let annotations = pairs(json::object(&bytes)?.get("annotations"));
        let config = config(found, &document);
        Ok(Some(Self { desc, document, annotations, config }))
    }

    /// The layers of a manifest, lowest first; none for an index.
    pub(super) fn layers(&self) -> &[Descriptor] {
        match &self.document.kind {
            DocumentKind::Manifest { layers, .. } => layers,
            DocumentKind::Index(_) => &[],
        }
    }

    /// The digest of its config, by which engines know it.
    pub(super) fn image_id(&self) -> Option<Digest> {
        match &self.document.kind {
            DocumentKind::Manifest { config, .. } => config.as_ref().map(|config| config.digest),
            DocumentKind::Index(_) => None,
        }
    }

    /// The images that an index lists, attestations left out.
    pub(super) fn images(&self) -> Vec<&Descriptor> {
        match &self.document.kind {
            DocumentKind::Index(entries) => {
                entries.iter().filter(|e| !e.is_attestation()).collect()
            }
            DocumentKind::Manifest { .. } => Vec::new(),
        }
    }

    /// What an index lists about its images.
    pub(super) fn attestations(&self) -> Vec<&Descriptor> {
        match &self.document.kind {
            DocumentKind::Index(entries) => entries.iter().filter(|e| e.is_attestation()).collect(),
            DocumentKind::Manifest { .. } => Vec::new(),
        }
    }

    /// Where it runs.
    pub(super) fn platform(&self) -> Option<Platform> {
        self.config.as_ref().and_then(Config::platform)
    }

    /// Where it runs, or what it is; in the order of an index.
    pub(super) fn platforms(&self) -> Vec<String> {
        let mut all: Vec<String> = match &self.document.kind {
            DocumentKind::Index(_) => {
                self.images().iter().filter_map(|e| e.platform()).map(|p| p.to_string()).collect()
            }
            DocumentKind::Manifest { .. } => {
                self.platform().iter().map(ToString::to_string).collect()
            }
        };
        let mut seen = std::collections::HashSet::new();
        all.retain(|platform| seen.insert(platform.clone()));
        all
    }

    /// What kind of artifact it is, when it is no image.
    pub(super) fn artifact_type(&self) -> Option<&str> {
        let config = match &self.document.kind {
            DocumentKind::Manifest { config: Some(config), .. } if !self.document.is_image() => {
                Some(config.media_type.as_str())
            }
            _ => None,
        };
        self.document.artifact_type.as_deref().filter(|t| !t.is_empty()).or(config)
    }

    /// The labels of its config.
    pub(super) fn labels(&self) -> Pairs {
        pairs(self.config.as_ref().and_then(Config::runtime).and_then(|r| r.get("Labels")))
    }
}

/// What cannot be read is not shown: the manifest still is.
fn config(found: &FoundRepository<'_>, document: &Document) -> Option<Config> {
    let DocumentKind::Manifest { config: Some(config), .. } = &document.kind else { return None };
    let bytes = found.document(&found.blob(&config.digest).ok()??).ok()?;
    Config::parse(&bytes).ok()
}

/// The texts of an object.
fn pairs(value: Option<&Value>) -> Pairs {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let object = value.and_then(Value::as_object).into_iter().flatten();
    object.map(|(key, value)| (key.clone(), text(value))).collect()
}
