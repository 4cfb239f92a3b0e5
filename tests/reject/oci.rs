//! OCI layouts, as directories and as archives, that must be refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use super::{Case, bytes, check, refuse};
use crate::common::image::{
    Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Oci, desc, gzip, layer, text, zstd,
};
use crate::common::tarball::Tar;
use crate::common::{hex, sha256, skip};
use crate::hostile::{Sandbox, is_root};

fn good() -> Oci {
    Oci::one(&Image::small(), Some("docker.io/library/case:1"))
}

/// A layout directory, changed on disk after it was written.
fn on_disk(name: &'static str, change: impl Fn(&Path, &Sandbox) + 'static) -> Case {
    refuse(name, move |sandbox| {
        let dir = sandbox.path("in/layout");
        good().write(&dir);
        change(&dir, sandbox);
        dir
    })
}

fn directory(name: &'static str, layout: Oci) -> Case {
    refuse(name, move |sandbox| {
        let dir = sandbox.path("in/layout");
        layout.write(&dir);
        dir
    })
}

/// An image whose manifest is changed and then pointed at rightly.
fn manifest(name: &'static str, change: impl Fn(&mut Value)) -> Case {
    let image = Image::small();
    let mut layout = Oci::new();
    layout.image(&image);
    let mut document = image.manifest();
    change(&mut document);
    layout.point(&document, "docker.io/library/case:1");
    directory(name, layout)
}

/// The good layout with its index entry changed.
fn entry(name: &'static str, change: impl Fn(&mut Value)) -> Case {
    let mut layout = good();
    change(&mut layout.entries[0]);
    directory(name, layout)
}

fn blob(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    dir.join("blobs/sha256").join(hex(bytes))
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Puts something else where the first layer was.
fn instead(name: &'static str, put: impl Fn(&Path, &Sandbox) + 'static) -> Case {
    on_disk(name, move |dir, sandbox| {
        let path = blob(dir, &Image::small().layers[0]);
        fs::remove_file(&path).unwrap();
        put(&path, sandbox);
    })
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn bytes_that_lie() {
    let image = Image::small();
    let config = image.config.clone();
    let layer0 = image.layers[0].clone();
    let document = image.manifest().to_string().into_bytes();
    check(vec![
        on_disk("od-config-bitflip", move |d, _| flip(&blob(d, &config))),
        on_disk("od-layer-bitflip", move |d, _| flip(&blob(d, &layer0))),
        on_disk("od-manifest-bitflip", {
            let document = document.clone();
            move |d, _| flip(&blob(d, &document))
        }),
        on_disk("od-manifest-replaced", move |d, _| {
            let other = Image::plain(&[layer("other")]).manifest().to_string();
            fs::write(blob(d, &document), other).unwrap();
        }),
        instead("od-layer-empty", |p, _| fs::write(p, b"").unwrap()),
        instead("od-layer-missing", |_, _| {}).says("missing"),
        instead("od-layer-swapped", |p, _| fs::write(p, &Image::small().layers[1]).unwrap()),
        entry("od-manifest-missing", |e| e["digest"] = json!(sha256(b"absent"))),
        manifest("od-config-missing", |m| m["config"]["digest"] = json!(sha256(b"absent"))),
        directory("od-empty-index", {
            let mut layout = good();
            layout.entries.clear();
            layout
        })
        .says("holds no images"),
    ]);
}

#[test]
fn sizes() {
    let sized = |name: &'static str, size: Value| {
        manifest(name, move |m| m["layers"][0]["size"] = size.clone())
    };
    let of_entry = |name: &'static str, size: Value| entry(name, move |e| e["size"] = size.clone());
    let real = Image::small().layers[0].len();
    check(vec![
        sized("od-size-smaller", json!(real - 1)),
        sized("od-size-bigger", json!(real + 1)),
        sized("od-size-zero", json!(0)),
        sized("od-size-negative", json!(-1)),
        sized("od-size-huge", json!(1_u64 << 53)),
        sized("od-size-over-2-53", json!((1_u64 << 53) + 1)),
        sized("od-size-u64-max", json!(u64::MAX)),
        sized("od-size-float", json!(3072.0)),
        sized("od-size-string", json!("3072")),
        sized("od-size-null", Value::Null),
        manifest("od-size-missing", |m| {
            drop(m["layers"][0].as_object_mut().unwrap().remove("size"));
        }),
        manifest("od-config-size-huge", |m| m["config"]["size"] = json!(1_u64 << 53)),
        of_entry("od-entry-size-smaller", json!(1)),
        of_entry("od-entry-size-huge", json!(1_u64 << 53)),
        of_entry("od-entry-size-exponent", json!(1e3)),
    ]);
}

#[test]
fn digests() {
    let layer_digest = |name: &'static str, digest: String| {
        manifest(name, move |m| m["layers"][0]["digest"] = json!(digest))
    };
    let good = hex(&Image::small().layers[0]);
    check(vec![
        layer_digest("od-digest-traversal", "sha256:../../../outside/secret".into()),
        layer_digest("od-digest-absolute", "/etc/passwd".into()),
        layer_digest("od-digest-uppercase", format!("sha256:{}", good.to_uppercase())),
        layer_digest("od-digest-short", format!("sha256:{}", &good[..63])),
        layer_digest("od-digest-long", format!("sha256:{good}0")),
        layer_digest("od-digest-no-algorithm", good.clone()),
        layer_digest("od-digest-empty", String::new()),
        layer_digest("od-digest-empty-hex", "sha256:".into()),
        layer_digest("od-digest-md5", "md5:d41d8cd98f00b204e9800998ecf8427e".into()),
        layer_digest("od-digest-plus", format!("sha256+b64:{good}")),
        layer_digest("od-digest-newline", format!("sha256:{good}\n")),
        layer_digest("od-digest-ansi", format!("sha256:\u{1b}[31m{}", &good[5..])),
        layer_digest("od-digest-nul", format!("sha256:{}\0", &good[..63])),
        layer_digest("od-digest-sha512-short", format!("sha512:{good}")),
        layer_digest("od-digest-sha512-missing", format!("sha512:{good}{good}")),
        manifest("od-digest-number", |m| m["layers"][0]["digest"] = json!(5)),
        entry("od-entry-digest-malformed", |e| e["digest"] = json!("sha256:x")),
    ]);
}

#[test]
fn shapes() {
    let raw = |name: &'static str, file: &'static str, text: Vec<u8>| {
        on_disk(name, move |d, _| fs::write(d.join(file), &text).unwrap())
    };
    let index = good().index_json();
    let index = String::from_utf8(index).unwrap();
    let twice = index.replacen("\"manifests\"", "\"manifests\":[],\"manifests\"", 1);
    let case = index.replacen("\"manifests\"", "\"Manifests\":[],\"manifests\"", 1);
    check(vec![
        raw("od-index-not-json", "index.json", b"not json".to_vec()),
        raw("od-index-empty-file", "index.json", Vec::new()),
        raw("od-index-array", "index.json", b"[]".to_vec()),
        raw("od-index-deep-json", "index.json", b"[".repeat(300_000)),
        raw("od-index-manifests-object", "index.json", br#"{"manifests":{}}"#.to_vec()),
        raw("od-index-entry-null", "index.json", br#"{"manifests":[null]}"#.to_vec()),
        raw("od-index-trailing", "index.json", format!("{index}x").into_bytes()),
        raw("od-index-dup-keys", "index.json", twice.into_bytes()).says("ambiguous"),
        raw("od-index-case-keys", "index.json", case.into_bytes()).says("ambiguous"),
        raw(
            "od-index-with-layers",
            "index.json",
            index.replacen('{', "{\"layers\":[1],", 1).into(),
        ),
        raw("od-layout-not-json", "oci-layout", b"x".to_vec()),
        raw("od-layout-huge", "oci-layout", vec![b' '; 100_000]),
        entry("od-mediatype-mismatch", |e| e["mediaType"] = json!(OCI_INDEX)).says("ambiguous"),
        manifest("od-manifest-confusion", |m| m["manifests"] = json!([desc(OCI_MANIFEST, b"x")]))
            .says("ambiguous"),
        manifest("od-manifest-confusion-case", |m| {
            m["Manifests"] = json!([desc(OCI_MANIFEST, b"x")]);
        }),
        manifest("od-manifest-no-config", |m| drop(m.as_object_mut().unwrap().remove("config"))),
        manifest("od-manifest-no-layers", |m| drop(m.as_object_mut().unwrap().remove("layers"))),
        manifest("od-manifest-layers-object", |m| m["layers"] = json!({})),
        manifest("od-manifest-mediatype-number", |m| m["mediaType"] = json!(5)),
        manifest("od-layers-vs-diffids", |m| drop(m["layers"].as_array_mut().unwrap().pop())),
        manifest("od-layers-swapped", |m| m["layers"].as_array_mut().unwrap().reverse())
            .says("found"),
        manifest("od-layers-doubled", |m| {
            let first = m["layers"][0].clone();
            m["layers"][1] = first;
        }),
        directory("od-one-tag-two-images", {
            let mut layout = good();
            let other = Image::plain(&[layer("other")]);
            layout.image(&other);
            layout.point(&other.manifest(), "docker.io/library/case:1");
            layout
        })
        .says("ambiguous"),
        nested("od-index-cycle", |_| {
            // Each says that it holds the other; one of them must lie.
            let mut layout = Oci::new();
            let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests":
                [{"mediaType": OCI_INDEX, "digest": sha256(b"outer"), "size": 5}]});
            let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests":
                [layout.blob(OCI_INDEX, &text(&inner))]});
            layout.blobs.push((hex(b"outer"), text(&outer)));
            layout.point(&outer, "docker.io/library/case:1");
            layout
        }),
        nested("od-index-nested-9", |_| deep(9)).says("nested"),
    ]);
}

fn nested(name: &'static str, make: impl Fn(()) -> Oci) -> Case {
    directory(name, make(()))
}

/// An image beneath so many indexes, the outermost of which is an entry of index.json.
pub fn deep(levels: usize) -> Oci {
    let image = Image::small();
    let mut layout = Oci::new();
    let mut entry = layout.manifest(&image);
    for _ in 0..levels {
        entry = layout.index(&[entry]);
    }
    layout.name(&entry, Some("docker.io/library/deep:1"));
    layout
}

/// Only regular files are content, and nothing that blocks is ever opened for long.
#[test]
fn special_files() {
    let outside = |sandbox: &Sandbox| sandbox.path("outside/secret");
    let named = |name: &'static str, file: &'static str, put: fn(&Path, &Sandbox)| {
        on_disk(name, move |d, s| {
            let path = d.join(file);
            let _ = fs::remove_file(&path);
            put(&path, s);
        })
    };
    check(vec![
        instead("od-blob-fifo", |p, _| fifo(p)).says("regular file"),
        instead("od-blob-socket", |p, _| {
            // The longest path a socket may have is short; bind it by a relative name.
            let here = p.with_file_name("s");
            if UnixListener::bind(&here).is_ok() {
                fs::rename(here, p).unwrap();
            }
        }),
        instead("od-blob-dir", |p, _| fs::create_dir(p).unwrap()).says("regular file"),
        instead("od-blob-symlink-passwd", |p, _| symlink("/etc/passwd", p).unwrap()),
        instead("od-blob-symlink-devzero", |p, _| symlink("/dev/zero", p).unwrap()),
        instead("od-blob-symlink-secret", move |p, s| symlink(outside(s), p).unwrap()),
        instead("od-blob-symlink-relative-out", |p, _| {
            symlink("../../../../outside/secret", p).unwrap();
        }),
        instead("od-blob-symlink-proc", |p, _| symlink("/proc/self/fd/0", p).unwrap()),
        instead("od-blob-symlink-self", |p, _| symlink(p.file_name().unwrap(), p).unwrap()),
        named("od-index-symlink-secret", "index.json", |p, s| {
            symlink(s.path("outside/secret"), p).unwrap();
        }),
        named("od-index-fifo", "index.json", |p, _| fifo(p)),
        named("od-layout-fifo", "oci-layout", |p, _| fifo(p)),
        named("od-index-dir", "index.json", |p, _| fs::create_dir(p).unwrap()),
        named("od-manifest-json-fifo", "manifest.json", |p, _| fifo(p)),
        on_disk("od-blobs-dir-symlink", |d, s| {
            fs::rename(d.join("blobs"), s.path("in/blobs")).unwrap();
            symlink(s.path("in/blobs"), d.join("blobs")).unwrap();
        }),
        on_disk("od-blobs-dir-symlink-relative", |d, s| {
            fs::rename(d.join("blobs"), s.path("in/blobs")).unwrap();
            symlink("../blobs", d.join("blobs")).unwrap();
        }),
    ]);
}

#[test]
fn devices() {
    if !is_root() {
        return skip("device nodes need root");
    }
    let device = |path: &Path, minor| {
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, 0o666);
        let mode = rustix::fs::Mode::from_raw_mode(mode);
        let dev = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, dev).unwrap();
    };
    check(vec![
        instead("od-blob-devzero", move |p, _| device(p, 5)).says("regular file"),
        instead("od-blob-devnull", move |p, _| device(p, 3)),
        on_disk("od-index-devzero", move |d, _| {
            fs::remove_file(d.join("index.json")).unwrap();
            device(&d.join("index.json"), 5);
        }),
    ]);
}

/// The same defects, and a few more, in a tar.
#[test]
fn archives() {
    let layout = good();
    let index = layout.index_json();
    let layer0 = format!("blobs/sha256/{}", hex(&Image::small().layers[0]));
    let without = |skip: &str| {
        let mut layout = good();
        layout.blobs.retain(|(hex, _)| !skip.ends_with(hex));
        layout
    };
    let end = |tar: Tar| bytes(tar.file("index.json", good().index_json()).end());
    let blobs_link = {
        let mut tar = Tar::new().symlink("blobs", "../../outside");
        for (hex, body) in &layout.blobs {
            tar = tar.file(format!("other/sha256/{hex}"), body);
        }
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    };
    let packed = |name: &'static str, suffix: &'static str, pack: fn(&[u8]) -> Vec<u8>| {
        let image = Image::small().packed(suffix, pack);
        refuse(name, bytes(Oci::one(&image, Some("docker.io/library/case:1")).tar()))
    };
    let mismatch = {
        let mut image = Image::small().packed("gzip", gzip);
        image.layers[0] = gzip(&layer("not what the config says"));
        Oci::one(&image, Some("docker.io/library/case:1")).tar()
    };
    // An array of frames of zeros: 1 GiB out of some 100 KiB.
    let bomb = {
        let mut image = Image::small();
        image.layers[0] = zstd(&vec![0; 16 << 20]).repeat(64);
        image.kind = Some(format!("{OCI_LAYER}+zstd"));
        Oci::one(&image, Some("docker.io/library/bomb:1")).tar()
    };
    let cut = layout.tar();
    check(vec![
        refuse("oa-trunc-half", bytes(cut[..cut.len() / 2].to_vec())),
        refuse("oa-dup-index", end(layout.body().file("index.json", "{}"))).says("ambiguous"),
        refuse("oa-dup-blob", end(layout.body().file(&layer0, "other"))).says("ambiguous"),
        refuse("oa-blob-symlink-out", end(without(&layer0).body().symlink(&layer0, "/etc/passwd"))),
        refuse("oa-blob-hardlink-out", {
            end(without(&layer0).body().hard_link(&layer0, "../outside/secret"))
        }),
        refuse(
            "oa-blob-fifo",
            end(without(&layer0).body().member(layer0.as_bytes(), b'6', b"", b"")),
        ),
        refuse("oa-blobs-dir-symlink", end(blobs_link)),
        refuse("oa-symlink-then-write", {
            let tar = layout.body().symlink("link", "../../outside").file("link/evil", "x");
            end(tar.file("../outside/evil", "x"))
        }),
        refuse(
            "oa-index-too-big",
            bytes(layout.body().file("index.json", vec![b' '; 9 << 20]).end()),
        )
        .says("limit"),
        packed("oa-zstd-bad-checksum", "zstd", |l| {
            let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            out.include_checksum(true).unwrap();
            std::io::Write::write_all(&mut out, l).unwrap();
            let mut out = out.finish().unwrap();
            let n = out.len();
            out[n - 1] ^= 1;
            out
        }),
        packed("oa-zstd-trunc", "zstd", |l| {
            let mut out = zstd(l);
            out.truncate(out.len() - 3);
            out
        }),
        packed("oa-zstd-trailing", "zstd", |l| [zstd(l), b"garbage".to_vec()].concat()),
        // A frame header that asks for a window of 2 TiB.
        packed("oa-zstd-window-2t", "zstd", |_| {
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 0x01, 0x00, 0x00]
        })
        .memory(192),
        packed("oa-xz-not-xz", "xz", |_| [b"\xfd7zXZ\0".to_vec(), vec![0xff; 64]].concat()),
        packed("oa-bzip2-not-bzip2", "bzip2", |_| [b"BZh9".to_vec(), vec![0xff; 64]].concat()),
        packed("oa-gzip-of-nothing", "gzip", |_| vec![0x1f, 0x8b]),
        refuse("oa-diffid-mismatch", bytes(mismatch)).says("found"),
        refuse("oa-zstd-bomb", bytes(bomb.clone())).memory(192),
        refuse("oa-zstd-bomb-limited", bytes(bomb))
            .flags(&["--max-layer-size", "10000000"])
            .says("larger than"),
        refuse("oa-config-of-another-type", {
            let mut layout = Oci::new();
            let image = Image::small();
            layout.image(&image);
            let mut document = image.manifest();
            document["config"] = layout.blob(OCI_CONFIG, b"[]");
            layout.point(&document, "docker.io/library/case:1");
            bytes(layout.tar())
        }),
        refuse("oa-index-with-nul-name", {
            let mut layout = good();
            layout.entries[0]["annotations"]["io.containerd.image.name"] = json!("x\u{0}:1");
            layout.entries[0]["digest"] = json!("x");
            bytes(layout.tar())
        }),
        refuse("oa-no-blobs", {
            let tar = Tar::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
            bytes(tar.file("index.json", &index).end())
        }),
    ]);
}
