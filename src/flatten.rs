//! The file system of an image as one tar stream: layers applied, whiteouts gone, links right.
//!
//! It must not know where layers come from, nor verify them: it is given decoded streams it can
//! open more than once.
//!
//! Follows the OCI image layer specification, "Applying Changesets". Members come in the order of
//! `docker export`: a walk of the tree with names sorted, parents first. As there, holes of sparse
//! files become zeros; unlike there, no file is added and all extended attributes are kept.

mod names;
mod spool;
mod texts;
pub(crate) mod tree;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::io::tar::{self, EntryKind, Member, Streaming, TarReader};
pub(crate) use names::Order;
use spool::Spool;
pub use tree::LayerStreams;
use tree::{ContentOrigin, FileTree, Inode};

/// How to flatten.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where unnamed temporary files may be made, for many long names and for layers whose members are
    /// not in order.
    pub temp_dir: PathBuf,
    /// Most bytes to write; a sparse file can claim far more than it holds.
    pub max_bytes: u64,
    /// Most layers to read at the same time; further ones go through the temporary file.
    pub max_open: usize,
}

impl Options {
    /// Up to 1 TiB of output and 32 layers at once.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self { temp_dir: temp_dir.into(), max_bytes: 1 << 40, max_open: 32 }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members.
    pub members: u64,
    /// Bytes of the whole stream.
    pub bytes: u64,
    /// Bytes that had to go through the temporary file.
    pub spooled: u64,
}

/// Writes the flattened tree of `layers` to `out`. The same layers give the same bytes.
///
/// Memory holds the metadata of all members, never content nor more than a few MiB of names; the
/// layers are read twice.
///
/// # Errors
/// [`Kind::Malformed`] for layers no engine could apply, [`Kind::Unsupported`] beyond
/// `max_bytes`, and those of the layers, the temporary file and `out`.
pub fn flatten(layers: &dyn LayerStreams, out: &mut dyn Write, opts: &Options) -> Result<Summary> {
    let tree = FileTree::build(layers, &opts.temp_dir)?;
    let mut out = Counted { inner: out, bytes: 0, max: opts.max_bytes };
    let mut bodies = Bodies::new(layers, &tree, opts);
    let mut first_names: HashMap<u32, u32> = HashMap::new();
    let mut members = 0;
    let mut walk = tree.walk(Order::Walk)?;
    while let Some((node, number)) = walk.step()? {
        let (name, inode) = (walk.path(), tree.inode(number));
        if let Some(first) = first_names.get(&number) {
            // The first name in the walk is the file, whichever was the file in the layer: its
            // name may have been removed since.
            let first = tree.names.path(*first)?;
            let link = member(inode, name, EntryKind::HardLink, &first, 0, &[]);
            tar::write_header(&mut out, &link).map_err(|e| at(e, name))?;
        } else {
            let size = if inode.has_content() { inode.size } else { 0 };
            let link = tree.link(inode)?;
            let whole = member(inode, name, inode.kind, &link, size, &inode.xattrs);
            tar::write_header(&mut out, &whole).map_err(|e| at(e, name))?;
            if size > 0 {
                bodies.copy(inode, &mut out).map_err(|e| at(e, name))?;
                tar::write_padding(&mut out, size)?;
            }
            if inode.kind != EntryKind::Dir {
                first_names.insert(number, node);
            }
        }
        members += 1;
    }
    tar::write_end(&mut out)?;
    out.flush()?;
    Ok(Summary { members, bytes: out.bytes, spooled: bodies.spool.len() })
}

fn at(err: Error, name: &[u8]) -> Error {
    // Where writing failed is not a place in the input.
    match err.kind() {
        Kind::Io | Kind::Closed => err,
        _ => err.at(format!("member {}", String::from_utf8_lossy(name))),
    }
}

fn member<'a>(
    inode: &Inode,
    name: &'a [u8],
    kind: EntryKind,
    link: &'a [u8],
    size: u64,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
) -> Member<'a> {
    Member {
        name,
        kind,
        link,
        size,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        mtime_nanos: inode.mtime_nanos,
        major: inode.major,
        minor: inode.minor,
        xattrs,
    }
}

/// Fetches bodies in the order of the output, while each layer can only be read forwards: what is
/// passed and still wanted waits in the temporary file. Layers written by a sorted walk, which is
/// nearly all, never need it.
struct Bodies<'a> {
    layers: &'a dyn LayerStreams,
    opts: &'a Options,
    wanted: HashSet<ContentOrigin>,
    left: Vec<usize>,
    open: HashMap<usize, Cursor<'a>>,
    spool: Spool,
    spooled: HashMap<ContentOrigin, u64>,
}

struct Cursor<'a> {
    tar: TarReader<Streaming<Box<dyn Read + Send + 'a>>>,
    member: usize,
}

impl<'a> Bodies<'a> {
    fn new(layers: &'a dyn LayerStreams, tree: &FileTree, opts: &'a Options) -> Self {
        let mut left = vec![0; layers.len()];
        let mut wanted = HashSet::new();
        for inode in tree.contents() {
            if wanted.insert(inode.origin)
                && let Some(n) = left.get_mut(inode.origin.layer)
            {
                *n += 1;
            }
        }
        Self {
            layers,
            opts,
            wanted,
            left,
            open: HashMap::new(),
            spool: Spool::new(opts.temp_dir.clone()),
            spooled: HashMap::new(),
        }
    }

    /// Writes the content of `inode`, exactly as long as its header said.
    fn copy(&mut self, inode: &Inode, out: &mut dyn Write) -> Result<()> {
        let origin = inode.origin;
        if !self.spooled.contains_key(&origin) {
            let mut cursor = match self.open.remove(&origin.layer) {
                Some(cursor) => cursor,
                None => Cursor { tar: TarReader::new(self.layers.open(origin.layer)?), member: 0 },
            };
            if self.open.len() < self.opts.max_open.max(1) {
                self.advance(&mut cursor, origin, Some(out), inode.size)?;
                if self.left.get(origin.layer).is_some_and(|n| *n > 0) {
                    self.open.insert(origin.layer, cursor);
                }
                return Ok(());
            }
            self.advance(&mut cursor, origin, None, inode.size)?;
        }
        let from = self.spooled.remove(&origin).ok_or_else(changed)?;
        self.spool.copy(from, inode.size, out)
    }

    /// Reads a layer on up to `origin` and copies that to `out`; without `out`, all that is wanted
    /// of the layer is spooled.
    fn advance(
        &mut self,
        cursor: &mut Cursor<'_>,
        origin: ContentOrigin,
        mut out: Option<&mut dyn Write>,
        size: u64,
    ) -> Result<()> {
        while self.left.get(origin.layer).is_some_and(|n| *n > 0) {
            cursor.tar.next()?.ok_or_else(changed)?;
            let here = ContentOrigin { layer: origin.layer, member: cursor.member };
            cursor.member += 1;
            if !self.wanted.remove(&here) {
                continue;
            }
            if let Some(n) = self.left.get_mut(origin.layer) {
                *n -= 1;
            }
            let mut content = cursor.tar.content()?;
            if here == origin
                && let Some(out) = out.as_deref_mut()
            {
                if content.size() != size {
                    return Err(changed());
                }
                io::copy(&mut content, out)?;
                return Ok(());
            }
            self.spooled.insert(here, self.spool.len());
            self.spool.append(&mut content, self.opts.max_bytes)?;
        }
        if out.is_some() { Err(changed()) } else { Ok(()) }
    }
}

fn changed() -> Error {
    Error::corrupt("a layer changed between two reads")
}

/// Counts, and stops before `max`.
struct Counted<'a> {
    inner: &'a mut dyn Write,
    bytes: u64,
    max: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes + buf.len() as u64 > self.max {
            let what = format!("the file system is larger than the limit of {} bytes", self.max);
            return Err(Error::unsupported(what).into());
        }
        let n = self.inner.write(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
