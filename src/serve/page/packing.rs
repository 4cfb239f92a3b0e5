//! The packing list: all images, to be printed and ticked off at the far side.
//!
//! It must not know today's date: the browser prints it at the foot.

use super::asked::{Asked, link};
use super::html::Html;
use super::kept::ListTotals;
use super::shell::{self, Slice, name};
use super::view::{self, View};
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::units::{self, count};

/// Images of one page; some twenty sheets.
const PAGE: usize = 1_000;

/// The packing list of all images, or of those that are searched for.
pub(super) fn answer(registry: &Registry, asked: &Asked) -> Answer {
    let catalogue = registry.catalogue();
    let naming = catalogue.naming();
    let counted = registry.kept().counted(catalogue);
    let all = counted.found(&asked.words);
    let (slice, images) = Slice::cut(&all, asked.page, PAGE);
    let together = counted.totals(&all);
    shell::page(asked, "Packing list", |h| {
        h.element("div", &[("class", "head")], |h| {
            h.leaf("h1", &[], "Packing list");
            h.element("p", &[("class", "quiet")], |h| {
                h.text(format!("{} · ", asked.site.host));
                if !asked.query.is_empty() {
                    h.text(format!("images with {} · ", asked.query));
                }
                totals(h, all.len(), &together);
                if !slice.is_whole() {
                    h.text(format!(" · {}", slice.words()));
                }
            });
            h.leaf("button", &[("type", "button"), ("class", "print js")], "Print");
        });
        slice.links(h, "/packing-list", &asked.query);
        h.element("table", &[("class", "packing")], |h| {
            h.element("thead", &[], |h| {
                h.element("tr", &[], |h| {
                    for (class, text) in
                        [("n", "#"), ("", "Image and digest"), ("", "Platforms"), ("n", "Size")]
                    {
                        h.leaf("th", &[("scope", "col"), ("class", class)], text);
                    }
                    h.element("th", &[("scope", "col"), ("class", "tick")], |h| {
                        h.leaf("span", &[("class", "away")], "Found");
                    });
                });
            });
            h.element("tbody", &[], |h| {
                for (at, image) in images.iter().enumerate() {
                    let entry = &image.entry;
                    let found = view::repository(catalogue, &entry.name);
                    let view = found.as_ref().map(|found| View::read(found, &entry.digest));
                    h.element("tr", &[], |h| {
                        let number = slice.first() + at + 1;
                        h.leaf("td", &[("class", "n")], number.to_string());
                        h.element("th", &[("scope", "row")], |h| {
                            let at = link(&entry.reference(naming));
                            h.element("a", &[("href", &at)], |h| name(h, entry));
                            h.leaf("code", &[("class", "digest")], entry.digest.to_string());
                        });
                        h.element("td", &[], |h| match &view {
                            Some(Ok(Some(view))) => shell::platforms(h, &view.platforms()),
                            _ => h.leaf("span", &[("class", "bad")], "cannot be read"),
                        });
                        h.leaf("td", &[("class", "n")], units::size(image.bytes));
                        h.element("td", &[("class", "tick")], |h| {
                            h.leaf("span", &[("aria-hidden", "true")], "");
                        });
                    });
                }
            });
        });
        h.element("p", &[("class", "total")], |h| totals(h, all.len(), &together));
        slice.links(h, "/packing-list", &asked.query);
    })
}

/// The total size, and the size if nothing were shared.
fn totals(h: &mut Html, images: usize, totals: &ListTotals) {
    let ListTotals { bytes, alone, .. } = *totals;
    h.text(format!("{}, ", count(images, "image", "images")));
    h.leaf("b", &[], units::size(bytes));
    if alone > bytes {
        h.text(format!(" with shared blobs counted once, {} without", units::size(alone)));
    }
}
