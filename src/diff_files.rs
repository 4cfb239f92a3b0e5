//! The files that differ between two images: two flattened trees, compared name by name.
//!
//! It must not know images, layers' digests or output formats.
//!
//! Follows `flatten` for what a tree is; a hard link counts as the file it is a name of.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::flatten::tree::{ContentOrigin, FileTree, Inode};
use crate::flatten::{LayerStreams, Order};
use crate::io::tar::{EntryKind, TarReader};

/// The flattened tree of some layers, with the digests of its contents.
pub struct HashedTree {
    files: FileTree,
    digests: HashMap<ContentOrigin, Digest>,
}

impl HashedTree {
    /// Reads the layers twice. Long names wait in an unnamed file in `temp_dir`.
    ///
    /// # Errors
    /// Those of [`crate::flatten::flatten`], without the writing.
    pub fn read(layers: &dyn LayerStreams, temp_dir: &Path) -> Result<Self> {
        let files = FileTree::build(layers, temp_dir)?;
        Ok(Self { digests: hash(layers, &files)?, files })
    }
}

/// The digests of all contents that survive, layer by layer in the order they are stored.
fn hash(layers: &dyn LayerStreams, tree: &FileTree) -> Result<HashMap<ContentOrigin, Digest>> {
    let changed = || Error::corrupt("a layer changed between two reads");
    let mut wanted: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
    for inode in tree.contents() {
        let layer = wanted.entry(inode.origin.layer).or_default();
        layer.insert(inode.origin.member, inode.size);
    }
    let mut hashes = HashMap::new();
    let mut buf = vec![0; 64 * 1024];
    for (layer, members) in wanted {
        let mut tar = TarReader::new(layers.open(layer)?);
        let mut at = 0;
        for (member, size) in members {
            while at <= member {
                tar.next()?.ok_or_else(changed)?;
                at += 1;
            }
            let mut content = tar.content()?;
            if content.size() != size {
                return Err(changed());
            }
            let mut hasher = Hasher::new(Algorithm::Sha256);
            loop {
                let n = content.read(&mut buf)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buf[..n]);
            }
            hashes.insert(ContentOrigin { layer, member }, hasher.finish());
        }
    }
    Ok(hashes)
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second tree has it.
    Added,
    /// Only the first tree has it.
    Removed,
    /// Both have it, with differences.
    Modified,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The path, without leading `/`.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
    /// What differs, in this order: `type`, `mode`, `owner`, `size`, `content`, `link`, `device`,
    /// `xattr`, `mtime`. Empty unless modified.
    pub what: Vec<&'static str>,
}

/// Calls `each` with the differences between `a` and `b`, sorted by path as bytes.
///
/// # Errors
/// Those of `each` and of the temporary files.
pub fn compare(
    a: &HashedTree,
    b: &HashedTree,
    mut each: impl FnMut(FileChange) -> Result<()>,
) -> Result<()> {
    let (mut left, mut right) = (a.files.walk(Order::Path)?, b.files.walk(Order::Path)?);
    let (mut mine, mut other) = (left.step()?, right.step()?);
    loop {
        let order = match (mine, other) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), Some(_)) => left.path().cmp(right.path()),
        };
        let path = if order.is_le() { left.path() } else { right.path() }.to_vec();
        let (kind, what) = match (order, mine, other) {
            (Ordering::Equal, Some((_, x)), Some((_, y))) => {
                (ChangeKind::Modified, differences((a, x), (b, y))?)
            }
            (Ordering::Less, ..) => (ChangeKind::Removed, Vec::new()),
            _ => (ChangeKind::Added, Vec::new()),
        };
        if kind != ChangeKind::Modified || !what.is_empty() {
            each(FileChange { path, kind, what })?;
        }
        if order.is_le() {
            mine = left.step()?;
        }
        if order.is_ge() {
            other = right.step()?;
        }
    }
}

/// What differs between two files. A hard link has the type of its file, a sparse file is a regular
/// one.
fn differences(
    (a, x): (&HashedTree, u32),
    (b, y): (&HashedTree, u32),
) -> Result<Vec<&'static str>> {
    let (x, y) = (a.files.inode(x), b.files.inode(y));
    let kind = |i: &Inode| match i.kind {
        EntryKind::Sparse => EntryKind::Regular,
        kind => kind,
    };
    let size = |i: &Inode| if i.has_content() { i.size } else { 0 };
    let content = kind(x) == EntryKind::Regular
        && kind(y) == EntryKind::Regular
        && a.digests.get(&x.origin) != b.digests.get(&y.origin);
    let table = [
        ("type", kind(x) != kind(y)),
        ("mode", x.mode != y.mode),
        ("owner", (x.uid, x.gid) != (y.uid, y.gid)),
        ("size", size(x) != size(y)),
        ("content", content),
        ("link", a.files.link(x)? != b.files.link(y)?),
        ("device", (x.major, x.minor) != (y.major, y.minor)),
        ("xattr", x.xattrs != y.xattrs),
        ("mtime", (x.mtime, x.mtime_nanos) != (y.mtime, y.mtime_nanos)),
    ];
    Ok(table.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tar::{Member, write_end, write_header, write_padding};

    struct Layers(Vec<Vec<u8>>);

    impl LayerStreams for Layers {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn open(&self, layer: usize) -> Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new(self.0[layer].as_slice()))
        }
    }

    fn file(name: &str) -> Member<'_> {
        Member {
            name: name.as_bytes(),
            kind: EntryKind::Regular,
            link: b"",
            size: 1,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanos: 0,
            major: 0,
            minor: 0,
            xattrs: &[],
        }
    }

    fn layer(members: &[Member<'_>], fill: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for member in members {
            write_header(&mut out, member).expect("a vector");
            out.resize(out.len() + member.size as usize, fill);
            write_padding(&mut out, member.size).expect("a vector");
        }
        write_end(&mut out).expect("a vector");
        out
    }

    fn diff(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) -> Vec<(String, ChangeKind, Vec<&'static str>)> {
        let [a, b] =
            [a, b].map(|l| HashedTree::read(&Layers(l), &std::env::temp_dir()).expect("a tree"));
        let mut changes = Vec::new();
        compare(&a, &b, |c| {
            changes.push((String::from_utf8_lossy(&c.path).into_owned(), c.kind, c.what));
            Ok(())
        })
        .expect("compared");
        changes
    }

    #[test]
    fn each_difference_has_its_word() {
        let xattrs = vec![(b"user.k".to_vec(), b"v".to_vec())];
        let old = file("f");
        let link = Member { kind: EntryKind::Symlink, link: b"t", size: 0, ..file("f") };
        let table: [(Member<'_>, &[&'static str]); 9] = [
            (old.clone(), &[]),
            (Member { mode: 0o4644, ..old.clone() }, &["mode"]),
            (Member { uid: 7, ..old.clone() }, &["owner"]),
            (Member { gid: 7, ..old.clone() }, &["owner"]),
            (Member { size: 2, ..old.clone() }, &["size", "content"]),
            (Member { mtime: 5, ..old.clone() }, &["mtime"]),
            (Member { mtime_nanos: 5, ..old.clone() }, &["mtime"]),
            (Member { xattrs: &xattrs, ..old.clone() }, &["xattr"]),
            (link, &["type", "size", "link"]),
        ];
        for (new, want) in table {
            let got = diff(vec![layer(&[file("f")], b'x')], vec![layer(&[new], b'x')]);
            let what = got.into_iter().flat_map(|c| c.2).collect::<Vec<_>>();
            assert_eq!(what, want);
        }
        let got = diff(vec![layer(&[file("f")], b'x')], vec![layer(&[file("f")], b'y')]);
        assert_eq!(got, [("f".to_string(), ChangeKind::Modified, vec!["content"])]);
    }

    #[test]
    fn trees_are_compared_not_layers() {
        let both = layer(&[file("a"), file("b")], b'x');
        let apart = vec![layer(&[file("b"), file("gone")], b'x'), layer(&[file("a")], b'x')];
        let whiteout = layer(&[Member { size: 0, ..file(".wh.gone") }], b'x');
        let whole = [apart, vec![whiteout]].concat();
        assert_eq!(diff(vec![both], whole), []);
    }

    #[test]
    fn added_and_removed_paths_are_told_apart() {
        let a = layer(&[file("a"), file("d/x")], b'x');
        let b = layer(&[file("b"), file("d/x")], b'x');
        assert_eq!(
            diff(vec![a], vec![b]),
            [
                ("a".to_string(), ChangeKind::Removed, vec![]),
                ("b".to_string(), ChangeKind::Added, vec![]),
            ]
        );
    }

    #[test]
    fn a_hard_link_counts_as_the_file_it_names() {
        let link = Member { kind: EntryKind::HardLink, link: b"a", size: 0, ..file("b") };
        let linked = layer(&[file("a"), link], b'x');
        let copied = layer(&[file("a"), file("b")], b'x');
        assert_eq!(diff(vec![linked], vec![copied]), []);
    }

    #[test]
    fn paths_are_sorted_as_bytes_not_as_a_walk() {
        let b = layer(&["a/x", "a.b", "a/b/c", "a-b", "a0"].map(file), b'x');
        let paths: Vec<_> = diff(vec![], vec![b]).into_iter().map(|c| c.0).collect();
        assert_eq!(paths, ["a", "a-b", "a.b", "a/b", "a/b/c", "a/x", "a0"]);
    }
}
