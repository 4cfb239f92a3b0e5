//! Rows about layers, their compression and their diff ids, and about what surrounds the archive.

use serde_json::json;

use crate::common::image::{Docker, Image, bzip2, gzip, text, xz, zstd};
use crate::common::tarball::Tar;
use crate::common::{list, sha256, string};
use crate::{NAME, Sandbox, TAG, refuses, takes};

fn one(count: usize) -> (Image, Docker) {
    let image = Image::new("layers", count);
    let docker = Docker::one(&image, json!([TAG]));
    (image, docker)
}

#[test]
fn compressed_layers_are_accepted_whatever_the_name_says() {
    for with in [gzip, zstd, xz, bzip2] {
        let (image, docker) = one(2);
        takes(&docker.compressed(|_, b| with(b)).tar()).is(&image, NAME);
    }
}

#[test]
fn mixed_compressions_in_one_image_are_accepted() {
    let (image, docker) = one(5);
    let each = [|b: &[u8]| b.to_vec(), gzip, zstd, xz, bzip2];
    takes(&docker.compressed(|i, b| each[i](b)).tar()).is(&image, NAME);
}

#[test]
fn gzip_layers_of_many_members_are_read_to_the_end() {
    let (image, docker) = one(1);
    let split = |_: usize, b: &[u8]| {
        let (first, second) = b.split_at(b.len() / 3);
        [gzip(first), gzip(b""), gzip(second)].concat()
    };
    takes(&docker.compressed(split).tar()).is(&image, NAME);
}

#[test]
fn a_compressed_archive_is_accepted() {
    let (image, docker) = one(2);
    let tar = docker.tar();
    for with in [gzip, xz, bzip2, zstd] {
        takes(&with(&tar)).is(&image, NAME);
    }
    let (first, second) = tar.split_at(1000);
    takes(&[gzip(first), gzip(second)].concat()).is(&image, NAME);
    let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0abcd".as_slice(), &zstd(&tar)].concat();
    takes(&skippable).is(&image, NAME);
}

#[test]
fn a_cut_or_damaged_compressed_archive_is_refused() {
    let (_, docker) = one(2);
    let whole = gzip(&docker.tar());
    refuses(&whole[..whole.len() - 9], "");
    let mut damaged = whole;
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    refuses(&damaged, "");
}

#[test]
fn fewer_or_more_layers_than_diff_ids_are_refused() {
    let (_, docker) = one(2);
    let mut fewer = docker.clone();
    fewer.items[0]["Layers"] = json!(["0.tar"]);
    refuses(&fewer.tar(), "diff id");
    let mut more = docker;
    more.items[0]["Layers"] = json!(["0.tar", "1.tar", "1.tar"]);
    refuses(&more.tar(), "diff id");
}

#[test]
fn a_wrong_diff_id_is_refused_and_the_layer_named() {
    let (image, docker) = one(2);
    let mut wrong = docker.clone();
    let at = wrong.member("1.tar").len() - 1500;
    wrong.member("1.tar")[at] ^= 1;
    refuses(&wrong.tar(), &image.diff_ids()[1]);
    let zipped = wrong.compressed(|_, b| gzip(b));
    refuses(&zipped.tar(), &image.diff_ids()[1]);
}

#[test]
fn swapped_layers_are_refused() {
    let (image, mut docker) = one(2);
    docker.items[0]["Layers"] = json!(["1.tar", "0.tar"]);
    refuses(&docker.tar(), &image.diff_ids()[0]);
    refuses(&docker.compressed(|_, b| gzip(b)).tar(), "diff id");
}

#[test]
fn a_missing_layer_or_config_is_refused_and_named() {
    let (_, docker) = one(2);
    for at in 0..docker.members.len() {
        let mut cut = docker.clone();
        let (name, _) = cut.members.remove(at);
        refuses(&cut.tar(), &name);
    }
}

#[test]
fn every_byte_of_a_layer_counts_for_its_diff_id() {
    let plain = crate::common::image::layer("bytes");
    let trailing = [plain.clone(), vec![0; 700]].concat();
    let junk = [plain, b"junk after the end".to_vec()].concat();
    for layer in [Vec::new(), vec![0; 1024], trailing, junk] {
        let image = Image::of(vec![layer.clone()]);
        let docker = Docker::one(&image, json!([TAG]));
        takes(&docker.tar()).is(&image, NAME);
        let sandbox = Sandbox::new();
        let path = sandbox.write("a.tar", &docker.tar());
        let shown = sandbox.inspect(&path);
        assert_eq!(string(&shown["images"][0]["layers"][0]["diff_id"]), sha256(&layer));
        if !layer.is_empty() {
            takes(&docker.compressed(|_, b| gzip(b)).tar()).is(&image, NAME);
        }
    }
}

#[test]
fn layer_sources_do_not_hide_a_layer_that_is_there() {
    let (image, mut docker) = one(1);
    let diff_id = &image.diff_ids()[0];
    docker.items[0]["LayerSources"] = json!({diff_id.as_str(): {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "size": 1234,
        "digest": format!("sha256:{}", "ab".repeat(32)),
        "urls": ["https://example.com/layer"],
    }});
    takes(&docker.tar()).is(&image, NAME);
}

#[test]
fn an_archive_from_before_docker_1_10_is_converted_the_same_way_each_time() {
    let (base, top) = ("a1".repeat(32), "b2".repeat(32));
    let layers = [crate::common::image::layer("base"), crate::common::image::layer("top")];
    let json = |id: &str, parent: Option<&str>| {
        let mut v1 = json!({"id": id, "created": "2014-01-02T03:04:05Z", "architecture": "amd64",
            "container_config": {"Cmd": ["/bin/sh", "-c", "make"]}, "config": {"Cmd": ["/top"]}});
        if let Some(parent) = parent {
            v1["parent"] = parent.into();
        }
        text(&v1)
    };
    let tar = Tar::new()
        .file(format!("{top}/VERSION"), b"1.0")
        .file(format!("{top}/json"), json(&top, Some(&base)))
        .file(format!("{top}/layer.tar"), &layers[1])
        .file(format!("{base}/VERSION"), b"1.0")
        .file(format!("{base}/json"), json(&base, None))
        .file(format!("{base}/layer.tar"), &layers[0])
        .file("repositories", text(&json!({"fx/a": {"1": top}})))
        .end();
    let first = takes(&tar).warns("imgpack's own");
    assert_eq!(first.images[0].1, [NAME]);
    assert_eq!(first.images, takes(&tar).images);
    let sandbox = Sandbox::new();
    let path = sandbox.write("old.tar", &tar);
    let shown = sandbox.inspect(&path);
    let diff_ids: Vec<String> =
        list(&shown["images"][0]["layers"]).iter().map(|l| string(&l["diff_id"])).collect();
    assert_eq!(diff_ids, layers.map(|l| sha256(&l)));
    assert_eq!(shown["images"][0]["platform"], "linux/amd64");
}
