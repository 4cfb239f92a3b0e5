//! Blobs, manifests and lists of the test registry.
//!
//! It knows nothing of uploads. distribution-spec 1.1, "Pulling", "Pushing manifests", "Content
//! discovery".

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::profiles::{Referrers, Tags};
use super::super::server::{Reply, Request};
use super::{Repository, State};
use crate::common::{list, sha256, string};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn no_manifest() -> Reply {
    Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown")
}

/// Bytes, or the part that `Range` asks for.
pub fn ranged(request: &Request<'_>, bytes: Arc<Vec<u8>>) -> Reply {
    let size = bytes.len();
    let reply = Reply { status: 200, body: bytes, ..Reply::default() };
    let reply =
        reply.with("Content-Type", "application/octet-stream").with("Accept-Ranges", "bytes");
    let asked = request.head.get("range").and_then(|v| v.strip_prefix("bytes="));
    let Some((first, last)) = asked.and_then(|v| v.split_once('-')) else { return reply };
    let (Ok(first), last) = (first.parse::<usize>(), last.parse::<usize>()) else { return reply };
    let end = last.map_or(size, |last| size.min(last + 1));
    if first >= end {
        return Reply::status(416).with("Content-Range", format!("bytes */{size}"));
    }
    let told = format!("bytes {first}-{}/{size}", end - 1);
    let mut reply = reply.with("Content-Range", told);
    reply.status = 206;
    reply.part = Some((first, end));
    reply
}

impl State {
    pub(super) fn blob(&self, request: &Request<'_>, name: &str, digest: &str) -> Reply {
        let found = self.repositories().get(name).and_then(|r| r.blobs.get(digest)).cloned();
        let Some(bytes) = found else {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if self.profile.redirects && request.head.method() == "GET" {
            let to = format!("{}/storage/{digest}?sig=a%2Fb%2Bc%3D", self.elsewhere());
            return Reply::status(307).with("Location", to);
        }
        ranged(request, bytes).with("Docker-Content-Digest", digest)
    }

    pub(super) fn delete_blob(&self, name: &str, digest: &str) -> Reply {
        let mut repositories = self.repositories();
        let gone = repositories.get_mut(name).and_then(|r| r.blobs.remove(digest));
        Reply::status(if gone.is_some() { 202 } else { 404 })
    }

    pub(super) fn manifest(&self, name: &str, tag: &str) -> Reply {
        let repositories = self.repositories();
        let Some(repository) = repositories.get(name) else {
            return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let trap = tag.strip_prefix("sha256-").filter(|_| self.profile.digest_tags);
        let digest = match trap {
            Some(hex) => format!("sha256:{hex}"),
            None => repository.tags.get(tag).cloned().unwrap_or_else(|| tag.to_owned()),
        };
        let Some((kind, bytes)) = repository.manifests.get(&digest) else { return no_manifest() };
        let body = Arc::clone(bytes);
        let reply = Reply { status: 200, body, ..Reply::default() };
        reply.with("Content-Type", kind).with("Docker-Content-Digest", digest)
    }

    pub(super) fn put_manifest(&self, request: &mut Request<'_>, name: &str, tag: &str) -> Reply {
        let kind = request.head.get("content-type").unwrap_or_default().to_owned();
        let bytes = request.read();
        let digest = sha256(&bytes);
        if tag.contains(':') && tag != digest {
            return Reply::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else {
            return Reply::error(400, "MANIFEST_INVALID", "manifest invalid");
        };
        let text = String::from_utf8_lossy(&bytes);
        if let Some((word, status, words)) = self.profile.refuses
            && (kind == word || text.contains(word))
        {
            return Reply::error(status, "MANIFEST_INVALID", words);
        }
        let mut repositories = self.repositories();
        let repository = repositories.entry(name.to_owned()).or_default();
        if let Some(missing) = repository.lacks(&json) {
            self.complain(format!("{name}:{tag} was sent before {missing}"));
            return Reply::error(404, "MANIFEST_BLOB_UNKNOWN", &format!("blob unknown: {missing}"));
        }
        repository.manifests.insert(digest.clone(), (kind, Arc::new(bytes)));
        if !tag.contains(':') {
            repository.tags.insert(tag.to_owned(), digest.clone());
        }
        drop(repositories);
        let at = self.location(request, &format!("/v2/{name}/manifests/{digest}"));
        let reply = Reply::status(201).with("Location", at).with("Docker-Content-Digest", &digest);
        match json["subject"]["digest"].as_str().filter(|_| self.profile.oci_subject) {
            Some(subject) => reply.with("OCI-Subject", subject),
            None => reply,
        }
    }

    pub(super) fn delete_manifest(&self, name: &str, tag: &str) -> Reply {
        let mut repositories = self.repositories();
        let Some(repository) = repositories.get_mut(name) else { return no_manifest() };
        let gone = if tag.contains(':') {
            repository.tags.retain(|_, digest| digest != tag);
            repository.manifests.remove(tag).is_some()
        } else {
            repository.tags.remove(tag).is_some()
        };
        if gone { Reply::status(202) } else { no_manifest() }
    }

    pub(super) fn tags(&self, request: &Request<'_>, name: &str) -> Reply {
        let repositories = self.repositories();
        let Some(repository) = repositories.get(name) else {
            return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let mut all: Vec<String> = repository.tags.keys().cloned().collect();
        if self.profile.tags == Tags::WithDigests {
            all.extend(repository.manifests.keys().cloned());
        }
        all.sort();
        if self.profile.tags == Tags::Null && all.is_empty() {
            let empty = json!({"name": name, "tags": null});
            return Reply::of(200, "application/json", empty.to_string());
        }
        let path = format!("/v2/{name}/tags/list");
        self.page(request, &path, &all, |part| json!({"name": name, "tags": part}))
    }

    pub(super) fn catalog(&self, request: &Request<'_>) -> Reply {
        if !self.profile.catalog {
            return Reply::error(401, "UNAUTHORIZED", "access to the catalog is denied");
        }
        let all: Vec<String> = self.repositories().keys().cloned().collect();
        self.page(request, "/v2/_catalog", &all, |part| json!({"repositories": part}))
    }

    /// One page of a list, with the link to the next.
    fn page(
        &self,
        request: &Request<'_>,
        path: &str,
        all: &[String],
        write: impl Fn(&[&String]) -> Value,
    ) -> Reply {
        let asked = request.head.query("n").and_then(|n| n.parse::<usize>().ok());
        if asked.is_some_and(|n| n > self.profile.page_max.unwrap_or(usize::MAX)) {
            return Reply::error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results");
        }
        let last = request.head.query("last").unwrap_or_default();
        let n = asked.unwrap_or(self.profile.page).min(self.profile.page);
        let after: Vec<&String> = all.iter().filter(|item| **item > last).collect();
        let part = &after[..n.min(after.len())];
        let reply = Reply::of(200, "application/json", write(part).to_string());
        match part.last().filter(|_| after.len() > n) {
            Some(last) => {
                let next = format!("{path}?n={n}&last={last}");
                reply.with("Link", format!("<{}>; rel=\"next\"", self.location(request, &next)))
            }
            None => reply,
        }
    }

    pub(super) fn referrers(&self, request: &Request<'_>, name: &str, subject: &str) -> Reply {
        match self.profile.referrers {
            Referrers::Absent => return Reply::of(404, "text/plain", "404 page not found\n"),
            Referrers::Html => {
                return Reply::status(303).with("Location", format!("{}/site", self.elsewhere()));
            }
            Referrers::Api | Referrers::AsJson => {}
        }
        let wanted = request.head.query("artifactType");
        let repositories = self.repositories();
        let manifests = repositories.get(name).map(|r| &r.manifests);
        let mut found = Vec::new();
        for (digest, (kind, bytes)) in manifests.into_iter().flatten() {
            let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
            if json["subject"]["digest"].as_str() != Some(subject) {
                continue;
            }
            let own = json["artifactType"].as_str().or(json["config"]["mediaType"].as_str());
            if wanted.as_deref().is_some_and(|wanted| own != Some(wanted)) {
                continue;
            }
            let mut entry = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
            if let Some(own) = own {
                entry["artifactType"] = json!(own);
            }
            if json["annotations"].is_object() {
                entry["annotations"] = json["annotations"].clone();
            }
            found.push(entry);
        }
        let as_json = self.profile.referrers == Referrers::AsJson;
        let kind = if as_json { "application/json" } else { INDEX };
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": found});
        let reply = Reply::of(200, kind, index.to_string());
        if wanted.is_some() { reply.with("OCI-Filters-Applied", "artifactType") } else { reply }
    }
}

impl Repository {
    /// What a manifest names and is not here.
    fn lacks(&self, json: &Value) -> Option<String> {
        let foreign = |desc: &&Value| list(&desc["urls"]).is_empty();
        let leaves = list(&json["layers"]).iter().chain(json.get("config")).filter(foreign);
        let mut leaves = leaves.map(|d| string(&d["digest"]));
        let mut children = list(&json["manifests"]).iter().map(|d| string(&d["digest"]));
        leaves
            .find(|d| !self.blobs.contains_key(d))
            .or_else(|| children.find(|d| !self.manifests.contains_key(d)))
    }
}
