//! What a request asks of the pages: site, search, number of the page; and where the page of an image is.
//!
//! It must not know how a page looks.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::pull::Site;
use crate::serve::request::Request;
use crate::serve::route;

/// Longest text that is searched for, in characters.
const MAX_QUERY: usize = 200;

/// What a path may keep as it is; all of a reference but nothing else.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b':').remove(b'@').remove(b'.').remove(b'_').remove(b'-');

/// What all pages want to know of a request.
pub(super) struct Asked {
    pub(super) site: Site,
    /// What is searched for, as typed.
    pub(super) query: String,
    /// The same as words in lower case.
    pub(super) words: Vec<String>,
    /// The page of a list, the first being 1.
    pub(super) page: usize,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        // Forms write spaces as plus signs.
        let text = request.query.as_deref().map(|query| query.replace('+', "%20"));
        let query = route::query(text.as_deref(), "q").unwrap_or_default();
        let query: String = query.trim().chars().take(MAX_QUERY).collect();
        let words = query.split_whitespace().map(str::to_lowercase).collect();
        let page = request.query("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { site: Site::of(request), query, words, page }
    }
}

/// Where the page of an image is.
pub(super) fn link(reference: &str) -> String {
    format!("/r/{}", utf8_percent_encode(reference, PATH))
}
