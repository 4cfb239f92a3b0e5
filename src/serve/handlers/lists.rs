//! Lists: repositories, tags, referrers; in pages, sorted.

use http::{HeaderName, header};
use serde_json::{Value, json};

use super::reply::no_repository;
use crate::digest::Digest;
use crate::media_type::OCI_INDEX;
use crate::serve::Registry;
use crate::serve::answer::Answer;
use crate::serve::request::Request;
use crate::serve::route;

/// Most entries of one page, and how many there are when nobody says.
const MAX_PAGE: usize = 10_000;
/// Bytes of one page of referrers: documents may have 4 MiB.
const MAX_REFERRERS: usize = 3 << 20;
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `_catalog`.
pub(super) fn catalog(registry: &Registry, request: &Request) -> Answer {
    let catalogue = registry.catalogue();
    let mut names: Vec<String> =
        catalogue.repositories().iter().map(|name| catalogue.naming().shown(name)).collect();
    names.sort();
    let (most, last) = asked(request);
    let from = names.partition_point(|name| !last.is_empty() && *name <= last);
    let (page, next) = cut(names.into_iter().skip(from).take(most + 1).collect(), most);
    let answer = Answer::json(&json!({"repositories": page}));
    linked(answer, "/v2/_catalog", request, &behind(next))
}

/// `tags/list`.
pub(super) fn tags(registry: &Registry, request: &Request, name: &str) -> Answer {
    let Some(found) = registry.catalogue().find(name, request.ns().as_deref()) else {
        return no_repository(name);
    };
    let (most, last) = asked(request);
    let (page, next) = cut(found.tags_after(&last, most + 1), most);
    let path = format!("/v2/{name}/tags/list");
    linked(Answer::json(&json!({"name": name, "tags": page})), &path, request, &behind(next))
}

/// How many entries are asked for, and behind which one; the first ones when it is empty.
fn asked(request: &Request) -> (usize, String) {
    let most = request.query("n").and_then(|n| n.parse::<u64>().ok());
    let most = most.map_or(MAX_PAGE, |n| usize::try_from(n).unwrap_or(MAX_PAGE).min(MAX_PAGE));
    (most, request.query("last").unwrap_or_default())
}

/// A page of entries that may be one too many, and its last entry when more follows.
fn cut(mut page: Vec<String>, most: usize) -> (Vec<String>, Option<(usize, String)>) {
    let more = page.len() > most;
    page.truncate(most);
    let next = page.last().cloned().filter(|_| more);
    (page, next.map(|last| (most, last)))
}

/// The query for so many entries behind the last one.
fn behind(next: Option<(usize, String)>) -> Vec<(&'static str, String)> {
    next.map_or(Vec::new(), |(n, last)| vec![("n", n.to_string()), ("last", last)])
}

/// The answer with a link to the next page, in the registry that the client named; without a query it is
/// the last one.
fn linked(answer: Answer, path: &str, request: &Request, query: &[(&str, String)]) -> Answer {
    if query.is_empty() {
        return answer;
    }
    let ns = request.ns().map(|ns| ("ns", ns));
    let query = route::encoded_query(query.iter().cloned().chain(ns));
    answer.with(header::LINK, &format!("<{path}?{query}>; rel=\"next\""))
}

/// `referrers/<digest>`: an empty index for what nothing refers to, known or not.
pub(super) fn referrers(
    registry: &Registry,
    request: &Request,
    name: &str,
    digest: &Digest,
) -> Answer {
    let found = registry.catalogue().find(name, request.ns().as_deref());
    let mut all = found.map(|found| found.referrers(digest)).unwrap_or_default();
    let wanted = request.query("artifactType").filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = &wanted {
        all.retain(|desc| desc.artifact_type() == Some(wanted));
    }
    // Pages are cut by size; `last` is the digest that the page before ended with.
    if let Some(last) = request.query("last").and_then(|last| last.parse::<Digest>().ok()) {
        all.retain(|desc| desc.digest > last);
    }
    let (mut listed, mut bytes, mut next) = (Vec::new(), 0, None);
    for desc in &all {
        let value = desc.to_value();
        bytes += value.to_string().len();
        if bytes > MAX_REFERRERS && !listed.is_empty() {
            next = listed.last().map(|(digest, _): &(Digest, Value)| digest.to_string());
            break;
        }
        listed.push((desc.digest, value));
    }
    let mut index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX});
    // Moved in: what is put into `json!` is copied, and there may be thousands.
    index["manifests"] = listed.into_iter().map(|(_, value)| value).collect();
    let mut answer = Answer::bytes(OCI_INDEX, crate::json::go_compact(&index));
    if wanted.is_some() {
        answer = answer.with(FILTERS, "artifactType");
    }
    let filter = wanted.filter(|_| next.is_some()).map(|wanted| ("artifactType", wanted));
    let query: Vec<_> = next.map(|last| ("last", last)).into_iter().chain(filter).collect();
    linked(answer, &format!("/v2/{name}/referrers/{digest}"), request, &query)
}
