//! Docker's manifest.json: images as a list of paths.
//!
//! It knows nothing of index.json. Each image becomes a graph like any other: the manifest that the
//! archive lacks is made here, byte for byte as containerd makes it. Image ID = digest of the config
//! bytes, whatever the member is called. Docker image spec 1.2; key case as Go decodes it.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Result};
use crate::json;
use crate::layout::{Layout, Members, Reading, clean};
use crate::manifest::{self, MAX_DOCUMENT, MAX_LAYERS};
use crate::media_type;
use crate::reference::Reference;
use crate::transport::{Origin, Root, ambiguous};

/// One entry of manifest.json, unread.
pub struct Item {
    config: String,
    tags: Vec<String>,
    layers: Vec<String>,
}

/// An image of a Docker archive with the manifest made for it.
pub struct DockerImage {
    /// Digest of its config: the image ID.
    pub config: Digest,
    /// The member that is its config.
    pub member: String,
    /// Its names and its synthesised manifest.
    pub root: Root,
}

/// Parses manifest.json. `None` when it is another tool's file of that name (an object).
///
/// # Errors
/// `Malformed` for anything else that is not an array of images.
pub fn table(bytes: &[u8]) -> Result<Option<Vec<Item>>> {
    let items = match json::parse(bytes)? {
        Value::Array(items) => items,
        // skopeo's `dir:` and BuildKit keep a manifest there.
        Value::Object(map) if map.contains_key("schemaVersion") => return Ok(None),
        other => {
            let found = json::kind(&other);
            return Err(Error::malformed(format!("expected an array of images, found {found}")));
        }
    };
    if items.is_empty() {
        return Err(Error::empty());
    }
    let items: Result<Vec<Item>> = items
        .iter()
        .enumerate()
        .map(|(i, v)| item(v).map_err(|e| e.at(format!("image {i}"))))
        .collect();
    items.map(Some)
}

fn item(value: &Value) -> Result<Item> {
    let Value::Object(map) = value else {
        let found = json::kind(value);
        return Err(Error::malformed(format!("expected an object, found {found}")));
    };
    let config = match field(map, "config") {
        Some(Value::String(path)) => path.clone(),
        Some(other) => {
            let found = json::kind(other);
            return Err(Error::malformed(format!("Config: expected a string, found {found}")));
        }
        None => return Err(Error::malformed("no Config")),
    };
    let layers = strings(map, "layers")?.ok_or_else(|| Error::malformed("no Layers"))?;
    if layers.len() > MAX_LAYERS {
        let found = layers.len();
        return Err(Error::malformed(format!(
            "{found} layers, more than the limit of {MAX_LAYERS}"
        )));
    }
    Ok(Item { config, layers, tags: strings(map, "repotags")?.unwrap_or_default() })
}

/// A field by its name in any case (Jib writes lower camel case). Two cases of one name were refused
/// by the parser.
fn field<'a>(map: &'a Map<String, Value>, lower: &str) -> Option<&'a Value> {
    map.iter().find(|(key, _)| key.to_lowercase() == lower).map(|(_, value)| value)
}

fn strings(map: &Map<String, Value>, lower: &str) -> Result<Option<Vec<String>>> {
    let bad = |found: &Value| {
        let found = json::kind(found);
        Error::malformed(format!("{lower}: expected an array of strings, found {found}"))
    };
    match field(map, lower) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Vec::new())),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| bad(item)))
            .collect::<Result<_>>()
            .map(Some),
        Some(other) => Err(bad(other)),
    }
}

/// Reads the tags of one image: no tag means `latest`, a digest reference is dropped with a warning.
///
/// # Errors
/// `Malformed` when a name breaks the grammar, unless `reading` keeps the image untagged.
pub fn names(
    tags: &[String],
    reading: Reading,
    warnings: &mut Vec<String>,
) -> Result<Vec<Reference>> {
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for tag in tags {
        match tag.parse::<Reference>() {
            Ok(name) if name.digest().is_some() => {
                let tag = crate::text::escape(tag);
                warnings.push(format!("the name {tag} is a digest reference and is dropped"));
            }
            Ok(name) => {
                let name = name.or_latest();
                if seen.insert(name.clone()) {
                    names.push(name);
                }
            }
            Err(e) if reading.ignore_bad_tags => warnings.push(format!("{e}; it is dropped")),
            Err(e) => return Err(e),
        }
    }
    Ok(names)
}

/// Turns the items into images: reads configs, sniffs layers, makes manifests.
///
/// # Errors
/// `Malformed` when a member is missing, counts differ, or one name means two images.
pub fn images(
    members: &dyn Members,
    items: Vec<Item>,
    reading: Reading,
    layout: &mut Layout,
    ctx: &Context,
) -> Result<Vec<DockerImage>> {
    if items.len() > ctx.limits.images {
        let most = ctx.limits.images;
        return Err(Error::malformed(format!("more images than the limit of {most}")));
    }
    let layers = sniff_layers(members, &items, ctx)?;
    let mut images: Vec<DockerImage> = Vec::new();
    let mut by_config: HashMap<Digest, usize> = HashMap::new();
    for item in &items {
        let names = names(&item.tags, reading, &mut layout.warnings)
            .map_err(|e| e.at("manifest.json, RepoTags"))?;
        let title = item.tags.first().map_or(item.config.as_str(), String::as_str);
        let image = image(members, item, names, &layers, layout)
            .map_err(|e| e.context(format!("image {}", crate::text::escape(title))))?;
        match by_config.get(&image.config) {
            Some(&at) => {
                for name in image.root.names {
                    if !images[at].root.names.contains(&name) {
                        images[at].root.names.push(name);
                    }
                }
            }
            None => {
                by_config.insert(image.config, images.len());
                images.push(image);
            }
        }
    }
    ambiguous::refuse(images.iter().map(|image| &image.root)).map_err(|e| e.at("manifest.json"))?;
    Ok(images)
}

/// What was found of one layer member.
struct LayerMember {
    size: u64,
    /// Whether it is uncompressed: then its digest is its diff id.
    plain: bool,
    /// Hashed here: of what is compressed and not named by its digest.
    digest: Option<Digest>,
}

/// The digest that the name of a member says its bytes have: `<hex>.json` (docker), `sha256:<hex>` and
/// `<hex>.tar.gz` (crane, kaniko, Jib), `blobs/sha256/<hex>` with or without an ending (docker,
/// Bazel). `<hex>/layer.tar` is named by an ID.
fn named_by(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("blobs/sha256/").unwrap_or(name);
    let stem = name.split('.').next().unwrap_or(name);
    let hex = stem.strip_prefix("sha256:").unwrap_or(stem);
    Digest::from_hex(hex).ok().filter(|digest| digest.algorithm() == Algorithm::Sha256)
}

fn sniff_layers(
    members: &dyn Members,
    items: &[Item],
    ctx: &Context,
) -> Result<HashMap<String, LayerMember>> {
    let mut unique: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for path in items.iter().flat_map(|i| &i.layers) {
        let name = clean(path.as_bytes()).map_err(|e| e.at("manifest.json, Layers"))?;
        if known.insert(name.clone()) {
            unique.push(name);
        }
    }
    let look = |name: &String| -> Result<(String, LayerMember)> {
        ctx.check()?;
        let Some(size) = members.size(name)? else {
            let shown = crate::text::escape(name);
            return Err(Error::malformed(format!(
                "layer {shown} is missing (a thin archive needs the base image at its destination)"
            )));
        };
        let plain = Encoding::sniff(&members.head(name, SNIFF_LEN)?) == Encoding::Plain;
        let nameless = !plain && named_by(name).is_none();
        let digest = nameless.then(|| members.digest(name)).transpose()?;
        Ok((name.clone(), LayerMember { size, plain, digest }))
    };
    unique.par_iter().with_max_len(1).map(look).collect()
}

fn image(
    members: &dyn Members,
    item: &Item,
    names: Vec<Reference>,
    layers: &HashMap<String, LayerMember>,
    layout: &mut Layout,
) -> Result<DockerImage> {
    let path = clean(item.config.as_bytes()).map_err(|e| e.at("manifest.json, Config"))?;
    let shown = crate::text::escape(&path).into_owned();
    let bytes = members
        .read(&path, MAX_DOCUMENT)?
        .ok_or_else(|| Error::absent(format_args!("config {shown}")))?;
    let parsed = Config::parse(&bytes).map_err(|e| e.within(shown.clone()))?;
    let diff_ids = parsed.check_layers(item.layers.len()).map_err(|e| e.at(shown))?;
    // Whoever reads it finds out whether it is what it is called.
    let mut config = Descriptor::of(media_type::DOCKER_CONFIG, &bytes);
    config.digest = named_by(&path).unwrap_or(config.digest);
    layout.members.insert(config.digest, path.clone());
    let mut descs = Vec::new();
    for (layer, diff_id) in item.layers.iter().zip(diff_ids) {
        let name = clean(layer.as_bytes())?;
        let Some(found) = layers.get(&name) else { continue };
        let kind = match found.plain {
            true => media_type::DOCKER_LAYER,
            false => media_type::DOCKER_LAYER_GZIP,
        };
        let digest = digest_of(members, &name, found, diff_id.0)?;
        let known = layout.members.entry(digest).or_insert_with(|| name.clone());
        // Only the first is read later, so one that merely claims the same diff id ends here.
        if *known != name && !members.same(known, &name)? {
            let (known, name) = (crate::text::escape(known), crate::text::escape(&name));
            let what = format!("ambiguous: layers {known} and {name} differ and are both {digest}");
            return Err(Error::corrupt(what));
        }
        descs.push(Descriptor::new(kind, digest, found.size));
    }
    let manifest = manifest::synthesise(&config, &descs);
    let desc = Descriptor::of(media_type::DOCKER_MANIFEST, &manifest);
    layout.documents.insert(desc.digest, manifest);
    let root = Root { names, label: None, desc, origin: Origin::Synthesised, companion: false };
    Ok(DockerImage { config: config.digest, member: path, root })
}

/// The digest of a layer: of an uncompressed one its diff id, unless that is not SHA-256; else the one
/// that it is named by, unless that is its diff id. Whoever reads the layer finds out whether it is true.
fn digest_of(
    members: &dyn Members,
    name: &str,
    found: &LayerMember,
    diff_id: Digest,
) -> Result<Digest> {
    let said = if found.plain { Some(diff_id) } else { found.digest.or_else(|| named_by(name)) };
    match said.filter(|said| said.algorithm() == Algorithm::Sha256) {
        Some(said) if found.plain || said != diff_id => Ok(said),
        _ => members.digest(name),
    }
}
