//! The page of one image: how to pull it, its platforms, layers, history, labels, and its referrers.
//!
//! It must not know the list. Everything it shows comes from an archive and is text.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::asked::{Asked, link};
use super::html::Html;
use super::listing::{self, ImageEntry, Weight};
use super::pull::TOOLS;
use super::shell;
use super::view::{self, Pairs, View};
use crate::config::Config;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::serve::catalogue::FoundRepository;
use crate::units::{self, count};

/// Most platforms of an index that are shown with their layers.
const MAX_IMAGES: usize = 32;
/// Most steps, labels, annotations and referrers that are listed.
const MAX_ROWS: usize = 1_000;
/// Characters of a day.
const DAY: usize = "2024-11-05".len();

/// What the parts of a page need.
struct PageContext<'a> {
    registry: &'a Registry,
    found: &'a FoundRepository<'a>,
    entry: &'a ImageEntry,
    uses: HashMap<Digest, usize>,
}

/// The page of an image.
pub(super) fn answer(registry: &Registry, asked: &Asked, entry: &ImageEntry) -> Answer {
    let catalogue = registry.catalogue();
    let reference = entry.reference(catalogue.naming());
    let Some(found) = view::repository(catalogue, &entry.name) else {
        return shell::not_found(asked);
    };
    let view = match View::read(&found, &entry.digest) {
        Ok(Some(view)) => view,
        Ok(None) => return shell::not_found(asked),
        Err(error) => {
            registry.look_again();
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let why = format!("{reference} cannot be read: {}", error.what());
            return shell::failure(asked, status, "Cannot be read", &why);
        }
    };
    let weight = Weight::of(catalogue, &entry.name, &entry.digest);
    let uses = listing::uses(catalogue, |digest| weight.has(digest));
    let near = PageContext { registry, found: &found, entry, uses };
    shell::page(asked, &reference, |h| {
        h.element("div", &[("class", "head")], |h| {
            h.element("h1", &[], |h| shell::name(h, entry));
            h.element("p", &[("class", "quiet")], |h| near.summary(h, &view, &weight));
        });
        pull(h, asked, &reference);
        match view.images().is_empty() {
            true => near.manifest(h, &view),
            false => near.index(h, &view),
        }
        pairs(h, "Annotations", &view.annotations);
        near.about(h, &view);
    })
}

/// The lines to copy.
fn pull(h: &mut Html, asked: &Asked, reference: &str) {
    h.element("section", &[("aria-label", "Pull this image")], |h| {
        h.element("dl", &[("class", "pull")], |h| {
            for tool in &TOOLS {
                let id = format!("line-{}", tool.name);
                h.element("div", &[], |h| {
                    h.leaf("dt", &[], tool.name);
                    h.element("dd", &[], |h| {
                        h.leaf("code", &[("id", &id)], asked.site.line(tool, reference));
                        let said = format!("Copy the command for {}", tool.name);
                        let attributes = [
                            ("type", "button"),
                            ("class", "copy js"),
                            ("data-from", id.as_str()),
                            ("aria-label", said.as_str()),
                        ];
                        h.leaf("button", &attributes, "Copy");
                    });
                });
            }
        });
        if asked.site.must_be_told() {
            h.element("p", &[("class", "quiet")], |h| {
                h.text("This address uses plain HTTP: docker needs it under ");
                h.leaf("code", &[], "insecure-registries");
                h.text(", and Kubernetes nodes in their own settings.");
            });
        }
    });
}

impl PageContext<'_> {
    fn summary(&self, h: &mut Html, view: &View, weight: &Weight) {
        h.leaf("code", &[("class", "digest")], view.desc.digest.to_string());
        let shared = weight.shared(&self.uses);
        let mut words = vec![units::size(weight.bytes())];
        if shared > 0 {
            words.push(format!("{} of it shared with other images", units::size(shared)));
        }
        if let Some(artifact) = view.artifact_type() {
            words.push(artifact.to_owned());
        }
        h.text(format!(" · {}", words.join(" · ")));
    }

    /// An index: its images, each with its layers behind a line that opens.
    fn index(&self, h: &mut Html, view: &View) {
        let images = view.images();
        h.leaf("h2", &[], "Platforms");
        for (at, listed) in images.iter().enumerate() {
            let platform = listed.platform().map(|p| p.to_string());
            let read = match at < MAX_IMAGES {
                true => View::read(self.found, &listed.digest),
                false => Ok(None),
            };
            let platform = platform
                .or_else(|| Some(read.as_ref().ok()?.as_ref()?.platform()?.to_string()))
                .unwrap_or_else(|| "no platform".to_owned());
            let weight =
                Weight::of(self.registry.catalogue(), &self.entry.name, &listed.digest).bytes();
            let mut attributes = vec![("class", "image")];
            if images.len() == 1 {
                attributes.push(("open", ""));
            }
            h.element("details", &attributes, |h| {
                h.element("summary", &[], |h| {
                    h.leaf("b", &[], &platform);
                    let said = match &read {
                        Ok(Some(view)) => {
                            let layers = count(view.layers().len(), "layer", "layers");
                            format!(" · {layers} · {}", units::size(weight))
                        }
                        Ok(None) if weight > 0 => format!(" · {}", units::size(weight)),
                        Ok(None) => " · not present".to_owned(),
                        Err(_) => " · cannot be read".to_owned(),
                    };
                    h.leaf("span", &[("class", "quiet")], said);
                });
                h.element("p", &[], |h| self.reference(h, &listed.digest));
                if let Ok(Some(view)) = &read {
                    self.manifest(h, view);
                    pairs(h, "Annotations", &view.annotations);
                }
            });
        }
    }

    /// A digest of the repository, as a link to its page.
    fn reference(&self, h: &mut Html, digest: &Digest) {
        let shown = self.registry.catalogue().naming().shown(&self.entry.name);
        let at = link(&format!("{shown}@{digest}"));
        h.element("a", &[("href", &at)], |h| {
            h.leaf("code", &[("class", "digest")], digest.to_string());
        });
    }

    /// Config, layers, history and labels of a manifest.
    fn manifest(&self, h: &mut Html, view: &View) {
        if let Some(config) = &view.config {
            facts(h, view, config);
        }
        self.layers(h, view);
        if let Some(config) = &view.config {
            history(h, view, config);
        }
        pairs(h, "Labels", &view.labels());
    }

    fn layers(&self, h: &mut Html, view: &View) {
        if view.layers().is_empty() {
            return;
        }
        let columns = [("n", "#"), ("", "Blob"), ("", "Type"), ("n", "Size"), ("", "Also used by")];
        table(h, "Layers", &columns, |h| {
            for (at, layer) in view.layers().iter().enumerate() {
                h.element("tr", &[], |h| {
                    h.leaf("td", &[("class", "n")], (at + 1).to_string());
                    h.element("td", &[], |h| {
                        let digest = layer.digest.to_string();
                        h.leaf("code", &[("class", "digest")], digest);
                        if let Some(title) = layer.annotation("org.opencontainers.image.title") {
                            h.text(" ");
                            h.leaf("span", &[], title);
                        }
                    });
                    h.leaf("td", &[("class", "quiet")], kind(layer));
                    h.leaf("td", &[("class", "n")], units::size(layer.size));
                    let others = self.uses.get(&layer.digest).map_or(0, |n| n.saturating_sub(1));
                    let said = match others {
                        0 => "–".to_owned(),
                        n => count(n, "other image", "other images"),
                    };
                    h.leaf("td", &[], said);
                });
            }
        });
    }

    /// Referrers, attestations and tagged companions of the image and of what it lists.
    fn about(&self, h: &mut Html, view: &View) {
        let catalogue = self.registry.catalogue();
        let mut seen = HashSet::new();
        let mut all: Vec<(Digest, String, String, u64)> = Vec::new();
        let subjects = std::iter::once((&view.desc, "this image".to_owned())).chain(
            view.images()
                .into_iter()
                .map(|e| (e, e.platform().map_or_else(|| e.digest.short(), |p| p.to_string()))),
        );
        for (desc, subject) in subjects {
            for listed in self.found.referrers(&desc.digest) {
                if seen.insert(listed.digest) {
                    let kind = listed.artifact_type().unwrap_or("no type").to_owned();
                    all.push((listed.digest, kind, subject.clone(), listed.size));
                }
            }
            for (tag, digest) in
                listing::tagged_companions(catalogue, &self.entry.name, &desc.digest)
            {
                if seen.insert(digest) {
                    let size = Weight::of(catalogue, &self.entry.name, &digest).bytes();
                    let kind = tag.rsplit('.').next().unwrap_or_default();
                    all.push((digest, format!("{kind} (by tag)"), subject.clone(), size));
                }
            }
        }
        for listed in view.attestations().into_iter().filter(|e| seen.insert(e.digest)) {
            let kind = listed.annotation(crate::descriptor::ANNOTATION_REFERENCE_TYPE);
            let kind = kind.unwrap_or("attestation").to_owned();
            let subject = listed.annotation("vnd.docker.reference.digest").and_then(|digest| {
                let image = view.images().into_iter().find(|e| e.digest.to_string() == digest)?;
                Some(image.platform()?.to_string())
            });
            all.push((listed.digest, kind, subject.unwrap_or_default(), listed.size));
        }
        if all.is_empty() {
            return;
        }
        let columns = [("", "Type"), ("", "About"), ("", "Digest"), ("n", "Size")];
        table(h, "Referrers", &columns, |h| {
            for (digest, kind, subject, size) in all.iter().take(MAX_ROWS) {
                h.element("tr", &[], |h| {
                    h.leaf("td", &[], kind);
                    h.leaf("td", &[], subject);
                    h.element("td", &[], |h| self.reference(h, digest));
                    h.leaf("td", &[("class", "n")], units::size(*size));
                });
            }
        });
        left(h, all.len());
    }
}

/// When it was made, and how it runs.
fn facts(h: &mut Html, view: &View, config: &Config) {
    let runtime = |key: &str| -> Option<String> {
        match config.runtime()?.get(key)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
            value @ serde_json::Value::Array(items) if !items.is_empty() => Some(value.to_string()),
            serde_json::Value::Object(map) if !map.is_empty() => {
                Some(map.keys().map(String::as_str).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        }
    };
    let created = Some(day(config.created())).filter(|day| !day.is_empty());
    let all = [
        ("Image ID", view.image_id().map(|id| id.short())),
        ("Platform", view.platform().map(|p| p.to_string())),
        ("Created", created),
        ("User", runtime("User")),
        ("Entrypoint", runtime("Entrypoint")),
        ("Command", runtime("Cmd")),
        ("Directory", runtime("WorkingDir")),
        ("Ports", runtime("ExposedPorts")),
        ("Volumes", runtime("Volumes")),
    ];
    h.element("dl", &[("class", "facts")], |h| {
        for (key, value) in all {
            let Some(value) = value else { continue };
            h.element("div", &[], |h| {
                h.leaf("dt", &[], key);
                h.leaf("dd", &[], value);
            });
        }
    });
}

/// The steps, oldest first as the layers are; what the config says of them is not checked.
fn history(h: &mut Html, view: &View, config: &Config) {
    let steps = config.history();
    if steps.is_empty() {
        return;
    }
    let mut sizes = view.layers().iter().map(|layer| layer.size);
    let columns = [("n", "#"), ("", "Created"), ("", "Step"), ("n", "Size")];
    table(h, "History", &columns, |h| {
        for (at, step) in steps.iter().take(MAX_ROWS).enumerate() {
            let size = if step.empty_layer { None } else { sizes.next() };
            h.element("tr", &[], |h| {
                h.leaf("td", &[("class", "n")], (at + 1).to_string());
                let day = day(&step.created);
                let class = if day.len() == DAY { "day" } else { "" };
                h.leaf("td", &[("class", class)], day);
                h.element("td", &[], |h| {
                    h.element("code", &[("class", "step")], |h| h.lines(step.created_by.trim()));
                    if !step.comment.is_empty() {
                        h.text(" ");
                        h.element("span", &[("class", "quiet")], |h| h.lines(&step.comment));
                    }
                });
                let size = size.map_or_else(|| "–".to_owned(), units::size);
                h.leaf("td", &[("class", "n")], size);
            });
        }
    });
    left(h, steps.len());
}

/// The day of an RFC 3339 time; other texts as they are, Go's "no time" as nothing.
fn day(created: &str) -> String {
    match OffsetDateTime::parse(created, &Rfc3339) {
        Ok(time) if time.year() <= 1 => String::new(),
        Ok(time) => time.date().to_string(),
        Err(_) => created.to_owned(),
    }
}

/// What a layer is, without the words that all layers share.
fn kind(layer: &Descriptor) -> String {
    let text = layer.media_type.as_str();
    match text.split_once("layer.v1.").or_else(|| text.split_once("rootfs.diff.")) {
        Some((_, kind)) => kind.replace(['+', '.'], " "),
        None => text.to_owned(),
    }
}

fn pairs(h: &mut Html, title: &'static str, pairs: &Pairs) {
    if pairs.is_empty() {
        return;
    }
    table(h, title, &[("", "Key"), ("", "Value")], |h| {
        for (key, value) in pairs.iter().take(MAX_ROWS) {
            h.element("tr", &[], |h| {
                h.element("th", &[("scope", "row"), ("class", "key")], |h| {
                    h.leaf("code", &[], key);
                });
                h.element("td", &[("class", "value")], |h| h.lines(value));
            });
        }
    });
    left(h, pairs.len());
}

/// A table under a heading.
fn table(
    h: &mut Html,
    title: &'static str,
    columns: &[(&str, &str)],
    rows: impl FnOnce(&mut Html),
) {
    h.element("div", &[("class", "wide")], |h| {
        h.element("table", &[], |h| {
            h.leaf("caption", &[], title);
            h.element("thead", &[], |h| {
                h.element("tr", &[], |h| {
                    for (class, text) in columns {
                        h.leaf("th", &[("scope", "col"), ("class", class)], text);
                    }
                });
            });
            h.element("tbody", &[], rows);
        });
    });
}

/// Says how many rows are not shown.
fn left(h: &mut Html, all: usize) {
    if let Some(more) = all.checked_sub(MAX_ROWS).filter(|more| *more > 0) {
        h.leaf("p", &[("class", "quiet")], format!("and {more} more"));
    }
}
