//! What a place means: index.json, manifest.json and repositories, read as one list of roots.
//!
//! It does no I/O of its own: directories and archives both answer through [`Members`]. An OCI layout
//! gives recorded roots, a Docker archive synthesised ones; where both tables are present they are
//! united over the differences that real engines make, and any other disagreement is refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::companion;
use crate::context::Context;
use crate::descriptor::{self, Descriptor};
use crate::digest::{Algorithm, Digest};
use crate::error::{Cause, Error, Kind, Result};
use crate::json;
use crate::manifest::{self, Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::reference::Reference;
use crate::transport::{Root, ambiguous};

pub mod docker;
pub mod entry;
pub mod legacy;
mod members;
pub mod tables;

pub use members::{Layout, Members, Prefer, Reading, clean};

/// Deepest nesting of indexes.
pub const MAX_NESTING: usize = 8;

/// Bytes that a table may have for each image that a place may hold.
const ENTRY: u64 = 800;

/// Reads the tables of a place.
///
/// # Errors
/// `Malformed` when they break their format, contradict each other or hold no image.
pub fn interpret(members: &dyn Members, reading: Reading, ctx: &Context) -> Result<Layout> {
    let images = u64::try_from(ctx.limits.images).unwrap_or(u64::MAX);
    let most = MAX_DOCUMENT.max(images.saturating_mul(ENTRY));
    let manifest_json = match members.read("manifest.json", most)? {
        Some(bytes) => docker::table(&bytes).map_err(|e| e.within("manifest.json"))?,
        None => None,
    };
    let index_json = members.read("index.json", most)?;
    let marker = members.read("oci-layout", 64 << 10)?;
    if let Some(marker) = &marker {
        check_marker(marker)?;
    }
    let mut layout = Layout::default();
    let docker_half = reading.prefer != Some(Prefer::Oci);
    let oci_half = reading.prefer != Some(Prefer::Docker);
    let mut oci = Vec::new();
    match &index_json {
        Some(bytes) if oci_half || manifest_json.is_none() => {
            if marker.is_none() {
                layout.warnings.push("index.json without oci-layout".into());
            }
            oci = entries(members, bytes, &mut layout, ctx).map_err(|e| e.within("index.json"))?;
        }
        Some(_) => {}
        None if marker.is_some() => layout.warnings.push("oci-layout without index.json".into()),
        None => {}
    }
    match manifest_json {
        Some(items) if docker_half || index_json.is_none() => {
            let images = docker::images(members, items, reading, &mut layout, ctx)?;
            unite(members, oci, images, reading, &mut layout, ctx)?;
        }
        None if index_json.is_none() => {
            let images = legacy::images(members, reading, &mut layout)?;
            layout.roots = images.into_iter().map(|i| i.root).collect();
        }
        _ => layout.roots = oci,
    }
    if layout.roots.iter().all(|r| r.companion) {
        return Err(Error::empty());
    }
    if layout.roots.len() > ctx.limits.images {
        let most = ctx.limits.images;
        return Err(Error::malformed(format!("more images than the limit of {most}")));
    }
    Ok(layout)
}

fn check_marker(bytes: &[u8]) -> Result<()> {
    let marker = json::object(bytes).map_err(|e| e.within("oci-layout"))?;
    match marker.get("imageLayoutVersion").and_then(Value::as_str) {
        None | Some("1.0.0") => Ok(()),
        Some(other) => {
            let other = crate::text::escape(other);
            Err(Error::unsupported(format!("image layout version {other:?}")).at("oci-layout"))
        }
    }
}

/// The entries of an index.json, grouped into roots: one for each digest, in file order.
fn entries(
    members: &dyn Members,
    bytes: &[u8],
    layout: &mut Layout,
    ctx: &Context,
) -> Result<Vec<Root>> {
    let doc = Document::table(bytes, ctx.limits.images.max(manifest::MAX_ENTRIES))?;
    let manifest::DocumentKind::Index(descs) = doc.kind else {
        return Err(Error::malformed("not an index"));
    };
    let mut sizes: HashMap<Digest, u64> = HashMap::new();
    for desc in &descs {
        if *sizes.entry(desc.digest).or_insert(desc.size) != desc.size {
            let what = format!("ambiguous: {} is listed with two sizes", desc.digest);
            return Err(Error::malformed(what));
        }
    }
    if sizes.len() > ctx.limits.images {
        let most = ctx.limits.images;
        return Err(Error::malformed(format!("more images than the limit of {most}")));
    }
    let root = |mut group: entry::Group| {
        let companion = is_companion(members, &mut group);
        group.root(companion)
    };
    let roots: Vec<Root> = entry::groups(&descs).into_iter().map(root).collect();
    ambiguous::refuse(&roots)?;
    if roots.is_empty() {
        layout.warnings.push("index.json lists no images".into());
    }
    Ok(roots)
}

/// Whether a group is a signature, an attestation or another companion of an image. What only its
/// document says that it refers to is noted beside it.
fn is_companion(members: &dyn Members, group: &mut entry::Group) -> bool {
    let desc = &mut group.desc;
    if companion::is_companion(desc, group.label.as_deref()) || desc.is_attestation() {
        return true;
    }
    let document = parse(members, desc).ok().flatten();
    let subject = document.and_then(|document| document.subject);
    if let Some(subject) = &subject {
        desc.annotate(descriptor::ANNOTATION_SUBJECT, &subject.digest.to_string());
    }
    subject.is_some()
}

/// The document behind a descriptor, checked against it; `None` when it is absent or no parent.
fn parse(members: &dyn Members, desc: &Descriptor) -> Result<Option<Document>> {
    if !matches!(desc.media_type.role(), Role::Index | Role::Manifest | Role::Other) {
        return Ok(None);
    }
    let Some(bytes) = members.read(&desc.digest.blob_path(), MAX_DOCUMENT)? else {
        return Ok(None);
    };
    if bytes.len() as u64 != desc.size || desc.digest.algorithm().digest(&bytes) != desc.digest {
        return Err(Error::corrupt(format!("{} does not match its descriptor", desc.digest)));
    }
    Document::parse(&bytes, &desc.media_type).map(Some)
}

/// What an OCI root leads to: config digests of its images, and whether a manifest among them lists
/// its uncompressed layers in another order than its config (docker 25.0.0 `save`).
#[derive(Default)]
struct Reach {
    configs: HashSet<Digest>,
    images: bool,
    shuffled: bool,
    /// Documents that were read.
    seen: HashSet<Digest>,
}

fn reach(
    members: &dyn Members,
    desc: &Descriptor,
    depth: usize,
    into: &mut Reach,
    ctx: &Context,
) -> Result<()> {
    if depth > MAX_NESTING {
        return Err(Error::malformed(format!("indexes nested deeper than {MAX_NESTING}")));
    }
    ctx.check()?;
    if !into.seen.insert(desc.digest) {
        return Ok(());
    }
    let Some(doc) = parse(members, desc)? else { return Ok(()) };
    ctx.count(doc.children().len())?;
    match &doc.kind {
        manifest::DocumentKind::Index(children) => {
            for child in children {
                if !child.is_attestation() {
                    reach(members, child, depth + 1, into, ctx)?;
                }
            }
        }
        manifest::DocumentKind::Manifest { config: Some(config), layers } if doc.is_image() => {
            into.images = true;
            into.configs.insert(config.digest);
            if let Some(bytes) = members.read(&config.digest.blob_path(), MAX_DOCUMENT)?
                && let Ok(parsed) = crate::config::Config::parse(&bytes)
            {
                let claimed: Vec<Digest> =
                    parsed.diff_ids.unwrap_or_default().iter().map(|d| d.0).collect();
                let listed: Vec<Digest> = layers.iter().map(|l| l.digest).collect();
                let sorted = |mut v: Vec<Digest>| {
                    v.sort_unstable();
                    v
                };
                into.shuffled |= claimed != listed && sorted(claimed) == sorted(listed);
            }
        }
        manifest::DocumentKind::Manifest { .. } => {}
    }
    Ok(())
}

/// Unites the two tables of a hybrid. What may differ, because engines really write it: untagged
/// images absent from index.json (docker 25 to 29), no entries at all (25.0.0 to 25.0.2), an index of
/// which manifest.json shows one platform (containerd), and layers in the wrong order (25.0.0).
fn unite(
    members: &dyn Members,
    mut oci: Vec<Root>,
    mut docker: Vec<docker::DockerImage>,
    reading: Reading,
    layout: &mut Layout,
    ctx: &Context,
) -> Result<()> {
    let disagree = |what: String| {
        let what = format!("ambiguous: manifest.json and index.json disagree: {what}");
        Error::malformed(what).because(Cause::TwoTables).kind_as(Kind::Malformed)
    };
    // A repository with a digest is never in manifest.json.
    let tags = |root: &Root| -> Vec<Reference> {
        root.names.iter().filter(|name| name.tag().is_some()).cloned().collect()
    };
    let mut reaches = Vec::new();
    for root in &oci {
        let mut found = Reach::default();
        if !root.companion {
            reach(members, &root.desc, 0, &mut found, ctx)?;
        }
        reaches.push(found);
    }
    // manifest.json names no digest of its own, and sha256 is only the usual one.
    let configs = reaches.iter().flat_map(|reach| &reach.configs);
    let sha512 = configs.filter(|config| config.algorithm() == Algorithm::Sha512);
    let sha512: HashMap<String, Digest> = sha512.map(|c| (c.blob_path(), *c)).collect();
    for image in &mut docker {
        image.config = sha512.get(&image.member).copied().unwrap_or(image.config);
    }
    let docker_configs: HashSet<Digest> = docker.iter().map(|i| i.config).collect();
    let mut docker_names: BTreeMap<&Reference, Digest> = BTreeMap::new();
    for image in &docker {
        docker_names.extend(image.root.names.iter().map(|n| (n, image.config)));
    }
    if reading.prefer.is_none() {
        for (root, reach) in oci.iter().zip(&reaches) {
            if reach.images && reach.configs.is_disjoint(&docker_configs) {
                return Err(disagree(format!("only index.json has {}", root.title())));
            }
            for name in &tags(root) {
                match docker_names.get(name) {
                    Some(config) if reach.images && !reach.configs.contains(config) => {
                        return Err(disagree(format!("{} is two images", name.familiar())));
                    }
                    None if reach.images && !docker_names.is_empty() => {
                        let what = format!("only index.json has the name {}", name.familiar());
                        return Err(disagree(what));
                    }
                    _ => {}
                }
            }
        }
    }
    // Where index.json lists no image at all, manifest.json alone counts.
    let docker_alone = oci.iter().all(|r| r.companion);
    let named: HashSet<Reference> = oci.iter().flat_map(|r| r.names.iter().cloned()).collect();
    let mut by_config: HashMap<Digest, Vec<usize>> = HashMap::new();
    for (at, reach) in reaches.iter().enumerate() {
        for config in &reach.configs {
            by_config.entry(*config).or_default().push(at);
        }
    }
    for image in docker {
        let names: HashSet<&Reference> = image.root.names.iter().collect();
        let matches = |at: &usize| {
            let known = tags(&oci[*at]);
            names.is_empty() || known.is_empty() || known.iter().any(|n| names.contains(n))
        };
        let candidates = by_config.get(&image.config).map(Vec::as_slice).unwrap_or_default();
        match candidates.iter().copied().find(matches) {
            Some(at) if reaches[at].shuffled => {
                // Only manifest.json has the right order; its image takes the entry's place.
                let title = image.root.title();
                layout.warnings.push(format!(
                    "{title}: index.json lists its layers out of order; manifest.json is used"
                ));
                let names = std::mem::take(&mut oci[at].names);
                oci[at] = image.root;
                for name in names {
                    if !oci[at].names.contains(&name) {
                        oci[at].names.push(name);
                    }
                }
            }
            Some(at) => {
                for name in image.root.names {
                    if named.contains(&name) {
                        continue;
                    }
                    if !tags(&oci[at]).is_empty() && reading.prefer.is_none() {
                        let what = format!("only manifest.json has the name {}", name.familiar());
                        return Err(disagree(what));
                    }
                    oci[at].names.push(name);
                }
            }
            None if docker_alone || image.root.names.is_empty() => {
                oci.push(image.root);
                reaches.push(Reach::default());
            }
            None => {
                return Err(disagree(format!("only manifest.json has {}", image.root.title())));
            }
        }
    }
    layout.roots = oci;
    Ok(())
}
