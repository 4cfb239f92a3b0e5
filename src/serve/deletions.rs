//! Content that was deleted from one repository but is still used by others: a file of lines.
//!
//! It knows no request and no index. A layer that another manifest uses, or a platform of an index that
//! stays, cannot be removed from the store. This file records that a repository no longer has it, until it
//! is pushed or mounted there again. OCI distribution-spec, "Content Management".

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::{self, Dir};
use crate::locks::lock;
use crate::reference::Reference;
use crate::serve::names::RepositoryName;

/// The file, beside the index.
const FILE: &str = ".imgpack-deleted";
const MAX_FILE: u64 = 256 << 20;

/// The kind of content that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentKind {
    /// A manifest or an index.
    Manifest,
    /// A config, a layer or another blob.
    Blob,
}

impl ContentKind {
    fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

/// Content of one repository.
type Deletion = (ContentKind, RepositoryName, Digest);

/// The deletions of a store.
pub struct Deletions {
    root: Arc<Dir>,
    deleted: Mutex<HashSet<Deletion>>,
    sync: bool,
}

impl Deletions {
    /// Reads what was deleted before.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(root: Arc<Dir>, sync: bool) -> Result<Self> {
        let mut deleted = HashSet::new();
        let bytes = root.read(FILE, MAX_FILE)?.unwrap_or_default();
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            let Some((gone, key)) = read(line) else { continue };
            if gone {
                deleted.insert(key);
            } else {
                deleted.remove(&key);
            }
        }
        if whole < bytes.len() {
            // Half a line, as a killed process leaves it, would swallow the next.
            let path = root.join(FILE);
            let cut = root.append_file(FILE)?.set_len(whole as u64);
            cut.map_err(|e| Error::io(&path, "truncating", &e))?;
        }
        Ok(Self { root, deleted: Mutex::new(deleted), sync })
    }

    fn deleted(&self) -> MutexGuard<'_, HashSet<Deletion>> {
        lock(&self.deleted)
    }

    /// Whether a repository no longer has something.
    pub fn has(&self, thing: ContentKind, name: &RepositoryName, digest: &Digest) -> bool {
        let deleted = self.deleted();
        !deleted.is_empty() && deleted.contains(&(thing, name.clone(), *digest))
    }

    /// Every manifest that was deleted.
    pub fn manifests(&self) -> Vec<(RepositoryName, Digest)> {
        let deleted = self.deleted();
        let manifests = deleted.iter().filter(|(thing, ..)| *thing == ContentKind::Manifest);
        manifests.map(|(_, name, digest)| (name.clone(), *digest)).collect()
    }

    /// Remembers a deletion; it is on the medium when this returns.
    ///
    /// # Errors
    /// `Io`.
    pub fn delete(&self, thing: ContentKind, name: &RepositoryName, digest: &Digest) -> Result<()> {
        let mut deleted = self.deleted();
        let key = (thing, name.clone(), *digest);
        if !deleted.contains(&key) {
            self.append(&format!("delete {} {name} {digest}\n", thing.word()))?;
            deleted.insert(key);
        }
        Ok(())
    }

    /// Forgets a deletion: the repository was given it again.
    ///
    /// # Errors
    /// `Io`.
    pub fn lift(&self, thing: ContentKind, name: &RepositoryName, digest: &Digest) -> Result<()> {
        let mut deleted = self.deleted();
        let key = (thing, name.clone(), *digest);
        if deleted.contains(&key) {
            self.append(&format!("lift {} {name} {digest}\n", thing.word()))?;
            deleted.remove(&key);
        }
        Ok(())
    }

    /// Rewrites the file without the entries for which `gone` is true: no longer in the store at all.
    ///
    /// # Errors
    /// `Io`; the old file is then still there.
    pub fn compact(&self, gone: impl Fn(&Digest) -> bool) -> Result<()> {
        let mut deleted = self.deleted();
        if deleted.is_empty() && self.root.stat(FILE)?.is_none() {
            return Ok(());
        }
        let mut kept: Vec<Deletion> =
            deleted.iter().filter(|(_, _, digest)| !gone(digest)).cloned().collect();
        kept.sort();
        let line =
            |(thing, name, digest): &Deletion| format!("delete {} {name} {digest}\n", thing.word());
        let text: String = kept.iter().map(line).collect();
        self.root.replace(FILE, text.as_bytes(), self.sync)?;
        *deleted = kept.into_iter().collect();
        Ok(())
    }

    fn append(&self, line: &str) -> Result<()> {
        let path = self.root.join(FILE);
        let mut file = self.root.append_file(FILE)?;
        let before = file.metadata().map_err(|e| Error::io(&path, "looking at", &e))?.len();
        let written = file.write_all(line.as_bytes()).map_err(|e| Error::io(&path, "writing", &e));
        let flushed = written.and_then(|()| match self.sync {
            true => dir::sync_file(&file, &path),
            false => Ok(()),
        });
        if flushed.is_err() {
            let _ = file.set_len(before);
        }
        flushed?;
        if self.sync && before == 0 { self.root.sync() } else { Ok(()) }
    }
}

fn read(line: &str) -> Option<(bool, Deletion)> {
    let mut words = line.split(' ');
    let gone = match words.next()? {
        "delete" => true,
        "lift" => false,
        _ => return None,
    };
    let thing = match words.next()? {
        "manifest" => ContentKind::Manifest,
        "blob" => ContentKind::Blob,
        _ => return None,
    };
    let name = RepositoryName::of(&words.next()?.parse::<Reference>().ok()?);
    Some((gone, (thing, name, words.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_outlives_the_process_until_it_is_lifted() {
        let temp = tempfile::tempdir().unwrap();
        let root = Arc::new(Dir::open(temp.path()).unwrap());
        let name = RepositoryName::of(&"docker.io/library/x".parse().unwrap());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let open = || Deletions::open(root.clone(), false).unwrap();
        let first = open();
        first.delete(ContentKind::Blob, &name, &a).unwrap();
        first.delete(ContentKind::Manifest, &name, &b).unwrap();
        first.delete(ContentKind::Blob, &name, &b).unwrap();
        first.lift(ContentKind::Blob, &name, &b).unwrap();
        let seen = |d: &Deletions| {
            let has = |thing, digest| d.has(thing, &name, digest);
            [has(ContentKind::Blob, &a), has(ContentKind::Blob, &b), has(ContentKind::Manifest, &b)]
        };
        assert_eq!(seen(&first), [true, false, true]);
        // Half a line, as a killed process leaves it.
        root.append_file(FILE).unwrap().write_all(b"delete blob docker.io/li").unwrap();
        let second = open();
        assert_eq!(seen(&second), [true, false, true]);
        second.delete(ContentKind::Blob, &name, &b).unwrap();
        assert_eq!(seen(&open()), [true, true, true]);
        second.compact(|digest| *digest == b).unwrap();
        assert_eq!(seen(&open()), [true, false, false]);
    }
}
