//! Small inputs that stand for endless work: an index that names its one child many times, level upon
//! level. Every verb visits each document once, in bounded memory.

mod common;
mod hostile;
mod net;

use common::image::{Image, OCI_INDEX, Oci, text};
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
