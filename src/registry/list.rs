//! Lists in pages: the tags of a repository, the repositories of a registry.
//!
//! It trusts no list: every page must be on the same host and make progress; entries that are not names
//! are dropped. OCI distribution-spec 1.1 "Listing Tags"; `_catalog` is the distribution project's.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::reference::{Reference, is_tag};
use crate::registry::auth::scope;
use crate::registry::fetch::{self, BufferedResponse};
use crate::registry::host::{Host, Redirects};
use crate::registry::hosted::HostedRepository;
use crate::registry::http::Scope;
use crate::registry::http::url::Url;

/// Largest page, in bytes: distribution 2.8 sends all tags at once.
const MAX_PAGE: u64 = 64 << 20;
/// Most pages of one list.
const MAX_PAGES: usize = 10_000;
/// Most entries of one list.
const MAX_ENTRIES: usize = 2_000_000;
/// Entries of a page that are asked for: more than this, and some registries refuse.
const PAGE: u32 = 1_000;

/// Walks the pages of a list. `page` takes one and says whether to go on.
pub(crate) fn pages(
    host: &Host,
    first: &str,
    scopes: &[Scope],
    redirects: Redirects,
    limit: u64,
    mut page: impl FnMut(&BufferedResponse) -> Result<bool>,
) -> Result<()> {
    let accept = [("accept", "application/json, */*;q=0.1".to_owned())];
    let mut seen = HashSet::new();
    let mut url = first.to_owned();
    for _ in 0..MAX_PAGES {
        let answer = fetch::get(host, &url, &accept, scopes, redirects, limit)?;
        if !page(&answer)? {
            return Ok(());
        }
        match next(&answer) {
            // The same page twice is a circle.
            Some(next) if seen.insert(next.clone()) => url = next,
            _ => return Ok(()),
        }
    }
    Err(Error::malformed(format!("a list of more than {MAX_PAGES} pages")).input(host.name()))
}

/// Path and query of the page that follows. A link to another host counts for its path only: a registry
/// behind a proxy may not know its own name, and whoever else is named is not asked.
fn next(answer: &BufferedResponse) -> Option<String> {
    let links = answer.headers.iter().filter(|(name, _)| name == "link");
    let target = links.flat_map(|(_, value)| parse_link(value)).next()?;
    Some(Url::parse(&answer.url)?.resolve(&target)?.rest)
}

/// The targets of a `Link` header whose relation is `next`. RFC 8288.
fn parse_link(header: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, r)| r.split_once('>')) {
        // Up to the next link; commas within quotes do not matter here.
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after[..end].split(';').any(|param| {
            let param = param.trim().trim_end_matches(',').trim_end();
            let value = param.split_once('=').filter(|(n, _)| n.trim().eq_ignore_ascii_case("rel"));
            value.is_some_and(|(_, v)| v.trim().trim_matches('"').eq_ignore_ascii_case("next"))
        });
        if is_next {
            found.push(target.to_owned());
        }
        rest = &after[end..];
    }
    found
}

/// Adds the strings under `key` that are names; anything else is dropped.
fn collect(
    answer: &BufferedResponse,
    key: &str,
    keep: impl Fn(&str) -> bool,
    all: &mut BTreeSet<String>,
) -> Result<()> {
    answer.expect_no_page("a list")?;
    let value: Value = serde_json::from_slice(&answer.bytes)
        .map_err(|e| Error::malformed(format!("not a registry: a list that is no JSON: {e}")))?;
    // Nexus says null of a repository without tags.
    let entries = value.get(key).and_then(Value::as_array).into_iter().flatten();
    all.extend(entries.filter_map(Value::as_str).filter(|e| keep(e)).map(str::to_owned));
    if all.len() > MAX_ENTRIES {
        return Err(Error::malformed(format!("a list of more than {MAX_ENTRIES} entries")));
    }
    Ok(())
}

/// The tags of a repository, sorted; `None` when there is no such repository.
pub(crate) fn tags(place: &HostedRepository) -> Result<Option<Vec<String>>> {
    let mut all = BTreeSet::new();
    let mut missing = false;
    let url = format!("/v2/{}/tags/list?n={PAGE}", place.path);
    let named = |e: Error| e.input(place.name());
    pages(&place.host, &url, &place.looking(), Redirects::Any, MAX_PAGE, |answer| {
        if answer.status == 200 {
            collect(answer, "tags", is_tag, &mut all).map_err(named)?;
            return Ok(true);
        }
        let fault = answer.fault();
        if answer.status == 404 || (answer.status < 500 && fault.is_missing()) {
            missing = all.is_empty();
            return Ok(false);
        }
        Err(place.host.explain("GET tags", answer.status, &fault).input(place.name()))
    })?;
    Ok((!missing).then(|| all.into_iter().collect()))
}

/// The repositories of a registry, sorted.
pub(crate) fn catalog(host: &Host, domain: &str) -> Result<Vec<String>> {
    let mut all = BTreeSet::new();
    let scopes = [scope::catalog()];
    let url = format!("/v2/_catalog?n={PAGE}");
    let is_path = |path: &str| {
        let name = format!("{domain}/{path}").parse::<Reference>();
        name.is_ok_and(|n| n.path() == path && n.tag().is_none() && n.digest().is_none())
    };
    let refused = |e: Error| match e.kind() {
        Kind::Denied => Error::unsupported(format!("lists no repositories to us: {}", e.what())),
        _ => e,
    };
    let result = pages(host, &url, &scopes, Redirects::Any, MAX_PAGE, |answer| {
        if answer.status == 200 {
            collect(answer, "repositories", is_path, &mut all).map_err(|e| e.input(domain))?;
            return Ok(true);
        }
        let error = host.explain("GET catalog", answer.status, &answer.fault());
        Err(match answer.status {
            400..=405 => error.kind_as(Kind::Denied),
            _ => error,
        })
    });
    result.map_err(|e| refused(e).input(domain))?;
    Ok(all.into_iter().collect())
}
