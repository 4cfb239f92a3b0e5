//! What all pages share: head, search, footer, names, paging.
//!
//! It must not know the content of a page.

use http::StatusCode;

use super::asked::Asked;
use super::html::Html;
use super::listing::ImageEntry;
use crate::serve::answer::Answer;
use crate::serve::route;

/// Changes with each version, so that what browsers keep is never an older one's.
const STYLE: &str = concat!("/style.css?", env!("CARGO_PKG_VERSION"));
const SCRIPT: &str = concat!("/page.js?", env!("CARGO_PKG_VERSION"));

/// Most platforms named in a cell.
const MAX_PLATFORMS: usize = 12;

/// A page with this title.
pub(super) fn page(asked: &Asked, title: &str, inside: impl FnOnce(&mut Html)) -> Answer {
    let mut html = Html::new();
    html.element("html", &[("lang", "en")], |h| {
        h.element("head", &[], |h| head(h, title));
        h.element("body", &[], |h| {
            h.leaf("a", &[("class", "skip"), ("href", "#main")], "Skip to content");
            h.element("header", &[], |h| banner(h, asked));
            h.element("main", &[("id", "main"), ("tabindex", "-1")], inside);
            h.leaf("output", &[("id", "said"), ("role", "status")], "");
        });
    });
    Answer::bytes("text/html; charset=utf-8", html.finish())
}

/// A page that says why there is no other.
pub(super) fn failure(asked: &Asked, status: StatusCode, title: &str, why: &str) -> Answer {
    let mut answer = page(asked, title, |h| {
        h.leaf("h1", &[], title);
        h.leaf("p", &[], why);
        h.element("p", &[], |h| h.leaf("a", &[("href", "/")], "Show all images"));
    });
    answer.status = status;
    answer
}

/// The page where there is nothing.
pub(super) fn not_found(asked: &Asked) -> Answer {
    let why = "There is no such page and no such image here.";
    failure(asked, StatusCode::NOT_FOUND, "Not found", why)
}

fn head(h: &mut Html, title: &str) {
    h.empty("meta", &[("charset", "utf-8")]);
    h.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    h.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    h.leaf("title", &[], format!("{title} · imgpack"));
    h.empty("link", &[("rel", "stylesheet"), ("href", STYLE)]);
    h.empty("link", &[("rel", "icon"), ("href", "/icon.svg"), ("type", "image/svg+xml")]);
    h.leaf("script", &[("src", SCRIPT), ("defer", "")], "");
}

fn banner(h: &mut Html, asked: &Asked) {
    h.element("a", &[("class", "home"), ("href", "/")], |h| {
        h.leaf("b", &[], "imgpack");
        h.text(" ");
        h.leaf("span", &[], &asked.site.host);
    });
    h.element("form", &[("role", "search"), ("action", "/"), ("method", "get")], |h| {
        h.leaf("label", &[("for", "q"), ("class", "away")], "Search images");
        h.empty(
            "input",
            &[
                ("type", "search"),
                ("id", "q"),
                ("name", "q"),
                ("value", &asked.query),
                ("placeholder", "Name, tag or digest"),
                ("autocomplete", "off"),
                ("spellcheck", "false"),
            ],
        );
        h.leaf("button", &[], "Search");
    });
    h.element("nav", &[("aria-label", "Pages")], |h| {
        let list = with_query("/packing-list", &asked.query, 1);
        h.leaf("a", &[("href", &list)], "Packing list");
    });
}

/// The name of an image, its registry quieter.
pub(super) fn name(h: &mut Html, entry: &ImageEntry) {
    h.leaf("span", &[("class", "quiet")], format!("{}/", entry.name.domain()));
    h.text(entry.name.path());
    match &entry.tag {
        Some(tag) => h.leaf("b", &[], format!(":{tag}")),
        None => {
            let digest = format!("@{}:{}…", entry.digest.algorithm().name(), entry.digest.short());
            h.leaf("span", &[("class", "quiet")], digest);
        }
    }
}

/// Platforms, as many as fit.
pub(super) fn platforms(h: &mut Html, platforms: &[String]) {
    if platforms.is_empty() {
        h.text("–");
    }
    for platform in platforms.iter().take(MAX_PLATFORMS) {
        h.leaf("span", &[("class", "platform")], platform);
        h.text(" ");
    }
    if let Some(more) = platforms.len().checked_sub(MAX_PLATFORMS).filter(|more| *more > 0) {
        h.leaf("span", &[("class", "quiet")], format!("and {more} more"));
    }
}

/// A part of a list.
pub(super) struct Slice {
    page: usize,
    pages: usize,
    first: usize,
    last: usize,
    all: usize,
}

impl Slice {
    /// Page `page`, the first being 1, of so many each; the last one when there are fewer.
    pub(super) fn cut<T>(all: &[T], page: usize, each: usize) -> (Self, &[T]) {
        let pages = all.len().div_ceil(each).max(1);
        let page = page.clamp(1, pages);
        let first = (page - 1) * each;
        let last = (first + each).min(all.len());
        let slice = Self { page, pages, first, last, all: all.len() };
        (slice, all.get(first..last).unwrap_or_default())
    }

    /// Whether it is all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.pages == 1
    }

    /// How many come before it.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// `Images 1 to 200 of 10000`.
    pub(super) fn words(&self) -> String {
        format!("Images {} to {} of {}", self.first + 1, self.last, self.all)
    }

    /// Links to the pages beside it, when there are any.
    pub(super) fn links(&self, h: &mut Html, path: &str, query: &str) {
        if self.is_whole() {
            return;
        }
        h.element("nav", &[("class", "pages"), ("aria-label", "Pages of the list")], |h| {
            if self.page > 1 {
                let before = with_query(path, query, self.page - 1);
                h.leaf("a", &[("rel", "prev"), ("href", &before)], "Previous");
            }
            h.leaf("span", &[("class", "quiet")], self.words());
            if self.page < self.pages {
                let after = with_query(path, query, self.page + 1);
                h.leaf("a", &[("rel", "next"), ("href", &after)], "Next");
            }
        });
    }
}

/// A path of ours with what is searched for and the page of it.
fn with_query(path: &str, query: &str, page: usize) -> String {
    let query = (!query.is_empty()).then(|| ("q", query.to_owned()));
    let page = (page > 1).then(|| ("page", page.to_string()));
    let all = route::encoded_query(query.into_iter().chain(page));
    if all.is_empty() { path.to_owned() } else { format!("{path}?{all}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_beyond_the_last_is_the_last() {
        let all: Vec<usize> = (0..450).collect();
        for (page, first, count) in
            [(0, 0, 200), (1, 0, 200), (2, 200, 200), (3, 400, 50), (99, 400, 50)]
        {
            let (slice, cut) = Slice::cut(&all, page, 200);
            assert_eq!((slice.first(), cut.len()), (first, count), "{page}");
        }
        let (slice, none) = Slice::cut(&all[..0], 7, 200);
        assert!(slice.is_whole() && none.is_empty());
    }

    #[test]
    fn links_keep_what_is_searched_for() {
        assert_eq!(with_query("/", "a b&c", 2), "/?q=a%20b%26c&page=2");
        assert_eq!(with_query("/", "", 1), "/");
    }
}
