//! Archives from before Docker 1.10: one directory for each layer, `json` and `layer.tar` in it.
//!
//! Nothing current reads them, so they are converted: the config is made here from the v1 JSON, with
//! sorted keys, the same way each time. The resulting ID is imgpack's own: Docker's differed from
//! version to version (observed in docker 20.10 and 26). Docker image spec v1.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::{Cause, Error, Result};
use crate::json as strict;
use crate::layout::docker::DockerImage;
use crate::layout::{Layout, Members, Reading, docker};
use crate::manifest::{self, MAX_DOCUMENT};
use crate::media_type;
use crate::reference::Reference;
use crate::transport::{Origin, Root};

/// Longest chain of parents.
const MAX_CHAIN: usize = 1_000;

/// One converted layer.
struct Layer {
    member: String,
    diff_id: DiffId,
    size: u64,
    json: Map<String, Value>,
}

/// Converts a pre-1.10 archive.
///
/// # Errors
/// `Malformed` when the place is no such archive, or a chain is broken.
pub fn images(
    members: &dyn Members,
    reading: Reading,
    layout: &mut Layout,
) -> Result<Vec<DockerImage>> {
    let ids: Vec<String> = members
        .names()
        .into_iter()
        .filter_map(|n| n.strip_suffix("/json").map(str::to_owned))
        .filter(|id| !id.contains('/'))
        .collect();
    let table = members.read("repositories", MAX_DOCUMENT)?;
    if ids.is_empty() {
        let what = "holds no images (no manifest.json, no index.json); a root file system is read by `import`";
        return Err(Error::malformed(what).because(Cause::RootFilesystem));
    }
    let mut tips = match &table {
        Some(bytes) => {
            repositories(bytes, reading, layout).map_err(|e| e.within("repositories"))?
        }
        None => BTreeMap::new(),
    };
    let mut loaded: HashMap<String, Layer> = HashMap::new();
    let mut parents = std::collections::HashSet::new();
    for id in &ids {
        if Digest::from_hex(id).is_err() {
            let id = crate::text::escape(id);
            return Err(Error::malformed(format!("{id:?} is not an image ID")));
        }
        let layer = layer(members, id)?;
        if let Some(parent) = layer.json.get("parent").and_then(Value::as_str) {
            parents.insert(parent.to_owned());
        }
        loaded.insert(id.clone(), layer);
    }
    // Images that nothing names and nothing builds on are images too.
    let named: std::collections::HashSet<String> = tips.keys().cloned().collect();
    for id in ids {
        if !parents.contains(&id) && !named.contains(&id) {
            tips.insert(id, Vec::new());
        }
    }
    layout.warnings.push(
        "archive from before Docker 1.10: converted; the image ID is imgpack's own".to_string(),
    );
    tips.into_iter().map(|(id, names)| image(&id, names, &loaded, layout)).collect()
}

/// `repositories`: name to tag to image ID.
fn repositories(
    bytes: &[u8],
    reading: Reading,
    layout: &mut Layout,
) -> Result<BTreeMap<String, Vec<Reference>>> {
    let mut tips: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for (repository, tags) in strict::object(bytes)? {
        let Value::Object(tags) = tags else {
            return Err(Error::malformed("expected an object of tags"));
        };
        for (tag, id) in tags {
            let Some(id) = id.as_str() else {
                return Err(Error::malformed("expected an image ID"));
            };
            let name = format!("{repository}:{tag}");
            let names = docker::names(&[name], reading, &mut layout.warnings)?;
            tips.entry(id.to_owned()).or_default().extend(names);
        }
    }
    Ok(tips)
}

fn layer(members: &dyn Members, id: &str) -> Result<Layer> {
    let path = format!("{id}/json");
    let bytes = members.read(&path, MAX_DOCUMENT)?.unwrap_or_default();
    let json = strict::object(&bytes).map_err(|e| e.within(path))?;
    let member = format!("{id}/layer.tar");
    let Some(size) = members.size(&member)? else {
        return Err(Error::absent(format_args!("layer {member}")));
    };
    let diff_id = DiffId(members.digest(&member)?);
    Ok(Layer { member, diff_id, size, json })
}

fn image(
    id: &str,
    names: Vec<Reference>,
    loaded: &HashMap<String, Layer>,
    layout: &mut Layout,
) -> Result<DockerImage> {
    let mut chain = Vec::new();
    let mut next = Some(id.to_owned());
    while let Some(id) = next {
        let layer = loaded.get(&id).ok_or_else(|| {
            let id = crate::text::escape(&id).into_owned();
            Error::absent(format_args!("parent image {id}"))
        })?;
        if chain.len() >= MAX_CHAIN {
            return Err(Error::malformed("the chain of parents never ends"));
        }
        next = layer.json.get("parent").and_then(Value::as_str).map(str::to_owned);
        chain.push(layer);
    }
    chain.reverse();
    let config = config(&chain);
    let desc = Descriptor::of(media_type::DOCKER_CONFIG, &config);
    let mut layers = Vec::new();
    for layer in &chain {
        layout.members.entry(layer.diff_id.0).or_insert_with(|| layer.member.clone());
        layers.push(Descriptor::new(media_type::DOCKER_LAYER, layer.diff_id.0, layer.size));
    }
    let manifest = manifest::synthesise(&desc, &layers);
    let root_desc = Descriptor::of(media_type::DOCKER_MANIFEST, &manifest);
    layout.documents.insert(desc.digest, config);
    layout.documents.insert(root_desc.digest, manifest);
    let root =
        Root { names, label: None, desc: root_desc, origin: Origin::Synthesised, companion: false };
    Ok(DockerImage { config: desc.digest, member: String::new(), root })
}

/// The config: the top layer's JSON without what belonged to the chain, plus rootfs and history.
fn config(chain: &[&Layer]) -> Vec<u8> {
    let text = |json: &Map<String, Value>, key: &str| json.get(key).cloned();
    let history: Vec<Value> = chain
        .iter()
        .map(|layer| {
            let command: Vec<&str> = layer
                .json
                .get("container_config")
                .and_then(|c| c.get("Cmd"))
                .and_then(Value::as_array)
                .map(|cmd| cmd.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let mut step = BTreeMap::new();
            for key in ["created", "author", "comment"] {
                if let Some(value) = text(&layer.json, key).filter(|v| v.as_str() != Some("")) {
                    step.insert(key, value);
                }
            }
            if !command.is_empty() {
                step.insert("created_by", command.join(" ").into());
            }
            json!(step)
        })
        .collect();
    let mut sorted: BTreeMap<String, Value> = BTreeMap::new();
    if let Some(top) = chain.last() {
        let chain_keys = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];
        for (key, value) in &top.json {
            if !chain_keys.contains(&key.as_str()) {
                sorted.insert(key.clone(), value.clone());
            }
        }
    }
    sorted.entry("os".into()).or_insert_with(|| "linux".into());
    let diff_ids: Vec<String> = chain.iter().map(|l| l.diff_id.to_string()).collect();
    sorted.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
    sorted.insert("history".into(), history.into());
    strict::go_compact(&sorted.into_iter().collect::<Map<_, _>>().into())
}
