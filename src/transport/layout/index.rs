//! index.json of a layout directory: read, changed under a lock, replaced whole.
//!
//! It knows nothing of blobs. A large index is not rewritten for one tag: the change goes to a
//! flushed journal beside it first and is folded in later; a small one is rewritten at once, so that
//! other tools always read the truth.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::descriptor::{self, Descriptor};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::{self, Dir};
use crate::json;
use crate::layout::entry::EntryName;
use crate::layout::tables;
use crate::media_type;
use crate::reference::Reference;
use crate::transport::Root;

mod editor;

pub use editor::Editor;

/// Largest index.json of a store, in bytes: some 500 000 entries.
const MAX_INDEX: u64 = 256 << 20;
/// Up to this size the index is rewritten for every change of a process that makes one: it has read as
/// much to make it.
const SMALL: usize = 1 << 20;
/// The same for a process that makes many, one after the other.
const SMALL_FOR_MANY: usize = 32 << 10;
const JOURNAL: &str = "index.journal";

/// One change of an index.
#[derive(Clone, Debug)]
pub enum Change {
    /// Name an image, or list it without a name. A name it takes from another image leaves that
    /// image untagged, or unlisted when `replace`.
    Set {
        /// The entry with its annotations.
        entry: Descriptor,
        /// Whether an image that loses its last name is dropped.
        replace: bool,
    },
    /// Take one name away; the image stays, untagged, when it was the last.
    Untag(Reference),
    /// Take a name or a label away, and the image from the list with its last.
    Unlist(String),
    /// Drop every entry of a digest.
    Remove(Digest),
}

/// The entries of an index and what else its document says.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: Vec<Option<Descriptor>>,
    by_name: HashMap<Reference, usize>,
    by_label: HashMap<String, usize>,
    by_digest: HashMap<Digest, BTreeSet<usize>>,
    /// Entries without a name and without a label.
    bare: HashMap<Digest, BTreeSet<usize>>,
    rest: Map<String, Value>,
    /// Bytes of index.json.
    bytes: usize,
    /// Bytes of the journal, up to the end of its last whole line.
    journal: usize,
}

impl Index {
    /// Reads index.json and what the journal adds; an absent one is empty.
    ///
    /// # Errors
    /// `Malformed`, `Io`.
    pub fn load(root: &Dir) -> Result<Self> {
        Self::read(root, MAX_INDEX)
    }

    /// index.json with what the journal adds, when there is a journal; each of at most `most` bytes.
    ///
    /// # Errors
    /// `Malformed`, `Io`.
    pub fn folded(root: &Dir, most: u64) -> Result<Option<Vec<u8>>> {
        if root.stat(JOURNAL)?.is_none() {
            return Ok(None);
        }
        Self::read(root, most).map(|index| Some(index.to_bytes()))
    }

    fn read(root: &Dir, most: u64) -> Result<Self> {
        let mut index = Self::default();
        if let Some(bytes) = root.read("index.json", most)? {
            let path = root.join("index.json").display().to_string();
            index.parse(&bytes).map_err(|e| e.input_or(path))?;
        }
        if let Some(bytes) = root.read(JOURNAL, most)? {
            for line in bytes.split_inclusive(|&b| b == b'\n') {
                // A run that died while appending leaves half a line, which was never reported done.
                let Some(text) = line.strip_suffix(b"\n") else { break };
                let Ok(value) = json::parse(text) else { break };
                for change in changes_of(&value) {
                    index.apply(change);
                }
                index.journal += line.len();
            }
        }
        Ok(index)
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes = bytes.len();
        let mut body = json::object(bytes)?;
        if body.contains_key("layers") || body.contains_key("config") {
            return Err(Error::malformed("ambiguous: an index with \"layers\" or \"config\""));
        }
        let entries = match body.get_mut("manifests").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(Error::malformed("manifests: expected an array")),
        };
        self.rest = body;
        // One by one: there may be a hundred thousand.
        for (i, entry) in entries.into_iter().enumerate() {
            let desc =
                Descriptor::from_value(&entry).map_err(|e| e.at(format!("manifests[{i}]")))?;
            self.push(desc);
        }
        Ok(())
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().flatten()
    }

    fn push(&mut self, desc: Descriptor) {
        let at = self.entries.len();
        match (name_of(&desc), label_of(&desc)) {
            (Some(name), _) => {
                self.by_name.insert(name, at);
            }
            (_, Some(label)) => {
                self.by_label.insert(label, at);
            }
            (_, None) => {
                self.bare.entry(desc.digest).or_default().insert(at);
            }
        }
        self.by_digest.entry(desc.digest).or_default().insert(at);
        self.entries.push(Some(desc));
    }

    fn take(&mut self, at: usize) -> Option<Descriptor> {
        let desc = self.entries[at].take()?;
        match (name_of(&desc), label_of(&desc)) {
            (Some(name), _) if self.by_name.get(&name) == Some(&at) => {
                self.by_name.remove(&name);
            }
            (_, Some(label)) if self.by_label.get(&label) == Some(&at) => {
                self.by_label.remove(&label);
            }
            _ => {}
        }
        for set in [&mut self.by_digest, &mut self.bare] {
            if let Some(positions) = set.get_mut(&desc.digest) {
                positions.remove(&at);
            }
        }
        Some(desc)
    }

    /// Whether any entry is of a digest.
    pub fn listed(&self, digest: &Digest) -> bool {
        self.by_digest.get(digest).is_some_and(|list| !list.is_empty())
    }

    /// What is listed under every name of a root, or under its label, or without any; nothing when
    /// names differ.
    pub fn standing(&self, root: &Root) -> Option<&Descriptor> {
        let at = |at: &usize| self.entries[*at].as_ref();
        if root.names.is_empty() {
            let labelled = root.label.as_ref().and_then(|l| self.by_label.get(l));
            let bare = self.by_digest.get(&root.desc.digest).and_then(|set| set.first());
            return labelled.or(bare.filter(|_| root.label.is_none())).and_then(at);
        }
        let mut found: Option<&Descriptor> = None;
        for name in &root.names {
            let there = self.by_name.get(name).and_then(at)?;
            if found.is_some_and(|f| f.digest != there.digest) {
                return None;
            }
            found = Some(there);
        }
        found
    }

    /// Applies one change; applying it twice is the same as once.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set { entry, replace } => {
                let old = match (name_of(&entry), label_of(&entry)) {
                    (Some(name), _) => self.by_name.get(&name).copied(),
                    (_, Some(label)) => self.by_label.get(&label).copied(),
                    (_, None) if self.listed(&entry.digest) => return,
                    (_, None) => None,
                };
                if let Some(at) = old {
                    let same = self.entries[at].as_ref().is_some_and(|d| d.digest == entry.digest);
                    if let Some(lost) = self.take(at)
                        && !same
                        && !replace
                        && !self.listed(&lost.digest)
                    {
                        self.push(unnamed(lost));
                    }
                }
                // A name replaces the unnamed entry of the same image.
                for at in self.bare.get(&entry.digest).cloned().unwrap_or_default() {
                    self.take(at);
                }
                self.push(entry);
            }
            Change::Untag(name) => {
                if let Some(&at) = self.by_name.get(&name)
                    && let Some(lost) = self.take(at)
                    && !self.listed(&lost.digest)
                {
                    self.push(unnamed(lost));
                }
            }
            Change::Unlist(text) => {
                let named = text.parse().ok().and_then(|name: Reference| self.by_name.get(&name));
                if let Some(&at) = named.or_else(|| self.by_label.get(&text)) {
                    self.take(at);
                }
            }
            Change::Remove(digest) => {
                for at in self.by_digest.get(&digest).cloned().unwrap_or_default() {
                    self.take(at);
                }
            }
        }
    }

    /// Applies changes here and on the medium: flushed to the journal when the index is large, else by
    /// writing it anew. When it fails the file is as it was, and this is not to be used on.
    fn write(&mut self, root: &Dir, changes: Vec<Change>, sync: bool, small: usize) -> Result<()> {
        // Folded in at a part of its size, it is rewritten so rarely that a change costs what one costs.
        let short = self.bytes > small && self.journal < small.max(self.bytes / 4);
        if short {
            self.journal = append(root, self.journal, &changes, sync)?;
        }
        for change in changes {
            self.apply(change);
        }
        if short { Ok(()) } else { self.fold(root, sync) }
    }

    /// Writes the index anew, with what the journal adds.
    fn fold(&mut self, root: &Dir, sync: bool) -> Result<()> {
        let bytes = self.to_bytes();
        root.replace("index.json", &bytes, sync)?;
        self.bytes = bytes.len();
        // Replaying the journal over the new index changes nothing, so a crash here is harmless.
        root.remove_file(JOURNAL)?;
        self.journal = 0;
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("schemaVersion".into(), 2.into());
        body.insert("mediaType".into(), media_type::OCI_INDEX.into());
        for (key, value) in &self.rest {
            body.insert(key.clone(), value.clone());
        }
        // Entry by entry: there may be a hundred thousand.
        body.insert("manifests".into(), Value::Array(Vec::new()));
        let mut bytes = json::go_compact(&Value::Object(body));
        bytes.truncate(bytes.len() - "]}".len());
        for (at, entry) in self.entries().enumerate() {
            if at > 0 {
                bytes.push(b',');
            }
            bytes.extend(json::go_compact(&entry.to_value()));
        }
        bytes.extend(b"]}");
        bytes
    }
}

fn name_of(desc: &Descriptor) -> Option<Reference> {
    EntryName::of(desc)?.reference()
}

fn label_of(desc: &Descriptor) -> Option<String> {
    desc.annotation(descriptor::ANNOTATION_REF).map(str::to_owned)
}

fn unnamed(mut desc: Descriptor) -> Descriptor {
    desc.unannotate(descriptor::ANNOTATION_NAME);
    desc.unannotate(descriptor::ANNOTATION_REF);
    desc
}

/// Changes an index under its lock. `decide` sees the index as it is and says what to change.
///
/// # Errors
/// `Busy` when another process holds the lock for `wait` seconds, `Io`, and those of `decide`.
pub fn change(
    root: &Dir,
    sync: bool,
    wait: u64,
    journaled: bool,
    decide: impl FnOnce(&Index) -> Result<Vec<Change>>,
) -> Result<()> {
    let _lock = root.lock(true, wait)?;
    if root.stat("oci-layout")?.is_none() {
        root.replace("oci-layout", tables::MARKER, sync)?;
    }
    let mut index = Index::load(root)?;
    let changes = decide(&index)?;
    if changes.is_empty() && root.stat("index.json")?.is_some() {
        return Ok(());
    }
    index.write(root, changes, sync, if journaled { SMALL } else { usize::MAX })
}

/// Adds a line to the journal, behind its first `good` bytes; how long it is then.
fn append(root: &Dir, good: usize, changes: &[Change], sync: bool) -> Result<usize> {
    let line = Value::Array(changes.iter().map(value_of).collect());
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    let path = root.join(JOURNAL);
    let mut file = root.append_file(JOURNAL)?;
    // Half a line that a killed run left would swallow this one.
    let before = good as u64;
    file.set_len(before).map_err(|e| Error::io(&path, "truncating", &e))?;
    let written = file.write_all(&bytes).map_err(|e| Error::io(&path, "writing", &e));
    let flushed = written.and_then(|()| if sync { dir::sync_file(&file, &path) } else { Ok(()) });
    if flushed.is_err() {
        let _ = file.set_len(before);
    }
    flushed?;
    dir::close(file, &path)?;
    if sync && before == 0 {
        root.sync()?;
    }
    Ok(good + bytes.len())
}

fn value_of(change: &Change) -> Value {
    match change {
        Change::Set { entry, replace } => json!({"set": entry.to_value(), "replace": replace}),
        Change::Untag(name) => json!({"untag": name.to_string()}),
        Change::Unlist(text) => json!({"unlist": text}),
        Change::Remove(digest) => json!({"remove": digest.to_string()}),
    }
}

fn changes_of(line: &Value) -> Vec<Change> {
    let one = |value: &Value| -> Option<Change> {
        if let Some(entry) = value.get("set") {
            let entry = Descriptor::from_value(entry).ok()?;
            let replace = value.get("replace").and_then(Value::as_bool).unwrap_or_default();
            return Some(Change::Set { entry, replace });
        }
        if let Some(name) = value.get("untag") {
            return Some(Change::Untag(name.as_str()?.parse().ok()?));
        }
        if let Some(text) = value.get("unlist") {
            return Some(Change::Unlist(text.as_str()?.to_owned()));
        }
        Some(Change::Remove(value.get("remove")?.as_str()?.parse().ok()?))
    };
    line.as_array().map(|items| items.iter().filter_map(one).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::entry::full_name;

    fn entry(content: &str, name: Option<&str>) -> Descriptor {
        let mut desc = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
        if let Some(name) = name {
            desc.annotate(descriptor::ANNOTATION_NAME, name);
            desc.annotate(descriptor::ANNOTATION_REF, name);
        }
        desc
    }

    fn set(content: &str, name: Option<&str>) -> Change {
        Change::Set { entry: entry(content, name), replace: false }
    }

    fn shown(index: &Index) -> Vec<(String, Option<String>)> {
        index.entries().map(|d| (d.digest.short(), full_name(d).map(|n| n.familiar()))).collect()
    }

    #[test]
    fn a_moved_tag_leaves_the_old_image_untagged_and_others_alone() {
        let mut index = Index::default();
        index.apply(set("a", Some("docker.io/library/x:1")));
        index.apply(set("o", Some("docker.io/library/o:1")));
        index.apply(set("b", Some("docker.io/library/x:1")));
        let id = |c: &str| entry(c, None).digest.short();
        assert_eq!(
            shown(&index),
            [(id("o"), Some("o:1".into())), (id("a"), None), (id("b"), Some("x:1".into()))]
        );
        index.apply(set("b", None));
        assert_eq!(index.entries().count(), 3, "an image with a name needs no unnamed entry");
    }

    #[test]
    fn what_is_unlisted_goes_with_its_last_name_or_label() {
        let mut index = Index::default();
        let digest = entry("a", None).digest;
        let label = format!("docker.io/library/x@{digest}");
        let mut labelled = entry("a", None);
        labelled.annotate(descriptor::ANNOTATION_REF, &label);
        index.apply(set("a", Some("docker.io/library/x:1")));
        index.apply(Change::Set { entry: labelled, replace: false });
        index.apply(Change::Unlist("docker.io/library/x:1".into()));
        assert_eq!(index.entries().count(), 1);
        for _ in 0..2 {
            index.apply(Change::Unlist(label.clone()));
            assert_eq!(index.entries().count(), 0);
        }
    }

    #[test]
    fn a_large_index_is_journaled_and_folded() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        let many: Vec<Change> =
            (0..6000).map(|i| set(&i.to_string(), Some(&format!("r.example/x:{i}")))).collect();
        change(&root, false, 0, true, |_| Ok(many)).unwrap();
        let before = std::fs::read(temp.path().join("index.json")).unwrap();
        assert!(before.len() > SMALL);
        change(&root, false, 0, true, |_| Ok(vec![set("new", Some("r.example/x:0"))])).unwrap();
        assert_eq!(std::fs::read(temp.path().join("index.json")).unwrap(), before);
        let index = Index::load(&root).unwrap();
        let name = "r.example/x:0".parse().unwrap();
        let at = index.by_name[&name];
        assert_eq!(index.entries[at].as_ref().unwrap().digest, entry("new", None).digest);
        // Half a line, as a killed run leaves it, changes nothing.
        let mut file = root.append_file(JOURNAL).unwrap();
        file.write_all(b"[{\"remove\":\"sha").unwrap();
        assert_eq!(shown(&Index::load(&root).unwrap()), shown(&index));
        // And nothing that comes behind it is lost.
        change(&root, false, 0, true, |_| Ok(vec![set("after", Some("r.example/y:1"))])).unwrap();
        let index = Index::load(&root).unwrap();
        assert!(index.by_name.contains_key(&"r.example/y:1".parse().unwrap()));
        assert!(index.by_name.contains_key(&name));
    }
}
