//! Seal: write parents bottom-up, original bytes unless a child changed.
//!
//! No parent is stored before its children, no name given before its root.

use std::collections::{HashMap, HashSet};

use crate::context::Context;
use crate::copy::ship::Shipped;
use crate::copy::tree::{Child, Manifest, Node, Tree};
use crate::descriptor::{ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::{self, Document};
use crate::media_type::Role;
use crate::transport::{Blob, Image, Sealed, Sink};

/// Stores the parents of one tree and says what it became; `became` learns of each parent that is another
/// now.
pub(super) fn seal(
    to: &dyn Sink,
    tree: &Tree,
    shipped: &Shipped,
    became: &mut HashMap<Digest, Digest>,
    ctx: &Context,
) -> Result<Sealed> {
    let mut sealer = Sealer {
        to,
        ctx,
        shipped,
        became,
        images: Vec::new(),
        blobs: Vec::new(),
        seen: HashSet::new(),
        done: HashMap::new(),
    };
    let target = sealer.node(&tree.node)?;
    if target.digest != tree.root.desc.digest {
        sealer.became.insert(tree.root.desc.digest, target.digest);
    }
    let mut root = tree.root.clone();
    // The entry of the place keeps its annotations; platform and type follow what it points at.
    root.desc.media_type = target.media_type;
    root.desc.digest = target.digest;
    root.desc.size = target.size;
    if tree.node.desc().digest != tree.root.desc.digest {
        root.desc.rest.shift_remove("platform");
        root.desc.rest.shift_remove("artifactType");
    }
    if root.companion {
        say_subject(&mut root.desc, &tree.node);
    }
    Ok(Sealed { root, images: sealer.images, blobs: sealer.blobs })
}

/// Notes beside a companion what it refers to, as Docker 29 does, so that a list of roots tells
/// companions from images without opening them.
fn say_subject(desc: &mut Descriptor, node: &Node) {
    let bytes = match node {
        Node::Manifest(m) => &m.bytes,
        Node::Index { bytes, .. } => bytes,
        Node::Opaque(_) | Node::Damaged(..) => return,
    };
    if let Ok(Document { subject: Some(subject), .. }) = Document::parse(bytes, &desc.media_type)
        && desc.annotation(ANNOTATION_SUBJECT).is_none()
    {
        desc.annotate(ANNOTATION_SUBJECT, &subject.digest.to_string());
    }
}

struct Sealer<'a> {
    to: &'a dyn Sink,
    ctx: &'a Context,
    shipped: &'a Shipped,
    became: &'a mut HashMap<Digest, Digest>,
    images: Vec<Image>,
    blobs: Vec<Descriptor>,
    seen: HashSet<Digest>,
    /// What parents became, by what they were.
    done: HashMap<Digest, Descriptor>,
}

impl Sealer<'_> {
    fn node(&mut self, node: &Node) -> Result<Descriptor> {
        if let Some(done) = self.done.get(&node.desc().digest) {
            return Ok(done.clone());
        }
        let done = match node {
            // What has a fault is not sealed.
            Node::Opaque(desc) | Node::Damaged(desc, _) => {
                self.list(desc);
                desc.clone()
            }
            Node::Manifest(m) => self.manifest(m)?,
            Node::Index { desc, bytes, children, .. } => {
                let mut replaced = Vec::new();
                let mut changed = false;
                for child in children {
                    replaced.push(match child {
                        Child::Kept(node) => {
                            let now = self.node(node)?;
                            changed |= now.digest != node.desc().digest;
                            Some(Descriptor { rest: node.desc().rest.clone(), ..now })
                        }
                        Child::Absent(desc) => Some(desc.clone()),
                        Child::Pruned => {
                            changed = true;
                            None
                        }
                    });
                }
                self.parent(desc, bytes, changed.then_some(replaced))?
            }
        };
        self.done.insert(node.desc().digest, done.clone());
        Ok(done)
    }

    fn manifest(&mut self, m: &Manifest) -> Result<Descriptor> {
        let now = |desc: &Descriptor| self.shipped.now(desc).clone();
        let config = m.config.as_ref().map(now);
        let layers: Vec<Descriptor> = m.layers.iter().map(now).collect();
        let changed = layers.iter().zip(&m.layers).any(|(a, b)| a.digest != b.digest);
        config.iter().for_each(|config| self.list(config));
        for (was, now) in m.layers.iter().zip(&layers) {
            // A foreign layer may lie elsewhere.
            if was.media_type.role() != Role::ForeignLayer || self.shipped.holds(was) {
                self.list(now);
            }
        }
        let replaced = changed.then(|| config.iter().chain(&layers).cloned().map(Some).collect());
        let desc = self.parent(&m.desc, &m.bytes, replaced)?;
        if let Some(config) = config.filter(|_| m.config_bytes.is_some()) {
            self.images.push(Image {
                manifest: desc.clone(),
                config,
                layers,
                diff_ids: m.diff_ids.clone(),
                proven: self.proven(m),
                platform: m.platform.clone(),
            });
        }
        Ok(desc)
    }

    fn proven(&self, m: &Manifest) -> Vec<bool> {
        let layers = m.layers.iter().zip(&m.diff_ids);
        layers.map(|(layer, diff_id)| self.shipped.proves(layer, *diff_id)).collect()
    }

    fn list(&mut self, desc: &Descriptor) {
        if self.seen.insert(desc.digest) {
            self.blobs.push(desc.clone());
        }
    }

    fn parent(
        &mut self,
        desc: &Descriptor,
        bytes: &[u8],
        replaced: Option<Vec<Option<Descriptor>>>,
    ) -> Result<Descriptor> {
        let rewritten;
        let (bytes, desc) = match replaced {
            None => (bytes, desc.clone()),
            Some(replaced) => {
                rewritten = manifest::rewrite(bytes, &replaced)?;
                let digest = desc.digest.algorithm().digest(&rewritten);
                let size = rewritten.len() as u64;
                self.became.insert(desc.digest, digest);
                (rewritten.as_slice(), Descriptor { digest, size, ..desc.clone() })
            }
        };
        self.list(&desc);
        if self.to.reuse(&desc)?.is_none() {
            self.to.put(&Blob::memory(bytes, desc.clone(), self.ctx))?;
        }
        Ok(desc)
    }
}
