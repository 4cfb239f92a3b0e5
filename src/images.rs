//! Images as users see them: with an ID, a config and a size; and what belongs to them.
//!
//! It prints nothing. It opens up roots of any source far enough to say what they are.

use crate::config::Config;
use crate::context::Context;
use crate::copy::{Manifest, Tree, glance};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::docker;
use crate::reference::Reference;
use crate::transport::{Root, Source};

/// A root with what its image for this machine says of itself.
pub struct Described {
    /// The root.
    pub root: Root,
    /// Its graph.
    pub tree: Tree,
    /// Config digest: the image ID of Docker up to 28 and of podman.
    pub id: Digest,
    /// Parsed config of the image for this machine; `None` for what is no image.
    pub config: Option<Config>,
    /// Bytes of all its blobs, each once.
    pub size: u64,
}

impl Described {
    /// Opens up a root.
    ///
    /// # Errors
    /// `Malformed`, `Corrupt`, `Io`.
    pub fn new(source: &dyn Source, root: &Root, ctx: &Context) -> Result<Self> {
        let tree = glance(source, root, ctx)?;
        let image = tree.node.own_image();
        let id = image.and_then(|m| m.config.as_ref()).map_or(root.desc.digest, |c| c.digest);
        let config = match image.and_then(|m| m.config_bytes.as_ref()) {
            Some(bytes) => Some(Config::parse(bytes)?),
            None => None,
        };
        let mut seen = std::collections::HashSet::new();
        let size = tree
            .node
            .leaves()
            .iter()
            .filter(|(desc, _)| seen.insert(desc.digest))
            .map(|(desc, _)| desc.size)
            .sum();
        Ok(Self { root: root.clone(), tree, id, config, size })
    }

    /// The manifest of the image for this machine.
    pub fn image(&self) -> Option<&Manifest> {
        self.tree.node.own_image()
    }
}

/// How names change on the way into the store.
///
/// # Errors
/// `Malformed` when the new name breaks the grammar.
pub fn prefixed(name: &Reference, prefix: &str) -> Result<Reference> {
    let path = name.path().strip_prefix("library/").unwrap_or(name.path());
    let repository: Reference = format!("{}/{path}", prefix.trim_end_matches('/')).parse()?;
    match (name.tag(), name.digest()) {
        (Some(tag), _) => repository.with_tag(tag),
        (None, Some(digest)) => Ok(repository.with_digest(*digest)),
        (None, None) => Ok(repository),
    }
}

/// Reads names that the user typed, as those of an archive are read.
///
/// # Errors
/// `Malformed`.
pub fn typed_name(text: &str) -> Result<Reference> {
    let mut warnings = Vec::new();
    let names =
        docker::names(&[text.to_owned()], crate::layout::Reading::default(), &mut warnings)?;
    names.into_iter().next().ok_or_else(|| {
        let text = crate::text::escape(text);
        Error::new(crate::error::Kind::Usage, format!("{text} is a digest reference, not a name"))
    })
}
