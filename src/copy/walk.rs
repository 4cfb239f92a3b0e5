//! Walk: from each root down through indexes and manifests to the leaves.
//!
//! It reads small documents only, verified, each once. It prunes platforms, finds what is absent and
//! checks what can be checked without reading a layer: counts, kinds, nesting.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use crate::config::Config;
use crate::context::Context;
use crate::copy::policy::{Mode, Policy, stops};
use crate::copy::report::Failed;
use crate::copy::tree::{Child, Fault, Manifest, Node, Tree, missing};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::layout::MAX_NESTING;
use crate::locks::lock;
use crate::manifest::{self, Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::platform::Platform;
use crate::transport::{Accepts, Blob, Root, Source};

/// What was read, by digest; nothing of what the policy does not want.
type Known = Mutex<HashMap<Digest, Option<Arc<Node>>>>;

/// Walks all roots in parallel.
pub(super) fn all(
    from: &dyn Source,
    roots: &[Root],
    accepts: Accepts,
    policy: &Policy,
    ctx: &Context,
) -> Vec<Result<Tree, Box<Failed>>> {
    // A document beneath many roots is read once; which platforms are kept may differ from root to root.
    let known = Known::default();
    let walk = |root: &Root| {
        let own = Known::default();
        let known = if policy.platforms_of(root).is_empty() { &known } else { &own };
        let tree = beneath(from, root, accepts, policy, known, ctx);
        tree.map_err(|error| Box::new(Failed::new(root, error.input_or(from.place()))))
    };
    if from.remote() {
        // Waiting is not computing: as many as there are jobs, and none of the pool's threads.
        return crate::io::lanes::each(roots, ctx.jobs, walk);
    }
    roots.par_iter().map(walk).collect()
}

/// Walks one root without pruning anything.
///
/// # Errors
/// `Malformed`, `Corrupt`, `Io`.
pub fn walk(from: &dyn Source, root: &Root, ctx: &Context) -> Result<Tree> {
    let accepts = Accepts::staged(1);
    one(from, root, accepts, &Policy::default(), ctx).map_err(|e| e.input_or(from.place()))
}

/// Like [`walk`], but only what the policy wants of the root.
///
/// # Errors
/// As [`walk`], and `Policy`.
pub fn walk_wanted(from: &dyn Source, root: &Root, policy: &Policy, ctx: &Context) -> Result<Tree> {
    one(from, root, Accepts::staged(1), policy, ctx).map_err(|e| e.input_or(from.place()))
}

/// Like [`walk`], but does not ask whether the layers are there: for lists of many images.
///
/// # Errors
/// As [`walk`].
pub fn glance(from: &dyn Source, root: &Root, ctx: &Context) -> Result<Tree> {
    let accepts = Accepts::staged(1);
    let policy = Policy { mode: Mode::Glance, ..Policy::default() };
    one(from, root, accepts, &policy, ctx).map_err(|e| e.input_or(from.place()))
}

/// Walks one root.
pub(super) fn one(
    from: &dyn Source,
    root: &Root,
    accepts: Accepts,
    policy: &Policy,
    ctx: &Context,
) -> Result<Tree> {
    beneath(from, root, accepts, policy, &Known::default(), ctx)
}

fn beneath(
    from: &dyn Source,
    root: &Root,
    accepts: Accepts,
    policy: &Policy,
    known: &Known,
    ctx: &Context,
) -> Result<Tree> {
    let platforms = policy.platforms_of(root);
    let mut walker = Walker { from, policy, platforms, ctx, known, passed: BTreeSet::new() };
    let node = walker.node(&root.desc, 0, root.companion)?;
    let Some(node) = node else {
        let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        let have: Vec<String> = walker.passed.iter().map(ToString::to_string).collect();
        let (title, wanted, have) = (root.title(), wanted.join(", "), have.join(", "));
        return Err(Error::missing(format!("{title} has no image for {wanted}, only for {have}")));
    };
    // Many roots may share what lies beneath them: each goes through it again.
    ctx.count(node.entries())?;
    let missing = missing(&node);
    if node.manifests().is_empty() && !missing.is_empty() {
        let title = root.title();
        let what = format!("{title}: none of its {} platforms is present", missing.len());
        return Err(Error::malformed(what).at(root.desc.digest.to_string()));
    }
    if policy.complete
        && let Some(missing) = missing.first()
    {
        let platform = missing.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let what = format!(
            "{}: {platform} is listed but not present; choose others with --platform",
            root.title()
        );
        let error = Error::new(Kind::Policy, what).because(Cause::NotAllPlatforms);
        return Err(error.at(missing.digest.to_string()));
    }
    let node = single(node, accepts, platforms);
    Ok(Tree { root: root.clone(), node, missing })
}

/// A selection of one image needs no index around it, and some sinks take none: the manifest itself
/// becomes the root, its digest unchanged.
fn single(node: Arc<Node>, accepts: Accepts, platforms: &[Platform]) -> Arc<Node> {
    let Node::Index { .. } = *node else { return node };
    let image = |n: &&Arc<Node>| n.manifest().is_some_and(|m| !m.desc.is_attestation());
    let images: Vec<&Arc<Node>> = node.nodes().into_iter().filter(image).collect();
    let one_wanted = platforms.len() == 1 && images.len() == 1;
    if accepts.indexes && !one_wanted {
        return node;
    }
    let chosen = Platform::for_host(images, |n| n.manifest().and_then(|m| m.platform.as_ref()));
    chosen.cloned().unwrap_or(node)
}

struct Walker<'a> {
    from: &'a dyn Source,
    policy: &'a Policy,
    /// What is kept of an index; all, when there are none.
    platforms: &'a [Platform],
    ctx: &'a Context,
    known: &'a Known,
    /// Platforms that are there and were not wanted.
    passed: BTreeSet<Platform>,
}

impl Walker<'_> {
    fn bytes(&self, desc: &Descriptor, what: &str) -> Result<Vec<u8>> {
        let blob = Blob::new(self.from, desc.clone(), self.ctx);
        let absent = |e: Error| if e.kind() == Kind::Missing { gone(what, desc) } else { e };
        blob.bytes(MAX_DOCUMENT).map_err(absent)
    }

    /// What is wrong with a document, where a survey goes on after it.
    ///
    /// # Errors
    /// Just that, where it does not.
    fn tolerated(&self, error: Error) -> Result<Error> {
        if self.policy.surveys() && !stops(&error) { Ok(error) } else { Err(error) }
    }

    /// The node behind a descriptor; nothing when the policy does not want it.
    fn node(&mut self, desc: &Descriptor, depth: usize, any: bool) -> Result<Option<Arc<Node>>> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        self.ctx.check()?;
        let known = lock(self.known).get(&desc.digest).cloned();
        let node = match known {
            Some(known) => known,
            None => {
                let node = self.read(desc, depth, any)?.map(Arc::new);
                lock(self.known).insert(desc.digest, node.clone());
                node
            }
        };
        match &node {
            // It may have been read nearer to a root.
            Some(node) if depth + node.height() > MAX_NESTING => Err(too_deep()),
            _ => Ok(node),
        }
    }

    fn read(&mut self, desc: &Descriptor, depth: usize, any: bool) -> Result<Option<Node>> {
        let role = desc.media_type.role();
        let parent = role.is_document();
        if !parent && desc.size > MAX_DOCUMENT {
            return Ok(Some(Node::Opaque(desc.clone())));
        }
        let bytes = self.bytes(desc, if role == Role::Index { "index" } else { "manifest" })?;
        let doc = match Document::parse(&bytes, &desc.media_type) {
            Ok(doc) => doc,
            // An entry of an unknown type need not be a manifest.
            Err(_) if !parent => return Ok(Some(Node::Opaque(desc.clone()))),
            Err(e) => return Err(e.within(desc.digest.to_string())),
        };
        let (image, untyped) = (doc.is_image(), doc.is_untyped());
        // An entry of an unknown type that is a manifest all the same goes on under its own type.
        let known = Descriptor { media_type: doc.media_type.clone(), ..desc.clone() };
        let desc = if parent { desc } else { &known };
        match doc.kind {
            manifest::DocumentKind::Index(entries) => self.index(desc, bytes, entries, depth, any),
            manifest::DocumentKind::Manifest { config, layers } => {
                let image = image.then_some(untyped);
                let node = self.manifest(desc, bytes, config, layers, image, depth)?;
                // A chart or another artifact runs nowhere, so no platform is against it.
                let artifact = node.config_bytes.is_none() && node.platform.is_none();
                let wanted = any || depth > 0 || artifact || self.wants(node.platform.as_ref());
                Ok(wanted.then_some(Node::Manifest(node)))
            }
        }
    }

    fn wants(&mut self, platform: Option<&Platform>) -> bool {
        let wanted = self.platforms;
        if wanted.is_empty() || platform.is_some_and(|p| wanted.iter().any(|w| p.satisfies(w))) {
            return true;
        }
        self.passed.extend(platform.cloned());
        false
    }

    fn index(
        &mut self,
        desc: &Descriptor,
        bytes: Vec<u8>,
        entries: Vec<Descriptor>,
        depth: usize,
        any: bool,
    ) -> Result<Option<Node>> {
        let all = any || self.platforms.is_empty();
        let mut children: Vec<Option<Child>> = Vec::new();
        let mut kept = HashSet::new();
        for entry in &entries {
            // Attestations follow their image, so they are decided in a second pass.
            if entry.is_attestation() && !all {
                children.push(None);
                continue;
            }
            let child = self.entry(entry, depth, all)?;
            if matches!(child, Child::Kept(_)) {
                kept.insert(entry.digest.to_string());
            }
            children.push(Some(child));
        }
        let mut decided = Vec::new();
        for (entry, child) in entries.iter().zip(children) {
            decided.push(match child {
                Some(child) => child,
                None => {
                    let of = entry.annotation("vnd.docker.reference.digest").unwrap_or_default();
                    if kept.contains(of) { self.entry(entry, depth, true)? } else { Child::Pruned }
                }
            });
        }
        if !all && kept.is_empty() {
            return Ok(None);
        }
        let heights = decided.iter().map(|child| match child {
            Child::Kept(node) => 1 + node.height(),
            Child::Pruned | Child::Absent(_) => 0,
        });
        let height = heights.max().unwrap_or_default();
        Ok(Some(Node::Index { desc: desc.clone(), bytes, children: decided, height }))
    }

    fn entry(&mut self, entry: &Descriptor, depth: usize, all: bool) -> Result<Child> {
        let platform = entry.platform();
        let nested = entry.media_type.role() == Role::Index;
        if !all && platform.is_some() && !self.wants(platform.as_ref()) {
            return Ok(Child::Pruned);
        }
        let node = self.from.has(entry).and_then(|there| match there {
            true => self.node(entry, depth + 1, all),
            false => Err(gone("manifest", entry)),
        });
        let node = match node {
            Ok(node) => node,
            // The manifest is here and what it needs is not: pulled for another platform.
            Err(e) if e.cause() == Cause::Absent => return Ok(Child::Absent(entry.clone())),
            // The document itself is sound, and known as such where it lies nearer to a root.
            Err(e) if e.cause() == Cause::TooDeep => return Err(e),
            Err(e) => Some(Arc::new(Node::Damaged(entry.clone(), self.tolerated(e)?))),
        };
        let Some(node) = node else { return Ok(Child::Pruned) };
        if !all && platform.is_none() && !nested {
            let says = match node.as_ref() {
                Node::Manifest(m) => m.platform.clone(),
                _ => None,
            };
            if !self.wants(says.as_ref()) {
                return Ok(Child::Pruned);
            }
        }
        Ok(Child::Kept(node))
    }

    /// A manifest; `image` says whether it is an image's, and then whether only its config can tell.
    fn manifest(
        &mut self,
        desc: &Descriptor,
        bytes: Vec<u8>,
        config: Option<Descriptor>,
        layers: Vec<Descriptor>,
        image: Option<bool>,
        depth: usize,
    ) -> Result<Manifest> {
        let mut manifest = Manifest {
            desc: desc.clone(),
            bytes,
            config,
            config_bytes: None,
            layers,
            diff_ids: Vec::new(),
            platform: desc.platform(),
            fault: None,
        };
        // An index may list what did not come along. A root may not, and shipping finds what it lacks.
        let surveyed = self.policy.surveys() && depth == 0;
        if let (Some(untyped), Some(config)) = (image, manifest.config.clone()) {
            match self.config(&mut manifest, &config) {
                // Then it is something else, whose config is not ours to read.
                Err(error)
                    if untyped
                        && error.kind() == Kind::Malformed
                        && error.cause() != Cause::Absent => {}
                Err(error) if surveyed || error.cause() != Cause::Absent => {
                    let error = self.tolerated(error)?;
                    manifest.fault = Some(Fault { digest: config.digest, error });
                    manifest.config = None;
                }
                other => other?,
            }
        } else if let Some(config) = &manifest.config
            && !surveyed
            && !self.from.has(config)?
        {
            return Err(gone("config", config));
        }
        for layer in &manifest.layers {
            // A layer that may be fetched elsewhere may be absent.
            let needed =
                layer.media_type.role() != Role::ForeignLayer && self.policy.mode != Mode::Glance;
            if needed && !surveyed && !self.from.has(layer)? {
                return Err(gone("layer", layer));
            }
        }
        Ok(manifest)
    }

    /// Reads the config of an image.
    fn config(&self, manifest: &mut Manifest, config: &Descriptor) -> Result<()> {
        let bytes = self.bytes(config, "config")?;
        let parsed = Config::parse(&bytes).map_err(|e| e.within(config.digest.to_string()))?;
        manifest.platform = parsed.platform().or(manifest.platform.take());
        // An artifact for one platform is no image, although its config has an image's type.
        if !parsed.is_only_platform() {
            let diff_ids = parsed.check_layers(manifest.layers.len());
            let at = |e: Error| e.at(manifest.desc.digest.to_string());
            manifest.diff_ids = diff_ids.map_err(at)?.to_vec();
            manifest.config_bytes = Some(bytes);
        }
        Ok(())
    }
}

fn too_deep() -> Error {
    Error::malformed(format!("indexes nested deeper than {MAX_NESTING}")).because(Cause::TooDeep)
}

fn gone(what: &str, desc: &Descriptor) -> Error {
    Error::absent(format_args!("{what} {}", desc.digest))
}
