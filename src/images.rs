//! Images as users speak of them: by name, by ID, by the start of an ID.
//!
//! It prints nothing. It opens up roots of any source far enough to say what they are.

use std::collections::HashMap;

use crate::config::Config;
use crate::context::Context;
use crate::copy::{Manifest, Tree, glance};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::{docker, said_subject};
use crate::media_type::Role;
use crate::reference::Reference;
use crate::transport::select::no_image;
use crate::transport::{GENERATIONS, Root, Source};

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

/// Most companions of one image.
const MAX_COMPANIONS: usize = 1_000;

/// Roots of the source that refer to any of `roots`, to an image beneath them, or to another of those
/// found; what comes first is nearest.
///
/// # Errors
/// `Malformed` when one image has more than 1 000 of them.
pub fn companions(source: &dyn Source, roots: &[Root], ctx: &Context) -> Result<Vec<Root>> {
    let candidates: Vec<&Root> = source
        .roots()
        .iter()
        .filter(|r| r.companion && roots.iter().all(|chosen| chosen.desc.digest != r.desc.digest))
        .collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    // How many companions each subject has so far.
    let mut subjects: HashMap<Digest, usize> = HashMap::new();
    for root in roots {
        subjects.insert(root.desc.digest, 0);
        if let Ok(tree) = glance(source, root, ctx) {
            subjects.extend(tree.node.manifests().iter().map(|m| (m.desc.digest, 0)));
        }
    }
    let about = |root| subject_of(source, root, ctx).map(|subject| (subject, root));
    let mut rest: Vec<(Digest, &Root)> = candidates.into_iter().filter_map(about).collect();
    let mut found: Vec<Root> = Vec::new();
    for _ in 0..GENERATIONS {
        let (near, far): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(subject, _)| subjects.contains_key(subject));
        for (subject, root) in near {
            let count = subjects.entry(subject).or_default();
            *count += 1;
            if *count > MAX_COMPANIONS {
                let what =
                    format!("more referrers of {subject} than the limit of {MAX_COMPANIONS}");
                return Err(Error::malformed(what));
            }
            subjects.entry(root.desc.digest).or_default();
            found.push(root.clone());
        }
        rest = far;
    }
    Ok(found)
}

/// Names companions beside the images they refer to, in a place that keeps things under names: a
/// cosign tag stays that tag, others go by digest. One whose image is not among `roots` is dropped, and
/// one about another companion comes after it.
pub fn name_companions(source: &dyn Source, roots: &mut Vec<Root>, ctx: &Context) {
    if roots.iter().all(|r| !r.companion) {
        return;
    }
    let mut homes: HashMap<Digest, Vec<Reference>> = HashMap::new();
    for root in roots.iter().filter(|r| !r.companion) {
        let mut beneath = vec![root.desc.digest];
        // Of what is far away only the index is read.
        if source.remote() {
            beneath.extend(listed(source, root, ctx));
        } else if let Ok(tree) = glance(source, root, ctx) {
            beneath.extend(tree.node.manifests().iter().map(|m| m.desc.digest));
        }
        for digest in beneath {
            homes.entry(digest).or_default().extend(root.names.iter().cloned());
        }
    }
    roots.retain_mut(|root| {
        if !root.companion {
            return true;
        }
        // The same bytes may be there under two tags.
        let mut tags: Vec<&str> = root.names.iter().filter_map(Reference::tag).collect();
        if tags.is_empty() {
            tags.extend(root.label.as_deref().filter(|label| crate::reference::is_tag(label)));
        }
        let Some(subject) = subject_of(source, root, ctx) else { return false };
        let mut names: Vec<Reference> = Vec::new();
        for home in homes.get(&subject).into_iter().flatten() {
            let mut called: Vec<_> = tags.iter().filter_map(|t| home.with_tag(t).ok()).collect();
            if tags.is_empty() {
                called.push(home.with_digest(root.desc.digest));
            }
            for name in called {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        root.names = names;
        homes.entry(root.desc.digest).or_default().extend(root.names.iter().cloned());
        !root.names.is_empty()
    });
}

/// What an index lists.
fn listed(source: &dyn Source, root: &Root, ctx: &Context) -> Vec<Digest> {
    if root.desc.media_type.role() != Role::Index {
        return Vec::new();
    }
    let blob = crate::transport::Blob::new(source, root.desc.clone(), ctx);
    let document = blob.bytes(crate::manifest::MAX_DOCUMENT);
    let document =
        document.and_then(|bytes| crate::manifest::Document::parse(&bytes, &root.desc.media_type));
    document.map_or(Vec::new(), |d| d.children().iter().map(|child| child.digest).collect())
}

/// What a companion refers to, by its annotation, its cosign tag or its own `subject`.
pub fn subject_of(source: &dyn Source, root: &Root, ctx: &Context) -> Option<Digest> {
    if let Some(subject) = said_subject(&root.desc, root.tags()) {
        return Some(subject);
    }
    let blob = crate::transport::Blob::new(source, root.desc.clone(), ctx);
    let bytes = blob.bytes(crate::manifest::MAX_DOCUMENT).ok()?;
    let doc = crate::manifest::Document::parse(&bytes, &root.desc.media_type).ok()?;
    Some(doc.subject?.digest)
}
