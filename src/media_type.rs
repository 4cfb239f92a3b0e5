//! The media types we know and the role each plays.
//!
//! It knows nothing of bytes: a media type says what a document is meant to be, never how a layer
//! is compressed. OCI image-spec `media-types.md`; Docker's `manifest-v2-2.md`.

use std::borrow::Cow;
use std::fmt;

use crate::encoding::Encoding;

/// A media type as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(Cow<'static, str>);

/// What a descriptor points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An index or a manifest list: points at manifests.
    Index,
    /// A manifest: points at a config and layers.
    Manifest,
    /// Docker's obsolete schema 1 manifest.
    Schema1,
    /// An image config.
    Config,
    /// A file system layer, its bytes expected to be here.
    Layer,
    /// A file system layer that may be fetched from elsewhere.
    ForeignLayer,
    /// Anything else: bytes to carry.
    Other,
}

impl Role {
    /// Whether it points at others by descriptors, so that what has it is worth nothing without them.
    pub fn is_parent(self) -> bool {
        matches!(self, Self::Index | Self::Manifest)
    }

    /// Whether registries keep it among the manifests, not among the blobs.
    pub fn is_document(self) -> bool {
        self.is_parent() || self == Self::Schema1
    }

    /// Whether what is behind it must be read to know: an artifact's manifest may have any type.
    pub fn may_be_parent(self) -> bool {
        self.is_parent() || self == Self::Other
    }
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// Types that are found again and again: one text of each will do.
        const KNOWN: &[&str] = &[
            $($text,)*
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ];
    };
}

known! {
    /// OCI image manifest.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
    /// OCI artifact manifest (withdrawn from the spec, still found).
    OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";
    /// OCI layer, uncompressed.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
    /// Docker manifest, schema 2.
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image config.
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed (containerd's convention).
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}

/// What old versions of docker called the configs that they pushed.
pub const OCTET_STREAM: &str = "application/octet-stream";

const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

impl MediaType {
    /// The type as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a descriptor of this type points at.
    pub fn role(&self) -> Role {
        match self.as_str() {
            OCI_INDEX | DOCKER_INDEX => Role::Index,
            OCI_MANIFEST | DOCKER_MANIFEST | OCI_ARTIFACT => Role::Manifest,
            "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Role::Schema1,
            OCI_CONFIG | DOCKER_CONFIG => Role::Config,
            text if text.starts_with(OCI_FOREIGN) || text.starts_with(DOCKER_FOREIGN) => {
                Role::ForeignLayer
            }
            text if text.starts_with(OCI_LAYER) || text.starts_with(DOCKER_LAYER) => {
                if text.contains("+encrypted") { Role::Other } else { Role::Layer }
            }
            _ => Role::Other,
        }
    }

    /// Whether Docker's names are used rather than OCI's.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }

    /// The type of the same layer in another encoding; `None` where no such type exists.
    pub fn with_encoding(&self, encoding: Encoding) -> Option<Self> {
        let docker = self.is_docker();
        let base = match self.role() {
            Role::Layer if docker => DOCKER_LAYER,
            Role::ForeignLayer if docker => DOCKER_FOREIGN,
            Role::ForeignLayer => OCI_FOREIGN,
            _ => OCI_LAYER,
        };
        let suffix = match (encoding, docker) {
            (Encoding::Plain, _) => "",
            (Encoding::Gzip, true) => ".gzip",
            (Encoding::Gzip, false) => "+gzip",
            (Encoding::Zstd, true) => ".zstd",
            (Encoding::Zstd, false) => "+zstd",
            (Encoding::Xz | Encoding::Bzip2, _) => return None,
        };
        Some(format!("{base}{suffix}").as_str().into())
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        let known = KNOWN.iter().find(|known| **known == text);
        Self(match known {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(text.to_owned()),
        })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_type_follows_its_bytes() {
        let oci = MediaType::from("application/vnd.oci.image.layer.v1.tar+gzip");
        let docker = MediaType::from(DOCKER_LAYER_GZIP);
        assert_eq!(oci.with_encoding(Encoding::Plain).unwrap().as_str(), OCI_LAYER);
        assert_eq!(docker.with_encoding(Encoding::Plain).unwrap().as_str(), DOCKER_LAYER);
        assert_eq!(docker.with_encoding(Encoding::Gzip).unwrap(), docker);
        assert!(oci.with_encoding(Encoding::Xz).is_none());
        assert_eq!(MediaType::from("application/tar+gzip").role(), Role::Other);
    }
}
