//! Budgets, at the limit and one beyond (S-14 to S-18).

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{accept, bytes, check, refuse};
use crate::common::image::{Docker, Image, OCI_INDEX, OCI_MANIFEST, Oci, config, gzip, layer};
use crate::common::tarball::{Tar, header};
use crate::common::{hex, sha256};
use crate::hostile::Sandbox;

fn padded(mut text: Vec<u8>, size: usize) -> Vec<u8> {
    text.resize(size, b' ');
    text
}

fn pointed(document: &[u8]) -> Oci {
    let mut layout = Oci::new();
    layout.image(&Image::small());
    let desc = layout.blob(OCI_MANIFEST, document);
    layout.name(&desc, Some("docker.io/library/c:1"));
    layout
}

#[test]
fn documents() {
    let manifest = || Image::small().manifest().to_string().into_bytes();
    let of_size = |size| bytes(pointed(&padded(manifest(), size)).tar());
    let nested = |depth: usize| {
        let mut document = Image::small().manifest();
        // The document itself is one level.
        let deep = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        document["extra"] = serde_json::from_str(&deep).unwrap_or(Value::Null);
        let text = document.to_string();
        let text = if document["extra"].is_null() { text.replace("null", &deep) } else { text };
        bytes(pointed(text.as_bytes()).tar())
    };
    let layers = |n: usize| {
        let one = Tar::new().end();
        let mut image = Image::plain(&[]);
        image.layers = vec![one.clone(); n];
        image.config = config(&vec![sha256(&one); n]).to_string().into_bytes();
        bytes(Oci::one(&image, Some("docker.io/library/c:1")).tar())
    };
    let hole = |name: &'static str, size: u64| {
        move |sandbox: &Sandbox| {
            let dir = sandbox.path("in/layout");
            Oci::one(&Image::small(), Some("docker.io/library/c:1")).write(&dir);
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
        let archive = Docker::foldered(&Image::small(), "c:1");
        let items: Vec<Value> = (0..n)
            .map(|i| {
                let mut item = archive.items[0].clone();
                item["RepoTags"] = json!([format!("c:{i}")]);
                item
            })
            .collect();
        Docker { items: Value::Array(items), ..archive }
    };
    let mut many = Docker::foldered(&Image::small(), "c:1");
    many.items[0]["Layers"] = vec![json!("0/layer.tar"); 100_000].into();
    let mut index = Oci::one(&Image::small(), None);
    index.entries = (0..50_000)
        .map(|i| json!({"mediaType": OCI_INDEX, "size": 1, "digest": sha256(format!("{i}").as_bytes())}))
        .collect();
    // 64 MiB of spaces in some 64 KiB.
    let spaces = {
        let body = vec![b' '; 64 << 20];
        gzip(&Tar::new().file("manifest.json", &body).end())
    };
    let members = |n: usize| {
        move |sandbox: &Sandbox| {
            let mut tar = Docker::foldered(&Image::small(), "c:1").body();
            let table = Docker::foldered(&Image::small(), "c:1").items.to_string();
            tar = tar.file("manifest.json", table);
            for i in tar.0.len() / 1024..n + 10 {
                tar = tar.raw(&header(format!("m/{i}").as_bytes(), b'0', 0, b""));
            }
            sandbox.put("in/x.tar", &tar.end())
        }
    };
    check(vec![
        refuse("da-manifest-100k-layers", bytes(many.tar())).says("limit"),
        refuse("od-index-50k", bytes(index.tar())).says("limit"),
        refuse("da-manifest-2g-gz", bytes(spaces)).says("limit"),
        accept("da-images-20", bytes(images(20).tar())).flags(&["--max-images", "20"]),
        accept("da-members-under", members(1_000)).flags(&["--max-members", "1100"]),
        refuse("da-members-over", members(3_000)).flags(&["--max-members", "1100"]).says("limit"),
        accept("da-name-4096", {
            let name = format!("{}x", "d/".repeat(2047));
            let archive = Docker::foldered(&Image::small(), "c:1");
            let table = archive.items.to_string();
            bytes(archive.body().file(name, "x").file("manifest.json", table).end())
        }),
    ]);
}

/// Ten times the members take at most some ten times the time.
#[test]
fn no_step_is_quadratic() {
    let sandbox = Sandbox::new();
    let time = |n: usize, what: &str| {
        let mut archive = Docker::foldered(&Image::small(), "c:1");
        let mut tar = archive.body();
        match what {
            "members" => {
                for i in 0..n {
                    tar = tar.file(format!("dir/{i}"), "");
                }
            }
            "tags" => {
                let tags: Vec<String> = (0..n).map(|i| format!("team/c{i}:1")).collect();
                archive.items[0]["RepoTags"] = json!(tags);
            }
            "links" => {
                for i in 0..n {
                    tar = tar.symlink(&format!("l{i}"), "0/layer.tar");
                }
            }
            _ => {
                let mut inner = Tar::new();
                for i in 0..n {
                    inner = inner.file(format!("file/{i}"), "x");
                }
                let image = Image::plain(&[inner.end(), layer("b")]);
                archive = Docker::foldered(&image, "c:1");
                tar = archive.body();
            }
        }
        let bytes = tar.file("manifest.json", archive.items.to_string()).end();
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
    file.write_all_at(&header(b"big", b'0', 1 << 40, b""), 0).unwrap();
    file.set_len(1 << 40).unwrap_or(());
    let done = sandbox.imgpack(&["ls", path.to_str().unwrap()]);
    assert_eq!(done.code(), 3, "{}", done.stderr);
    assert!(done.cpu < Duration::from_secs(5));
}
