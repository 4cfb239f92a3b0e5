//! The list of images, in pages; searched on the server, so that it works without scripts.
//!
//! It must not know the page of an image (`image`) or the packing list (`packing`).

use super::asked::{Asked, link};
use super::html::Html;
use super::kept::{Counted, ListedImage};
use super::listing;
use super::pull::{self, TOOLS};
use super::shell::{self, Slice, name};
use super::view::{self, View};
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::units::{self, count};

/// Images of one page.
const PAGE: usize = 200;

/// One line of the list.
struct Row<'k> {
    image: &'k ListedImage,
    platforms: Vec<String>,
    layers: Option<usize>,
    artifact: Option<String>,
    referrers: usize,
    unreadable: bool,
}

/// The list of images.
pub(super) fn answer(registry: &Registry, asked: &Asked) -> Answer {
    let counted = registry.kept().counted(registry.catalogue());
    let all = counted.found(&asked.words);
    let (slice, images) = Slice::cut(&all, asked.page, PAGE);
    let rows: Vec<Row<'_>> = images.iter().map(|image| row(registry, image)).collect();
    let title = match asked.query.is_empty() {
        true => "Images".to_owned(),
        false => format!("Images with {}", asked.query),
    };
    shell::page(asked, &title, |h| {
        h.element("div", &[("class", "head")], |h| {
            h.leaf("h1", &[], &title);
            summary(h, asked, &counted, &all);
        });
        if rows.is_empty() {
            return;
        }
        tools(h, asked);
        let whole = if slice.is_whole() { "whole" } else { "part" };
        h.element("div", &[("class", "wide")], |h| {
            h.element("table", &[("class", "images"), ("data-list", whole)], |h| {
                h.element("thead", &[], |h| {
                    h.element("tr", &[], |h| {
                        for (class, text) in [
                            ("", "Image"),
                            ("", "Platforms"),
                            ("n", "Layers"),
                            ("n", "Size"),
                            ("n", "Shared"),
                            ("n", "Referrers"),
                        ] {
                            h.leaf("th", &[("scope", "col"), ("class", class)], text);
                        }
                        h.element("th", &[("scope", "col"), ("class", "js")], |h| {
                            h.leaf("span", &[("class", "away")], "Copy");
                        });
                    });
                });
                h.element("tbody", &[], |h| {
                    for row in &rows {
                        line(h, registry, asked, row);
                    }
                });
            });
        });
        slice.links(h, "/", &asked.query);
    })
}

fn summary(h: &mut Html, asked: &Asked, counted: &Counted, all: &[&ListedImage]) {
    let totals = counted.totals(all);
    h.element("p", &[("class", "quiet")], |h| match (all.is_empty(), asked.query.is_empty()) {
        (true, true) => h.text("Nothing is served yet."),
        (true, false) => {
            h.text("No name or digest contains all of these words. ");
            h.leaf("a", &[("href", "/")], "Show all images");
        }
        (false, _) => {
            let images = count(all.len(), "image", "images");
            let repositories = count(totals.repositories, "repository", "repositories");
            h.text(format!("{images} in {repositories}, {}", units::size(totals.bytes)));
            if !asked.query.is_empty() {
                h.text(" · ");
                h.leaf("a", &[("href", "/")], "Show all images");
            }
        }
    });
}

/// Which tool's line the buttons copy.
fn tools(h: &mut Html, asked: &Asked) {
    h.element("fieldset", &[("class", "tools js")], |h| {
        h.leaf("legend", &[], "Copy the command for");
        for (at, tool) in TOOLS.iter().enumerate() {
            let template = asked.site.template(tool);
            let mut attributes = vec![
                ("type", "radio"),
                ("name", "tool"),
                ("value", tool.name),
                ("data-line", template),
            ];
            if at == 0 {
                attributes.push(("checked", ""));
            }
            h.element("label", &[], |h| {
                h.empty("input", &attributes);
                h.text(tool.name);
            });
        }
    });
}

fn row<'k>(registry: &Registry, image: &'k ListedImage) -> Row<'k> {
    let (catalogue, entry) = (registry.catalogue(), &image.entry);
    let found = view::repository(catalogue, &entry.name);
    let read = found.as_ref().map(|found| View::read(found, &entry.digest));
    let (view, unreadable) = match read {
        Some(Ok(view)) => (view, false),
        Some(Err(_)) => (None, true),
        None => (None, false),
    };
    let artifact = view.as_ref().and_then(|view| Some(view.artifact_type()?.to_owned()));
    let layers = view.as_ref().map(|view| view.layers().len()).filter(|layers| *layers > 0);
    let about = found.map_or(0, |found| found.referrers_count(&entry.digest));
    let tagged = listing::tagged_companions(catalogue, &entry.name, &entry.digest).len();
    Row {
        platforms: view.map(|view| view.platforms()).unwrap_or_default(),
        referrers: about + tagged,
        image,
        layers,
        artifact,
        unreadable,
    }
}

fn line(h: &mut Html, registry: &Registry, asked: &Asked, row: &Row<'_>) {
    let reference = row.image.entry.reference(registry.catalogue().naming());
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let number = |h: &mut Html, text: Option<String>| {
        h.leaf("td", &[("class", "n")], or_dash(text));
    };
    h.element("tr", &[], |h| {
        h.element("th", &[("scope", "row")], |h| {
            h.element("a", &[("href", &link(&reference))], |h| name(h, &row.image.entry));
        });
        h.element("td", &[], |h| match &row.artifact {
            _ if row.unreadable => h.leaf("span", &[("class", "bad")], "cannot be read"),
            Some(artifact) if row.platforms.is_empty() => {
                h.leaf("span", &[("class", "quiet")], artifact);
            }
            _ => shell::platforms(h, &row.platforms),
        });
        number(h, row.layers.map(|layers| layers.to_string()));
        number(h, Some(units::size(row.image.bytes)));
        number(h, Some(row.image.shared).filter(|shared| *shared > 0).map(units::size));
        number(h, Some(row.referrers).filter(|n| *n > 0).map(|n| n.to_string()));
        h.element("td", &[("class", "js")], |h| {
            let (image, pod) = (asked.site.image(&reference), pull::pod(&reference));
            let said = format!("Copy the command for {reference}");
            let attributes = [
                ("type", "button"),
                ("class", "copy"),
                ("data-image", image.as_str()),
                ("data-name", pod.as_str()),
                ("aria-label", said.as_str()),
            ];
            h.leaf("button", &attributes, "Copy");
        });
    });
}
