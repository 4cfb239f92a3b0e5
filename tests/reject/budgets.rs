//! Budgets, at the limit and one beyond (S-14 to S-18).

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{accept, bytes, check, refuse};
use crate::hostile::{
    DockerArchive, Image, Layout, OCI_INDEX, Sandbox, Tar, config, gzip, hex, layer, sha,
};

fn padded(mut text: Vec<u8>, size: usize) -> Vec<u8> {
    text.resize(size, b' ');
    text
}

fn pointed(document: &[u8]) -> Layout {
    let mut layout = Layout::default();
    layout.image(&Image::small());
    layout.blob(document);
    let mut entry = crate::hostile::desc(crate::hostile::OCI_MANIFEST, document);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "docker.io/library/c:1"});
    layout.index.push(entry);
    layout
}

#[test]
fn documents() {
    let manifest = || Image::small().manifest().to_string().into_bytes();
    let of_size = |size| bytes(pointed(&padded(manifest(), size)).bytes());
    let nested = |depth: usize| {
        let mut document = Image::small().manifest();
        // The document itself is one level.
        let deep = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        document["extra"] = serde_json::from_str(&deep).unwrap_or(Value::Null);
        let text = document.to_string();
        let text = if document["extra"].is_null() { text.replace("null", &deep) } else { text };
        bytes(pointed(text.as_bytes()).bytes())
    };
    let layers = |n: usize| {
        let one = Tar::default().end();
        let mut image = Image::plain(&[]);
        image.layers = vec![one.clone(); n];
        image.config = config(&vec![sha(&one); n]).to_string().into_bytes();
        bytes(Layout::of(&image, "docker.io/library/c:1").bytes())
    };
    let hole = |name: &'static str, size: u64| {
        move |sandbox: &Sandbox| {
            let dir = sandbox.path("in/layout");
            Layout::of(&Image::small(), "docker.io/library/c:1").write(&dir);
            let path = match name {
                "config" => dir.join("blobs/sha256").join(hex(&Image::small().config)),
                name => dir.join(name),
            };
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(size).unwrap();
            dir
        }
    };
    check(vec![
        accept("od-manifest-4mb", of_size(4 << 20)),
        accept("od-manifest-8mib", of_size(8 << 20)),
        refuse("od-manifest-8mib-and-1", of_size((8 << 20) + 1)).says("limit"),
        accept("od-json-depth-127", nested(127)),
        refuse("od-json-depth-129", nested(129)),
        accept("oa-layers-1000", layers(1000)),
        refuse("oa-layers-1001", layers(1001)).says("limit"),
        refuse("od-index-3g-hole", hole("index.json", 3 << 30)).says("limit"),
        refuse("od-config-1g-hole", hole("config", 1 << 30)),
        refuse("od-layout-3g-hole", hole("oci-layout", 3 << 30)).says("limit"),
    ]);
}

#[test]
fn tables() {
    let images = |n: usize| {
        let archive = DockerArchive::of(&Image::small(), "c:1");
        let items: Vec<Value> = (0..n)
            .map(|i| {
                let mut item = archive.table[0].clone();
                item["RepoTags"] = json!([format!("c:{i}")]);
                item
            })
            .collect();
        DockerArchive { table: Value::Array(items), ..archive }
    };
    let mut many = DockerArchive::of(&Image::small(), "c:1");
    many.table[0]["Layers"] = vec![json!("0/layer.tar"); 100_000].into();
    let mut index = Layout::of(&Image::small(), "");
    index.index = (0..50_000)
        .map(|i| json!({"mediaType": OCI_INDEX, "size": 1, "digest": sha(format!("{i}").as_bytes())}))
        .collect();
    // 64 MiB of spaces in some 64 KiB.
    let spaces = {
        let body = vec![b' '; 64 << 20];
        gzip(&Tar::default().file("manifest.json", &body).end())
    };
    let members = |n: usize| {
        move |sandbox: &Sandbox| {
            let mut tar = DockerArchive::of(&Image::small(), "c:1").tar();
            let table = DockerArchive::of(&Image::small(), "c:1").table.to_string();
            tar = tar.file("manifest.json", table);
            for i in tar.0.len() / 1024..n + 10 {
                tar = tar.raw(&Tar::header(format!("m/{i}").as_bytes(), b'0', 0, b""));
            }
            sandbox.put("in/x.tar", &tar.end())
        }
    };
    check(vec![
        refuse("da-manifest-100k-layers", bytes(many.bytes())).says("limit"),
        refuse("od-index-50k", bytes(index.bytes())).says("limit"),
        refuse("da-manifest-2g-gz", bytes(spaces)).says("limit"),
        accept("da-images-20", bytes(images(20).bytes())).flags(&["--max-images", "20"]),
        accept("da-members-under", members(1_000)).flags(&["--max-members", "1100"]),
        refuse("da-members-over", members(3_000)).flags(&["--max-members", "1100"]).says("limit"),
        accept("da-name-4096", {
            let name = format!("{}x", "d/".repeat(2047));
            let archive = DockerArchive::of(&Image::small(), "c:1");
            let table = archive.table.to_string();
            bytes(archive.tar().file(name, "x").file("manifest.json", table).end())
        }),
    ]);
}

/// Ten times the members take at most some ten times the time.
#[test]
fn no_step_is_quadratic() {
    let sandbox = Sandbox::new();
    let time = |n: usize, what: &str| {
        let mut archive = DockerArchive::of(&Image::small(), "c:1");
        let mut tar = archive.tar();
        match what {
            "members" => {
                for i in 0..n {
                    tar = tar.file(format!("dir/{i}"), "");
                }
            }
            "tags" => {
                let tags: Vec<String> = (0..n).map(|i| format!("team/c{i}:1")).collect();
                archive.table[0]["RepoTags"] = json!(tags);
            }
            "links" => {
                for i in 0..n {
                    tar = tar.symlink(&format!("l{i}"), "0/layer.tar");
                }
            }
            _ => {
                let mut inner = Tar::default();
                for i in 0..n {
                    inner = inner.file(format!("file/{i}"), "x");
                }
                let image = Image::plain(&[inner.end(), layer("b")]);
                archive = DockerArchive::of(&image, "c:1");
                tar = archive.tar();
            }
        }
        let bytes = tar.file("manifest.json", archive.table.to_string()).end();
        let path = sandbox.put("in/x.tar", &bytes);
        let path = path.to_str().unwrap();
        let best = |args: &[&str]| (0..3).map(|_| sandbox.ok(args).cpu).min().unwrap();
        let load = || {
            let _ = fs::remove_dir_all(sandbox.path("store"));
            sandbox.ok(&["--no-sync", "load", "-q", "-i", path]).cpu
        };
        best(&["verify", path]) + (0..3).map(|_| load()).min().unwrap()
    };
    for what in ["members", "tags", "links", "entries"] {
        let (small, large) = (time(1_000, what), time(10_000, what));
        eprintln!("{what}: 1000 in {small:?}, 10000 in {large:?}");
        // The start of the process is not the work.
        let start = Duration::from_millis(10);
        assert!(large < (small + start) * 14, "{what}: {small:?}, then {large:?}");
    }
}

/// Holes cost nothing to claim; a limit on output is a limit.
#[test]
fn a_hole_is_not_read() {
    let sandbox = Sandbox::new();
    let path = sandbox.put("in/x.tar", &[]);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&Tar::header(b"big", b'0', 1 << 40, b""), 0).unwrap();
    file.set_len(1 << 40).unwrap_or(());
    let done = sandbox.imgpack(&["ls", path.to_str().unwrap()]);
    assert_eq!(done.code(), 3, "{}", done.stderr);
    assert!(done.cpu < Duration::from_secs(5));
}
