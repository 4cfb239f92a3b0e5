//! Images as users speak of them: by name, by ID, by the start of an ID.
//!
//! It prints nothing. It opens up roots of any source far enough to say what they are.

use crate::config::Config;
use crate::context::Context;
use crate::copy::{Manifest, Tree, glance};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::docker;
use crate::media_type::Role;
use crate::reference::Reference;
use crate::transport::select::no_image;
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

/// What a user's word for an image means among the roots of a source: roots to work on, each with
/// just the names that were meant.
///
/// # Errors
/// `Missing` when nothing fits, `Malformed` when the start of an ID fits several.
pub fn find(source: &dyn Source, wanted: &str, ctx: &Context) -> Result<Vec<Root>> {
    let roots = source.roots();
    let only = |root: &Root, names: Vec<Reference>| Root { names, ..root.clone() };
    if let Ok(reference) = wanted.parse::<Reference>() {
        if reference.tag().is_none() && reference.digest().is_none() {
            // A repository alone means all its tags, as `docker save` has it.
            let of = |name: &&Reference| name.repository() == reference.repository();
            let found: Vec<Root> = roots
                .iter()
                .map(|r| only(r, r.names.iter().filter(of).cloned().collect()))
                .filter(|r| !r.names.is_empty())
                .collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let plain = match reference.tag() {
            Some(tag) => reference.with_tag(tag)?,
            None => reference.clone(),
        };
        for root in roots {
            let named = root.names.contains(&plain);
            let same = reference.digest().is_none_or(|d| *d == root.desc.digest);
            if named && same {
                return Ok(vec![only(root, vec![plain])]);
            }
            if reference.tag().is_none() && reference.digest() == Some(&root.desc.digest) {
                return Ok(vec![only(root, Vec::new())]);
            }
        }
    }
    by_id(source, wanted, ctx)?
        .map(|root| vec![only(&root, Vec::new())])
        .ok_or_else(|| no_image(wanted))
}

/// The root whose image ID or digest begins with `wanted`. One image may lie under several roots, in
/// an index and beside it; then the manifest itself goes before an index around it.
fn by_id(source: &dyn Source, wanted: &str, ctx: &Context) -> Result<Option<Root>> {
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let hex = hex.to_lowercase();
    let mut found: Option<(Digest, &Root)> = None;
    for root in source.roots() {
        let Some(id) = id_of(source, root, &hex, ctx) else { continue };
        match found {
            Some((known, _)) if known != id => {
                let wanted = crate::text::escape(wanted);
                let what = format!("{wanted} is the prefix of more than one ID");
                return Err(Error::malformed(what));
            }
            Some((_, earlier)) if earlier.desc.media_type.role() != Role::Index => {}
            _ => found = Some((id, root)),
        }
    }
    Ok(found.map(|(_, root)| root.clone()))
}

/// Which of a root's IDs begins with `hex`: its own digest, or the config of an image beneath it.
fn id_of(source: &dyn Source, root: &Root, hex: &str, ctx: &Context) -> Option<Digest> {
    let fits = |digest: &Digest| digest.hex().starts_with(hex);
    if fits(&root.desc.digest) {
        return Some(root.desc.digest);
    }
    // A damaged image must not hide the others.
    let tree = glance(source, root, ctx).ok()?;
    let manifests = tree.node.manifests();
    manifests.iter().filter_map(|m| Some(m.config.as_ref()?.digest)).find(fits)
}

/// How names change on the way into the store.
///
/// # Errors
/// `Malformed` when the new name breaks the grammar.
pub fn prefixed(name: &Reference, prefix: &str) -> Result<Reference> {
    let path = name.path().strip_prefix("library/").unwrap_or(name.path());
    let tag = name.tag().map(|t| format!(":{t}")).unwrap_or_default();
    format!("{}/{path}{tag}", prefix.trim_end_matches('/')).parse()
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
