//! Images that Kubernetes YAML names: pods and their templates, lists, custom resources, rendered
//! Helm output.
//!
//! It contacts no cluster and renders no chart. Whatever the kind, a field `image` names an image, as a
//! string, as `{registry, repository, tag, digest}`, or as `{reference}` (a volume); so do fields that end in
//! `Image` and variables `RELATED_IMAGE_*` where their value has a tag or a digest. What looks like an image in
//! arguments and variables is a guess. Unrendered templates are reported.

use std::path::Path;

use serde_yaml_ng::{Mapping, Value};
use walkdir::WalkDir;

use crate::error::{Error, Result};
use crate::io::look;
use crate::reference::Reference;
use crate::sync::select::{self, Selection, WantedImages};

/// Most files of one directory.
const MAX_FILES: usize = 100_000;

/// Reads every `.yaml`, `.yml` and `.json` file beneath a directory, or one file whatever its name.
///
/// # Errors
/// `Missing`, `Io`, `Malformed` when there are more than 100 000 files.
pub fn path(path: &Path) -> Result<Selection> {
    let mut selection = Selection::default();
    if !look::is_dir(path)? {
        selection.extend(file(path)?);
        return Ok(selection);
    }
    let mut files = 0;
    for entry in WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|e| look::walking(path, &e))?;
        let wanted = entry.path().extension().and_then(|e| e.to_str());
        if !entry.file_type().is_file() || !matches!(wanted, Some("yaml" | "yml" | "json")) {
            continue;
        }
        files += 1;
        if files > MAX_FILES {
            let what = format!("holds more than {MAX_FILES} files");
            return Err(Error::malformed(what).input(path.display().to_string()));
        }
        selection.extend(file(entry.path())?);
    }
    if selection.is_empty() {
        selection.warn(format!("{}: names no images", path.display()));
    }
    Ok(selection)
}

fn file(path: &Path) -> Result<Selection> {
    let mut found = parse(&select::read(path)?);
    for warning in &mut found.warnings {
        *warning = format!("{}: {warning}", path.display());
    }
    for (_, place) in &mut found.guesses {
        *place = format!("{}: {place}", path.display());
    }
    Ok(found)
}

/// Reads the documents of one text. Invalid YAML is reported and does not hide the rest.
pub fn parse(text: &str) -> Selection {
    let mut selection = Selection::default();
    for (line, text) in select::documents(text) {
        match select::document(&text) {
            Ok(doc) => Finder { line, selection: &mut selection }.value(&doc),
            Err(_) if text.contains("{{") => selection.warn(format!(
                "the document of line {line} is a template; render it first (helm template)"
            )),
            Err(e) => selection.warn(format!("the document of line {line}: {}", e.what())),
        }
    }
    selection
}

struct Finder<'a> {
    line: usize,
    selection: &'a mut Selection,
}

impl Finder<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Mapping(map) => self.map(map),
            Value::Sequence(items) => items.iter().for_each(|item| self.value(item)),
            Value::Tagged(tagged) => self.value(&tagged.value),
            _ => {}
        }
    }

    fn map(&mut self, map: &Mapping) {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        if let (Some(name), Some(value)) = (text("name"), text("value"))
            && name.starts_with("RELATED_IMAGE_")
        {
            self.likely(value);
        }
        for (key, value) in map {
            match (key.as_str().unwrap_or_default(), value) {
                ("image", Value::String(name)) => self.name(name),
                ("image", Value::Mapping(parts)) => {
                    self.parts(parts);
                    self.map(parts);
                }
                (key, Value::String(name)) if key.ends_with("Image") => self.likely(name),
                ("args" | "command", Value::Sequence(words)) => {
                    words.iter().filter_map(Value::as_str).for_each(|word| self.guess(word));
                }
                ("value", Value::String(text)) if map.contains_key("name") => self.guess(text),
                _ => self.value(value),
            }
        }
    }

    /// A value that surely names an image.
    fn name(&mut self, name: &str) {
        let name = name.trim();
        if name.is_empty() {
            return;
        }
        match name.parse::<Reference>() {
            Ok(name) => self.selection.add(WantedImages::Image(name.or_latest())),
            Err(_) => {
                let (name, line) = (crate::text::escape(name), self.line);
                let what =
                    format!("image {name:?} in the document of line {line} is not a reference");
                self.selection.warn(what);
            }
        }
    }

    /// A value that names an image if it looks like one.
    fn likely(&mut self, name: &str) {
        if let Ok(name) = name.trim().parse::<Reference>()
            && (name.tag().is_some() || name.digest().is_some())
        {
            self.selection.add(WantedImages::Image(name.or_latest()));
        }
    }

    /// A word of an argument or a variable that names its registry and a tag or digest.
    fn guess(&mut self, word: &str) {
        for text in word.split([',', ' ', '=']) {
            let host = text.split_once('/').map_or("", |(host, _)| host);
            let Ok(name) = text.parse::<Reference>() else { continue };
            let exact = name.tag().is_some() || name.digest().is_some();
            if exact && (host.contains(['.', ':']) || host == "localhost") {
                self.selection.guesses.push((name, format!("the document of line {}", self.line)));
            }
        }
    }

    /// `{registry, repository, tag, digest}`, as charts have it in their values and some custom
    /// resources in their specs.
    fn parts(&mut self, parts: &Mapping) {
        let text = |key: &str| match parts.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        // `{{ .Values.image }}` without quotes is a map with a map as its key.
        if parts.keys().any(Value::is_mapping) {
            let what = format!("an image in the document of line {} is a template", self.line);
            self.selection.warn(what);
            return;
        }
        if let Some(name) = text("reference") {
            return self.name(&name);
        }
        let Some(repository) = text("repository") else { return };
        let host = text("registry").map(|r| format!("{}/", r.trim_end_matches('/')));
        let mut name = format!("{}{repository}", host.unwrap_or_default());
        let (tag, digest) = (text("tag"), text("digest"));
        if tag.is_none() && digest.is_none() && !repository.contains(['@', ':']) {
            // Charts fill it in with their own version; `latest` would be a guess.
            let (name, line) = (crate::text::escape(&name), self.line);
            let what = format!("image {name} in the document of line {line} has no tag");
            self.selection.warn(what);
            return;
        }
        if let Some(tag) = tag {
            name = format!("{name}:{tag}");
        }
        if let Some(digest) = digest {
            name = format!("{name}@{digest}");
        }
        self.name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (Vec<String>, Vec<String>) {
        let selection = parse(text);
        let shown = |w: &WantedImages| match w {
            WantedImages::Image(name) => name.familiar(),
            other => other.to_string(),
        };
        (selection.wanted.iter().map(shown).collect(), selection.warnings)
    }

    #[test]
    fn every_kind_of_resource_is_searched() {
        let text = r#"
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{name: i, image: busybox:1.36}]
      containers:
        - {name: a, image: "nginx:1.27"}
        - {name: b, image: nginx}
      ephemeralContainers: [{image: quay.io/debug/tools:2}]
---
apiVersion: batch/v1
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: r.local:5000/job:3}]}}}}}
---
apiVersion: v1
kind: List
items:
  - kind: Pod
    spec: {containers: [{image: redis:7@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]}
---
kind: Prometheus
spec:
  image: quay.io/prometheus/prometheus:v2
  thanos: {baseImage: quay.io/thanos/thanos, image: {registry: quay.io, repository: thanos/thanos, tag: v0.3}}
  reloaderImage: quay.io/x/reloader:1
  backgroundImage: https://example.com/a.png
---
kind: Deployment
spec: {env: [{name: RELATED_IMAGE_X, value: "quay.io/x/related:1"}, {name: OTHER, value: "quay.io/x/other:1"}]}
"#;
        let (names, warnings) = found(text);
        assert_eq!(
            names,
            [
                "busybox:1.36",
                "nginx:1.27",
                "nginx:latest",
                "quay.io/debug/tools:2",
                "r.local:5000/job:3",
                &format!("redis:7@sha256:{}", "a".repeat(64)),
                "quay.io/prometheus/prometheus:v2",
                "quay.io/thanos/thanos:v0.3",
                "quay.io/x/reloader:1",
                "quay.io/x/related:1",
            ]
        );
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn volumes_are_images_and_arguments_may_be() {
        let text = r#"
spec:
  containers:
    - image: r.local/c:1
      args: ["--reloader=r.local:5000/reloader:2", "--listen=0.0.0.0:9090", "--config=/etc/a.yaml"]
      command: [run, "--images", "quay.io/a/x:1,quay.io/a/y:2"]
      env: [{name: SIDECAR, value: "r.local/c:1"}, {name: REDIS, value: "redis:6379"}]
  volumes: [{name: v, image: {reference: "r.local/vol:1", pullPolicy: IfNotPresent}}]
"#;
        assert_eq!(found(text).0, ["r.local/c:1", "r.local/vol:1"]);
        let mut guessed = parse(text);
        guessed.guess(true);
        let names = ["r.local:5000/reloader:2", "quay.io/a/x:1", "quay.io/a/y:2"];
        let mut all: Vec<String> = guessed.wanted.iter().map(ToString::to_string).collect();
        all.sort();
        let mut want: Vec<&str> =
            ["r.local/c:1", "r.local/vol:1"].into_iter().chain(names).collect();
        want.sort_unstable();
        assert_eq!(all, want);
        let mut told = parse(text);
        told.guess(false);
        assert_eq!(told.warnings.len(), 3, "{:?}", told.warnings);
        assert!(told.warnings.iter().all(|warning| warning.contains("--guess")));
    }

    #[test]
    fn what_is_left_to_be_filled_in_is_told() {
        let text = "\
image: {{ .Values.image }}
---
image: \"{{ .Values.image }}\"
---
image: {repository: nginx, tag: \"\"}
---
properties: {image: {type: string, description: an image}}
---
a: [
---
image: nginx:1
";
        let (names, warnings) = found(text);
        assert_eq!(names, ["nginx:1"]);
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[0].contains("template"), "{warnings:?}");
        assert!(warnings[2].contains("line 4 has no tag"), "{warnings:?}");
    }

    #[test]
    fn merge_keys_and_anchors_are_followed() {
        let text = "base: &b {image: a:1}\nx:\n  <<: *b\n  name: n\n";
        assert_eq!(found(text).0, ["a:1"]);
    }

    #[test]
    fn a_directory_is_searched_in_the_order_of_its_names() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("sub")).unwrap();
        for (name, text) in [
            ("b.yml", "image: b:1"),
            ("sub/a.yaml", "image: c:1"),
            ("a.json", "{\"image\":\"a:1\"}"),
            ("no.txt", "image: n:1"),
        ] {
            std::fs::write(temp.path().join(name), text).unwrap();
        }
        let found = path(temp.path()).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a", "b", "c"].map(|n| format!("docker.io/library/{n}:1")));
    }
}
