//! `sync` as a user types it, between directories and archives: no network is needed.

mod common;

use common::image::{Docker, Image, Oci};
use common::{Sandbox, list, string};
use serde_json::{Value, json};

/// A layout of two named images that share a layer.
fn layout(sandbox: &Sandbox, dir: &str) -> [Image; 2] {
    let (a, mut b) = (Image::new("a", 2), Image::new("b", 1));
    b = Image::of([b.layers, vec![a.layers[0].clone()]].concat());
    let mut oci = Oci::new();
    for (image, name) in [(&a, "docker.io/library/a:1"), (&b, "quay.io/x/b:2")] {
        let desc = oci.manifest(image);
        oci.name(&desc, Some(name));
    }
    oci.write(&sandbox.path(dir));
    [a, b]
}

/// skopeo's flat directory of an image.
fn skopeo(sandbox: &Sandbox, dir: &str, image: &Image) {
    let mut oci = Oci::new();
    let desc = oci.manifest(image);
    let hex = string(&desc["digest"]).replace("sha256:", "");
    for (name, bytes) in &oci.blobs {
        let name = if *name == hex { "manifest.json" } else { name };
        sandbox.write(&format!("{dir}/{name}"), bytes);
    }
    sandbox.write(&format!("{dir}/version"), b"Directory Transport Version: 1.1\n");
}

fn names(sandbox: &Sandbox, place: &str) -> Vec<String> {
    let rows = sandbox.inspect(place);
    let mut names: Vec<String> =
        list(&rows["images"]).iter().flat_map(|row| common::strings(&row["names"])).collect();
    names.sort();
    names
}

#[test]
fn a_second_run_changes_nothing() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    let first = sandbox.run(&["sync", "dir-to-dir", "from", "usb"]).ok();
    assert!(first.out().contains("Copied image: a:1 sha256:"), "{}", first.out());
    assert!(first.out().contains("2 copied, 0 unchanged; "), "{}", first.out());
    let before = std::fs::read(sandbox.path("usb/index.json")).unwrap();
    let second = sandbox.run(&["sync", "dir-to-dir", "from", "usb"]).ok();
    assert!(second.out().ends_with("0 copied, 2 unchanged; 0B sent\n"), "{}", second.out());
    assert_eq!(std::fs::read(sandbox.path("usb/index.json")).unwrap(), before);
    sandbox.run(&["verify", "usb"]).ok();
    // Names that every file system takes.
    for entry in walkdir(&sandbox.path("usb")) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)), "{name}");
    }
}

fn walkdir(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(walkdir(&path));
        }
        all.push(path);
    }
    all
}

#[test]
fn a_folder_of_archives_layouts_and_skopeo_directories_is_a_source() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from/layouts/one");
    let c = Image::new("c", 1);
    sandbox.write("from/c.tar", &Docker::one(&c, json!(["c:3"])).tar());
    skopeo(&sandbox, "from/r.example/x/d:4", &Image::new("d", 1));
    skopeo(&sandbox, "from/e:5", &Image::new("e", 1));
    sandbox.write("from/readme.txt", b"nothing");
    sandbox.write("from/broken.tar", b"nothing");
    let ran = sandbox.run(&["sync", "dir-to-dir", "from", "usb"]).code(9).says("broken.tar");
    assert!(ran.out().contains("5 copied, 0 unchanged, 1 failed"), "{}", ran.out());
    assert_eq!(
        names(&sandbox, "usb"),
        [
            "docker.io/library/a:1",
            "docker.io/library/c:3",
            "docker.io/library/e:5",
            "quay.io/x/b:2",
            "r.example/x/d:4"
        ]
    );
    sandbox.run(&["verify", "usb"]).ok();
}

#[test]
fn one_skopeo_directory_is_named_by_its_path() {
    let sandbox = Sandbox::new();
    skopeo(&sandbox, "usb/busybox:1-glibc", &Image::new("d", 1));
    sandbox.run(&["sync", "--src", "dir", "--dest", "dir", "usb/busybox:1-glibc", "to"]).ok();
    assert_eq!(names(&sandbox, "to"), ["docker.io/library/busybox:1-glibc"]);
}

#[test]
fn lists_choose_and_rules_rename() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    sandbox.write("images.txt", b"# what we need\nquay.io/x/b:2 # b\na:9\n");
    sandbox.write("k8s/pod.yaml", b"spec: {containers: [{image: a:1}]}\n");
    sandbox
        .run(&["sync", "dir-to-dir", "-f", "images.txt", "from", "to"])
        .code(9)
        .says("docker.io/library/a:9: is not there");
    assert_eq!(names(&sandbox, "to"), ["quay.io/x/b:2"]);
    sandbox.run(&["sync", "dir-to-dir", "--from-k8s", "k8s", "from", "to"]).ok();
    assert_eq!(names(&sandbox, "to"), ["docker.io/library/a:1", "quay.io/x/b:2"]);
    sandbox.run(&["sync", "dir-to-dir", "--append-suffix", "-air", "from", "late"]).ok();
    assert_eq!(names(&sandbox, "late"), ["docker.io/library/a:1-air", "quay.io/x/b:2-air"]);
    let rules = ["--map", "quay.io=m.local:5000/quay", "--prefix", "p"];
    sandbox.run(&[&["sync", "dir-to-dir"][..], &rules, &["from", "named"]].concat()).ok();
    assert_eq!(names(&sandbox, "named"), ["docker.io/p/library/a:1", "m.local:5000/p/quay/x/b:2"]);
    sandbox
        .run(&["sync", "dir-to-dir", "--rename", "m.local/all:1", "from", "no"])
        .code(2)
        .says("same repository");
    let clash = sandbox.run(&["sync", "dir-to-dir", "--rename", "m.local/{name}:1", "from", "ok"]);
    clash.ok();
    sandbox.write("empty.txt", b"# nothing\n");
    sandbox.run(&["sync", "dir-to-dir", "-f", "empty.txt", "from", "x"]).code(4).says("no images");
    assert!(!sandbox.path("x").exists());
}

#[test]
fn two_images_for_one_name_are_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    let mut oci = Oci::new();
    for (seed, name) in [("a", "docker.io/x/app:1"), ("b", "quay.io/x/app:1")] {
        let desc = oci.manifest(&Image::new(seed, 1));
        oci.name(&desc, Some(name));
    }
    oci.write(&sandbox.path("from"));
    let map = ["--map", "docker.io=m.local", "--map", "quay.io=m.local"];
    sandbox
        .run(&[&["sync", "dir-to-dir"][..], &map, &["from", "to"]].concat())
        .code(1)
        .says("two images would be called m.local/x/app:1")
        .says("docker.io/x/app:1")
        .says("quay.io/x/app:1");
    assert!(!sandbox.path("to").exists());
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    sandbox.run(&["sync", "dir-to-dir", "from", "to", "-f", &sandbox.write("l", b"a:1")]).ok();
    let plan = sandbox.run(&["sync", "dir-to-dir", "--dry-run", "from", "to"]).ok();
    assert!(plan.out().contains("there        docker.io/library/a:1"), "{}", plan.out());
    assert!(plan.out().contains("2 images, 1 already there"), "{}", plan.out());
    let json = ["sync", "dir-to-dir", "--dry-run", "--format", "json", "from", "new"];
    let value = sandbox.run(&json).ok().json();
    // Two manifests, two configs, and three layers of which both have one.
    assert_eq!(value["blobs"], 7);
    assert!(!sandbox.path("new").exists());
}

#[test]
fn a_dry_run_ends_as_the_run_would() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    for (list, flags, code) in [
        ("gone:1\n", &[][..], 4),
        ("gone:1\ngone:2\n", &[], 4),
        ("a:1\n", &["--allow", "quay.io/**"], 8),
        ("a:1\ngone:1\n", &[], 9),
        ("a:1\n", &["--platform", "linux/riscv64"], 4),
        ("a:1\n", &[], 0),
    ] {
        let file = sandbox.write("list", list.as_bytes());
        // Nothing is there before.
        let _ = std::fs::remove_dir_all(sandbox.path("to"));
        let sync = [&["sync", "dir-to-dir", "-f", &file, "from", "to"], flags].concat();
        let dry = sandbox.run(&[&sync[..], &["--dry-run"]].concat()).code(code);
        let real = sandbox.run(&sync).code(code);
        assert_eq!(dry.stderr, real.stderr, "{list} {flags:?}");
    }
}

#[test]
fn a_report_is_read_back_and_a_lock_replayed() {
    let sandbox = Sandbox::new();
    let [a, _] = layout(&sandbox, "from");
    let list = sandbox.write("images.txt", b"a:1\nc:3\n");
    let report = ["--report", "report.json", "--lock-out", "images.lock"];
    sandbox
        .run(&[&["sync", "dir-to-dir", "-f", &list][..], &report, &["from", "to"]].concat())
        .code(9);
    let value: Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("report.json")).unwrap()).unwrap();
    let statuses: Vec<String> =
        common::list(&value["images"]).iter().map(|e| string(&e["status"])).collect();
    assert_eq!(statuses, ["failed", "copied"]);
    assert_eq!(value["images"][0]["error"]["kind"], "missing");
    let more = Docker::one(&Image::new("c", 1), json!(["c:3"])).and(Docker::named(
        &a,
        json!(["a:1"]),
        "a-",
    ));
    sandbox.write("more/all.tar", &more.tar());
    sandbox.run(&["sync", "dir-to-dir", "--retry", "report.json", "more", "to"]).ok();
    assert_eq!(names(&sandbox, "to"), ["docker.io/library/a:1", "docker.io/library/c:3"]);
    let lock = std::fs::read(sandbox.path("images.lock")).unwrap();
    let replay = ["sync", "dir-to-dir", "--lock", "images.lock", "--lock-out", "again.lock"];
    sandbox.run(&[&replay[..], &["from", "other"]].concat()).ok();
    assert_eq!(std::fs::read(sandbox.path("again.lock")).unwrap(), lock);
    assert_eq!(names(&sandbox, "other"), ["docker.io/library/a:1"]);
    let both = ["sync", "dir-to-dir", "--lock", "images.lock", "-f", &list, "from", "other"];
    sandbox.run(&both).code(2);
}

#[test]
fn removing_is_shown_and_confirmed() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    sandbox.run(&["sync", "dir-to-dir", "from", "to"]).ok();
    let list = sandbox.write("images.txt", b"a:1\n");
    let shrink = ["sync", "dir-to-dir", "--delete", "-f", &list, "from", "to"];
    sandbox.run(&shrink).code(2).says("would remove: quay.io/x/b:2").says("--yes");
    assert_eq!(names(&sandbox, "to").len(), 2);
    let plan = sandbox.run(&[&shrink[..], &["--dry-run"]].concat()).ok();
    assert!(plan.out().contains("remove       quay.io/x/b:2"), "{}", plan.out());
    let done = sandbox.run(&[&shrink[..], &["--yes"]].concat()).ok();
    assert!(done.out().contains("Removed image: quay.io/x/b:2"), "{}", done.out());
    assert_eq!(names(&sandbox, "to"), ["docker.io/library/a:1"]);
    sandbox.run(&["verify", "to"]).ok();
}

#[test]
fn an_intake_policy_that_is_not_met_is_exit_code_8() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    let list = sandbox.write("images.txt", b"a:1\n");
    let base = ["sync", "dir-to-dir", "-f", &list, "from", "to"];
    sandbox.run(&[&base[..], &["--allow", "quay.io/**"]].concat()).code(8).says("not allowed");
    sandbox.run(&[&base[..], &["--verify-key", "no-key.pem"]].concat()).code(8).says("no-key.pem");
    let key = sandbox.write(
        "key.pem",
        b"-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBV0Y5Mut3vjCHHn6MfMFiPD80o1p
W7IjYtz/Z6SvUpnK78ssAhCXWLXpvh2K4sEvkeafd409Tfb+kcMF4wzepw==
-----END PUBLIC KEY-----
",
    );
    sandbox.run(&[&base[..], &["--verify-key", &key]].concat()).code(8).says("is not signed");
    assert!(!sandbox.path("to").exists());
    sandbox.run(&[&base[..], &["--allow", "docker.io/library/*"]].concat()).ok();
}

#[test]
fn what_cannot_be_is_one_clear_line() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    for (args, code, words) in [
        (&["sync", "dir-to-dir", "none", "to"][..], 4, "no such file or directory"),
        (&["sync", "sideways", "from", "to"], 2, "unknown mode"),
        (&["sync", "dir-to-dir", "from", "from"], 2, "same place"),
        (&["sync", "dir-to-dir", "from"], 2, "SRC DST"),
        (&["sync", "dir-to-registry", "from", "registry"], 2, "not a registry to write to"),
        (&["sync", "registry-to-dir", "quay.io", "to"], 2, "--catalog"),
        (&["sync", "dir-to-dir", "-f", "none.txt", "from", "to"], 4, "none.txt"),
        (&["sync", "dir-to-dir", "-f", "nginx", "from", "to"], 4, "one name per line"),
        (&["sync", "dir-to-dir", "--lock", "from/index.json", "from", "to"], 3, "not a lock file"),
        (&["sync", "dir-to-dir", "--emit", "k3s", "out", "from", "to"], 2, "--emit"),
        (&["sync", "dir-to-dir", "--format", "xml", "from", "to"], 2, "--format"),
    ] {
        let ran = sandbox.run(args).code(code).says(words);
        let lines = ran.stderr.lines().filter(|l| l.starts_with("imgpack: ")).count();
        assert_eq!(lines, 1, "{}", ran.stderr);
    }
    assert!(!sandbox.path("to").exists());
}

#[test]
fn an_archive_is_written_and_read_through_sync() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "from");
    let archive = ["sync", "--src", "dir", "--dest", "archive", "from", "all.tar"];
    sandbox.run(&archive).ok();
    sandbox.run(&archive).code(1).says("file exists");
    sandbox.run(&["sync", "archive-to-dir", "all.tar", "to"]).ok();
    assert_eq!(names(&sandbox, "to"), ["docker.io/library/a:1", "quay.io/x/b:2"]);
}
