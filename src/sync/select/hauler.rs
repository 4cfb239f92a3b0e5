//! hauler's manifests, as far as they name images.
//!
//! It reads text and opens nothing. `kind: Images` of `content.hauler.cattle.io`, with the platform of
//! each; other content of a manifest (charts, files) gives a warning.

use serde_yaml_ng::Value;

use crate::error::Result;
use crate::platform::Platform;
use crate::sync::select::{self, Bare, Selection, WantedImages};

/// Whether a YAML text is hauler's: documents with a `kind` and an `apiVersion`.
pub fn is(text: &str) -> bool {
    let declares = |key: &str| text.lines().any(|l| l.starts_with(key));
    declares("kind:") && declares("apiVersion:")
}

/// Reads a manifest of one or more documents.
///
/// # Errors
/// `Malformed` when a document is no YAML, `Usage` when a name is none.
pub fn parse(text: &str, bare: &Bare) -> Result<Selection> {
    let mut selection = Selection::default();
    for (line, text) in select::documents(text) {
        let at = format!("document of line {line}");
        let doc = select::document(&text).map_err(|e| e.at(at.clone()))?;
        match doc["kind"].as_str() {
            Some("Images") => images(&doc, bare, &mut selection).map_err(|e| e.at(at))?,
            Some(other) => {
                let other = crate::text::escape(other).into_owned();
                selection.warn(format!("kind {other} names no images and is skipped"));
            }
            None => selection.warn(format!("the {at} has no kind and is skipped")),
        }
    }
    Ok(selection)
}

fn images(doc: &Value, bare: &Bare, selection: &mut Selection) -> Result<()> {
    let annotations = &doc["metadata"]["annotations"];
    let registry = annotations["hauler.dev/registry"].as_str();
    if !annotations["hauler.dev/key"].is_null() {
        selection.warn(advice("key", "every image"));
    }
    let for_all = platforms(&annotations["hauler.dev/platform"])?;
    for image in doc["spec"]["images"].as_sequence().into_iter().flatten() {
        let Some(name) = image["name"].as_str() else {
            selection.warn("an image without a name is skipped");
            continue;
        };
        let full = registry.map_or_else(|| name.to_owned(), |host| at_registry(host, name));
        let own =
            platforms(&image["platform"]).map_err(|e| e.context(crate::text::escape(name)))?;
        let by_default = own.is_empty();
        let platforms = if by_default { for_all.clone() } else { own };
        let wanted = select::item(&full, bare)?;
        if !platforms.is_empty() && !matches!(wanted, WantedImages::Image(_)) {
            let name = crate::text::escape(name);
            selection
                .warn(format!("the platform of {name} is not used, since it covers many tags"));
        }
        selection.add_for(wanted, platforms, by_default);
        for what in ["key", "rewrite"] {
            if !image[what].is_null() {
                selection.warn(advice(what, name));
            }
        }
    }
    Ok(())
}

/// One platform, or none for all.
fn platforms(value: &Value) -> Result<Vec<Platform>> {
    match value.as_str().map(str::trim) {
        None | Some("" | "all") => Ok(Vec::new()),
        Some(text) => Ok(vec![text.parse()?]),
    }
}

/// What a field that means something for one image is called here.
fn advice(what: &str, name: &str) -> String {
    let name = crate::text::escape(name);
    match what {
        "key" => format!("the key of {name} is not used; give it with --verify-key"),
        _ => format!("the rewrite of {name} is not used; give it with --map"),
    }
}

/// A short name at the registry that the whole manifest is for.
fn at_registry(host: &str, name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let has_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if has_host { name.to_owned() } else { format!("{}/{name}", host.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_taken_and_the_rest_is_told() {
        let text = "\
apiVersion: content.hauler.cattle.io/v1
kind: Images
metadata:
  name: x
  annotations:
    hauler.dev/registry: r.local:5000
    hauler.dev/platform: linux/arm64
spec:
  images:
    - name: busybox:1
    - name: quay.io/a/b:2
      platform: linux/amd64
    - key: no-name
---
apiVersion: content.hauler.cattle.io/v1
kind: Charts
spec: {charts: [{name: rancher}]}
";
        assert!(is(text));
        let found = parse(text, &Bare::Latest).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["r.local:5000/busybox:1", "quay.io/a/b:2"]);
        let own = |name: &str| found.platforms[name].platforms[0].to_string();
        assert_eq!(own("quay.io/a/b:2"), "linux/amd64");
        assert!(found.platforms["r.local:5000/busybox:1"].by_default);
        assert_eq!(own("r.local:5000/busybox:1"), "linux/arm64");
        assert!(parse(&text.replace("linux/amd64", "x/y/z/w"), &Bare::Latest).is_err());
        assert_eq!(
            found.warnings,
            ["an image without a name is skipped", "kind Charts names no images and is skipped",]
        );
    }
}
