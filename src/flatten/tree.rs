//! The file tree an image's layers add up to, as names and metadata only.
//!
//! It must not know archives, images or output: it is given decoded layers, lowest first.
//!
//! Follows the OCI image layer specification, "Applying Changesets" and "Whiteouts"; symbolic links
//! in parents as containerd's apply resolves them: inside the root.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::names::{Names, Order, ROOT, Walk};
use super::texts::Text;
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
    pub(crate) link: Text,
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

/// The inode of all directories that no layer describes.
const IMPLIED: u32 = 0;

/// The final tree.
pub(crate) struct FileTree {
    pub(super) names: Names,
    inodes: Vec<Inode>,
    xattr_bytes: usize,
}

/// What a layer does, taken apart: its whiteouts apply before its additions, wherever they stand.
#[derive(Default)]
struct Changes {
    removed: Vec<Text>,
    emptied: Vec<Text>,
    added: Vec<(Text, Inode)>,
}

/// A part of a path, and the name it leads to where there is one.
struct Part {
    text: Text,
    bytes: Vec<u8>,
    node: Option<u32>,
}

impl FileTree {
    /// Applies all layers. Long names wait in an unnamed file in `temp_dir`.
    pub(crate) fn build(layers: &dyn LayerStreams, temp_dir: &Path) -> Result<Self> {
        let names = Names::new(temp_dir.to_path_buf(), IMPLIED);
        let mut tree = Self { names, inodes: vec![Inode::implied()], xattr_bytes: 0 };
        for layer in 0..layers.len() {
            let changes = tree.read_layer(layers, layer)?;
            tree.apply(layer as u32, changes)?;
        }
        Ok(tree)
    }

    /// Every name but the root.
    pub(crate) fn walk(&self, order: Order) -> Result<Walk<'_>> {
        Walk::new(&self.names, order)
    }

    /// Every file with content, once for each of its names, in no order.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Inode> {
        self.names.inodes().map(|n| self.inode(n)).filter(|i| i.has_content())
    }

    pub(crate) fn inode(&self, number: u32) -> &Inode {
        &self.inodes[number as usize]
    }

    /// The target of a symbolic link.
    pub(crate) fn link(&self, inode: &Inode) -> Result<Vec<u8>> {
        self.names.texts.read(inode.link)
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
        let texts = &mut self.names.texts;
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            match hidden {
                b"" | b"." | b".." => return Err(Error::malformed("a whiteout without a name")),
                b".wh..opq" => changes.emptied.push(texts.push(&parts.join(&b'/'))?),
                _ if hidden.starts_with(b".wh.") => {} // aufs's own bookkeeping
                _ => {
                    let path = [parents, &[hidden]].concat().join(&b'/');
                    changes.removed.push(texts.push(&path)?);
                }
            }
            return Ok(());
        }
        let link = match entry.kind {
            EntryKind::HardLink => texts.push(&components(&entry.link)?.join(&b'/'))?,
            EntryKind::Symlink => texts.push(&entry.link)?,
            EntryKind::Other(flag) => {
                let what = format!("a layer has a member of unknown type {:?}", flag as char);
                return Err(Error::unsupported(what));
            }
            _ => Text::default(),
        };
        let path = texts.push(&parts.join(&b'/'))?;
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
        changes.added.push((path, inode));
        Ok(())
    }

    fn apply(&mut self, layer: u32, changes: Changes) -> Result<()> {
        for path in changes.emptied {
            // The marker lies in the directory, so a link to it is followed too.
            if let Some(marker) = self.find(path)? {
                let dir = marker.iter().rev().nth(1).map_or(Some(ROOT), |part| part.node);
                dir.into_iter().for_each(|dir| self.names.remove_below(dir));
            }
        }
        for path in changes.removed {
            let node = self.find(path)?.and_then(|parts| parts.last()?.node);
            node.into_iter().for_each(|node| self.names.remove(node));
        }
        for (path, inode) in changes.added {
            if let Err(err) = self.add(layer, path, inode) {
                return Err(err.at(format!("member {}", self.lossy(path)?)));
            }
        }
        Ok(())
    }

    fn add(&mut self, layer: u32, path: Text, inode: Inode) -> Result<()> {
        let node = self.make_parents(layer, path)?;
        let kind = inode.kind;
        let number = if kind == EntryKind::HardLink {
            let target = self.find(inode.link)?.and_then(|parts| parts.last()?.node);
            let number = target.and_then(|node| self.names.get(node)).map(|(inode, _)| inode);
            let Some(number) = number.filter(|n| self.inode(*n).kind != EntryKind::Dir) else {
                let target = self.lossy(inode.link)?;
                let what = format!("a hard link to {target:?}, which is not a file of the image");
                return Err(Error::malformed(what));
            };
            self.inodes[number as usize].take_metadata(inode);
            number
        } else {
            self.inodes.push(inode);
            self.inodes.len() as u32 - 1
        };
        if kind != EntryKind::Dir {
            self.names.remove_below(node);
        }
        self.names.set(node, number, layer);
        Ok(())
    }

    fn lossy(&self, text: Text) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.names.texts.read(text)?).into_owned())
    }

    /// The parts of a name after resolving links in its parents; `None` when a parent is absent.
    fn find(&self, path: Text) -> Result<Option<Vec<Part>>> {
        let (parts, missing) = self.resolve(path)?;
        Ok((!missing).then_some(parts))
    }

    /// The same for a name to be added, which it gives: parents that are not there become plain
    /// directories, and a file of a lower layer gives way to one.
    fn make_parents(&mut self, layer: u32, path: Text) -> Result<u32> {
        let mut parts = self.resolve(path)?.0;
        let last = parts.pop();
        let mut at = ROOT;
        for part in parts {
            at = self.names.enter(at, part.text, &part.bytes)?;
            match self.names.get(at) {
                Some((inode, _)) if self.inode(inode).kind == EntryKind::Dir => {}
                Some((_, from)) if from == layer => {
                    let what = "a layer has a member below one of its own files";
                    return Err(Error::malformed(what));
                }
                _ => self.names.set(at, IMPLIED, layer),
            }
        }
        last.map_or(Ok(at), |last| self.names.enter(at, last.text, &last.bytes))
    }

    /// Follows symbolic links in the parents of a name, never the name itself, inside the root.
    /// Also says whether one of the parents is not there.
    fn resolve(&self, path: Text) -> Result<(Vec<Part>, bool)> {
        let mut todo = self.parts(path)?;
        todo.reverse();
        let (mut at, mut hops, mut missing) = (Vec::<Part>::new(), 0, false);
        while let Some(mut part) = todo.pop() {
            match part.bytes.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at.pop();
                    continue;
                }
                _ => {}
            }
            if let Some(dir) = at.last().map_or(Some(ROOT), |part| part.node) {
                part.node = self.names.child(dir, &part.bytes)?;
            }
            let inode = part.node.and_then(|node| self.names.get(node)).map(|(n, _)| self.inode(n));
            match inode {
                _ if todo.is_empty() => {}
                Some(i) if i.kind == EntryKind::Symlink => {
                    hops += 1;
                    if hops > MAX_HOPS {
                        return Err(Error::malformed("too many symbolic links in a name"));
                    }
                    let parts = self.parts(i.link)?;
                    if parts.len() > 1 && parts[0].bytes.is_empty() {
                        at.clear();
                    }
                    todo.extend(parts.into_iter().rev());
                    continue;
                }
                Some(_) => {}
                None => missing = true,
            }
            at.push(part);
        }
        Ok((at, missing))
    }

    fn parts(&self, path: Text) -> Result<Vec<Part>> {
        let mut start = 0;
        let part = |bytes: &[u8]| {
            let text = path.part(start, bytes.len());
            start += bytes.len() + 1;
            Part { text, bytes: bytes.to_vec(), node: None }
        };
        Ok(self.names.texts.read(path)?.split(|b| *b == b'/').map(part).collect())
    }
}

impl Inode {
    /// A directory no layer describes.
    fn implied() -> Self {
        Self {
            origin: ContentOrigin { layer: 0, member: usize::MAX },
            kind: EntryKind::Dir,
            link: Text::default(),
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
