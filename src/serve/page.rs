//! The web page: what is served, as HTML that needs no script and loads nothing from other servers.
//!
//! It speaks no registry protocol. `html` writes and is the one place where text meets markup; `listing`
//! counts from memory, `kept` remembers the counts, `view` reads documents; `index`, `image` and `packing` are the pages. Names,
//! labels and histories come from archives of strangers: they are shown, never trusted.

use http::{StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::digest::Digest;
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::serve::request::Request;
use crate::serve::route::{self, ManifestReference};

mod html;
mod image;
mod index;
mod kept;
mod listing;
mod packing;
mod pull;
mod shell;
mod view;

pub use kept::Kept;
use listing::Entry;
use pull::Site;

/// Where nothing comes from but this server, and nobody may frame or be told of it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Longest text that is searched for, in characters.
const MAX_QUERY: usize = 200;

/// What a path may keep as it is; all of a reference but nothing else.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b':').remove(b'@').remove(b'.').remove(b'_').remove(b'-');

/// What all pages want to know of a request.
struct Asked {
    site: Site,
    /// What is searched for, as typed.
    query: String,
    /// The same as words in lower case.
    words: Vec<String>,
    /// The page of a list, the first being 1.
    page: usize,
}

impl Asked {
    fn of(request: &Request) -> Self {
        // Forms write spaces as plus signs.
        let text = request.query.as_deref().map(|query| query.replace('+', "%20"));
        let query = route::query(text.as_deref(), "q").unwrap_or_default();
        let query: String = query.trim().chars().take(MAX_QUERY).collect();
        let words = query.split_whitespace().map(str::to_lowercase).collect();
        let page = request.query("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { site: Site::of(request), query, words, page }
    }
}

/// The page at a path.
pub fn answer(registry: &Registry, request: &Request, path: &str) -> Answer {
    let asset = |media_type: &str, bytes: &'static str| {
        Answer::bytes(media_type, bytes.as_bytes()).with(header::CACHE_CONTROL, "max-age=3600")
    };
    let answer = match path {
        "/style.css" => asset("text/css; charset=utf-8", include_str!("page/style.css")),
        "/page.js" => asset("text/javascript; charset=utf-8", include_str!("page/page.js")),
        "/icon.svg" | "/favicon.ico" => asset("image/svg+xml", include_str!("page/icon.svg")),
        _ => {
            let asked = Asked::of(request);
            let page = match path {
                "/" => index::answer(registry, &asked),
                "/packing-list" => packing::answer(registry, &asked),
                _ => match entry(registry, path) {
                    Some(entry) => image::answer(registry, &asked, &entry),
                    None => not_found(&asked),
                },
            };
            // What is served may change at any time, and the page names the host it was asked by.
            page.with(header::CACHE_CONTROL, "no-cache")
                .with(header::VARY, "Host, X-Forwarded-Proto")
        }
    };
    answer
        .with(header::CONTENT_SECURITY_POLICY, POLICY)
        .with(header::REFERRER_POLICY, "no-referrer")
}

/// The image that `/r/<repository>:<tag>` or `/r/<repository>@<digest>` means.
fn entry(registry: &Registry, path: &str) -> Option<Entry> {
    let reference = path.strip_prefix("/r/")?;
    let (repository, wanted) = match reference.rsplit_once('@') {
        Some((repository, digest)) => {
            (repository, ManifestReference::Digest(digest.parse::<Digest>().ok()?))
        }
        None => {
            let (repository, tag) = reference.rsplit_once(':')?;
            (repository, ManifestReference::Tag(tag.to_owned()))
        }
    };
    let found = registry.catalogue().find(repository, None)?;
    let digest = found.manifest(&wanted)?.descriptor().digest;
    let tag = match wanted {
        ManifestReference::Tag(tag) => Some(tag),
        ManifestReference::Digest(_) => None,
    };
    Some(Entry { name: found.name.clone(), tag, digest })
}

fn not_found(asked: &Asked) -> Answer {
    let why = "There is no such page and no such image here.";
    shell::failure(asked, StatusCode::NOT_FOUND, "Not found", why)
}

/// Where the page of an image is.
fn link(reference: &str) -> String {
    format!("/r/{}", utf8_percent_encode(reference, PATH))
}

#[cfg(test)]
mod tests;
