//! Manifests and indexes of a repository: fetched, pushed, deleted.
//!
//! It parses only their type. Digests are always computed from the bytes here, and a registry's claims are
//! only compared with them. OCI distribution-spec 1.1 "Pulling manifests",
//! "Pushing Manifests", "Content Management".

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::media_type::{self, MediaType, Role};
use crate::registry::auth::scope;
use crate::registry::fetch::{self, BufferedResponse};
use crate::registry::host::Redirects;
use crate::registry::hosted::{HostedRepository, TagOrDigest};
use crate::registry::http::{Body, ErrorBody, HttpRequest, Method, Response, Scope};
use crate::registry::retry;

/// What is accepted, in one header: old registries look at the first only.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.5, */*;q=0.1";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// What every registry takes.
const USUAL_LIMIT: usize = 4 << 20;
/// How often a manifest is sent again while its blobs are not seen yet, a second apart.
const UNSEEN: u32 = 3;

/// A manifest as received.
pub(crate) struct FetchedManifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Option<String>,
}

impl HostedRepository {
    fn manifest_url(&self, wanted: TagOrDigest<'_>) -> String {
        format!("/v2/{}/manifests/{wanted}", self.path)
    }

    /// What to be allowed for looking.
    pub(crate) fn looking(&self) -> [Scope; 1] {
        // Where something is pushed anyway, one token does for both.
        [if self.pushes { scope::push(&self.path) } else { scope::pull(&self.path) }]
    }

    fn refusal(&self, doing: &str, status: u16, fault: &ErrorBody) -> Error {
        self.host.explain(doing, status, fault).input(self.name())
    }

    /// A manifest or index; `None` when there is none.
    pub(crate) fn manifest(&self, wanted: TagOrDigest<'_>) -> Result<Option<FetchedManifest>> {
        let mut fetched = self.fetch(wanted)?;
        if matches!(&fetched, Err(e) if matches!(e.kind(), Kind::Corrupt | Kind::Malformed)) {
            // A cache on the way may have spoilt it once; twice the same is the registry's own doing.
            self.host.context().progress.event(crate::progress::Event::Detail(&format!(
                "{}: manifest {wanted} is damaged; asking again",
                self.name()
            )));
            fetched = self.fetch(wanted)?;
        }
        fetched
    }

    /// The outer error is about asking, the inner one about what came.
    fn fetch(&self, wanted: TagOrDigest<'_>) -> Result<Result<Option<FetchedManifest>>> {
        let headers = [("accept", ACCEPT.to_owned())];
        let limit = self.host.settings().max_document;
        let url = self.manifest_url(wanted);
        let answer = fetch::get(&self.host, &url, &headers, &self.looking(), Redirects::Any, limit)
            .map_err(|e| e.at(format!("manifest {wanted}")))?;
        if answer.status != 200 {
            let fault = answer.fault();
            if answer.status == 404 || (answer.status < 500 && fault.is_missing()) {
                return Ok(Ok(None));
            }
            return Err(self.refusal(&format!("GET manifest {wanted}"), answer.status, &fault));
        }
        let named = |e: Error| e.input(self.name()).at(format!("manifest {wanted}"));
        Ok(self.check(wanted, answer).map(Some).map_err(named))
    }

    fn check(&self, wanted: TagOrDigest<'_>, answer: BufferedResponse) -> Result<FetchedManifest> {
        answer.expect_no_page("a manifest")?;
        let said = answer.header("docker-content-digest").and_then(|d| Digest::from_str(d).ok());
        let algorithm = |d: &Digest| d.algorithm().digest(&answer.bytes);
        if let TagOrDigest::Digest(digest) = wanted {
            let came = algorithm(digest);
            if came != *digest && !is_schema1(&answer.bytes) {
                return Err(Error::corrupt(format!("{came} came where {digest} was asked for")));
            }
        }
        let media_type = media_type_of(&answer.content_type(), &answer.bytes)?;
        let schema1 = MediaType::from(media_type.as_str()).role() == Role::Schema1;
        let digest = match wanted {
            TagOrDigest::Digest(digest) => *digest,
            TagOrDigest::Tag(tag) => {
                // The digest of a signed schema 1 manifest is that of its payload.
                if let Some(said) = said.filter(|said| algorithm(said) != *said && !schema1) {
                    let ours = Digest::of(&answer.bytes);
                    self.host.context().warn(&format!(
                        "{}:{tag}: the registry says {said} of what is {ours}; the latter counts",
                        self.name()
                    ));
                }
                Digest::of(&answer.bytes)
            }
        };
        let etag = answer.header("etag").map(str::to_owned);
        let descriptor = Descriptor::new(media_type.as_str(), digest, answer.bytes.len() as u64);
        Ok(FetchedManifest { descriptor, bytes: answer.bytes, etag })
    }

    /// What is there, without its bytes where that can be had.
    pub(crate) fn head(&self, wanted: TagOrDigest<'_>) -> Result<Option<Descriptor>> {
        let headers = [("accept", ACCEPT.to_owned())];
        let url = self.manifest_url(wanted);
        let response = self.host.send(&HttpRequest {
            method: Method::Head,
            url: &url,
            headers: &headers,
            body: Body::Empty,
            scopes: &self.looking(),
            again: true,
        })?;
        let status = response.status;
        let described = (status == 200).then(|| describe(&response, wanted)).flatten();
        match (status, described) {
            (200, Some(descriptor)) => Ok(Some(descriptor)),
            (404, _) => {
                response.finish();
                Ok(None)
            }
            (401 | 403, _) => {
                let fault = ErrorBody::read(response);
                Err(self.refusal(&format!("HEAD manifest {wanted}"), status, &fault))
            }
            // It does not know HEAD, or says too little: the document itself says all.
            _ => {
                response.finish();
                Ok(self.manifest(wanted)?.map(|found| found.descriptor))
            }
        }
    }

    /// Pushes a manifest; whether the registry keeps track of what its subject is referred by. `lacking`
    /// hears which digests the registry misses, when it names any, and says whether it sent some.
    pub(crate) fn put_manifest(
        &self,
        wanted: TagOrDigest<'_>,
        media_type: &str,
        bytes: &[u8],
        digest: &Digest,
        condition: Option<&str>,
        lacking: &Lacking<'_>,
    ) -> Result<Put> {
        let doing = format!("PUT manifest {wanted}");
        let mut headers = vec![("content-type", media_type.to_owned())];
        headers.extend(condition.map(|etag| ("if-match", etag.to_owned())));
        let url = self.manifest_url(wanted);
        let scopes = [scope::push(&self.path)];
        let mut unseen = 0;
        let response = loop {
            let response = self.host.send(&HttpRequest {
                method: Method::Put,
                url: &url,
                headers: &headers,
                body: Body::Bytes(bytes),
                scopes: &scopes,
                again: true,
            })?;
            let status = response.status;
            match status {
                200..=204 => break response,
                412 if condition.is_some() => {
                    response.finish();
                    return Ok(Put::Raced);
                }
                413 => {
                    let size = bytes.len();
                    let usual =
                        if size > USUAL_LIMIT { "; many take no more than 4 MiB" } else { "" };
                    let what = format!("{doing}: {size} bytes are too many for it (413){usual}");
                    return Err(Error::unsupported(what).input(self.name()));
                }
                _ => {
                    let fault = ErrorBody::read(response);
                    let blobs = fault.has("MANIFEST_BLOB_UNKNOWN") || fault.has("BLOB_UNKNOWN");
                    // Some name one blob at a time; none is sent twice.
                    if blobs && lacking(&fault.digests)? {
                        continue;
                    }
                    if blobs && unseen < UNSEEN {
                        unseen += 1;
                        let ctx = self.host.context();
                        ctx.progress.event(crate::progress::Event::Detail(&format!(
                            "{}: {doing}: blobs are not seen yet; trying again in 1 s",
                            self.name()
                        )));
                        retry::sleep(Duration::from_secs(1), ctx)?;
                        continue;
                    }
                    return Err(self.refusal(&doing, status, &fault));
                }
            }
        };
        let tracked = response.header("oci-subject").is_some();
        let said = response.header("docker-content-digest").map(str::to_owned);
        response.finish();
        self.confirm(&doing, wanted, said.as_deref(), digest)?;
        Ok(Put::Stored { tracked })
    }

    /// Makes sure that what is there now is what was sent. A header that says so is believed; one that
    /// says nothing, or something else (some registries send it wrong), is not, and what is there is
    /// read back.
    fn confirm(
        &self,
        doing: &str,
        wanted: TagOrDigest<'_>,
        said: Option<&str>,
        digest: &Digest,
    ) -> Result<()> {
        if said.is_some_and(|said| Digest::from_str(said).is_ok_and(|said| said == *digest)) {
            return Ok(());
        }
        let found = match self.manifest(wanted)? {
            Some(found) if found.descriptor.digest == *digest => return Ok(()),
            Some(found) => format!("the registry gives {} back", found.descriptor.digest),
            None => "the registry does not give it back".into(),
        };
        Err(Error::corrupt(format!("{doing}: {found} where {digest} was sent")).input(self.name()))
    }

    /// Deletes a manifest or a tag.
    pub(crate) fn delete(&self, wanted: TagOrDigest<'_>) -> Result<()> {
        let doing = format!("DELETE manifest {wanted}");
        let response = self.host.send(&HttpRequest {
            method: Method::Delete,
            url: &self.manifest_url(wanted),
            headers: &[],
            body: Body::Empty,
            scopes: &[scope::delete(&self.path)],
            again: true,
        })?;
        let status = response.status;
        if (200..300).contains(&status) {
            response.finish();
            return Ok(());
        }
        let fault = ErrorBody::read(response);
        let by_tag = matches!(wanted, TagOrDigest::Tag(_));
        let refuses = status == 405 || fault.has("UNSUPPORTED");
        Err(match status {
            404 => Error::missing(format!("no manifest {wanted}")),
            // distribution 2.8 takes a tag for a digest that is none.
            _ if by_tag && (refuses || status == 400) => {
                let what = "the registry deletes no tags, only manifests by digest";
                Error::unsupported(what).because(Cause::DeletesNoTags)
            }
            _ if refuses => Error::unsupported("the registry does not delete"),
            _ => self.refusal(&doing, status, &fault),
        }
        .input(self.name()))
    }
}

/// Sends the blobs that the registry reports missing; returns whether anything was sent.
pub type Lacking<'a> = dyn Fn(&[Digest]) -> Result<bool> + 'a;

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there.
    Stored {
        /// Whether the registry said that it keeps track of the subject.
        tracked: bool,
    },
    /// Another client was faster, and the condition no longer holds.
    Raced,
}

/// What the headers of an answer to HEAD say; `None` when that is too little.
fn describe(response: &Response, wanted: TagOrDigest<'_>) -> Option<Descriptor> {
    let digest = Digest::from_str(response.header("docker-content-digest")?).ok()?;
    let size = response.header("content-length")?.parse::<u64>().ok().filter(|s| *s > 0)?;
    let media_type = bare(response.header("content-type")?);
    if role(&media_type) == Role::Other || matches!(wanted, TagOrDigest::Digest(d) if *d != digest)
    {
        return None;
    }
    Some(Descriptor::new(media_type.as_str(), digest, size))
}

fn bare(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn role(media_type: &str) -> Role {
    match MediaType::from(media_type).role() {
        role @ (Role::Index | Role::Manifest | Role::Schema1) => role,
        _ => Role::Other,
    }
}

fn is_schema1(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.get("fsLayers").is_some())
}

/// The type of a manifest: what the header says, else the document, else its shape.
fn media_type_of(content_type: &str, bytes: &[u8]) -> Result<String> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Error::malformed(format!("a manifest that is no JSON: {e}")))?;
    if role(content_type) != Role::Other {
        return Ok(content_type.to_owned());
    }
    let own = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    if role(own) != Role::Other {
        return Ok(own.to_owned());
    }
    let has = |key: &str| value.get(key).is_some();
    if has("fsLayers") {
        Ok(SCHEMA1.into())
    } else if has("manifests") {
        Ok(media_type::OCI_INDEX.into())
    } else if has("layers") || has("config") {
        Ok(media_type::OCI_MANIFEST.into())
    } else {
        Err(Error::malformed("neither a manifest nor an index"))
    }
}
