//! Companions of what does not come along: signatures of platforms that were not chosen, and of an
//! index that is written anew.
//!
//! It reads nothing but what the walk has read. What a companion is about is said by its annotation,
//! its cosign tag, or its own `subject`.

use std::collections::{HashMap, HashSet};

use crate::context::Context;
use crate::copy::tree::{Child, Node, Tree};
use crate::digest::Digest;
use crate::layout::said_subject;
use crate::manifest::Document;
use crate::progress::Event;
use crate::transport::GENERATIONS;

/// The trees without companions whose subject is in none of the others, nor among `standing`.
pub(super) fn without(trees: Vec<Tree>, standing: &[Digest], ctx: &Context) -> Vec<Tree> {
    let mut kept: HashSet<Digest> = standing.iter().copied().collect();
    let mut known = HashMap::new();
    for tree in trees.iter().filter(|t| !t.root.companion) {
        whole(&tree.node, &mut known);
    }
    kept.extend(known.into_iter().filter_map(|(digest, same)| same.then_some(digest)));
    // A signature of an SBOM stays when the SBOM does.
    for _ in 0..GENERATIONS {
        for tree in trees.iter().filter(|t| t.root.companion) {
            if subject(tree).is_none_or(|s| kept.contains(&s)) {
                kept.insert(tree.node.desc().digest);
            }
        }
    }
    let stays = |tree: &Tree| {
        let stays = !tree.root.companion || kept.contains(&tree.node.desc().digest);
        if !stays {
            let what = format!("{}: left behind with what it is about", tree.root.title());
            ctx.progress.event(Event::Detail(&what));
        }
        stays
    };
    trees.into_iter().filter(stays).collect()
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
