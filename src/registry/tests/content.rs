//! Manifests: got, looked for, pushed, deleted; mirrors.

use std::sync::Mutex;

use super::server::{Asked, Reply, Server};
use super::{MANIFEST, context, in_turn, manifest_reply, repository, repository_with, settings};
use crate::context::Context;
use crate::digest::Digest;
use crate::error::Kind;
use crate::registry::settings::Settings;
use crate::registry::{Registries, TagOrDigest};

const TAG: TagOrDigest<'_> = TagOrDigest::Tag("v1");
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest() -> Digest {
    Digest::of(MANIFEST.as_bytes())
}

#[test]
fn the_type_of_a_manifest_is_found_whatever_the_header_says() {
    let bare = r#"{"schemaVersion":2,"manifests":[]}"#;
    let old = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for (content_type, body, want) in [
        (OCI, MANIFEST, OCI),
        ("application/vnd.oci.image.manifest.v1+json; charset=utf-8", MANIFEST, OCI),
        ("text/plain", MANIFEST, OCI),
        ("application/octet-stream", bare, INDEX),
        ("", r#"{"layers":[]}"#, OCI),
        ("application/json", old, schema1),
    ] {
        let server =
            Server::start(move |_| Reply::new(200, body).with("content-type", content_type));
        let (desc, bytes) = repository(&server).manifest(TAG).unwrap().unwrap();
        assert_eq!(desc.media_type.as_str(), want, "{content_type}");
        assert_eq!((desc.digest, desc.size), (Digest::of(body.as_bytes()), body.len() as u64));
        assert_eq!(bytes, body.as_bytes());
    }
}

#[test]
fn what_is_not_there_is_none() {
    let unknown = r#"{"errors":[{"code":"UNKNOWN","message":"Not Found"}]}"#;
    for (status, body) in [
        (404, ""),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        (404, "<html>"),
        (400, unknown),
    ] {
        let server = Server::start(move |_| Reply::new(status, body));
        assert!(repository(&server).manifest(TAG).unwrap().is_none());
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    let big = format!("{{\"layers\":\"{}\"}}", "x".repeat(5_000));
    for (reply, kind, what) in [
        (
            Reply::new(200, "<!doctype html><title>Log in</title>")
                .with("content-type", "text/html"),
            Kind::Malformed,
            "not a registry: for a manifest came a web page: Log in",
        ),
        (Reply::new(200, ""), Kind::Malformed, "not a registry: nothing came for a manifest"),
        (Reply::new(200, "{}"), Kind::Malformed, "neither a manifest nor an index"),
        (
            Reply::new(200, r#"{"layers":["#),
            Kind::Malformed,
            "a manifest that is no JSON: EOF while parsing a list at line 1 column 11",
        ),
        (Reply::new(200, big), Kind::Malformed, "larger than 4000 bytes"),
        (
            manifest_reply().with("content-encoding", "gzip"),
            Kind::Malformed,
            "the registry or a proxy applied gzip on the way",
        ),
    ] {
        let server = Server::start(move |_| reply.clone());
        let settings = Settings { max_document: 4_000, ..settings() };
        let err =
            repository_with(&server, settings, &Context::default()).manifest(TAG).unwrap_err();
        assert_eq!((err.kind(), err.what()), (kind, what));
    }
}

#[test]
fn a_manifest_by_digest_is_what_the_digest_says() {
    let digest = digest();
    let other = || Reply::new(200, MANIFEST.replace('2', "3")).with("content-type", OCI);
    for (replies, good, requests) in [
        (vec![manifest_reply()], true, 1),
        (vec![other(), manifest_reply()], true, 2),
        (vec![other()], false, 2),
    ] {
        let server = Server::start(in_turn(replies));
        let result = repository(&server).manifest(TagOrDigest::Digest(&digest));
        assert_eq!(result.is_ok(), good);
        assert_eq!(server.lines().len(), requests);
        if let Err(e) = result {
            assert_eq!(e.kind(), Kind::Corrupt);
            assert!(e.what().contains(&digest.to_string()), "{e}");
        }
    }
}

#[test]
fn a_wrong_digest_beside_a_tag_is_warned_of() {
    let wrong = Digest::of(b"else").to_string();
    let said = wrong.clone();
    let server = Server::start(move |_| {
        Reply::new(200, MANIFEST).with("content-type", OCI).with("docker-content-digest", &*said)
    });
    let (ctx, heard) = context();
    let (desc, _) = repository_with(&server, settings(), &ctx).manifest(TAG).unwrap().unwrap();
    assert_eq!(desc.digest, digest());
    assert!(heard.text().contains(&wrong), "{}", heard.text());
}

#[test]
fn looking_costs_one_request_where_the_registry_tells_enough() {
    let head = |reply: Reply| {
        move |asked: &Asked| if asked.method == "HEAD" { reply.clone() } else { manifest_reply() }
    };
    for (reply, requests) in [
        (manifest_reply(), 1),
        (Reply::new(200, MANIFEST).with("content-type", OCI), 2),
        (Reply::new(405, ""), 2),
        (Reply::new(400, ""), 2),
        (manifest_reply().with("content-length", "0"), 2),
    ] {
        let server = Server::start(head(reply));
        let desc = repository(&server).head(TAG).unwrap().unwrap();
        assert_eq!((desc.digest, desc.size), (digest(), MANIFEST.len() as u64));
        assert_eq!(server.lines().len(), requests);
    }
    let server = Server::start(head(Reply::new(404, "")));
    assert!(repository(&server).head(TAG).unwrap().is_none());
    let server = Server::start(head(Reply::new(403, "")));
    assert_eq!(repository(&server).head(TAG).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_pushed_manifest_is_known_to_be_there() {
    let digest = digest();
    let said = |d: &Digest| Reply::new(201, "").with("docker-content-digest", d.to_string());
    let blobs = || Reply::new(404, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
    for (replies, lines, kind) in [
        (vec![said(&digest)], 1, None),
        (vec![Reply::new(201, ""), manifest_reply()], 2, None),
        // Another digest is not believed either way: what is there is read back.
        (vec![said(&Digest::of(b"")), manifest_reply()], 2, None),
        (vec![said(&Digest::of(b"")), Reply::new(404, "")], 2, Some(Kind::Corrupt)),
        (vec![Reply::new(201, ""), Reply::new(404, "")], 2, Some(Kind::Corrupt)),
        (vec![blobs(), said(&digest)], 2, None),
        (vec![Reply::new(503, ""), said(&digest)], 2, None),
        (vec![Reply::new(413, "")], 1, Some(Kind::Unsupported)),
        (
            vec![Reply::new(400, r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#)],
            1,
            Some(Kind::Denied),
        ),
        (vec![Reply::new(403, "")], 1, Some(Kind::Denied)),
    ] {
        let server = Server::start(in_turn(replies.clone()));
        let result =
            repository(&server)
                .put_manifest(TAG, OCI, MANIFEST.as_bytes(), &digest, &|_| Ok(false));
        assert_eq!(result.as_ref().err().map(crate::Error::kind), kind, "{replies:?} {result:?}");
        let asked = server.asked();
        assert_eq!(asked.len(), lines, "{replies:?}");
        assert_eq!(asked[0].line(), "PUT /v2/a/b/manifests/v1");
        assert_eq!(asked[0].header("content-type"), Some(OCI));
        assert_eq!(asked[0].body, MANIFEST.as_bytes());
    }
}

#[test]
fn deleting_says_what_the_registry_cannot() {
    let digest = digest();
    let by = TagOrDigest::Digest(&digest);
    for (status, wanted, want) in [
        (202, by, None),
        (200, TAG, None),
        (204, by, None),
        (404, by, Some(Kind::Missing)),
        (405, by, Some(Kind::Unsupported)),
        (400, TAG, Some(Kind::Unsupported)),
        (405, TAG, Some(Kind::Unsupported)),
        (403, by, Some(Kind::Denied)),
    ] {
        let server = Server::start(move |_| Reply::new(status, ""));
        let result = repository(&server).delete(wanted);
        assert_eq!(result.err().map(|e| e.kind()), want, "{status}");
        assert_eq!(server.lines(), [format!("DELETE /v2/a/b/manifests/{wanted}")]);
    }
}

#[test]
fn mirrors_are_asked_first_and_forgiven() {
    for (mirror_reply, from_mirror) in [
        (manifest_reply(), true),
        (Reply::new(404, ""), false),
        (Reply::new(403, ""), false),
        (Reply::new(200, "<html>"), false),
    ] {
        let mirror = Server::start(move |_| mirror_reply.clone());
        let own = Server::start(|_| manifest_reply());
        let settings = Settings { mirrors: vec![(own.host(), mirror.host())], ..settings() };
        let repository = repository_with(&own, settings, &Context::default());
        assert!(repository.manifest(TAG).unwrap().is_some());
        assert_eq!(own.lines().is_empty(), from_mirror);
        assert!(!mirror.lines().is_empty());
        // Who pushes asks where it pushes.
        let before = mirror.lines().len();
        repository.direct().head(TAG).unwrap().unwrap();
        assert_eq!(mirror.lines().len(), before);
    }
}

#[test]
fn a_dead_mirror_is_asked_once() {
    let dead = Server::start(|_| Reply::new(200, "")).host();
    let own = Server::start(|_| manifest_reply());
    let settings = Settings { mirrors: vec![(own.host(), dead)], retries: 0, ..settings() };
    let (ctx, heard) = context();
    let repository = repository_with(&own, settings, &ctx);
    repository.manifest(TAG).unwrap().unwrap();
    repository.manifest(TAG).unwrap().unwrap();
    assert_eq!(heard.text().matches("asking the next").count(), 1, "{}", heard.text());
}

/// Keeps manifests by tag and digest, as a registry without the referrers API does.
fn keeper(subject_header: bool, api: u16) -> impl Fn(&Asked) -> Reply {
    let kept = Mutex::new(std::collections::HashMap::<String, (String, Vec<u8>)>::new());
    move |asked| {
        if asked.target.contains("/referrers/") {
            let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
            return Reply::new(api, if api == 200 { empty } else { "" })
                .with("location", "https://example.invalid/");
        }
        let name = asked.target.rsplit('/').next().unwrap().to_owned();
        let mut kept = kept.lock().unwrap();
        if asked.method == "PUT" {
            let value = (asked.header("content-type").unwrap().to_owned(), asked.body.clone());
            let digest = Digest::of(&asked.body).to_string();
            kept.insert(digest.clone(), value.clone());
            kept.insert(name, value);
            let reply = Reply::new(201, "").with("docker-content-digest", digest);
            return if subject_header { reply.with("oci-subject", "x") } else { reply };
        }
        match kept.get(&name) {
            Some((kind, bytes)) => Reply::new(200, bytes.clone()).with("content-type", kind),
            None => Reply::new(404, ""),
        }
    }
}

fn signature(n: u32) -> String {
    let subject =
        format!(r#"{{"mediaType":"{OCI}","digest":"{}","size":{}}}"#, digest(), MANIFEST.len());
    MANIFEST.replace(
        "\"layers\"",
        &format!(
            r#""artifactType":"x/sig","annotations":{{"n":"{n}"}},"subject":{subject},"layers""#
        ),
    )
}

#[test]
fn referrers_are_kept_track_of_where_the_registry_does_not() {
    // With the header, with the API, and whether the tag has to be written.
    for (header, api, writes) in
        [(false, 404, true), (false, 303, true), (true, 404, true), (true, 200, false)]
    {
        let server = Server::start(keeper(header, api));
        let repository = repository(&server);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let repository = &repository;
                scope.spawn(move || {
                    let text = signature(n);
                    let digest = Digest::of(text.as_bytes());
                    let wanted = TagOrDigest::Digest(&digest);
                    let bytes = text.as_bytes();
                    let put = repository.put_manifest(wanted, OCI, bytes, &digest, &|_| Ok(false));
                    if let Some(unlisted) = put.unwrap() {
                        repository.list_referrers(&unlisted.subject, &[unlisted.entry]).unwrap();
                    }
                });
            }
        });
        let tag = digest().to_string().replace(':', "-");
        let written =
            server.lines().iter().filter(|l| l.starts_with("PUT") && l.ends_with(&tag)).count();
        assert_eq!(written, if writes { 4 } else { 0 }, "{header} {api}");
        let found = repository.referrers(&digest(), None).unwrap();
        assert_eq!(found.len(), if writes { 4 } else { 0 });
        for desc in found {
            assert_eq!(desc.artifact_type(), Some("x/sig"));
            assert!(desc.annotation("n").is_some());
        }
    }
}

#[test]
fn a_search_without_docker_hub_looks_through_the_list() {
    let server =
        Server::start(|_| Reply::new(200, r#"{"repositories":["x/web","y/nginx","a b"]}"#));
    let registries = Registries::new(settings(), &Context::default()).unwrap();
    assert_eq!(registries.catalog(&server.host()).unwrap(), ["x/web", "y/nginx"]);
    let found = registries.search(&server.host(), "web", 10).unwrap();
    assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["x/web"]);
}
