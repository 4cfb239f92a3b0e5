//! `diff`: layers, config and files that differ between two images; exit 0 same, 1 different.

use std::collections::HashSet;

use clap::Args;
use imgpack::diff_files::{ChangeKind, FileChange, HashedTree, compare};
use imgpack::digest::DiffId;
use imgpack::{Error, Kind, Result};
use serde_json::{Map, Value, json};

use super::exit::Outcome;
use super::layers::with_layers;
use super::out;
use super::registries::RegistryFlags;
use super::run::Run;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack diff nginx:1.26 nginx:1.27
  imgpack diff nginx.tar oci:layout
  imgpack diff --no-files --format json old.tar new.tar

Exit code: 0 same, 1 different, 2 or higher when they could not be compared.")]
pub(crate) struct DiffArgs {
    /// An image of the store, or a place
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// The other image
    #[arg(value_name = "B")]
    pub(crate) b: String,
    /// Platform to compare, for multi-platform images
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Do not compare files, only layers and config
    #[arg(long)]
    pub(crate) no_files: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// What is compared of one side.
struct Side {
    id: String,
    config: Map<String, Value>,
    diff_ids: Vec<DiffId>,
    files: Option<HashedTree>,
}

pub(crate) fn run(args: &DiffArgs, run: &Run) -> Result<Outcome> {
    if !matches!(args.format.as_str(), "text" | "json") {
        let what = format!("--format {:?}: expected text or json", args.format);
        return Err(Error::new(Kind::Usage, what));
    }
    let temporary = &run.env().temporary;
    let side = |target: &str, files: bool| -> Result<Side> {
        let platform = args.platform.as_deref().map(str::parse).transpose()?;
        with_layers(target, platform.as_ref(), run, |layers| {
            let bytes = layers.image.config_bytes.as_deref().unwrap_or_default();
            Ok(Side {
                id: layers.image.config.as_ref().map(|c| c.digest.to_string()).unwrap_or_default(),
                config: imgpack::config::Config::parse(bytes)?.body,
                diff_ids: layers.image.diff_ids.clone(),
                files: files.then(|| HashedTree::read(layers, temporary)).transpose()?,
            })
        })
    };
    // Equal layers make equal files; only different ones are worth reading.
    let (mut a, mut b) = (side(&args.a, false)?, side(&args.b, false)?);
    if !args.no_files && a.diff_ids != b.diff_ids {
        (a, b) = (side(&args.a, true)?, side(&args.b, true)?);
    }
    let layers = layer_changes(&a.diff_ids, &b.diff_ids);
    let mut config = Vec::new();
    config_changes("", &without_layers(&a.config), &without_layers(&b.config), &mut config);
    // Different files come of different layers.
    let same = layers.is_empty() && config.is_empty() && a.id == b.id;
    if args.format == "json" {
        json_text(&a, &b, &layers, &config, same)?;
    } else if !same {
        text(&a, &b, &layers, &config)?;
    }
    Ok(if same { Outcome::Done } else { Outcome::Different })
}

/// Calls `each` with every file that differs: there may be too many to hold.
fn files(a: &Side, b: &Side, each: impl FnMut(FileChange) -> Result<()>) -> Result<()> {
    match (&a.files, &b.files) {
        (Some(a), Some(b)) => compare(a, b, each),
        _ => Ok(()),
    }
}

fn word(sign: char) -> &'static str {
    if sign == '-' { "removed" } else { "added" }
}

fn json_text(
    a: &Side,
    b: &Side,
    layers: &[(char, DiffId)],
    config: &[(String, Value, Value)],
    same: bool,
) -> Result<()> {
    let layers =
        layers.iter().map(|(sign, id)| json!({"change": word(*sign), "diff_id": id.to_string()}));
    let config = config.iter().map(|(path, old, new)| json!({"path": path, "a": old, "b": new}));
    let head = json!({
        "same": same, "a": a.id, "b": b.id,
        "layers": layers.collect::<Vec<_>>(),
        "config": config.collect::<Vec<_>>(),
    });
    out::print(&format!("{},\"files\":[", head.to_string().trim_end_matches('}')))?;
    let mut comma = "";
    files(a, b, |change| {
        out::print(&format!("{comma}{}", file_value(&change)))?;
        comma = ",";
        Ok(())
    })?;
    out::line("]}")
}

fn text(
    a: &Side,
    b: &Side,
    layers: &[(char, DiffId)],
    config: &[(String, Value, Value)],
) -> Result<()> {
    out::line(&format!("--- {}\n+++ {}", a.id, b.id))?;
    for (sign, diff_id) in layers {
        out::line(&format!("layer {sign} {diff_id}"))?;
    }
    for (path, old, new) in config {
        let shown = |v: &Value| if v.is_null() { "(none)".to_owned() } else { v.to_string() };
        let line = format!("config {path}: {} -> {}", shown(old), shown(new));
        out::line(&imgpack::text::escape_long(&line))?;
    }
    files(a, b, |change| {
        let lossy = String::from_utf8_lossy(&change.path);
        let path = imgpack::text::escape_long(&lossy);
        // docker's letters: added, deleted, changed.
        out::line(&match change.kind {
            ChangeKind::Added => format!("A /{path}"),
            ChangeKind::Removed => format!("D /{path}"),
            ChangeKind::Modified => format!("C /{path} ({})", change.what.join(", ")),
        })
    })
}

fn file_value(change: &FileChange) -> Value {
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Modified => "modified",
    };
    json!({"path": String::from_utf8_lossy(&change.path), "change": kind, "what": change.what})
}

/// Layers that only one side has, and the order where that alone differs.
fn layer_changes(a: &[DiffId], b: &[DiffId]) -> Vec<(char, DiffId)> {
    if a == b {
        return Vec::new();
    }
    let (in_a, in_b): (HashSet<_>, HashSet<_>) = (a.iter().collect(), b.iter().collect());
    let gone = a.iter().filter(|d| !in_b.contains(d)).map(|d| ('-', *d));
    let new = b.iter().filter(|d| !in_a.contains(d)).map(|d| ('+', *d));
    let changes: Vec<_> = gone.chain(new).collect();
    if !changes.is_empty() {
        return changes;
    }
    a.iter().map(|d| ('-', *d)).chain(b.iter().map(|d| ('+', *d))).collect()
}

fn without_layers(config: &Map<String, Value>) -> Value {
    let mut config = config.clone();
    config.shift_remove("rootfs");
    Value::Object(config)
}

/// Differing leaves of two documents, by path.
fn config_changes(path: &str, a: &Value, b: &Value, into: &mut Vec<(String, Value, Value)>) {
    if a == b {
        return;
    }
    if let (Value::Object(left), Value::Object(right)) = (a, b) {
        let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let none = Value::Null;
            let (l, r) = (left.get(key).unwrap_or(&none), right.get(key).unwrap_or(&none));
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            config_changes(&path, l, r, into);
        }
        return;
    }
    into.push((path.to_owned(), a.clone(), b.clone()));
}
