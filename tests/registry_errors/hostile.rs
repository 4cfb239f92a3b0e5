//! Registries that answer oddly, or mean harm: what is understood all the same, what ends, what is
//! refused.
//!
//! Requirements S-28 to S-31 of the security tests, end to end; each answer is the test registry's,
//! edited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Ran, Sandbox, sha256};
use crate::net::image::{self, TAG, digest, small};
use crate::net::mock::Mock;
use crate::net::profiles::{PLAIN, Profile};
use crate::net::proxy::Proxy;
use crate::net::registry::{PASSWORD, USER};
use crate::net::run;
use crate::net::server::Reply;
use crate::net::wire::Head;

const UPLOAD: &str = "PATCH|PUT */blobs/uploads/*";

/// A test registry behind a proxy, with a login for it.
pub(crate) struct Rig {
    pub(crate) mock: Mock,
    pub(crate) proxy: Proxy,
    pub(crate) sandbox: Sandbox,
    auth: String,
}

impl Rig {
    pub(crate) fn new(
        profile: Profile,
        edit: impl Fn(&Head, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        let mock = Mock::edited(profile, edit);
        mock.fill("x", small());
        let proxy = Proxy::start(&mock.address(), vec![]);
        let sandbox = Sandbox::new();
        small().write(&sandbox.path("in"));
        let auth = run::authfile(&sandbox, &proxy.address(), USER, PASSWORD);
        Self { mock, proxy, sandbox, auth }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let retry = if args[0] == "login" { &[][..] } else { &["--retry-times", "2"] };
        run::begin(&self.sandbox, &[args, retry].concat(), &[("REGISTRY_AUTH_FILE", &self.auth)])
            .wait()
    }

    pub(crate) fn pull(&self) -> Ran {
        self.run(&["copy", &format!("docker://{}/x:{TAG}", self.proxy.address()), "oci:out"])
    }

    pub(crate) fn push(&self) -> Ran {
        self.run(&["copy", "oci:in", &format!("docker://{}/y:{TAG}", self.proxy.address())])
    }

    #[track_caller]
    fn pulls(&self, what: &str) {
        let ran = self.pull();
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        assert_eq!(image::check(&self.sandbox.path("out")), digest(small()), "{what}");
    }

    #[track_caller]
    fn pushes(&self, what: &str) {
        let ran = self.push();
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        assert_eq!(self.mock.complete("y", TAG), Some(digest(small())), "{what}");
    }
}

/// Whether a path leads to a manifest.
fn manifest(head: &Head) -> bool {
    head.path().contains("/manifests/")
}

// ---- odd, and understood -----------------------------------------------------------------------

#[test]
fn manifests_are_found_however_they_are_labelled() {
    type Change = fn(&Head, &mut Reply);
    let rows: [(&str, Change); 6] = [
        ("HEAD is refused", |head, reply| {
            if manifest(head) && head.method() == "HEAD" {
                *reply = Reply::status(405);
            }
        }),
        ("no digest", |head, reply| {
            if manifest(head) {
                reply.remove("docker-content-digest");
            }
        }),
        ("text/plain", |head, reply| {
            if manifest(head) {
                reply.set("Content-Type", "text/plain; charset=utf-8");
            }
        }),
        ("no type", |head, reply| {
            if manifest(head) {
                reply.remove("content-type");
            }
        }),
        ("a type with parameters", |_, reply| {
            if let Some(kind) = reply.get("content-type").map(str::to_owned) {
                reply.set("Content-Type", format!("{kind}; charset=utf-8"));
            }
        }),
        ("no ping", |head, reply| {
            if head.path() == "/v2/" {
                *reply = Reply::of(404, "text/plain", "404 page not found\n");
            }
        }),
    ];
    for (what, edit) in rows {
        Rig::new(PLAIN, edit).pulls(what);
        Rig::new(PLAIN, edit).pushes(what);
    }
}

#[test]
fn a_blob_that_is_said_to_be_there_and_is_not_is_sent_after_all() {
    // HEAD lies about the layers, as a cache before a registry that was cleaned does.
    for named in [true, false] {
        let rig = Rig::new(PLAIN, move |head, reply| {
            let hex = head.path().rsplit("/sha256:").next().unwrap_or_default();
            let size = small().blobs.iter().find(|(h, _)| h == hex).map(|(_, bytes)| bytes.len());
            if let ("HEAD", 404, Some(size)) = (head.method(), reply.status, size)
                && head.path().contains("/y/blobs/")
                && size > 3_000
            {
                *reply = Reply::status(200).with("Content-Length", size);
            }
            if !named && manifest(head) && reply.status == 404 && head.method() == "PUT" {
                *reply = Reply::error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown");
            }
        });
        rig.pushes("HEAD lies");
        assert_eq!(rig.mock.sessions(), 0);
    }
}

#[test]
fn a_refusal_names_the_image_that_was_refused_and_no_other() {
    let rig = Rig::new(PLAIN, |head, reply| {
        if head.method() == "PUT" && head.path().ends_with("/manifests/b") {
            *reply = Reply::error(403, "DENIED", "tag b is immutable");
        }
    });
    let registry = rig.proxy.address();
    let mut oci = small().clone();
    let desc = oci.entries[0].clone();
    oci.entries.clear();
    for tag in ["a", "b", "c"] {
        let mut bare = desc.clone();
        bare.as_object_mut().unwrap().remove("annotations");
        oci.name(&bare, Some(&format!("docker.io/team/app:{tag}")));
    }
    oci.write(&rig.sandbox.path("names"));
    let ran = rig.run(&["sync", "dir-to-registry", "names", &registry]);
    assert_ne!(ran.code, 0);
    let errors: Vec<&str> = ran.stderr.lines().filter(|l| l.contains("immutable")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.stderr);
    let name = format!("{registry}/team/app:b");
    assert_eq!(errors[0].matches(&name).count(), 1, "{}", ran.stderr);
    assert!(!errors[0].contains("app:a") && !errors[0].contains("app:c"), "{}", ran.stderr);
    assert_eq!(rig.proxy.seen("PUT */manifests/c").len(), 1, "the names after it are tried");
}

#[test]
fn locations_lead_on_in_every_form() {
    type Form = fn(&Head, &str) -> String;
    let rows: [(&str, Form); 4] = [
        ("a path", |_, path| path.to_owned()),
        ("a URL", |head, path| format!("http://{}{path}", head.get("host").unwrap_or_default())),
        ("a URL without a scheme", |head, path| {
            format!("//{}{path}", head.get("host").unwrap_or_default())
        }),
        ("a query more", |_, path| format!("{path}&x=%2F%2b+a,b")),
    ];
    for (what, form) in rows {
        let rig = Rig::new(PLAIN, move |head, reply| {
            if let Some(path) = reply.get("location").map(str::to_owned)
                && path.contains("/uploads/")
            {
                reply.set("Location", form(head, &path));
            }
        });
        rig.pushes(what);
        if what == "a query more" {
            let back = rig.proxy.seen(UPLOAD);
            assert!(back.iter().all(|e| e.target.contains("&x=%2F%2b+a,b")), "{back:?}");
        }
    }
}

#[test]
fn uploads_end_whatever_the_status_and_the_range_say() {
    type Change = fn(&Head, &mut Reply);
    let rows: [(&str, Change); 5] = [
        ("201 to PATCH", |head, reply| {
            if head.method() == "PATCH" && reply.status == 202 {
                reply.status = 201;
            }
        }),
        ("204 to PATCH and PUT", |head, reply| {
            if matches!(head.method(), "PATCH" | "PUT") && matches!(reply.status, 201 | 202) {
                reply.status = 204;
            }
        }),
        ("no range", |_, reply| reply.remove("range")),
        ("0--1", |head, reply| {
            if head.method() == "POST" {
                reply.set("Range", "0--1");
            }
        }),
        ("bytes=0-9", |_, reply| {
            if reply.get("range").is_some() {
                reply.set("Range", "bytes=0-9");
            }
        }),
    ];
    for (what, edit) in rows {
        Rig::new(PLAIN, edit).pushes(what);
    }
}

#[test]
fn a_mount_that_fails_in_any_way_becomes_an_upload() {
    for status in [401, 403, 404, 405, 500] {
        let rig = Rig::new(PLAIN, move |head, reply| {
            if head.query("mount").is_some() {
                *reply = Reply::error(status, "DENIED", "no mounts");
            }
        });
        let at = |name: &str| format!("docker://{}/{name}:{TAG}", rig.proxy.address());
        let ran = rig.run(&["copy", &at("x"), &at("y")]);
        assert_eq!(ran.code, 0, "{status}: {}", ran.stderr);
        assert_eq!(rig.mock.complete("y", TAG), Some(digest(small())), "{status}");
    }
}

// ---- endless -----------------------------------------------------------------------------------

#[test]
fn what_never_ends_is_left() {
    let manifests = Rig::new(PLAIN, |head, reply| {
        if manifest(head) && head.method() == "GET" {
            *reply = Reply::of(200, image_type(), vec![b' '; 1 << 16]);
            reply.endless = true;
        }
    });
    let ran = manifests.pull();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(sum(&manifests, "GET */manifests/*") < 64 << 20, "it reads on and on");

    let blobs = Rig::new(PLAIN, |head, reply| {
        if head.path().contains("/blobs/sha256:") {
            *reply = Reply::of(200, "application/octet-stream", vec![0; 1 << 16]);
            reply.endless = true;
        }
    });
    let ran = blobs.pull();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(sum(&blobs, "GET */blobs/*") < 64 << 20, "it reads on beyond the size");

    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let circle = Rig::new(PLAIN, move |head, reply| {
        if head.path().contains("/blobs/sha256:") {
            count.fetch_add(1, Ordering::SeqCst);
            *reply = Reply::status(307).with("Location", head.target());
        }
    });
    let ran = circle.pull();
    assert!([3, 5].contains(&ran.code), "{} {}", ran.code, ran.stderr);
    assert!(asked.load(Ordering::SeqCst) <= 200, "it follows redirects for ever");
}

pub(crate) fn image_type() -> &'static str {
    "application/vnd.oci.image.manifest.v1+json"
}

fn sum(rig: &Rig, pattern: &str) -> u64 {
    rig.proxy.seen(pattern).iter().map(|entry| entry.down).sum()
}

#[test]
fn lists_whose_next_page_is_the_same_end() {
    let rig = Rig::new(PLAIN, |head, reply| {
        if head.path().ends_with("/tags/list") {
            reply.set("Link", format!("<{}>; rel=\"next\"", head.target()));
        }
    });
    let ran = rig.run(&["tags", &format!("{}/x", rig.proxy.address())]);
    assert!(ran.code == 0 || ran.code == 3, "{} {}", ran.code, ran.stderr);
    assert!(rig.proxy.seen("GET */tags/list*").len() <= 3);
}

// ---- wrong -------------------------------------------------------------------------------------

#[test]
fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let rig = Rig::new(PLAIN, |head, reply| {
        if manifest(head) && reply.status == 200 {
            let mut bytes = reply.body.to_vec();
            bytes.push(b' ');
            reply.body = Arc::new(bytes);
        }
    });
    let at = format!("docker://{}/x@{}", rig.proxy.address(), digest(small()));
    let ran = rig.run(&["copy", &at, "oci:out"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let short = Rig::new(PLAIN, |head, reply| {
        if manifest(head) && reply.status == 200 {
            let half = reply.body.len() / 2;
            reply.body = Arc::new(reply.body[..half].to_vec());
            reply.remove("docker-content-digest");
        }
    });
    let ran = short.pull();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn a_damaged_layer_is_not_pushed_and_its_upload_is_taken_back() {
    let rig = Rig::new(PLAIN, |_, _| {});
    let (hex, bytes) = small().blobs.iter().max_by_key(|(_, b)| b.len()).expect("a layer");
    let mut wrong = bytes.clone();
    *wrong.last_mut().expect("a byte") ^= 1;
    std::fs::write(rig.sandbox.path(&format!("in/blobs/sha256/{hex}")), wrong).expect("a file");
    let ran = rig.push();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains(&hex[..12]), "{}", ran.stderr);
    assert_eq!(rig.mock.tags("y"), [""; 0]);
    assert!(!rig.mock.blobs("y").contains(&format!("sha256:{hex}")));
    assert_eq!(rig.mock.sessions(), 0, "an upload session is left open");
}

#[test]
fn a_registry_that_says_no_digest_is_asked_what_it_holds() {
    let rig = Rig::new(PLAIN, |_, reply| reply.remove("docker-content-digest"));
    rig.pushes("no digest");
    let puts = rig.proxy.seen("PUT */manifests/*").len();
    let asked = rig.proxy.seen("GET */manifests/*");
    assert!(puts == 1 && !asked.is_empty(), "the manifest was not read back");
    // One that says it stored something else is not believed, but asked too.
    let other = Rig::new(PLAIN, |head, reply| {
        if head.method() == "PUT" && manifest(head) {
            reply.set("Docker-Content-Digest", sha256(b"another"));
        }
    });
    other.pushes("another digest");
    assert!(!other.proxy.seen("GET */manifests/*").is_empty(), "the manifest was not read back");
    // One that changes what it is given is found out.
    let liar = Rig::new(PLAIN, |head, reply| {
        reply.remove("docker-content-digest");
        if head.method() == "GET" && manifest(head) && reply.status == 200 {
            reply.body = Arc::new(b"{}".to_vec());
        }
    });
    let ran = liar.push();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}
