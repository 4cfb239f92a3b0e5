//! The names of a tree, each kept as its last part and its parent.
//!
//! It must not know layers, nor what a name stands for beyond a number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::vec::IntoIter;

use hashbrown::HashTable;

use super::texts::{Text, Texts};
use crate::error::{Error, Result};

/// The name of the root.
pub(super) const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;
/// Most names of all layers together, with the directories that they imply.
const MAX_NAMES: usize = 1 << 24;
/// Most bytes of names that are sorted at once.
const RUN: usize = 8 << 20;

struct Node {
    parent: u32,
    /// What it stands for; `NONE` where it was removed.
    inode: u32,
    /// The layer that gave this name, which for a hard link need not be the inode's.
    layer: u32,
    child: u32,
    sibling: u32,
    hash: u32,
    text: Text,
}

pub(super) struct Names {
    pub(super) texts: Texts,
    nodes: Vec<Node>,
    /// Nodes by parent and text.
    table: HashTable<u32>,
    keys: RandomState,
    #[cfg(test)]
    pub(super) swept: usize,
}

impl Names {
    /// Only the root, which stands for `inode`.
    pub(super) fn new(temp_dir: PathBuf, inode: u32) -> Self {
        let root = Node {
            parent: NONE,
            inode,
            layer: 0,
            child: NONE,
            sibling: NONE,
            hash: 0,
            text: Text::default(),
        };
        Self {
            texts: Texts::new(temp_dir),
            nodes: vec![root],
            table: HashTable::new(),
            keys: RandomState::new(),
            #[cfg(test)]
            swept: 0,
        }
    }

    /// What a name stands for, and the layer that said so; `None` when it is not there.
    pub(super) fn get(&self, node: u32) -> Option<(u32, u32)> {
        let node = &self.nodes[node as usize];
        (node.inode != NONE).then_some((node.inode, node.layer))
    }

    pub(super) fn set(&mut self, node: u32, inode: u32, layer: u32) {
        let node = &mut self.nodes[node as usize];
        (node.inode, node.layer) = (inode, layer);
    }

    /// What all names stand for, in no order.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().map(|n| n.inode).filter(|i| *i != NONE)
    }

    /// The name `bytes` in a directory, if it is there.
    pub(super) fn child(&self, parent: u32, bytes: &[u8]) -> Result<Option<u32>> {
        let found = self.known(parent, bytes, self.hash(parent, bytes))?;
        Ok(found.filter(|node| self.get(*node).is_some()))
    }

    /// The same, made where there is none; it stands for nothing before [`Self::set`].
    pub(super) fn enter(&mut self, parent: u32, text: Text, bytes: &[u8]) -> Result<u32> {
        let hash = self.hash(parent, bytes);
        if let Some(node) = self.known(parent, bytes, hash)? {
            return Ok(node);
        }
        if self.nodes.len() >= MAX_NAMES {
            return Err(Error::unsupported(format!("over {MAX_NAMES} names in the layers")));
        }
        let number = self.nodes.len() as u32;
        let sibling = std::mem::replace(&mut self.nodes[parent as usize].child, number);
        self.nodes.push(Node { parent, inode: NONE, layer: 0, child: NONE, sibling, hash, text });
        let nodes = &self.nodes;
        self.table.insert_unique(spread(hash), number, |n| spread(nodes[*n as usize].hash));
        Ok(number)
    }

    /// Removes everything under a name, but not the name.
    pub(super) fn remove_below(&mut self, node: u32) {
        let mut lists = vec![std::mem::replace(&mut self.nodes[node as usize].child, NONE)];
        while let Some(mut at) = lists.pop() {
            while at != NONE {
                #[cfg(test)]
                (self.swept += 1);
                let node = &mut self.nodes[at as usize];
                node.inode = NONE;
                lists.push(std::mem::replace(&mut node.child, NONE));
                if let Ok(entry) = self.table.find_entry(spread(node.hash), |n| *n == at) {
                    entry.remove();
                }
                at = node.sibling;
            }
        }
    }

    /// Removes a name and everything under it.
    pub(super) fn remove(&mut self, node: u32) {
        self.remove_below(node);
        self.nodes[node as usize].inode = NONE;
    }

    /// The path of a name, without a leading `/`.
    pub(super) fn path(&self, mut node: u32) -> Result<Vec<u8>> {
        let mut parts = Vec::new();
        while node != ROOT {
            parts.push(self.texts.read(self.nodes[node as usize].text)?);
            node = self.nodes[node as usize].parent;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    fn hash(&self, parent: u32, bytes: &[u8]) -> u32 {
        self.keys.hash_one((parent, bytes)) as u32
    }

    fn known(&self, parent: u32, bytes: &[u8], hash: u32) -> Result<Option<u32>> {
        let mut failed = None;
        let found = self.table.find(spread(hash), |n| {
            let node = &self.nodes[*n as usize];
            let alike = node.parent == parent && node.hash == hash;
            alike && self.texts.is(node.text, bytes).unwrap_or_else(|e| failed.replace(e).is_some())
        });
        failed.map_or(Ok(found.copied()), Err)
    }

    /// What is in a directory, in the order of a walk.
    fn sorted(&self, dir: u32, order: Order) -> Result<IntoIter<Visit>> {
        let mut runs = Vec::new();
        let (mut run, mut bytes) = (Vec::new(), 0);
        let mut at = self.nodes[dir as usize].child;
        while at != NONE {
            let node = &self.nodes[at as usize];
            let itself = (node.inode != NONE).then_some(Visit { node: at, below: false });
            let below = (node.child != NONE).then_some(Visit { node: at, below: true });
            for visit in itself.into_iter().chain(below) {
                let key = self.key(visit, order)?;
                bytes += key.len();
                run.push((key, visit));
            }
            at = node.sibling;
            if bytes > RUN || at == NONE {
                run.sort_unstable();
                runs.push(run.drain(..).map(|(_, v)| v).collect::<Vec<_>>().into_iter());
                bytes = 0;
            }
        }
        if runs.len() < 2 {
            return Ok(runs.pop().unwrap_or_default());
        }
        let (mut heads, mut all) = (BinaryHeap::new(), Vec::new());
        for from in 0..runs.len() {
            heads.extend(self.head(&mut runs, from, order)?);
        }
        while let Some(Reverse((_, visit, from))) = heads.pop() {
            all.push(visit);
            heads.extend(self.head(&mut runs, from, order)?);
        }
        Ok(all.into_iter())
    }

    /// The next of a run, with its key.
    fn head(
        &self,
        runs: &mut [IntoIter<Visit>],
        from: usize,
        order: Order,
    ) -> Result<Option<Head>> {
        let Some(visit) = runs[from].next() else { return Ok(None) };
        Ok(Some(Reverse((self.key(visit, order)?, visit, from))))
    }

    fn key(&self, visit: Visit, order: Order) -> Result<Vec<u8>> {
        let mut key = self.texts.read(self.nodes[visit.node as usize].text)?;
        if visit.below {
            key.push(order as u8);
        }
        Ok(key)
    }
}

/// All bits of a hash take part in where it is kept.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// In which order names come; the value is what separates the parts of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// What is in a directory comes right after it.
    Walk = 0,
    /// Paths are sorted as bytes.
    Path = b'/' as isize,
}

/// A name, or what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    node: u32,
    below: bool,
}

type Head = Reverse<(Vec<u8>, Visit, usize)>;

/// Every name but the root, one after another.
pub(crate) struct Walk<'a> {
    names: &'a Names,
    order: Order,
    /// What is left of each directory on the way, with the length of its path.
    levels: Vec<(IntoIter<Visit>, usize)>,
    path: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(names: &'a Names, order: Order) -> Result<Self> {
        let levels = vec![(names.sorted(ROOT, order)?, 0)];
        Ok(Self { names, order, levels, path: Vec::new() })
    }

    /// The path of the name that came last, without a leading `/`.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next name, and the number of its inode.
    pub(crate) fn step(&mut self) -> Result<Option<(u32, u32)>> {
        while let Some((level, length)) = self.levels.last_mut() {
            let Some(Visit { node, below }) = level.next() else {
                self.levels.pop();
                continue;
            };
            self.path.truncate(*length);
            if *length > 0 {
                self.path.push(b'/');
            }
            let text = self.names.nodes[node as usize].text;
            self.path.extend_from_slice(&self.names.texts.read(text)?);
            if below {
                self.levels.push((self.names.sorted(node, self.order)?, self.path.len()));
            } else if let Some((inode, _)) = self.names.get(node) {
                return Ok(Some((node, inode)));
            }
        }
        Ok(None)
    }
}
