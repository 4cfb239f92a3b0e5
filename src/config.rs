//! The few config fields we read: platform, diff ids, history, creation time.
//!
//! It never writes a config: the bytes are the image ID. OCI image-spec `config.md`, Docker image
//! spec 1.3.

use serde_json::{Map, Value};

use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::json;
use crate::platform::Platform;

/// A parsed view of an image config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The whole document.
    pub body: Map<String, Value>,
    /// Digest of each uncompressed layer, lowest first; `None` when there is no `rootfs`.
    pub diff_ids: Option<Vec<DiffId>>,
}

/// One step of an image's history.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// RFC 3339, as written.
    pub created: String,
    /// The command.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Whether it made no layer.
    pub empty_layer: bool,
}

impl Config {
    /// Parses an image config.
    ///
    /// # Errors
    /// `Malformed` when it is not an object or a diff id breaks the grammar.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let body = json::object(bytes)?;
        let diff_ids = match body.get("rootfs") {
            None | Some(Value::Null) => None,
            Some(Value::Object(rootfs)) => match rootfs.get("diff_ids") {
                None | Some(Value::Null) => Some(Vec::new()),
                Some(Value::Array(items)) => Some(
                    items
                        .iter()
                        .enumerate()
                        .map(|(i, item)| {
                            let text = item.as_str().unwrap_or_default();
                            text.parse().map_err(|e: Error| e.at(format!("diff_ids[{i}]")))
                        })
                        .collect::<Result<_>>()?,
                ),
                Some(other) => {
                    let found = json::kind(other);
                    return Err(Error::malformed(format!(
                        "diff_ids: expected an array, found {found}"
                    )));
                }
            },
            Some(other) => {
                let found = json::kind(other);
                return Err(Error::malformed(format!("rootfs: expected an object, found {found}")));
            }
        };
        Ok(Self { body, diff_ids })
    }

    /// Where the image runs; `None` when the config does not say.
    pub fn platform(&self) -> Option<Platform> {
        Platform::from_fields(&self.body)
    }

    /// Whether it says a platform and nothing else: what oras writes for an artifact that is for one
    /// platform. An image's config has a `rootfs`.
    pub fn is_only_platform(&self) -> bool {
        let known = ["architecture", "os", "variant", "os.version", "os.features", "created"];
        self.body.keys().all(|key| known.contains(&key.as_str())) && self.platform().is_some()
    }

    /// Creation time, RFC 3339 as written; empty when absent.
    pub fn created(&self) -> &str {
        self.body.get("created").and_then(Value::as_str).unwrap_or_default()
    }

    /// The `config` object: environment, command, labels.
    pub fn runtime(&self) -> Option<&Map<String, Value>> {
        self.body.get("config")?.as_object()
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.runtime()?.get("Labels")?.get(key)?.as_str()
    }

    /// The history, oldest step first; often wrong, so never used to check anything.
    pub fn history(&self) -> Vec<Step> {
        let Some(Value::Array(items)) = self.body.get("history") else { return Vec::new() };
        let text = |item: &Value, key: &str| {
            item.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        items
            .iter()
            .map(|item| Step {
                created: text(item, "created"),
                created_by: text(item, "created_by"),
                comment: text(item, "comment"),
                empty_layer: item.get("empty_layer").and_then(Value::as_bool).unwrap_or_default(),
            })
            .collect()
    }

    /// Checks that there is one diff id for each of `layers` layers.
    ///
    /// # Errors
    /// `Malformed` when there is no `rootfs` or the counts differ.
    pub fn check_layers(&self, layers: usize) -> Result<&[DiffId]> {
        let Some(diff_ids) = &self.diff_ids else {
            return Err(Error::malformed("config without rootfs"));
        };
        if diff_ids.len() != layers {
            return Err(Error::malformed(format!(
                "{layers} layers, but the config lists {} diff ids",
                diff_ids.len()
            )));
        }
        Ok(diff_ids)
    }
}
