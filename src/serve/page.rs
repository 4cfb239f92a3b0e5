//! The web page: what is served, as HTML that needs no script and loads nothing from other servers.
//!
//! It speaks no registry protocol. `html` writes and is the one place where text meets markup; `listing`
//! counts from memory, `kept` remembers the counts, `view` reads documents; `index`, `image` and `packing` are the pages. Names,
//! labels and histories come from archives of strangers: they are shown, never trusted.

use http::header;

use crate::digest::Digest;
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::serve::request::Request;
use crate::serve::route::ManifestReference;

mod asked;
mod html;
mod image;
mod index;
mod kept;
mod listing;
mod packing;
mod pull;
mod shell;
mod view;

use asked::Asked;
pub use kept::ImageListCache;
use listing::ImageEntry;

/// Loads nothing from other servers; may not be framed; sends no referrer.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

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
                    None => shell::not_found(&asked),
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
fn entry(registry: &Registry, path: &str) -> Option<ImageEntry> {
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
    Some(ImageEntry { name: found.name.clone(), tag, digest })
}

#[cfg(test)]
mod tests;
