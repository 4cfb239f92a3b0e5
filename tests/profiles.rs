//! Registries that cannot be run here, as reported: a small image goes to each and comes back.
//!
//! The switches are those of [`net::profiles`], each with the threads it comes from. Nothing here was
//! tested on the services themselves.

mod common;
mod net;

use common::image::Oci;
use common::{Ran, Sandbox};
use net::image::{self, TAG, digest, small, weight};
use net::mock::Mock;
use net::profiles::{self, PLAIN, Profile};
use net::proxy::Proxy;
use net::registry::{PASSWORD, USER};
use net::run;

/// A registry with a profile, a proxy that counts before it, and a place to run in.
struct Rig {
    mock: Mock,
    proxy: Proxy,
    sandbox: Sandbox,
    auth: String,
}

impl Rig {
    fn new(profile: Profile) -> Self {
        let mock = Mock::start(profile);
        let proxy = Proxy::start(&mock.address(), vec![]);
        let sandbox = Sandbox::new();
        let auth = run::authfile(&sandbox, &proxy.address(), USER, PASSWORD);
        Self { mock, proxy, sandbox, auth }
    }

    fn named(name: &str) -> Self {
        Self::new(profiles::all().into_iter().find(|p| p.name == name).expect("a profile"))
    }

    fn run(&self, args: &[&str]) -> Ran {
        run::begin(&self.sandbox, args, &[("REGISTRY_AUTH_FILE", &self.auth)]).wait()
    }

    fn at(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.proxy.address())
    }

    /// Writes a layout and says where, as a place.
    fn layout(&self, name: &str, oci: &Oci) -> String {
        oci.write(&self.sandbox.path(name));
        format!("oci:{name}")
    }

    fn push(&self, oci: &Oci, repository: &str, flags: &[&str]) -> Ran {
        let from = self.layout("in", oci);
        let to = format!("{}:{TAG}", self.at(repository));
        self.run(&[&["copy"], flags, &[&from, &to]].concat())
    }
}

#[test]
fn an_image_goes_to_every_registry_and_comes_back() {
    for profile in profiles::all().into_iter().chain([PLAIN]) {
        let name = profile.name;
        println!("{name}, as reported: {}", profile.source);
        let rig = Rig::new(profile);
        rig.mock.create("team/app");
        let pushed = rig.push(small(), "team/app", &[]);
        assert_eq!(pushed.code, 0, "{name}: {}", pushed.stderr);
        assert_eq!(rig.mock.complete("team/app", TAG), Some(digest(small())), "{name}");
        assert_eq!(rig.mock.sessions(), 0, "{name}: an upload session is left open");
        let from = format!("{}:{TAG}", rig.at("team/app"));
        let pulled = rig.run(&["copy", &from, "oci:out"]);
        assert_eq!(pulled.code, 0, "{name}: {}", pulled.stderr);
        assert_eq!(image::check(&rig.sandbox.path("out")), digest(small()), "{name}");
        assert_eq!(rig.mock.complaints(), [""; 0], "{name}");
        // Once more, and nothing moves but questions.
        rig.proxy.forget();
        let again = rig.push(small(), "team/app", &[]);
        assert_eq!(again.code, 0, "{name}: {}", again.stderr);
        assert!(rig.proxy.up() < 3_000, "{name}: {} bytes again", rig.proxy.up());
    }
}

#[test]
fn large_layers_go_where_requests_must_be_small_or_whole() {
    let oci = image::image(3, &[12_000_000]);
    for name in ["ghcr", "ecr", "gar", "gitea", "artifactory"] {
        for flags in [&[][..], &run::CHUNKED[..]] {
            if !flags.is_empty() && name == "gar" {
                continue; // it has no chunks at all
            }
            let rig = Rig::named(name);
            rig.mock.create("team/app");
            let pushed = rig.push(&oci, "team/app", flags);
            assert_eq!(pushed.code, 0, "{name} {flags:?}: {}", pushed.stderr);
            assert_eq!(rig.mock.complete("team/app", TAG), Some(digest(&oci)), "{name} {flags:?}");
            let most = weight(&oci) * 2;
            assert!(rig.proxy.up() <= most, "{name} {flags:?}: {} bytes", rig.proxy.up());
        }
    }
}

#[test]
fn a_body_limit_before_the_registry_makes_requests_smaller() {
    let oci = image::image(4, &[6_000_000]);
    let rig = Rig::new(Profile { body_max: Some(1 << 20), ..PLAIN });
    rig.push(&oci, "team/app", &[]).ok();
    assert_eq!(rig.mock.complete("team/app", TAG), Some(digest(&oci)));
}

#[test]
fn what_a_registry_forbids_is_said_in_its_words() {
    // ECR: repositories are made beforehand.
    let rig = Rig::named("ecr");
    rig.push(small(), "team/app", &[]).code(4).says("does not exist in the registry");
    // Aliyun and others: no nested names.
    let rig = Rig::named("aliyun");
    rig.push(small(), "team/sub/app", &[]).code(5).says("denied");
    // zot: no docker manifests unless its configuration allows them.
    let rig = Rig::named("zot");
    let mut docker = small().clone();
    let manifest = docker.blobs.pop().expect("a manifest").1;
    let text = String::from_utf8(manifest).expect("JSON").replace(
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let desc = docker.blob(kind, text.as_bytes());
    docker.entries.clear();
    docker.name(&desc, Some("docker.io/library/noise:v1"));
    let refused = rig.push(&docker, "team/app", &[]);
    assert_ne!(refused.code, 0);
    refused.says("media type is not supported");
    assert_eq!(rig.mock.tags("team/app"), [""; 0]);
    // Recoded on the way it has another digest, and is refused all the same.
    let recoded = rig.push(&docker, "team/app", &["--compress", "none"]);
    assert_ne!(recoded.code, 0);
    let target = rig.proxy.address();
    let synced = rig.run(&["sync", "dir-to-registry", "--compress", "none", "in", &target]);
    assert_ne!(synced.code, 0);
    for ran in [recoded, synced] {
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(!said.contains("Copied image"), "{said}");
        ran.says("media type is not supported");
    }
}

#[test]
fn a_cookie_is_never_sent_back() {
    let rig = Rig::named("harbor");
    rig.push(small(), "team/app", &[]).ok();
    assert!(rig.proxy.seen("* *").iter().all(|entry| entry.header("cookie").is_none()));
}

#[test]
fn lists_of_tags_are_read_in_every_form() {
    for name in ["nexus", "artifactory", "ecr", "plain"] {
        let profile = profiles::all().into_iter().find(|p| p.name == name).unwrap_or(PLAIN);
        let rig = Rig::new(Profile { page: 2, ..profile });
        rig.mock.fill("team/app", small());
        for tag in ["a", "b", "c"] {
            rig.mock.tag("team/app", TAG, tag);
        }
        let tags = rig.run(&["tags", &rig.at("team/app")[9..]]).ok();
        let listed: Vec<String> = tags.out().lines().map(str::to_owned).collect();
        assert_eq!(listed, ["a", "b", "c", TAG], "{name}");
    }
    let rig = Rig::named("nexus");
    rig.mock.create("team/empty");
    let none = rig.run(&["tags", &rig.at("team/empty")[9..]]).ok();
    assert_eq!(none.out(), "");
}

#[test]
fn a_mount_that_is_refused_becomes_an_upload() {
    for name in ["harbor", "hub", "ecr", "quay", "plain"] {
        let profile = profiles::all().into_iter().find(|p| p.name == name).unwrap_or(PLAIN);
        let mounts = ["hub", "quay", "plain", "harbor"].contains(&name);
        let rig = Rig::new(profile);
        rig.mock.create("team/copy");
        rig.mock.fill("team/app", small());
        let (from, to) = (rig.at("team/app"), rig.at("team/copy"));
        let copied = rig.run(&["copy", &format!("{from}:{TAG}"), &format!("{to}:{TAG}")]);
        assert_eq!(copied.code, 0, "{name}: {}", copied.stderr);
        assert_eq!(rig.mock.complete("team/copy", TAG), Some(digest(small())), "{name}");
        // A session that is opened instead of mounting is the one that is used.
        let blobs = rig.mock.blobs("team/copy").len();
        let opened = rig.proxy.seen("POST */blobs/uploads/*").len();
        let refused = name == "harbor";
        assert!(refused || opened <= blobs, "{name}: {opened} sessions for {blobs} blobs");
        assert_eq!(rig.proxy.seen("DELETE *").len(), 0, "{name}: a session was thrown away");
        if mounts {
            let sent = rig.proxy.up();
            assert!(sent < 5_000, "{name}: {sent} bytes were sent that could be mounted");
        }
    }
}

#[test]
fn the_other_port_of_a_redirect_sees_no_token() {
    let rig = Rig::named("acr");
    rig.mock.fill("team/app", small());
    rig.run(&["copy", &format!("{}:{TAG}", rig.at("team/app")), "oci:out"]).ok();
    assert_eq!(rig.mock.complaints(), [""; 0]);
    assert_eq!(image::check(&rig.sandbox.path("out")), digest(small()));
}

#[test]
fn a_tag_of_gitlab_that_looks_like_referrers_is_no_trap() {
    let rig = Rig::named("gitlab");
    rig.mock.fill("team/app", small());
    rig.run(&["copy", &format!("{}:{TAG}", rig.at("team/app")), "oci:out"]).ok();
    assert_eq!(image::check(&rig.sandbox.path("out")), digest(small()));
}

#[test]
fn deleting_an_image_takes_the_tag_of_its_referrers_along() {
    let rig = Rig::named("nexus");
    let mut oci = small().clone();
    let subject = oci.entries[0].clone();
    let hex = digest(small()).replace("sha256:", "");
    let signed = oci.referrer(&subject, "a/signature");
    let list = oci.index(&[signed]);
    oci.name(&list, Some(&format!("a:sha256-{hex}")));
    // One that is about another image stays.
    let foreign = format!("sha256-{:064x}", 7);
    let other = oci.index(&[]);
    oci.name(&other, Some(&format!("a:{foreign}")));
    rig.mock.fill("team/app", &oci);
    let image = format!("{}@{}", &rig.at("team/app")[9..], digest(small()));
    assert_eq!(rig.mock.tags("team/app").len(), 3);
    rig.run(&["delete", &image]).ok();
    assert_eq!(rig.mock.tags("team/app"), [foreign]);
}
