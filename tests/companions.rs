//! Companions of images, whatever the verb and the place: they come along, they go with the last image
//! they speak of, and they are never listed as images or tags. Against docker-registry, which has no
//! referrers API, and `imgpack serve`, which has.

mod common;
mod net;

use common::image::{Image, Oci};
use common::{Sandbox, list, string, strings};
use net::proxy::Proxy;
use net::raw;
use net::registry::Registry;
use net::rules::{Fault, Rule};
use net::serve::Imgpack;
use serde_json::{Value, json};

/// Two images, the first an index of one platform, and what refers to them.
struct Signed {
    oci: Oci,
    /// The index `app:1`.
    app: String,
    /// Its platform.
    platform: String,
    /// About the platform, about that, and cosign's signature of the index.
    companions: [String; 3],
    /// The image `other:1`.
    other: String,
    /// About it.
    others: String,
}

/// A manifest that refers to another.
fn about(oci: &mut Oci, subject: &Value, kind: &str) -> Value {
    let desc = oci.referrer(subject, kind);
    oci.name(&desc, None);
    desc
}

fn digest(desc: &Value) -> String {
    string(&desc["digest"])
}

impl Signed {
    fn new() -> Self {
        let mut oci = Oci::new();
        let mut platform = oci.manifest(&Image::new("app", 1));
        platform["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let app = oci.index(std::slice::from_ref(&platform));
        let other = oci.manifest(&Image::new("other", 1));
        oci.name(&app, Some("docker.io/team/app:1"));
        oci.name(&other, Some("docker.io/team/other:1"));
        let sbom = about(&mut oci, &platform, "text/x-sbom");
        let of_sbom = about(&mut oci, &sbom, "text/x-signature");
        let others = about(&mut oci, &other, "text/x-sbom");
        let cosign = oci.manifest(&Image::new("signature", 1));
        let tag = digest(&app).replace(':', "-");
        oci.name(&cosign, Some(&format!("docker.io/team/app:{tag}.sig")));
        let companions = [&sbom, &of_sbom, &cosign].map(digest);
        let [app, platform, other, others] = [&app, &platform, &other, &others].map(digest);
        Self { oci, app, platform, companions, other, others }
    }

    /// The layout in a sandbox as `in`.
    fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::new();
        self.oci.write(&sandbox.path("in"));
        sandbox
    }

    /// Everything of the first image.
    fn of_app(&self) -> Vec<&String> {
        [&self.app, &self.platform].into_iter().chain(&self.companions).collect()
    }
}

/// Digests of the entries of an index.json.
fn entries(sandbox: &Sandbox, dir: &str) -> Vec<String> {
    let bytes = std::fs::read(sandbox.path(dir).join("index.json")).expect("an index.json");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    list(&index["manifests"]).iter().map(digest).collect()
}

/// How many blobs lie in a layout or store.
fn blobs(sandbox: &Sandbox, dir: &str) -> usize {
    std::fs::read_dir(sandbox.path(dir).join("blobs/sha256")).map_or(0, Iterator::count)
}

/// A registry for a test.
enum At {
    /// Without the referrers API.
    Debian(Registry),
    /// With it.
    Ours(Imgpack),
}

impl At {
    fn all() -> Vec<Self> {
        let ours = Self::Ours(Imgpack::writable());
        Registry::plain().map(Self::Debian).into_iter().chain([ours]).collect()
    }

    fn host(&self) -> String {
        match self {
            Self::Debian(registry) => registry.address(),
            Self::Ours(server) => server.address().to_owned(),
        }
    }

    fn has(&self, repository: &str, digest: &str) -> bool {
        raw::get(&self.host(), &format!("/v2/{repository}/manifests/{digest}")).status() == 200
    }
}

fn tags(host: &str, repository: &str) -> Vec<String> {
    strings(&raw::get(host, &format!("/v2/{repository}/tags/list")).json()["tags"])
}

#[test]
fn they_come_along_into_every_place() {
    let signed = Signed::new();
    let sandbox = signed.sandbox();
    sandbox.run(&["load", "-q", "-i", "in"]).ok();
    sandbox.run(&["save", "-o", "saved.tar", "team/app:1"]).ok();
    sandbox.run(&["copy", "oci:in:docker.io/team/app:1", "oci:copied"]).ok();
    sandbox.write("list", b"team/app:1\n");
    sandbox.run(&["sync", "dir-to-dir", "in", "synced", "-f", "list"]).ok();
    sandbox.run(&["load", "-q", "-i", "saved.tar", "--into", "oci:loaded"]).ok();
    for dir in ["store", "copied", "synced", "loaded"] {
        let found = entries(&sandbox, dir);
        let wanted = [&signed.app].into_iter().chain(&signed.companions);
        wanted.for_each(|digest| assert!(found.contains(digest), "{dir}: {digest}: {found:?}"));
        assert!(dir == "store" || !found.contains(&signed.others), "{dir}: {found:?}");
    }
    for at in At::all() {
        let host = at.host();
        let to = |name: &str| format!("docker://{host}/{name}/app:1");
        sandbox.run(&["push", "-q", "team/app:1", &format!("{host}/pushed/app:1")]).ok();
        sandbox.run(&["copy", "saved.tar", &to("copied")]).ok();
        sandbox.run(&["load", "-q", "-i", "saved.tar", "--into", &to("loaded")]).ok();
        sandbox.run(&["sync", "dir-to-registry", "synced", &format!("{host}/synced")]).ok();
        for repository in ["pushed/app", "copied/app", "loaded/app", "synced/team/app"] {
            for digest in signed.of_app() {
                assert!(at.has(repository, digest), "{host}/{repository}@{digest}");
            }
        }
        let back = Sandbox::new();
        back.run(&["pull", "-q", &format!("{host}/pushed/app:1")]).ok();
        back.run(&["sync", "registry-to-dir", &format!("{host}/synced/team/app:1"), "usb"]).ok();
        for dir in ["store", "usb"] {
            let found = entries(&back, dir);
            for digest in &signed.companions {
                assert!(found.contains(digest), "{host}: {dir}: {digest}: {found:?}");
            }
        }
    }
}

#[test]
fn they_go_with_the_last_image_they_speak_of() {
    let signed = Signed::new();
    let sandbox = signed.sandbox();
    let left = |dir: &str| {
        let mut left = entries(&sandbox, dir);
        left.sort();
        left
    };
    let mut of_other = vec![signed.other.clone(), signed.others.clone()];
    of_other.sort();
    // rmi: another name keeps them.
    sandbox.run(&["load", "-q", "-i", "in"]).ok();
    sandbox.run(&["tag", "team/app:1", "team/app:2"]).ok();
    sandbox.run(&["rmi", "team/app:1"]).ok();
    signed.companions.iter().for_each(|c| assert!(left("store").contains(c)));
    sandbox.run(&["rmi", "team/app:2"]).ok();
    assert_eq!(left("store"), of_other);
    sandbox.run(&["rmi", "team/other:1"]).ok();
    assert_eq!((left("store").len(), blobs(&sandbox, "store")), (0, 0));
    // prune -a: the image lost its name to another.
    sandbox.run(&["load", "-q", "-i", "in"]).ok();
    let moved = Oci::one(&Image::new("moved", 1), Some("docker.io/team/app:1"));
    moved.write(&sandbox.path("moved"));
    sandbox.run(&["load", "-q", "-i", "moved"]).ok();
    sandbox.run(&["prune", "-a"]).ok();
    let mut with_moved = [&of_other[..], &[digest(&moved.entries[0])]].concat();
    with_moved.sort();
    assert_eq!(left("store"), with_moved);
    // A directory that is written to: the image is pushed out by another of its name.
    sandbox.run(&["copy", "oci:in", "oci:usb"]).ok();
    sandbox.run(&["copy", "oci:moved", "oci:usb"]).ok();
    assert_eq!(left("usb"), with_moved);
    // sync --delete: it left the list.
    sandbox.run(&["sync", "dir-to-dir", "in", "mirror"]).ok();
    sandbox.write("list", b"team/other:1\n");
    let shrink = ["-f", "list", "--delete", "--yes"];
    sandbox.run(&[&["sync", "dir-to-dir", "in", "mirror"], &shrink[..]].concat()).ok();
    assert_eq!(left("mirror"), of_other);
    assert_eq!(blobs(&sandbox, "mirror"), 6, "two manifests with a config and a layer each");
    for at in At::all() {
        let host = at.host();
        sandbox.run(&["sync", "dir-to-registry", "in", &format!("{host}/deleted")]).ok();
        let image = format!("{host}/deleted/team/app@{}", signed.app);
        sandbox.run(&["delete", &image]).ok();
        let to = format!("{host}/synced");
        sandbox.run(&["sync", "dir-to-registry", "in", &to]).ok();
        sandbox.run(&[&["sync", "dir-to-registry", "in", &to], &shrink[..]].concat()).ok();
        for base in ["deleted", "synced"] {
            let (app, other) = (format!("{base}/team/app"), format!("{base}/team/other"));
            for digest in &signed.companions {
                assert!(!at.has(&app, digest), "{host}/{app}@{digest}");
            }
            assert!(at.has(&other, &signed.other) && at.has(&other, &signed.others), "{host}");
            assert!(tags(&host, &app).is_empty(), "{host}: {:?}", tags(&host, &app));
        }
    }
}

#[test]
fn they_are_never_listed_as_images_or_tags() {
    let signed = Signed::new();
    let sandbox = signed.sandbox();
    let server = Imgpack::writable();
    let host = server.address().to_owned();
    sandbox.run(&["sync", "dir-to-registry", "in", &host]).ok();
    let shown = sandbox.run(&["tags", &format!("{host}/team/app")]).ok().out();
    assert_eq!(shown, "1\n");
    let all = Sandbox::new();
    all.run(&["pull", "-q", "-a", &format!("{host}/team/app")]).ok();
    assert_eq!(all.stored().len(), 1, "{:?}", all.stored());
    // What was pushed, as a store, a directory and an archive, alone and in a folder.
    let pushed = server.ended();
    let dir = pushed.text("registry");
    pushed.run(&["copy", &format!("oci:{dir}"), "a.tar"]).ok();
    std::fs::create_dir(pushed.path("folder")).expect("a directory");
    std::fs::rename(pushed.path("a.tar"), pushed.path("folder/a.tar")).expect("a file");
    std::fs::rename(pushed.path("registry"), pushed.path("store")).expect("a directory");
    assert_eq!(pushed.run(&["images", "-q"]).ok().out().lines().count(), 2);
    for place in ["store:", "oci:store", "folder/a.tar"] {
        let rows = pushed.run(&["ls", "-q", place]).ok().out();
        assert_eq!(rows.lines().count(), 2, "{place}: {rows}");
    }
    if let Some(registry) = Registry::plain() {
        // Its storage has tags for signatures and for listings of referrers.
        sandbox.run(&["sync", "dir-to-registry", "in", &registry.address()]).ok();
        let rows = pushed.run(&["ls", "-q", &registry.storage()]).ok().out();
        assert_eq!(rows.lines().count(), 2, "{rows}");
    }
    let tag = format!("{}.sig", signed.app.replace(':', "-"));
    let places = ["store:", "store", "folder/a.tar", "folder"];
    for place in places {
        let served = net::serve::Server::start(&pushed, &[place]);
        let host = served.address();
        assert_eq!(tags(host, "team/app"), ["1".to_owned(), tag.clone()], "{place}");
        assert_eq!(tags(host, "team/other"), ["1"], "{place}");
        let listed = raw::get(host, &format!("/v2/team/app/referrers/{}", signed.platform)).json();
        assert_eq!(list(&listed["manifests"]).len(), 1, "{place}: {listed}");
        let usb = Sandbox::new();
        let catalog = ["sync", "registry-to-dir", "--catalog", host, "usb", "--format", "json"];
        let report = usb.run(&catalog).ok().json();
        let images = list(&report["images"]).iter().filter(|image| image["companion"] != true);
        let mut named: Vec<String> = images.map(|image| string(&image["destination"])).collect();
        named.sort();
        let wanted = ["app", "other"].map(|name| format!("{host}/team/{name}:1"));
        assert_eq!(named, wanted, "{place}: {report}");
    }
}

#[test]
fn a_listing_that_failed_is_completed_by_the_next_run() {
    let Some(registry) = Registry::plain() else { return };
    let mut oci = Oci::new();
    let image = oci.manifest(&Image::new("app", 1));
    oci.name(&image, Some("docker.io/team/app:1"));
    let kinds = ["text/x-sbom", "text/x-signature", "text/x-more"];
    let mut companions = kinds.map(|kind| digest(&about(&mut oci, &image, kind)));
    companions.sort();
    let tag = digest(&image).replace(':', "-");
    let listing = format!("PUT /v2/*/manifests/{tag}");
    let verbs: [(&str, &[&str]); 3] = [
        ("team", &["sync", "dir-to-registry", "in"]),
        ("copied", &["copy", "oci:in"]),
        ("pushed", &["push", "team/app:1"]),
    ];
    for (path, verb) in verbs {
        let proxy = Proxy::start(&registry.address(), vec![]);
        let sandbox = Sandbox::new();
        oci.write(&sandbox.path("in"));
        sandbox.run(&["load", "-q", "-i", "in"]).ok();
        let host = proxy.address();
        let to = match verb[0] {
            "sync" => host.clone(),
            "copy" => format!("docker://{host}/{path}/app:1"),
            _ => format!("{host}/{path}/app:1"),
        };
        let run = || sandbox.run(&[verb, &[to.as_str()]].concat());
        let listed = || {
            let target = format!("/v2/{path}/app/manifests/{tag}");
            let all = raw::get(&registry.address(), &target).json();
            let mut all: Vec<String> =
                all["manifests"].as_array().into_iter().flatten().map(digest).collect();
            all.sort();
            all
        };
        proxy.rules(vec![Rule::always(&listing, Fault::Status(403, vec![]))]);
        // A sync goes on without what fails, the others end with it.
        run().code(if verb[0] == "sync" { 9 } else { 5 });
        assert!(listed().is_empty(), "{path}");
        proxy.rules(vec![]);
        proxy.forget();
        run().ok();
        assert_eq!(listed(), companions, "{path}");
        assert_eq!(proxy.seen(&listing).len(), 1, "{path}: one write for all of a subject");
        proxy.forget();
        run().ok();
        assert!(proxy.seen("PUT|POST|PATCH *").is_empty(), "{path}: nothing is left to do");
        assert_eq!(proxy.seen(&format!("GET /v2/*/manifests/{tag}")).len(), 1, "{path}: one look");
    }
}
