//! The file tree an image's layers add up to, as names and metadata only.
//!
//! It must not know archives, images or output: it is given decoded layers, lowest first.
//!
//! Follows the OCI image layer specification, "Applying Changesets" and "Whiteouts"; symbolic links
//! in parents as containerd's apply resolves them: inside the root.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::io::tar::{EntryKind, TarEntry, TarReader};

/// Most symbolic links followed for one name, as in Linux.
const MAX_HOPS: usize = 40;
/// Most bytes of extended attributes kept for all members together.
const MAX_XATTRS: usize = 256 << 20;

/// The layers of one image, lowest first, as decoded tar streams.
pub trait LayerStreams {
    /// How many layers there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens one from its beginning; 0 is the lowest.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn open(&self, layer: usize) -> Result<Box<dyn Read + Send + '_>>;
}

/// A path with NUL for `/`: byte order is then the order of a walk, parents first.
pub(crate) type PathKey = Vec<u8>;

/// Where an inode's content is: the layer, and the number of the member in it, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContentOrigin {
    pub(crate) layer: usize,
    pub(crate) member: usize,
}

/// What one or more names stand for.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) origin: ContentOrigin,
    pub(crate) kind: EntryKind,
    pub(crate) link: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: i64,
    pub(crate) mtime_nanos: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    inode: usize,
    /// The layer that gave this name, which for a hard link need not be the inode's.
    layer: usize,
}

/// The final tree.
#[derive(Debug, Default)]
pub(crate) struct FileTree {
    nodes: BTreeMap<PathKey, Node>,
    inodes: Vec<Inode>,
    xattr_bytes: usize,
}

/// What a layer does, taken apart: its whiteouts apply before its additions, wherever they stand.
#[derive(Default)]
struct Changes {
    removed: Vec<Vec<u8>>,
    emptied: Vec<Vec<u8>>,
    added: Vec<(Vec<u8>, Inode)>,
}

impl FileTree {
    /// Applies all layers.
    pub(crate) fn build(layers: &dyn LayerStreams) -> Result<Self> {
        let mut tree = Self::default();
        for layer in 0..layers.len() {
            let changes = tree.read_layer(layers, layer)?;
            tree.apply(layer, changes)?;
        }
        Ok(tree)
    }

    /// Every name but the root with its inode's number, in the order of a walk.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Vec<u8>, usize)> + '_ {
        self.nodes.iter().map(|(key, node)| (path(key), node.inode))
    }

    pub(crate) fn inode(&self, number: usize) -> Option<&Inode> {
        self.inodes.get(number)
    }

    fn read_layer(&mut self, layers: &dyn LayerStreams, layer: usize) -> Result<Changes> {
        let mut changes = Changes::default();
        let mut tar = TarReader::new(layers.open(layer)?);
        let mut member = 0;
        while let Some(entry) = tar.next()? {
            let place = entry.place();
            self.read_member(entry, ContentOrigin { layer, member }, &mut changes)
                .map_err(|e| e.at(place))?;
            member += 1;
        }
        // To the very end: readers that check a digest do so there.
        io::copy(&mut tar.into_source(), &mut io::sink())?;
        Ok(changes)
    }

    fn read_member(
        &mut self,
        entry: TarEntry,
        origin: ContentOrigin,
        changes: &mut Changes,
    ) -> Result<()> {
        let parts = components(&entry.name)?;
        let Some((base, parents)) = parts.split_last() else {
            // The root itself: it must be a directory (CVE-2021-29136), and is not exported.
            return match entry.kind {
                EntryKind::Dir => Ok(()),
                _ => Err(Error::malformed("the root of a layer is not a directory")),
            };
        };
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            match hidden {
                b"" | b"." | b".." => return Err(Error::malformed("a whiteout without a name")),
                b".wh..opq" => changes.emptied.push(parts.join(&0)),
                _ if hidden.starts_with(b".wh.") => {} // aufs's own bookkeeping
                _ => changes.removed.push([parents, &[hidden]].concat().join(&0)),
            }
            return Ok(());
        }
        let link = match entry.kind {
            EntryKind::HardLink => components(&entry.link)?.join(&0),
            EntryKind::Symlink => entry.link.clone(),
            EntryKind::Other(flag) => {
                let what = format!("a layer has a member of unknown type {:?}", flag as char);
                return Err(Error::unsupported(what));
            }
            _ => Vec::new(),
        };
        let xattrs = xattrs(&entry);
        self.xattr_bytes += xattrs.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        if self.xattr_bytes > MAX_XATTRS {
            return Err(Error::unsupported("over 256 MiB of extended attributes"));
        }
        let inode = Inode {
            origin,
            kind: entry.kind,
            link,
            size: entry.content_size,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            mtime_nanos: entry.mtime_nanos,
            major: entry.major,
            minor: entry.minor,
            xattrs,
        };
        changes.added.push((parts.join(&0), inode));
        Ok(())
    }

    fn apply(&mut self, layer: usize, changes: Changes) -> Result<()> {
        for key in changes.emptied {
            // The marker lies in the directory, so a link to it is followed too.
            if let Some(marker) = self.find(&key)? {
                let dir = marker.iter().rposition(|b| *b == 0).unwrap_or(0);
                self.remove_below(&marker[..dir]);
            }
        }
        for key in changes.removed {
            if let Some(key) = self.find(&key)? {
                self.remove_below(&key);
                self.nodes.remove(&key);
            }
        }
        for (key, inode) in changes.added {
            self.add(layer, key, inode)?;
        }
        Ok(())
    }

    fn add(&mut self, layer: usize, key: PathKey, inode: Inode) -> Result<()> {
        let place = || format!("member {}", String::from_utf8_lossy(&path(&key)));
        let key = self.make_parents(layer, &key).map_err(|e| e.at(place()))?;
        let is_dir = |tree: &Self, n: &Node| tree.kind(n) == Some(EntryKind::Dir);
        if inode.kind == EntryKind::HardLink {
            let target = self.find(&inode.link).map_err(|e| e.at(place()))?;
            let node = target.and_then(|t| self.nodes.get(&t).copied());
            let Some(node) = node.filter(|n| !is_dir(self, n)) else {
                let target = String::from_utf8_lossy(&path(&inode.link)).into_owned();
                let what = format!("a hard link to {target:?}, which is not a file of the image");
                return Err(Error::malformed(what).at(place()));
            };
            if let Some(target) = self.inodes.get_mut(node.inode) {
                target.take_metadata(inode);
            }
            self.remove_below(&key);
            self.nodes.insert(key, Node { inode: node.inode, layer });
            return Ok(());
        }
        if inode.kind != EntryKind::Dir {
            self.remove_below(&key);
        }
        self.insert(key, layer, inode);
        Ok(())
    }

    fn insert(&mut self, key: PathKey, layer: usize, inode: Inode) {
        self.nodes.insert(key, Node { inode: self.inodes.len(), layer });
        self.inodes.push(inode);
    }

    fn kind(&self, node: &Node) -> Option<EntryKind> {
        self.inodes.get(node.inode).map(|i| i.kind)
    }

    /// Removes everything under a name, but not the name.
    fn remove_below(&mut self, key: &[u8]) {
        if key.is_empty() {
            self.nodes.clear();
            return;
        }
        let doomed: Vec<PathKey> = self
            .nodes
            .range([key, &[0]].concat()..[key, &[1]].concat())
            .map(|(k, _)| k.clone())
            .collect();
        for key in doomed {
            self.nodes.remove(&key);
        }
    }

    /// The key of a name after resolving links in its parents; `None` when a parent is absent.
    fn find(&self, key: &[u8]) -> Result<Option<PathKey>> {
        let (real, missing) = self.resolve(key)?;
        Ok((missing == 0).then_some(real))
    }

    /// The same for a name to be added: parents that are not there become plain directories, and a
    /// file of a lower layer gives way to one.
    fn make_parents(&mut self, layer: usize, key: &[u8]) -> Result<PathKey> {
        let (real, _) = self.resolve(key)?;
        let mut ends: Vec<usize> = Vec::new();
        for (i, _) in real.iter().enumerate().filter(|(_, b)| **b == 0).rev() {
            // A directory's parents are directories: this is where most searches end.
            let node = self.nodes.get(&real[..i]);
            if node.is_some_and(|n| self.kind(n) == Some(EntryKind::Dir)) {
                break;
            }
            if node.is_some_and(|n| n.layer == layer) {
                return Err(Error::malformed("a layer has a member below one of its own files"));
            }
            ends.push(i);
        }
        for end in ends {
            self.insert(real[..end].to_vec(), layer, Inode::implied(layer));
        }
        Ok(real)
    }

    /// Follows symbolic links in the parents of a name, never the name itself, inside the root.
    /// Also says how many of the parents are not there.
    fn resolve(&self, key: &[u8]) -> Result<(PathKey, usize)> {
        let Some(cut) = key.iter().rposition(|b| *b == 0) else {
            return Ok((key.to_vec(), 0));
        };
        let is = |k: &[u8]| self.nodes.get(k).and_then(|n| self.inodes.get(n.inode));
        if is(&key[..cut]).is_some_and(|i| i.kind == EntryKind::Dir) {
            return Ok((key.to_vec(), 0));
        }
        let mut todo: Vec<Vec<u8>> = key[..cut].split(|b| *b == 0).rev().map(Into::into).collect();
        let mut at: PathKey = Vec::new();
        let (mut hops, mut missing) = (0, 0);
        while let Some(part) = todo.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at.truncate(at.iter().rposition(|b| *b == 0).unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let up = at.len();
            if !at.is_empty() {
                at.push(0);
            }
            at.extend_from_slice(&part);
            match is(&at) {
                Some(i) if i.kind == EntryKind::Symlink => {
                    hops += 1;
                    if hops > MAX_HOPS {
                        return Err(Error::malformed("too many symbolic links in a name"));
                    }
                    at.truncate(if i.link.starts_with(b"/") { 0 } else { up });
                    todo.extend(i.link.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                Some(_) => {}
                None => missing += 1,
            }
        }
        if !at.is_empty() {
            at.push(0);
        }
        at.extend_from_slice(&key[cut + 1..]);
        Ok((at, missing))
    }
}

impl Inode {
    /// A directory no layer describes.
    fn implied(layer: usize) -> Self {
        Self {
            origin: ContentOrigin { layer, member: usize::MAX },
            kind: EntryKind::Dir,
            link: Vec::new(),
            size: 0,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanos: 0,
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
        }
    }

    /// Engines set owner, mode and times from a hard link's header too; on a symbolic link only the
    /// owner can be set. Observed in Docker 20.10.
    fn take_metadata(&mut self, link: Self) {
        self.uid = link.uid;
        self.gid = link.gid;
        if self.kind != EntryKind::Symlink {
            self.mode = link.mode;
            self.mtime = link.mtime;
            self.mtime_nanos = link.mtime_nanos;
        }
        if !link.xattrs.is_empty() {
            self.xattrs = link.xattrs;
        }
    }

    pub(crate) fn has_content(&self) -> bool {
        matches!(self.kind, EntryKind::Regular | EntryKind::Sparse) && self.size > 0
    }
}

/// The key back as a path, without a leading `/`.
fn path(key: &[u8]) -> Vec<u8> {
    key.iter().map(|b| if *b == 0 { b'/' } else { *b }).collect()
}

/// The parts of a member's name; `..` is refused, a leading `/` and `.` mean nothing.
fn components(name: &[u8]) -> Result<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        name.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(Error::malformed("a name in a layer has a \"..\""));
    }
    Ok(parts)
}

/// The last value of each attribute, in the order of their names.
fn xattrs(entry: &TarEntry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = entry.pax.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(b"SCHILY.xattr.")?;
        Some((name.to_vec(), value.clone()))
    });
    pairs.collect::<BTreeMap<_, _>>().into_iter().collect()
}
