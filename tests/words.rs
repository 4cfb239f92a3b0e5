//! What a user's word for an image means: docker's meaning in every verb, beside a real docker, and two
//! images with one name. The whole table of the resolver is in `src/find/tests.rs`.

mod common;
mod engine;
mod net;

use std::io::Read;
use std::path::Path;
use std::process::Command;

use common::image::{Docker, Image, Oci};
use common::{Sandbox, list, strings};
use engine::daemons::Daemon;
use net::raw;
use net::registry::Registry;
use net::serve::Server;
use serde_json::{Value, json};

/// One set of images, in docker and in a store.
struct Both<'t> {
    sandbox: &'t Sandbox,
    docker: &'t Daemon,
    names: Vec<String>,
    seeded: Vec<String>,
}

/// ID, repository and tag of each line of `images`.
const LISTING: [&str; 4] = ["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}} {{.Tag}}"];

impl<'t> Both<'t> {
    /// Pulls the same names into both.
    fn pulled(sandbox: &'t Sandbox, docker: &'t Daemon, names: Vec<String>) -> Self {
        for name in &names {
            sandbox.run(&["pull", "-q", name]).ok();
            docker.client(&["pull", "-q", name]).expect("docker pulls");
        }
        duplicate(sandbox, "store", "seed");
        let both = Self { sandbox, docker, names, seeded: Vec::new() };
        assert_eq!(both.ours(), both.theirs(), "what was pulled");
        Self { seeded: both.whole(), ..both }
    }

    fn ours(&self) -> Vec<String> {
        sorted(&self.sandbox.run(&LISTING).ok().out())
    }

    fn theirs(&self) -> Vec<String> {
        sorted(&self.docker.client(&LISTING).expect("docker lists"))
    }

    /// What docker has, with digests that it alone keeps apart from tags.
    fn whole(&self) -> Vec<String> {
        let shape = "{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}}";
        let args = ["images", "--digests", "--no-trunc", "--format", shape];
        sorted(&self.docker.client(&args).expect("docker lists"))
    }

    /// Makes both what they were.
    fn reset(&self) {
        if self.whole() != self.seeded {
            self.docker.empty();
            for name in &self.names {
                self.docker.client(&["pull", "-q", name]).expect("docker pulls");
            }
            assert_eq!(self.whole(), self.seeded);
        }
        std::fs::remove_dir_all(self.sandbox.path("store")).expect("a store");
        duplicate(self.sandbox, "seed", "store");
    }

    /// Runs the same words; what each printed, or nothing where both failed.
    fn run(&self, ours: &[&str], theirs: &[&str]) -> Option<(String, String)> {
        let theirs = self.docker.client(theirs);
        let ran = self.sandbox.run(ours);
        let line = ours.join(" ");
        assert_eq!(ran.code == 0, theirs.is_some(), "{line}: {}", ran.stderr);
        Some((ran.out(), theirs?))
    }
}

/// Copies a directory of a sandbox.
fn duplicate(sandbox: &Sandbox, from: &str, to: &str) {
    let done = Command::new("cp").args(["-r", from, to]).current_dir(sandbox.root()).status();
    assert!(done.is_ok_and(|status| status.success()), "cp -r {from} {to}");
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The words of a template's answer, in no order.
fn in_words(text: &str) -> Vec<String> {
    sorted(&text.replace(['[', ']', ' '], "\n")).into_iter().filter(|w| !w.is_empty()).collect()
}

/// ID and sorted tags of each image in an archive's manifest.json.
fn archived(path: &Path) -> Vec<(String, Vec<String>)> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("an archive"));
    let mut entries = archive.entries().expect("entries").map(|entry| entry.expect("an entry"));
    let mut table = entries
        .find(|entry| entry.path().is_ok_and(|path| path == Path::new("manifest.json")))
        .expect("manifest.json");
    let mut text = String::new();
    table.read_to_string(&mut text).expect("text");
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    let row = |row: &Value| {
        let config = Path::new(row["Config"].as_str().expect("a path")).file_stem();
        let mut tags = strings(&row["RepoTags"]);
        tags.sort();
        (config.expect("a name").to_string_lossy().into_owned(), tags)
    };
    let mut rows: Vec<_> = list(&rows).iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn a_word_means_what_it_means_to_docker() {
    let (Some(registry), Some(docker)) = (Registry::plain(), Daemon::start("docker-daemon")) else {
        return;
    };
    let sandbox = Sandbox::new();
    let at = |name: &str| format!("{}/{name}", registry.address());
    let images = ["a", "b", "c"].map(|seed| Image::new(seed, 1));
    let tags: [&[&str]; 3] = [&["n:1"], &["m:latest", "m:7"], &["d:1"]];
    for (image, tags) in images.iter().zip(tags) {
        let path = sandbox.write("x.tar", &Docker::one(image, json!(["x:1"])).tar());
        tags.iter().for_each(|tag| drop(sandbox.run(&["push", &path, &at(tag)]).ok()));
    }
    let digest = |tag: &str| sandbox.run(&["digest", &at(tag)]).ok().out().trim().to_owned();
    let (a, c) = (digest("n:1"), digest("d:1"));
    let by_digest = format!("{}@{c}", at("d"));
    let names = vec![at("n:1"), at("m:latest"), at("m:7"), by_digest.clone()];
    let both = Both::pulled(&sandbox, &docker, names);
    let [id_a, id_b, id_c] = images.map(|image| image.id());
    let words: &[&str] = &[
        "nope",
        "nope:1",
        &at("n"),
        &at("n:1"),
        &at("n:2"),
        &format!("{}@{a}", at("n")),
        &format!("{}@{a}", at("n:9")),
        &format!("{}@{a}", at("m")),
        &at("m"),
        &at("m:7"),
        &at("d"),
        &at("d:1"),
        &by_digest,
        &id_a,
        &id_a[7..],
        &id_a[7..19],
        &id_b[7..19],
        &id_c[..19],
    ];
    for &word in words {
        for rmi in [["rmi", word].as_slice(), &["rmi", "-f", word]] {
            both.run(rmi, rmi);
            assert_eq!(both.ours(), both.theirs(), "{rmi:?}");
            both.reset();
        }
        both.run(&["tag", word, "new:1"], &["tag", word, "new:1"]);
        assert_eq!(both.ours(), both.theirs(), "tag {word}");
        let history = ["history", "-q", "--no-trunc", word];
        if let Some((ours, theirs)) = both.run(&history, &history) {
            assert_eq!(ours, theirs, "history {word}");
        }
        docker.client(&["rmi", "new:1"]);
        both.reset();
        let shape = "{{.Id}} {{.RepoTags}} {{.RepoDigests}}";
        let theirs = ["image", "inspect", "--format", shape, word];
        if let Some((ours, theirs)) = both.run(&theirs[1..], &theirs) {
            assert_eq!(in_words(&ours), in_words(&theirs), "inspect {word}");
        }
        let (ours, theirs) = (sandbox.text("ours.tar"), sandbox.text("theirs.tar"));
        if both.run(&["save", "-f", "-o", &ours, word], &["save", "-o", &theirs, word]).is_some() {
            assert_eq!(archived(ours.as_ref()), archived(theirs.as_ref()), "save {word}");
        }
    }
    // What docker pushes has other digests, so that nothing can be made what it was any more.
    for &word in words {
        both.run(&["push", word], &["push", word]);
    }
    for all in [at("m"), at("m:7"), at("none")] {
        both.run(&["push", "-a", &all], &["push", "-a", &all]);
    }
}

#[test]
fn an_image_that_was_pulled_by_its_digest_keeps_its_repository() {
    let Some(registry) = Registry::plain() else { return };
    let sandbox = Sandbox::new();
    let path = sandbox.write("x.tar", &Docker::one(&Image::new("x", 1), json!(["x:1"])).tar());
    let repository = format!("{}/team/x", registry.address());
    sandbox.run(&["push", &path, &format!("{repository}:1")]).ok();
    let digest = sandbox.run(&["digest", &format!("{repository}:1")]).ok().out();
    let name = format!("{repository}@{}", digest.trim());
    let shown = |sandbox: &Sandbox| {
        let format = "{{.Repository}} {{.Tag}} {{.Digest}}";
        let rows = sandbox.run(&["images", "--digests", "--format", format]).ok().out();
        assert_eq!(rows, format!("{repository} <none> {}\n", digest.trim()));
        let names = sandbox.run(&["inspect", "--format", "{{.RepoTags}} {{.RepoDigests}}", &name]);
        assert_eq!(names.ok().out(), format!("[] [{name}]\n"));
    };
    sandbox.run(&["pull", &name]).ok();
    shown(&sandbox);
    // Through an archive, a directory and a served place, each into a store of its own.
    sandbox.run(&["save", "-o", "by-digest.tar", &name]).ok();
    sandbox.run(&["copy", "store:", "oci:layout"]).ok();
    for place in ["by-digest.tar", "layout"] {
        let other = Sandbox::new();
        let ran = other.run(&["load", "-i", &sandbox.text(place)]).ok();
        assert_eq!(ran.out(), format!("Loaded image: {name}\n"));
        shown(&other);
        other.run(&["rmi", &name]).ok();
        assert_eq!(other.stored(), []);
    }
    // Docker takes no name without a tag from manifest.json.
    assert_eq!(archived(&sandbox.path("by-digest.tar"))[0].1, [""; 0]);
    // It is tagged like any other, and keeps the digest until it is taken away.
    sandbox.run(&["tag", &name, "mine:1"]).ok();
    sandbox.run(&["rmi", "mine:1"]).ok();
    shown(&sandbox);
    let ran = sandbox.run(&["rmi", &name]).ok();
    assert!(ran.out().starts_with(&format!("Untagged: {name}\nDeleted: ")), "{}", ran.out());
    assert_eq!(sandbox.stored(), []);
}

#[test]
fn a_place_is_no_list_of_the_store() {
    let sandbox = Sandbox::new();
    for place in ["docker-daemon:", "podman:", "docker://r.local/a", "oci:dir", "store:"] {
        let ran = sandbox.run(&["images", place]).code(2);
        let ran = ran.says("is a place").says(&format!("imgpack ls {place}"));
        assert_eq!(ran.out(), "");
    }
    sandbox.run(&["images", "nginx:1"]).ok();
}

/// Two images, both called so.
const TWICE: &str = "docker.io/library/app:1";

/// A folder with two layouts that have the same name for different images.
fn twice() -> (Sandbox, [Oci; 2]) {
    let sandbox = Sandbox::new();
    let both = ["one", "two"].map(|seed| Oci::one(&Image::new(seed, 1), Some(TWICE)));
    for (oci, at) in both.iter().zip(["stick/one", "stick/two"]) {
        oci.write(&sandbox.path(at));
    }
    (sandbox, both)
}

/// The digest that a layout gives the name.
fn digest(oci: &Oci) -> String {
    let index: Value = serde_json::from_slice(&oci.index_json()).expect("JSON");
    index["manifests"][0]["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn of_two_images_with_one_name_served_together_it_is_said_which_answers() {
    let (sandbox, both) = twice();
    let [one, two] = both.each_ref().map(digest);
    std::fs::write(sandbox.path("two.tar"), both[1].tar()).expect("a file");
    let note = format!(
        "{TWICE} is {one}, which comes first; the other is served as docker.io/library/app@{two}"
    );
    for places in [["stick/one", "two.tar"].as_slice(), &["stick"]] {
        let server = Server::start(&sandbox, places);
        server.says(&note);
        for (wanted, digest) in [("1", &one), (one.as_str(), &one), (two.as_str(), &two)] {
            let path = format!("/v2/library/app/manifests/{wanted}");
            let answer = raw::get(server.address(), &path);
            assert_eq!(answer.status(), 200, "{places:?}: {wanted}");
            assert_eq!(answer.head.get("docker-content-digest"), Some(digest.as_str()), "{wanted}");
        }
    }
}

#[test]
fn two_images_with_one_name_are_not_moved_together() {
    let (sandbox, both) = twice();
    let said = format!("app:1 names two images, {} and {}", digest(&both[0]), digest(&both[1]));
    for args in [
        ["load", "-i", "stick", "--quiet"],
        ["copy", "--all", "stick", "oci:out"],
        ["copy", "--quiet", "stick", "out.tar"],
        ["sync", "dir-to-dir", "stick", "out"],
    ] {
        sandbox.run(&args).code(3).says(&said);
        assert!(!sandbox.path("out").exists() && !sandbox.path("out.tar").exists(), "{args:?}");
    }
    // A prefix leaves the registries of names out, and may make one of two.
    let (a, b) = (Image::new("a", 1), Image::new("b", 1));
    let two = Docker::named(&a, json!(["a.local/app:1"]), "a").and(Docker::named(
        &b,
        json!(["b.local/app:1"]),
        "b",
    ));
    let path = sandbox.write("two.tar", &two.tar());
    let args = ["load", "-i", &path, "--prefix", "r.local"];
    sandbox.run(&args).code(3).says("r.local/app:1 names two images");
    assert_eq!(sandbox.stored(), []);
    // Each alone is fine, and what only looks is not stopped.
    sandbox.run(&["verify", "stick"]).ok();
    assert_eq!(list(&sandbox.inspect("stick")["images"]).len(), 2);
    sandbox.run(&["load", "-i", "stick/one"]).ok();
    // Those that are called otherwise come all the same.
    let other = Oci::one(&Image::new("three", 1), Some("docker.io/library/other:1"));
    other.write(&sandbox.path("stick/three"));
    sandbox.run(&["sync", "dir-to-dir", "stick", "out"]).code(9).says(&said);
    let shown = sandbox.inspect("oci:out");
    assert_eq!(strings(&shown["images"][0]["names"]), ["docker.io/library/other:1"]);
    assert_eq!(list(&shown["images"]).len(), 1);
}
