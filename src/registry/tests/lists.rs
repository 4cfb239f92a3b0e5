//! Tags, repositories and referrers: pages, and what registries put into them.

use super::server::{Asked, Reply, Server};
use super::{MANIFEST, repository, settings};
use crate::context::Context;
use crate::digest::Digest;
use crate::error::Kind;
use crate::registry::Registries;

#[test]
fn tags_are_collected_over_pages() {
    for link in [
        "</v2/a/b/tags/list?n=2&last=b>; rel=\"next\"",
        "</v2/a/b/tags/list?n=2&last=b>; rel=next",
        "<?n=2&last=b>; title=\"a,b\"; rel=\"next\"",
        "</x>; rel=\"prev\", </v2/a/b/tags/list?n=2&last=b>; rel=\"next\"",
        "<http://elsewhere.invalid/v2/a/b/tags/list?n=2&last=b>; rel=\"next\"",
    ] {
        let server = Server::start(move |asked: &Asked| {
            if asked.target.ends_with("last=b") {
                return Reply::new(200, r#"{"name":"a/b","tags":["c","b"]}"#);
            }
            let digest = Digest::of(b"").to_string();
            let body = format!(r#"{{"tags":["b","a","{digest}","",7,".."," x"]}}"#);
            Reply::new(200, body).with("link", link)
        });
        assert_eq!(repository(&server).tags().unwrap().unwrap(), ["a", "b", "c"], "{link}");
        let want = ["GET /v2/a/b/tags/list?n=1000", "GET /v2/a/b/tags/list?n=2&last=b"];
        assert_eq!(server.lines(), want, "{link}");
    }
}

#[test]
fn lists_that_lead_in_a_circle_end() {
    let server = Server::start(|asked| {
        let next = if asked.target.ends_with('1') { 2 } else { 1 };
        Reply::new(200, r#"{"tags":["a"]}"#).with("link", format!("</x?{next}>; rel=\"next\""))
    });
    assert_eq!(repository(&server).tags().unwrap().unwrap(), ["a"]);
    assert_eq!(server.lines().len(), 3);
}

#[test]
fn odd_lists_of_tags_are_understood() {
    for (status, body, want) in [
        (200, r#"{"name":"a/b","tags":null}"#, Ok(Some(vec![]))),
        (200, r#"{"name":"a/b"}"#, Ok(Some(vec![]))),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, Ok(None)),
        (404, "", Ok(None)),
        (200, "<html>", Err(Kind::Malformed)),
        (200, "[", Err(Kind::Malformed)),
        (403, "", Err(Kind::Denied)),
    ] {
        let server = Server::start(move |_| Reply::new(status, body));
        let tags: Result<Option<Vec<String>>, Kind> =
            repository(&server).tags().map_err(|e| e.kind());
        assert_eq!(tags, want, "{status} {body}");
    }
}

#[test]
fn registries_that_list_no_repositories_say_so() {
    for status in [400, 401, 403, 404, 405] {
        let server = Server::start(move |_| Reply::new(status, ""));
        let registries = Registries::new(settings(), &Context::default()).unwrap();
        let err = registries.catalog(&server.host()).unwrap_err();
        assert_eq!(err.kind(), Kind::Unsupported, "{status}");
        assert!(err.what().starts_with("lists no repositories to us"), "{err}");
    }
}

#[test]
fn referrers_come_from_the_api_or_from_the_tag() {
    let subject = Digest::of(MANIFEST.as_bytes());
    let entry = format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":9}}"#,
        Digest::of(b"sig")
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry},{entry}]}}"#);
    let oci = "application/vnd.oci.image.index.v1+json";
    let some = || Reply::new(200, index.clone()).with("content-type", oci);
    let loose = || Reply::new(200, index.clone()).with("content-type", "application/json");
    let gitlab = Reply::new(200, MANIFEST)
        .with("content-type", "application/vnd.oci.image.manifest.v1+json");
    let page = || Reply::new(303, "").with("location", "https://example.invalid/page");
    for (api, tag, want) in [
        (some(), Reply::new(404, ""), 1),
        (loose(), Reply::new(404, ""), 1),
        (Reply::new(404, ""), some(), 1),
        (Reply::new(400, ""), some(), 1),
        (Reply::new(406, ""), some(), 1),
        (page(), some(), 1),
        (Reply::new(200, "<html>"), some(), 1),
        (Reply::new(404, ""), Reply::new(404, ""), 0),
        (Reply::new(404, ""), gitlab, 0),
    ] {
        let server = Server::start(move |asked| {
            if asked.target.contains("/referrers/") { api.clone() } else { tag.clone() }
        });
        let found = repository(&server).referrers(&subject, None).unwrap();
        assert_eq!(found.len(), want, "{:?}", server.lines());
        assert_eq!(server.lines()[0], format!("GET /v2/a/b/referrers/{subject}"));
    }
    let server = Server::start(|_| Reply::new(403, ""));
    assert_eq!(repository(&server).referrers(&subject, None).unwrap_err().kind(), Kind::Denied);
}
