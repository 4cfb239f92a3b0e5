//! Odd but honest input that must be accepted (S-12), and budgets at their limit.

use serde_json::json;

use super::{accept, bytes, check};
use crate::common::image::{Docker, Image, Oci, gzip, layer, zstd};
use crate::common::tarball::Tar;

fn of(layers: &[Vec<u8>]) -> Vec<u8> {
    Docker::foldered(&Image::plain(layers), "case:1").tar()
}

/// What a layer holds is carried, whatever an unpacker might do with it.
#[test]
fn layers_with_anything_in_them() {
    let hostile = Tar::new()
        .symlink("evil", "../../../../etc")
        .file("evil/passwd", "x")
        .file("../../escape", "x")
        .hard_link("hard", "/etc/passwd")
        .symlink(".", "/")
        .member(b"null", b'3', b"", b"")
        .member(b"pipe", b'6', b"", b"");
    let odd = Tar::new()
        .symlink("usr/lib/x", "../../../../../etc/x")
        .hard_link("a", "/usr/bin/a")
        .file(b"caf\xe9", "latin-1")
        .file(b"new\nline", "x")
        .file("dir/.wh..wh..opq", "")
        .file("dir/.wh.gone", "")
        .pax(&[("SCHILY.xattr.security.capability", "x"), ("path", "pax/é")])
        .file("p", "x");
    let mut padded = layer("padded");
    padded.extend_from_slice(&[0; 10_240]);
    check(vec![
        accept("da-layer-symlink-write", bytes(of(&[hostile.end()]))),
        accept("da-layer-outward-links", bytes(of(&[odd.end()]))),
        accept("da-layer-padded", bytes(of(&[padded]))),
        accept("da-layer-empty-tar", bytes(of(&[Tar::new().end()]))),
        accept("da-layer-twice", bytes(of(&[layer("a"), layer("a")]))),
        accept("da-no-layers", bytes(of(&[]))),
        accept("da-gz-concat-members", {
            let image =
                Image::small().packed("gzip", |l| [gzip(&l[..700]), gzip(&l[700..])].concat());
            bytes(Docker::foldered(&image, "case:1").tar())
        }),
        accept("oa-zstd-skippable", {
            let skippable =
                [&0x184d_2a50_u32.to_le_bytes()[..], &[4, 0, 0, 0, 1, 2, 3, 4]].concat();
            let image = Image::small().packed("zstd", |l| {
                [zstd(&l[..700]), skippable.clone(), zstd(&l[700..]), skippable.clone()].concat()
            });
            bytes(Oci::one(&image, Some("docker.io/library/case:1")).tar())
        }),
    ]);
}

#[test]
fn odd_archives() {
    let good = Docker::foldered(&Image::small(), "case:1");
    let table = |change: fn(&mut serde_json::Value)| {
        let mut archive = good.clone();
        change(&mut archive.items);
        bytes(archive.tar())
    };
    let tagged = |tag: &str| bytes(Docker::foldered(&Image::small(), tag).tar());
    let mut unended = good.tar();
    unended.truncate(unended.len() - 1024);
    let ansi = good.body().file("\u{1b}[31mred\u{202e}", "x").file("a/\u{1b}]0;x\u{7}", "x");
    let dirs = Oci::one(&Image::small(), Some("docker.io/library/case:1"));
    check(vec![
        accept("da-ref-odd-valid", tagged("a-b__c/d.e:T_1.2-3")),
        accept("da-ref-port", tagged("localhost:5000/a/b:c")),
        accept("da-ref-tag-128", tagged(&format!("x:{}", "t".repeat(128)))),
        accept("da-ref-no-tag", tagged("nginx")),
        accept("da-tags-null", table(|t| t[0]["RepoTags"] = json!(null))),
        accept(
            "da-camel-case",
            table(|t| {
                let item = t[0].as_object_mut().unwrap();
                for (old, new) in
                    [("Config", "config"), ("RepoTags", "repoTags"), ("Layers", "layers")]
                {
                    let value = item.remove(old).unwrap();
                    item.insert(new.into(), value);
                }
            }),
        ),
        accept("da-no-end-marker", bytes(unended)),
        accept("da-member-name-ansi", {
            bytes(ansi.file("manifest.json", good.items.to_string()).end())
        }),
        accept("od-index-nested-8", bytes(super::oci::deep(8).tar())),
        accept("od-annotations-hostile", {
            let mut layout = dirs.clone();
            layout.entries[0]["annotations"]["org.opencontainers.image.title"] =
                json!("../../../etc/\u{1b}[2J\u{202e}\n");
            bytes(layout.tar())
        }),
    ]);
}
