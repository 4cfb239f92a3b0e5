//! The tables that imgpack writes: index.json, manifest.json, oci-layout.
//!
//! It writes no files. The union archive carries all three, so that every engine finds the one it
//! reads: one index entry for each tag with its full name, one unannotated entry for each untagged
//! image, and one manifest.json item for each image.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::descriptor::{self, Descriptor};
use crate::digest::Digest;
use crate::json::go_compact;
use crate::manifest;
use crate::reference::Reference;
use crate::transport::{Image, Root, Sealed};

/// The bytes of `oci-layout`.
pub const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What a name's `org.opencontainers.image.ref.name` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefName {
    /// The tag alone, as docker and containerd write it in archives.
    Tag,
    /// The whole name, so that `oci:DIR:NAME` finds it in a directory of many repositories.
    Full,
}

/// The index entries of one root: one for each name, or one without a name. A repository with a digest
/// is a label, as containerd reads it too; the digest is that of the root, whatever it was.
pub fn entries(root: &Root, ref_name: RefName) -> Vec<Descriptor> {
    let mut bare = root.desc.clone();
    bare.unannotate(descriptor::ANNOTATION_NAME);
    bare.unannotate(descriptor::ANNOTATION_REF);
    if root.names.is_empty() {
        if let Some(label) = &root.label {
            bare.annotate(descriptor::ANNOTATION_REF, label);
        }
        return vec![bare];
    }
    let named = |name: &Reference| {
        let mut entry = bare.clone();
        if name.tag().is_none() {
            let label = name.with_digest(root.desc.digest).to_string();
            entry.annotate(descriptor::ANNOTATION_REF, &label);
            return entry;
        }
        entry.annotate(descriptor::ANNOTATION_NAME, &name.to_string());
        let label = match ref_name {
            RefName::Tag => name.tag().unwrap_or("latest").to_string(),
            RefName::Full => name.to_string(),
        };
        entry.annotate(descriptor::ANNOTATION_REF, &label);
        entry
    };
    root.names.iter().map(named).collect()
}

/// index.json over everything published.
pub fn index_json(published: &[Sealed]) -> Vec<u8> {
    let all: Vec<Descriptor> =
        published.iter().flat_map(|s| entries(&s.root, RefName::Tag)).collect();
    manifest::index(&all)
}

/// manifest.json over everything published: one item for each image config, tags merged. Of an
/// index, the image for this machine stands for all, as docker writes it. `None` when there is no
/// image.
pub fn manifest_json(published: &[Sealed]) -> Option<Vec<u8>> {
    struct Item<'a> {
        image: &'a Image,
        tags: Vec<String>,
    }
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut by_config: HashMap<Digest, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for sealed in published.iter().filter(|s| !s.root.companion) {
        let Some(image) = sealed.whole_image() else { continue };
        // A repository with a digest is no tag: docker refuses an archive that says so.
        let tagged = sealed.root.names.iter().filter(|name| name.tag().is_some());
        let tags: Vec<String> = tagged.map(Reference::familiar).collect();
        let at = *by_config.entry(image.config.digest).or_insert_with(|| {
            items.push(Item { image, tags: Vec::new() });
            items.len() - 1
        });
        for tag in tags {
            if seen.insert((at, tag.clone())) {
                items[at].tags.push(tag);
            }
        }
    }
    let rows: Vec<Value> = items
        .iter()
        .map(|item| {
            let layers: Vec<String> =
                item.image.layers.iter().map(|l| l.digest.blob_path()).collect();
            let mut row = Map::new();
            row.insert("Config".into(), item.image.config.digest.blob_path().into());
            let tags = if item.tags.is_empty() { Value::Null } else { json!(item.tags) };
            row.insert("RepoTags".into(), tags);
            row.insert("Layers".into(), json!(layers));
            Value::Object(row)
        })
        .collect();
    (!rows.is_empty()).then(|| go_compact(&Value::Array(rows)))
}
