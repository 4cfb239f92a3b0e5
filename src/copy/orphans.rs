//! Companions of what does not come along or becomes another: signatures of platforms that were not
//! chosen, of an index that is written anew, of an image whose layers are recoded.
//!
//! It reads nothing but what the walk has read. What a companion is about is said by its annotation,
//! its cosign tag, or its own `subject`.

use std::collections::{HashMap, HashSet};

use crate::companion::{self, Link};
use crate::copy::report::Orphan;
use crate::copy::tree::{Child, Node, Tree};
use crate::digest::Digest;
use crate::manifest::Document;

/// Takes out the companions whose subject is in none of the other trees, nor among `standing`.
pub(super) fn split(trees: Vec<Tree>, standing: &[Digest]) -> (Vec<Tree>, Vec<Orphan>) {
    let mut kept: HashSet<Digest> = standing.iter().copied().collect();
    let mut known = HashMap::new();
    for tree in trees.iter().filter(|t| !t.root.companion) {
        whole(&tree.node, &mut known);
    }
    kept.extend(known.into_iter().filter_map(|(digest, same)| same.then_some(digest)));
    apart(trees, |subject| !kept.contains(subject))
}

/// Takes out the companions of what became another, as `became` has it.
pub(super) fn split_changed(
    trees: Vec<Tree>,
    became: &HashMap<Digest, Digest>,
) -> (Vec<Tree>, Vec<Orphan>) {
    apart(trees, |subject| became.contains_key(subject))
}

/// Takes out the companions of what is `lost` and of nothing else: a signature of an SBOM stays when the
/// SBOM does, and goes when it goes.
fn apart(trees: Vec<Tree>, lost: impl Fn(&Digest) -> bool) -> (Vec<Tree>, Vec<Orphan>) {
    let mut links = Vec::new();
    for tree in trees.iter().filter(|tree| tree.root.companion) {
        let digest = tree.node.desc().digest;
        let link = |subject| Link { subject, digest, item: subject };
        links.extend(subjects(tree).into_iter().map(link));
    }
    let companions: HashSet<Digest> = links.iter().map(|link| link.digest).collect();
    let images = links.iter().map(|link| link.subject).filter(|s| !companions.contains(s));
    let (lost, kept): (Vec<Digest>, Vec<Digest>) = images.partition(|subject| lost(subject));
    let goes = companion::closure(lost, links.clone()).into_iter();
    let mut goes: HashMap<Digest, Digest> = goes.map(|link| (link.digest, link.item)).collect();
    for link in companion::closure(kept, links) {
        goes.remove(&link.digest);
    }
    let mut orphans = Vec::new();
    let mut stays = |tree: &Tree| {
        let digest = tree.node.desc().digest;
        let subject = goes.get(&digest).filter(|_| tree.root.companion);
        let title = || tree.root.title();
        orphans.extend(subject.map(|subject| Orphan { title: title(), digest, subject: *subject }));
        subject.is_none()
    };
    let trees = trees.into_iter().filter(|tree| stays(tree)).collect();
    (trees, orphans)
}

/// Notes which parents keep their bytes; says whether this one does.
fn whole(node: &Node, known: &mut HashMap<Digest, bool>) -> bool {
    if let Some(same) = known.get(&node.desc().digest) {
        return *same;
    }
    let same = match node {
        Node::Manifest(_) | Node::Opaque(_) | Node::Damaged(..) => true,
        Node::Index { children, .. } => children.iter().fold(true, |same, child| match child {
            Child::Kept(node) => whole(node, known) && same,
            Child::Pruned => false,
            Child::Absent(_) => same,
        }),
    };
    known.insert(node.desc().digest, same);
    same
}

/// The subject of a companion.
fn subjects(tree: &Tree) -> Vec<Digest> {
    let root = &tree.root;
    let said = companion::subjects(&root.desc, root.tags());
    let (bytes, desc) = match tree.node.as_ref() {
        Node::Manifest(m) => (&m.bytes, &m.desc),
        Node::Index { bytes, desc, .. } => (bytes, desc),
        Node::Opaque(_) | Node::Damaged(..) => return said,
    };
    if !said.is_empty() {
        return said;
    }
    let document = Document::parse(bytes, &desc.media_type).ok();
    document.and_then(|document| document.subject).map(|s| s.digest).into_iter().collect()
}
