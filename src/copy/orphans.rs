//! Companions of what does not come along or becomes another: signatures of platforms that were not
//! chosen, of an index that is written anew, of an image whose layers are recoded.
//!
//! It reads nothing but what the walk has read. What a companion is about is said by its annotation,
//! its cosign tag, or its own `subject`.

use std::collections::{HashMap, HashSet};

use crate::copy::report::Orphan;
use crate::copy::tree::{Child, Node, Tree};
use crate::digest::Digest;
use crate::layout::said_subject;
use crate::manifest::Document;
use crate::transport::GENERATIONS;

/// Takes out the companions whose subject is in none of the other trees, nor among `standing`.
pub(super) fn split(trees: Vec<Tree>, standing: &[Digest]) -> (Vec<Tree>, Vec<Orphan>) {
    let mut kept: HashSet<Digest> = standing.iter().copied().collect();
    let mut known = HashMap::new();
    for tree in trees.iter().filter(|t| !t.root.companion) {
        whole(&tree.node, &mut known);
    }
    kept.extend(known.into_iter().filter_map(|(digest, same)| same.then_some(digest)));
    apart(trees, |subject| !kept.contains(&subject))
}

/// Takes out the companions of what became another, as `became` has it.
pub(super) fn split_changed(
    trees: Vec<Tree>,
    became: &HashMap<Digest, Digest>,
) -> (Vec<Tree>, Vec<Orphan>) {
    apart(trees, |subject| became.contains_key(&subject))
}

/// Takes out the companions of what is `lost`, unless it is among them: a signature of an SBOM stays when
/// the SBOM does, and goes when it goes.
fn apart(trees: Vec<Tree>, lost: impl Fn(Digest) -> bool) -> (Vec<Tree>, Vec<Orphan>) {
    let about: HashMap<Digest, Option<Digest>> = trees
        .iter()
        .filter(|tree| tree.root.companion)
        .map(|tree| (tree.node.desc().digest, subject(tree)))
        .collect();
    let goes = |digest: Digest| {
        let mut at = Some(digest);
        for _ in 0..=GENERATIONS {
            let Some(Some(subject)) = at.and_then(|digest| about.get(&digest)) else {
                return false;
            };
            if !about.contains_key(subject) {
                return lost(*subject);
            }
            at = Some(*subject);
        }
        true
    };
    let mut orphans = Vec::new();
    let mut stays = |tree: &Tree| {
        let digest = tree.node.desc().digest;
        let subject = about.get(&digest).copied().flatten();
        match subject.filter(|_| tree.root.companion && goes(digest)) {
            Some(subject) => orphans.push(Orphan { title: tree.root.title(), digest, subject }),
            None => return true,
        }
        false
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
        Node::Manifest(_) | Node::Opaque(_) => true,
        Node::Index { children, .. } => children.iter().fold(true, |same, child| match child {
            Child::Kept(node) => whole(node, known) && same,
            Child::Pruned => false,
            Child::Absent(_) => same,
        }),
    };
    known.insert(node.desc().digest, same);
    same
}

/// What a companion is about.
fn subject(tree: &Tree) -> Option<Digest> {
    let root = &tree.root;
    if let Some(subject) = said_subject(&root.desc, root.tags()) {
        return Some(subject);
    }
    let (bytes, desc) = match tree.node.as_ref() {
        Node::Manifest(m) => (&m.bytes, &m.desc),
        Node::Index { bytes, desc, .. } => (bytes, desc),
        Node::Opaque(_) => return None,
    };
    Some(Document::parse(bytes, &desc.media_type).ok()?.subject?.digest)
}
