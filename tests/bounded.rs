//! Small inputs that stand for endless work: an index that names its one child many times, level upon
//! level, and layers of very many long names. Every verb visits each document once, in bounded memory.

mod common;
mod hostile;
mod net;

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use common::image::{self, Image, OCI_INDEX, OCI_LAYER, Oci, text};
use common::tarball::Tar;
use hostile::{MIB, Outcome};
use net::serve::Server;
use serde_json::{Value, json};

/// Most memory of a run here.
const MEMORY: u64 = 128 * MIB;
const NAME: &str = "docker.io/demo/dag:1";

fn index(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
}

/// Adds a document and gives the descriptor of it.
fn add(layout: &mut Oci, document: &Value) -> Value {
    layout.blob(document["mediaType"].as_str().unwrap(), &text(document))
}

/// Five levels of thirty entries: 24 million ways to one image.
fn fan() -> Oci {
    let mut layout = Oci::new();
    let image = Image::small();
    let mut child = layout.manifest(&image);
    for level in 0..5 {
        let entry = |k: usize| {
            let mut entry = child.clone();
            entry["annotations"] = json!({"k": k.to_string()});
            entry
        };
        let document = index(&(0..30).map(entry).collect::<Vec<_>>());
        match level {
            4 => layout.point(&document, NAME),
            _ => child = add(&mut layout, &document),
        }
    }
    layout
}

#[track_caller]
fn judge(verb: &[&str], done: &Outcome, code: i32) {
    assert!(!done.timed_out, "{verb:?} goes on without end");
    assert_eq!(done.code(), code, "{verb:?}: {}", done.stderr);
    assert!(done.rss <= MEMORY, "{verb:?}: {} MiB", done.rss / MIB);
}

#[test]
fn an_index_that_names_its_child_again_and_again_is_read_once_by_every_verb() {
    let sandbox = hostile::Sandbox::new();
    fan().write(&sandbox.path("cwd/dag"));
    let far = common::Sandbox::new();
    let store = far.text("registry");
    let server = Server::start(&far, &["--writable", &store, "--delete"]);
    let remote = format!("{}/demo/dag:1", server.address());
    let docker = format!("docker://{remote}");
    let mirror = format!("{}/mirror", server.address());
    for verb in [
        &["ls", "dag"][..],
        &["inspect", "dag"],
        &["verify", "dag"],
        &["load", "-i", "dag"],
        &["images"],
        &["inspect", "store:"],
        &["history", "demo/dag:1"],
        &["copy", "oci:dag:docker.io/demo/dag:1", "x.tar"],
        &["verify", "x.tar"],
        &["copy", "--platform", "linux/amd64", "dag", "oci:pruned"],
        &["copy", "--compress", "gzip", "dag", "oci:packed"],
        &["save", "-o", "y.tar", "demo/dag:1"],
        &["export", "-o", "z.tar", "demo/dag:1"],
        &["diff", "dag", "x.tar"],
        &["copy", "dag", &docker],
        &["tag", "demo/dag:1", &remote],
        &["push", &remote],
        &["rmi", &remote],
        &["pull", &remote],
        &["sync", "dir-to-dir", "dag", "usb"],
        &["sync", "dir-to-dir", "dag", "usb"],
        &["sync", "dir-to-registry", "dag", &mirror],
        &["sync", "registry-to-dir", &remote, "usb2"],
        &["prune"],
        &["rmi", "-f", "demo/dag:1", &remote],
        &["prune"],
        &["delete", &remote],
    ] {
        judge(verb, &sandbox.imgpack(verb), 0);
    }
    let blobs = walkdir::WalkDir::new(sandbox.path("store/blobs")).into_iter();
    assert_eq!(blobs.filter(|e| e.as_ref().unwrap().file_type().is_file()).count(), 0, "removed");
    let said = sandbox.imgpack(&["digest", &remote]);
    assert_eq!(said.code(), 4, "it is gone from the server: {}", said.stderr);
}

#[test]
fn documents_that_list_one_another_in_any_order_nest_no_deeper() {
    let sandbox = hostile::Sandbox::new();
    let mut layout = Oci::new();
    let image = Image::small();
    let mut entries = vec![layout.manifest(&image)];
    // Each lists the one before it, and the root lists all of them, the innermost first.
    for _ in 0..2_000 {
        let last = entries.last().unwrap().clone();
        entries.push(add(&mut layout, &index(&[last])));
    }
    layout.point(&index(&entries), NAME);
    layout.write(&sandbox.path("cwd/deep"));
    for verb in [&["verify", "deep"][..], &["load", "-i", "deep"], &["copy", "deep", "x.tar"]] {
        let done = sandbox.imgpack(verb);
        judge(verb, &done, 3);
        assert!(done.stderr.contains("nested deeper"), "{verb:?}: {}", done.stderr);
    }
}

#[test]
fn many_images_over_one_large_index_are_refused_before_they_take_hours() {
    let sandbox = hostile::Sandbox::new();
    let mut layout = Oci::new();
    let image = Image::small();
    let child = layout.manifest(&image);
    let wide = add(&mut layout, &index(&vec![child; 10_000]));
    for k in 0..150 {
        let mut one = index(std::slice::from_ref(&wide));
        one["annotations"] = json!({"k": k.to_string()});
        layout.point(&one, &format!("docker.io/demo/dag:{k}"));
    }
    layout.write(&sandbox.path("cwd/many"));
    for verb in [&["load", "-i", "many"][..], &["copy", "many", "x.tar"], &["verify", "many"]] {
        let done = sandbox.imgpack(&[verb, &["--max-images", "200"]].concat());
        judge(verb, &done, 3);
        assert!(done.stderr.contains("limit"), "{verb:?}: {}", done.stderr);
        assert!(done.stderr.contains("\nhint: "), "{verb:?}: {}", done.stderr);
    }
}

/// A layout of one image: a layer of empty files with these names.
fn names(count: usize, name: impl Fn(usize) -> String, seed: &str) -> Oci {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for n in 0..count {
        packed.write_all(&Tar::new().file(name(n), "").0).unwrap();
    }
    packed.write_all(&Tar::new().end()).unwrap();
    let mut layout = Oci::new();
    let layer = layout.blob(&format!("{OCI_LAYER}+gzip"), &packed.finish().unwrap());
    let config = text(&image::config(&[common::sha256(seed.as_bytes())]));
    let config = layout.blob(image::OCI_CONFIG, &config);
    let manifest = json!({"schemaVersion": 2, "mediaType": image::OCI_MANIFEST,
        "config": config, "layers": [layer]});
    layout.point(&manifest, NAME);
    layout
}

/// `export` of an image and its `diff` against one in which every name is another.
#[track_caller]
fn many_names(count: usize, name: impl Fn(&str, usize) -> String) {
    const MOST: u64 = 192 * MIB;
    let sandbox = hostile::Sandbox::new();
    for side in ["a", "b"] {
        names(count, |n| name(side, n), side).write(&sandbox.path("cwd").join(side));
    }
    for (verb, code) in [(&["export", "a"][..], 0), (&["diff", "a", "b"], 1)] {
        let mut command = hostile::command(hostile::IMGPACK, &sandbox);
        command.args(verb).stdout(Stdio::null());
        let done = hostile::run(command, None, Duration::from_secs(240));
        assert_eq!(done.code(), code, "{verb:?}: {}", done.stderr);
        assert!(done.rss <= MOST, "{verb:?}: {} MiB", done.rss / MIB);
    }
}

/// So that neither their order nor their first bytes tell names apart.
fn shuffled(n: usize) -> usize {
    n * 7_919 % 100_003
}

#[test]
fn a_hundred_thousand_long_names_need_little_memory_where_they_share_directories() {
    let shared = vec!["d".repeat(255); 11].join("/");
    many_names(100_000, |side, n| format!("{shared}/{side}{:0183}", shuffled(n)));
}

#[test]
fn a_hundred_thousand_long_names_need_little_memory_where_each_is_another() {
    many_names(100_000, |side, n| format!("{side}{:02999}", shuffled(n)));
}

#[test]
fn directories_that_only_names_imply_need_little_memory() {
    // Of 10 000 names, 110 000 directories; of 100 000, more than a million.
    many_names(hostile::scale(10_000, 100_000), |side, n| {
        let part = |depth: usize| format!("{side}{depth:02}{:0247}", shuffled(n));
        (0..12).map(part).collect::<Vec<_>>().join("/")
    });
}

#[test]
fn more_blobs_than_files_may_be_open_come_over_a_network() {
    let sandbox = common::Sandbox::new();
    let mut layout = Oci::new();
    for n in 0..150 {
        let desc = layout.manifest(&Image::new(&n.to_string(), 1));
        layout.name(&desc, Some(&format!("docker.io/demo/i{n}:1")));
    }
    layout.write(&sandbox.path("layout"));
    let server = Server::start(&sandbox, &["layout"]);
    let all = format!("{}/*", server.address());
    let sync = sandbox.command(&["sync", "registry-to-dir", &all, "usb"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 400; exec \"$0\" \"$@\""]).arg(sync.get_program());
    limited.args(sync.get_args()).current_dir(sandbox.root());
    for (key, value) in sync.get_envs() {
        limited.env(key, value.unwrap_or_default());
    }
    let done = limited.output().expect("sh");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let verified = sandbox.run(&["verify", "usb"]).ok();
    assert!(verified.out().contains("OK, 150 images"), "{}", verified.out());
    assert!(!sandbox.path("usb/.imgpack-partial").exists());
}
