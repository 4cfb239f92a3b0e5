//! One recipe for every verb: the same images arrive, whichever verb carried them; who will load them is
//! heeded; what no longer signs anything is said.

mod common;
#[path = "engine/daemons.rs"]
#[allow(dead_code, unreachable_pub, reason = "the contract uses the rest")]
mod daemons;
mod net;

use std::collections::BTreeSet;

use common::image::{Docker, Image, Oci, layer, text};
use common::{Ran, Sandbox, list, string};
use daemons::Daemon;
use net::registry::Registry;
use serde_json::{Value, json};

const NAME: &str = "fx/a:1";

/// An image under [`NAME`] with something that refers to it; their digests.
fn referred() -> (Oci, Docker, [String; 2]) {
    let image = Image::new("a", 2);
    let mut oci = Oci::new();
    let subject = oci.manifest(&image);
    oci.name(&subject, Some(&format!("docker.io/{NAME}")));
    let companion = refers_to(&mut oci, &subject);
    (oci, Docker::one(&image, json!([NAME])), [string(&subject["digest"]), companion])
}

/// Adds an SBOM of a manifest; its digest.
fn refers_to(oci: &mut Oci, subject: &Value) -> String {
    let entry = oci.referrer(subject, "application/spdx+json");
    oci.entries.push(entry.clone());
    string(&entry["digest"])
}

/// manifest.json and index.json over the same blobs, as Docker 25 and later writes them.
fn union(oci: &Oci, docker: &Docker) -> Vec<u8> {
    let layers: Vec<String> = list(&manifest_of(oci)["layers"]).iter().map(path_of).collect();
    let config = path_of(&manifest_of(oci)["config"]);
    let mut items = docker.items.clone();
    items[0]["Config"] = config.into();
    items[0]["Layers"] = json!(layers);
    let tar = common::tarball::Tar::new().file("manifest.json", text(&items));
    oci.members().iter().fold(tar, |tar, (name, bytes)| tar.file(name, bytes)).end()
}

fn manifest_of(oci: &Oci) -> Value {
    let digest = string(&oci.entries[0]["digest"]);
    let found = oci.blobs.iter().find(|(hex, _)| digest.ends_with(hex.as_str()));
    serde_json::from_slice(&found.expect("the manifest").1).expect("JSON")
}

fn path_of(desc: &Value) -> String {
    string(&desc["digest"]).replace("sha256:", "blobs/sha256/")
}

/// Digests of all that lies at a place: copied into a layout, whose index is read here.
fn arrived(sandbox: &Sandbox, place: &str) -> BTreeSet<String> {
    let out = sandbox.path("read-back");
    let _ = std::fs::remove_dir_all(&out);
    sandbox.run(&["copy", place, &format!("oci:{}", out.display())]).ok();
    listed(&out)
}

fn listed(layout: &std::path::Path) -> BTreeSet<String> {
    let bytes = std::fs::read(layout.join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    list(&index["manifests"]).iter().map(|entry| string(&entry["digest"])).collect()
}

/// A place with the images, and the verbs that read it: words before the target.
struct From {
    what: &'static str,
    place: String,
    /// The mode of `sync`, as far as the source goes.
    sync: Option<&'static str>,
}

fn sources(sandbox: &Sandbox, registry: Option<&str>) -> Vec<From> {
    let (oci, docker, _) = referred();
    oci.write(&sandbox.path("layout"));
    sandbox.write("docker.tar", &docker.tar());
    sandbox.write("union.tar", &union(&oci, &docker));
    sandbox.run(&["load", "-q", "-i", "layout"]).ok();
    let from = |what, place: &str, sync| From { what, place: place.into(), sync };
    let mut all = vec![
        from("docker archive", "docker.tar", Some("archive")),
        from("union archive", "union.tar", Some("archive")),
        from("layout", "oci:layout", Some("dir")),
        from("store", &format!("store:{NAME}"), None),
    ];
    if let Some(registry) = registry {
        let place = format!("docker://{registry}/source:1");
        sandbox.run(&["copy", "oci:layout", &place]).ok();
        all.push(From { what: "registry", place, sync: Some("registry") });
    }
    all
}

/// Every way from a source into one kind of target: the words, and where the images are then.
fn ways(from: &From, target: &str, registry: Option<&str>) -> Vec<(Vec<String>, String)> {
    let place = from.place.as_str();
    let stored = from.what == "store";
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let base = registry.unwrap_or_default();
    let mut ways = Vec::new();
    match target {
        "registry" => {
            let to = |verb| format!("docker://{base}/{verb}:1");
            ways.push((words(&["copy", place, &to("copy")]), to("copy")));
            ways.push((words(&["load", "-i", place, "--into", &to("load")]), to("load")));
            let image = if stored { NAME } else { place };
            ways.push((words(&["push", image, &format!("{base}/push:1")]), to("push")));
            if let Some(kind) = from.sync {
                let mode = format!("{kind}-to-registry");
                let path = if kind == "registry" { "source" } else { "fx/a" };
                let there = format!("docker://{base}/sync/{path}:1");
                ways.push((words(&["sync", &mode, place, &format!("{base}/sync")]), there));
            }
        }
        "archive" => {
            ways.push((words(&["copy", place, "copy.tar"]), "copy.tar".into()));
            ways.push((words(&["load", "-i", place, "--into", "load.tar"]), "load.tar".into()));
            if stored {
                ways.push((words(&["save", "-o", "save.tar", NAME]), "save.tar".into()));
            }
            if from.what == "registry" {
                let to = words(&["sync", "registry-to-archive", place, "sync.tar"]);
                ways.push((to, "sync.tar".into()));
            }
        }
        "layout" => {
            ways.push((words(&["copy", place, "oci:copy"]), "oci:copy".into()));
            ways.push((words(&["load", "-i", place, "--into", "oci:load"]), "oci:load".into()));
            if let Some(kind) = from.sync {
                let mode = format!("{kind}-to-dir");
                ways.push((words(&["sync", &mode, place, "synced"]), "oci:synced".into()));
            }
        }
        _ => {
            let store = |verb: &[&str]| {
                let own = format!("store-{}", verb[0]);
                let mut all = words(verb);
                all.extend(["--store".to_owned(), own.clone()]);
                (all, format!("oci:{own}"))
            };
            if !stored {
                ways.push(store(&["load", "-i", place]));
                ways.push(store(&["copy", place, "store:"]));
            }
            if let Some(name) = place.strip_prefix("docker://") {
                ways.push(store(&["pull", name]));
            }
        }
    }
    ways
}

#[test]
fn the_same_images_arrive_whichever_verb_carried_them() {
    let registry = Registry::plain();
    let (_, _, whole) = referred();
    let whole: BTreeSet<String> = whole.into();
    let address = registry.as_ref().map(Registry::address);
    for target in ["registry", "archive", "layout", "store"] {
        if target == "registry" && registry.is_none() {
            continue;
        }
        let sandbox = Sandbox::new();
        for from in sources(&sandbox, address.as_deref()) {
            let mut first: Option<BTreeSet<String>> = None;
            for (words, there) in ways(&from, target, address.as_deref()) {
                let args: Vec<&str> = words.iter().map(String::as_str).collect();
                let line = format!("{} to a {target}: {}", from.what, args.join(" "));
                sandbox.run(&args).ok();
                let found = arrived(&sandbox, &there);
                match from.what {
                    // Its manifest is made here, and anew for a registry, which is sent gzip.
                    "docker archive" => assert_eq!(found.len(), 1, "{line}"),
                    _ => assert_eq!(found, whole, "{line}"),
                }
                let expected = first.get_or_insert_with(|| found.clone());
                assert_eq!(&found, expected, "{line}");
            }
            for made in ["copy", "load", "synced", "store-load", "store-copy", "store-pull"] {
                let _ = std::fs::remove_dir_all(sandbox.path(made));
            }
            for made in ["copy.tar", "load.tar", "save.tar", "sync.tar"] {
                let _ = std::fs::remove_file(sandbox.path(made));
            }
        }
    }
}

#[test]
fn engines_get_the_same_images_from_every_verb() {
    for kind in daemons::ENGINES {
        let Some(engine) = Daemon::start(kind) else { continue };
        let sandbox = Sandbox::new();
        let at = |args: &[&str]| {
            let mut command = sandbox.command(args);
            match (&engine.engines.docker_host, &engine.engines.containerd_address) {
                (Some(host), _) => command.env("DOCKER_HOST", host),
                (_, address) => command.env("CONTAINERD_ADDRESS", address.as_deref().unwrap()),
            };
            net::run::start(command, &args.join(" ")).wait().ok()
        };
        for from in sources(&sandbox, None) {
            let mut first: Option<String> = None;
            for verb in ["copy", "load"] {
                engine.empty();
                match verb {
                    "copy" => at(&["copy", &from.place, &format!("{kind}:")]),
                    _ => at(&["load", "-i", &from.place, "--into", &format!("{kind}:")]),
                };
                let found =
                    at(&["ls", "--no-trunc", "--format", "{{.Name}} {{.ID}}", &format!("{kind}:")]);
                let expected = first.get_or_insert_with(|| found.out());
                assert_eq!(&found.out(), expected, "{verb} {} {kind}:", from.what);
                assert!(expected.contains(NAME), "{expected}");
            }
        }
    }
}

/// A store with an image of so many layers under [`NAME`].
fn deep(layers: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let image = Image::of((0..layers).map(|at| layer(&at.to_string())).collect());
    sandbox.write("deep.tar", &Docker::one(&image, json!([NAME])).tar());
    sandbox.run(&["load", "-q", "-i", "deep.tar"]).ok();
    sandbox
}

#[test]
fn what_a_consumer_cannot_load_is_refused_before_anything_is_written() {
    let one = deep(1);
    for (consumer, file, format, fine) in [
        ("docker20", "x.tar", "union", true),
        ("docker20", "x.tar.gz", "union", true),
        ("docker20", "x.tar.zst", "union", false),
        ("docker20", "x.tar", "docker", true),
        ("docker20", "x.tar", "oci", false),
        ("docker", "x.tar.zst", "union", true),
        ("docker", "x.tar", "oci", false),
        ("podman", "x.tar.zst", "union", true),
        ("podman", "x.tar.gz", "union", true),
        ("podman", "x.tar.gz", "docker", false),
        ("podman", "x.tar", "oci", true),
        ("containerd", "x.tar", "oci", true),
        ("containerd", "x.tar.gz", "union", false),
        ("containerd", "x.tgz", "union", false),
        ("containerd", "x.tar.zst", "union", false),
        ("k3s", "x.tar.zst", "union", true),
        ("k3s", "x.tar", "oci", false),
    ] {
        let args = ["save", "-f", "--for", consumer, "--format", format, "-o", file, NAME];
        let ran = one.run(&args).code(if fine { 0 } else { 8 });
        assert_eq!(one.path(file).exists(), fine, "{}", ran.line);
        if !fine {
            assert_eq!(ran.stderr.lines().count(), 1, "{}: {}", ran.line, ran.stderr);
            ran.says(&format!("imgpack: {file}: "));
        }
        let _ = std::fs::remove_file(one.path(file));
    }
    // podman 4.3 reads one name of a gzip archive, not two.
    one.run(&["tag", NAME, "fx/b:1"]).ok();
    let both = ["save", "--for", "podman", "-o", "x.tar.gz", NAME, "fx/b:1"];
    one.run(&both).code(8).says("several names");
    // moby chains 125 layers in a graph driver.
    for (layers, consumer, fine) in [
        (125, "docker20", true),
        (126, "docker20", false),
        (126, "docker", false),
        (126, "podman", true),
        (126, "containerd", true),
    ] {
        let sandbox = deep(layers);
        let ran = sandbox.run(&["save", "--for", consumer, "-o", "x.tar", NAME]);
        let ran = ran.code(if fine { 0 } else { 8 });
        assert_eq!(sandbox.path("x.tar").exists(), fine, "{}", ran.line);
        if !fine {
            ran.says(&format!("{NAME} has {layers} layers")).says("at most 125");
        }
    }
}

#[test]
fn docker_itself_loads_no_more_layers_than_it_is_said_to() {
    let Some(engine) = Daemon::start("docker-daemon") else { return };
    let host = engine.engines.docker_host.clone().expect("a host");
    for (layers, fine) in [(125, true), (126, false)] {
        let sandbox = deep(layers);
        let load = || {
            let docker = ["-H", &host, "load", "-q", "-i", "deep.tar"];
            let mut command = std::process::Command::new("docker");
            command.args(docker).current_dir(sandbox.root());
            command.output().expect("docker runs").status.success()
        };
        assert_eq!(load(), fine, "docker load of {layers} layers");
        let ran = {
            let mut command =
                sandbox.command(&["copy", &format!("store:{NAME}"), "docker-daemon:fx/deep:1"]);
            command.env("DOCKER_HOST", &host);
            net::run::start(command, "copy").wait()
        };
        ran.code(if fine { 0 } else { 8 });
    }
}

/// Lines of a run that speak of a digest as left behind.
fn left_behind(ran: &Ran, digest: &str) -> Vec<String> {
    let told = |line: &&str| line.contains("left behind") && line.contains(digest);
    ran.stderr.lines().filter(told).map(str::to_owned).collect()
}

#[test]
fn what_no_longer_signs_anything_is_said_once_and_left_behind() {
    let registry = Registry::plain();
    let (_, _, [image, companion]) = referred();
    let sandbox = Sandbox::new();
    let address = registry.as_ref().map(Registry::address);
    sources(&sandbox, address.as_deref());
    let mut ways = vec![
        (vec!["copy", "oci:layout", "copy.tar"], "copy.tar".to_owned()),
        (vec!["load", "-i", "union.tar", "--store", "other"], "oci:other".to_owned()),
        (vec!["save", "-o", "save.tar", NAME], "save.tar".to_owned()),
        (vec!["sync", "dir-to-dir", "oci:layout", "synced"], "oci:synced".to_owned()),
    ];
    let (to, there, synced);
    if let Some(base) = &address {
        (to, there) = (format!("{base}/pushed:1"), format!("docker://{base}/pushed:1"));
        ways.push((vec!["push", NAME, &to], there));
        synced = format!("{base}/synced");
        let there = format!("docker://{synced}/fx/a:1");
        ways.push((vec!["sync", "dir-to-registry", "oci:layout", &synced], there));
    }
    for (mut args, place) in ways {
        args.extend(["--compress", "zstd"]);
        let ran = sandbox.run(&args).ok();
        let told = left_behind(&ran, &companion);
        assert_eq!(told.len(), 1, "{}: {}", ran.line, ran.stderr);
        let found = arrived(&sandbox, &place);
        assert_eq!(found.len(), 1, "{}: {found:?}", ran.line);
        let now = found.first().expect("an image");
        assert!(told[0].contains(&image) && told[0].contains(now), "{}", told[0]);
        assert_ne!(*now, image);
    }
}

#[test]
fn signatures_of_what_is_not_chosen_are_said_to_stay_behind() {
    let sandbox = Sandbox::new();
    let mut oci = Oci::new();
    let platforms = ["amd64", "arm64"].map(|architecture| {
        let image = Image::for_platform(vec![layer(architecture)], "linux", architecture);
        let mut desc = oci.manifest(&image);
        desc["platform"] = json!({"os": "linux", "architecture": architecture});
        desc
    });
    let index = oci.index(&platforms);
    oci.name(&index, Some(&format!("docker.io/{NAME}")));
    let [of_index, of_amd, of_arm] =
        [&index, &platforms[0], &platforms[1]].map(|subject| refers_to(&mut oci, &bare(subject)));
    oci.write(&sandbox.path("layout"));
    sandbox.run(&["load", "-q", "-i", "layout"]).ok();
    for args in [
        vec!["copy", "oci:layout", "copy.tar"],
        vec!["save", "-o", "save.tar", NAME],
        vec!["sync", "dir-to-dir", "oci:layout", "synced"],
    ] {
        let args = [args, vec!["--platform", "linux/amd64"]].concat();
        let ran = sandbox.run(&args).ok();
        let told = left_behind(&ran, &of_index);
        assert_eq!(told.len(), 1, "{}: {}", ran.line, ran.stderr);
        let (was, now) = (string(&index["digest"]), string(&platforms[0]["digest"]));
        assert!(told[0].contains(&was) && told[0].contains(&now), "{}", told[0]);
        assert_eq!(left_behind(&ran, &of_arm).len(), 1, "{}: {}", ran.line, ran.stderr);
        assert!(left_behind(&ran, &of_amd).is_empty(), "{}: {}", ran.line, ran.stderr);
    }
}

fn bare(desc: &Value) -> Value {
    json!({"mediaType": desc["mediaType"], "digest": desc["digest"], "size": desc["size"]})
}
