//! The files that differ between two images: two flattened trees, compared name by name.
//!
//! It must not know images, layers' digests or output formats.
//!
//! Follows `flatten` for what a tree is; a hard link counts as the file it is a name of.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::flatten::LayerStreams;
use crate::flatten::tree::{ContentOrigin, FileTree};
use crate::io::tar::{EntryKind, TarReader};

/// What is compared of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Its type; a hard link has the type of its file, a sparse file is a regular one.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Bytes of its content; 0 for what has none.
    pub size: u64,
    /// Modification time: seconds since 1970 rounded down, and nanoseconds.
    pub mtime: (i64, u32),
    /// A symbolic link's target.
    pub link: Vec<u8>,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Extended attributes: name without prefix, value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Digest of a regular file's content, when it was asked for.
    pub digest: Option<Digest>,
}

/// The flattened tree of some layers by path, without the root and without leading `/`.
///
/// With `hash_contents` the layers are read a second time; without it, contents count as equal when
/// their sizes are.
///
/// # Errors
/// Those of [`crate::flatten::flatten`], without the writing.
pub fn tree(layers: &dyn LayerStreams, hash_contents: bool) -> Result<BTreeMap<Vec<u8>, FileMeta>> {
    let tree = FileTree::build(layers)?;
    let mut hashes = if hash_contents { hash(layers, &tree)? } else { HashMap::new() };
    let empty = Digest::of(b"");
    let mut out = BTreeMap::new();
    for (name, number) in tree.names() {
        let Some(inode) = tree.inode(number) else { continue };
        let kind = match inode.kind {
            EntryKind::Sparse => EntryKind::Regular,
            kind => kind,
        };
        let sha256 = match kind {
            EntryKind::Regular if hash_contents => {
                Some(*hashes.entry(inode.origin).or_insert(empty))
            }
            _ => None,
        };
        let meta = FileMeta {
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            size: if inode.has_content() { inode.size } else { 0 },
            mtime: (inode.mtime, inode.mtime_nanos),
            link: inode.link.clone(),
            device: (inode.major, inode.minor),
            xattrs: inode.xattrs.clone(),
            digest: sha256,
        };
        out.insert(name, meta);
    }
    Ok(out)
}

/// The digests of all contents that survive, layer by layer in the order they are stored.
fn hash(layers: &dyn LayerStreams, tree: &FileTree) -> Result<HashMap<ContentOrigin, Digest>> {
    let changed = || Error::corrupt("a layer changed between two reads");
    let mut wanted: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
    for (_, number) in tree.names() {
        if let Some(inode) = tree.inode(number).filter(|i| i.has_content()) {
            let layer = wanted.entry(inode.origin.layer).or_default();
            layer.insert(inode.origin.member, inode.size);
        }
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

/// The differences between `a` and `b`, sorted by path as bytes.
pub fn compare(
    a: &BTreeMap<Vec<u8>, FileMeta>,
    b: &BTreeMap<Vec<u8>, FileMeta>,
) -> Vec<FileChange> {
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    let mut out = Vec::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((p, _)), Some((q, _))) => p.cmp(q),
        };
        let mine = if order.is_le() { left.next() } else { None };
        let other = if order.is_ge() { right.next() } else { None };
        let (path, kind, what) = match (mine, other) {
            (Some((path, x)), Some((_, y))) => (path, ChangeKind::Modified, differences(x, y)),
            (Some((path, _)), None) => (path, ChangeKind::Removed, Vec::new()),
            (None, Some((path, _))) => (path, ChangeKind::Added, Vec::new()),
            (None, None) => return out,
        };
        if kind != ChangeKind::Modified || !what.is_empty() {
            out.push(FileChange { path: path.clone(), kind, what });
        }
    }
}

fn differences(x: &FileMeta, y: &FileMeta) -> Vec<&'static str> {
    // One side without hashes says nothing about content.
    let content = matches!((x.digest, y.digest), (Some(x), Some(y)) if x != y);
    let table = [
        ("type", x.kind != y.kind),
        ("mode", x.mode != y.mode),
        ("owner", (x.uid, x.gid) != (y.uid, y.gid)),
        ("size", x.size != y.size),
        ("content", content),
        ("link", x.link != y.link),
        ("device", x.device != y.device),
        ("xattr", x.xattrs != y.xattrs),
        ("mtime", x.mtime != y.mtime),
    ];
    table.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
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
        let [a, b] = [a, b].map(|l| tree(&Layers(l), true).expect("a tree"));
        let name = |c: FileChange| (String::from_utf8_lossy(&c.path).into_owned(), c.kind, c.what);
        compare(&a, &b).into_iter().map(name).collect()
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
    fn without_hashes_only_sizes_tell_contents_apart() {
        let trees = [b'x', b'y']
            .map(|fill| tree(&Layers(vec![layer(&[file("f")], fill)]), false).expect("a tree"));
        assert_eq!(compare(&trees[0], &trees[1]), []);
    }
}
