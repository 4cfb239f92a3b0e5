//! Rows about manifest.json, index.json and configs.

use serde_json::{Value, json};

use crate::common::image::{Docker, Image, Oci, gzip, text};
use crate::common::tarball::Tar;
use crate::common::{Sandbox, list, string, strings};
use crate::{NAME, TAG, refuses, refuses_with, takes, takes_with};

fn one() -> (Image, Docker) {
    let image = Image::new("tables", 1);
    let docker = Docker::one(&image, json!([TAG]));
    (image, docker)
}

#[test]
fn keys_may_have_any_case() {
    let (image, docker) = one();
    for keys in [["config", "repoTags", "layers"], ["CONFIG", "REPOTAGS", "LAYERS"]] {
        let item = &docker.items[0];
        let other = json!([{
            keys[0]: item["Config"], keys[1]: item["RepoTags"], keys[2]: item["Layers"],
        }]);
        takes(&docker.with_table(&text(&other))).is(&image, NAME);
    }
}

#[test]
fn tables_that_are_no_array_of_images_are_refused() {
    let (_, docker) = one();
    let good = text(&docker.items);
    let bom = [b"\xef\xbb\xbf".as_slice(), &good].concat();
    let junk = [&good, b"{}".as_slice()].concat();
    let object = text(&docker.items[0]);
    let bad: [&[u8]; 10] =
        [b"null", b"[]", b"", b"{}", b"[null]", b"[{}]", b"\"x\"", &bom, &junk, &object];
    for table in bad {
        refuses(&docker.with_table(table), "manifest.json");
    }
}

#[test]
fn a_repeated_key_is_refused_in_any_case() {
    let (_, docker) = one();
    let config = string(&docker.items[0]["Config"]);
    for (first, second) in [("Config", "Config"), ("Config", "config"), ("LAYERS", "layers")] {
        let value = |key: &str| {
            if key.to_lowercase() == "layers" { json!(["0.tar"]) } else { json!(config) }
        };
        let rest = if first == "LAYERS" {
            format!(r#""Config":"{config}""#)
        } else {
            r#""Layers":["0.tar"]"#.into()
        };
        let table =
            format!(r#"[{{"{first}":{},"{second}":{},{rest}}}]"#, value(first), value(second));
        refuses(&docker.with_table(table.as_bytes()), "manifest.json");
    }
}

#[test]
fn a_config_without_rootfs_is_refused() {
    let (image, _) = one();
    let mut config = image.config_json();
    config.as_object_mut().unwrap().remove("rootfs");
    let bare = image.with_config(&config);
    refuses(&Docker::one(&bare, json!([TAG])).tar(), "rootfs");
    refuses(&Oci::one(&bare, Some(NAME)).tar(), "rootfs");
    let platform = image.with_config(&json!({"os": "linux", "architecture": "amd64"}));
    refuses(&Docker::one(&platform, json!([TAG])).tar(), "rootfs");
}

#[test]
fn a_config_may_lack_platform_time_and_history() {
    let (image, _) = one();
    let bare =
        image.with_config(&json!({"rootfs": {"type": "layers", "diff_ids": image.diff_ids()}}));
    takes(&Docker::one(&bare, json!([TAG])).tar()).is(&bare, NAME);
    let mut config = bare.config_json();
    config["created"] = Value::Null;
    config["history"] = Value::Null;
    config["os"] = "".into();
    config["architecture"] = "".into();
    let null = image.with_config(&config);
    takes(&Docker::one(&null, json!([TAG])).tar()).is(&null, NAME);
}

#[test]
fn an_image_may_have_no_layers() {
    for diff_ids in [json!([]), Value::Null] {
        let config = json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let image = Image { config: text(&config), ..Image::of(Vec::new()) };
        takes(&Docker::one(&image, json!([TAG])).tar()).is(&image, NAME);
        takes(&Oci::one(&image, Some(NAME)).tar()).is(&image, NAME);
    }
}

#[test]
fn images_for_other_machines_are_accepted() {
    for (os, cpu) in [("windows", "amd64"), ("linux", "arm64"), ("plan9", "mips")] {
        let image = Image::for_platform(vec![crate::common::image::layer(cpu)], os, cpu);
        takes(&Docker::one(&image, json!([TAG])).tar()).is(&image, NAME);
        let sandbox = Sandbox::new();
        let path = sandbox.write("a.tar", &Docker::one(&image, json!([TAG])).tar());
        assert_eq!(sandbox.inspect(&path)["images"][0]["platform"], format!("{os}/{cpu}"));
    }
}

/// A hybrid: the OCI members of one image, the Docker table of another.
fn hybrid(oci: &Oci, docker: &Docker) -> Vec<u8> {
    let tar = docker.body().file("manifest.json", text(&docker.items));
    oci.members().iter().fold(tar, |tar, (name, bytes)| tar.file(name, bytes)).end()
}

#[test]
fn a_hybrid_whose_tables_agree_is_one_image_with_its_recorded_manifest() {
    let (image, _) = one();
    let zipped = Docker::one(&image, json!([TAG])).compressed(|_, b| gzip(b));
    let oci = Oci::one(&image, Some(NAME));
    takes(&hybrid(&oci, &zipped)).is(&image, NAME).quietly();
    let sandbox = Sandbox::new();
    let path = sandbox.write("a.tar", &hybrid(&oci, &zipped));
    let shown = sandbox.inspect(&path);
    assert_eq!(list(&shown["images"]).len(), 1);
    assert_eq!(shown["images"][0]["origin"], "recorded");
    assert_eq!(shown["images"][0]["target"], oci.entries[0]["digest"]);
}

#[test]
fn a_hybrid_whose_tables_disagree_is_refused_unless_one_is_preferred() {
    let (first, second) = (Image::new("docker", 1), Image::new("oci", 1));
    let docker = Docker::one(&first, json!([TAG]));
    // The same name on two images, and two names on two images.
    for name in [NAME, "docker.io/fx/b:1"] {
        let tar = hybrid(&Oci::one(&second, Some(name)), &docker);
        refuses(&tar, "disagree");
        takes_with(&tar, &["--prefer", "docker"]).is(&first, NAME);
        takes_with(&tar, &["--prefer", "oci"]).is(&second, name);
    }
}

#[test]
fn two_names_for_one_image_in_two_tables_are_refused() {
    let (image, docker) = one();
    refuses(&hybrid(&Oci::one(&image, Some("docker.io/fx/b:1")), &docker), "disagree");
}

#[test]
fn untagged_images_may_be_missing_from_index_json() {
    let (tagged, untagged) = (Image::new("tagged", 1), Image::new("untagged", 1));
    let docker =
        Docker::named(&tagged, json!([TAG]), "a").and(Docker::named(&untagged, Value::Null, "b"));
    let loaded = takes(&hybrid(&Oci::one(&tagged, Some(NAME)), &docker));
    let mut wanted = vec![(tagged.id(), vec![NAME.to_owned()]), (untagged.id(), Vec::new())];
    wanted.sort();
    assert_eq!(loaded.images, wanted);
}

#[test]
fn an_index_json_without_entries_leaves_manifest_json_alone() {
    let (image, docker) = one();
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":null}"#;
    let tar = docker
        .body()
        .file("manifest.json", text(&docker.items))
        .file("index.json", index)
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    takes(&tar.end()).is(&image, NAME);
}

#[test]
fn manifest_json_may_show_one_platform_of_an_index() {
    let arm = Image::for_platform(vec![crate::common::image::layer("arm")], "linux", "arm64");
    let amd = Image::for_platform(vec![crate::common::image::layer("amd")], "linux", "amd64");
    let mut oci = Oci::new();
    let children: Vec<Value> = [&arm, &amd].map(|image| oci.manifest(image)).into();
    let index = oci.index(&children);
    oci.name(&index, Some(NAME));
    let tar = hybrid(&oci, &Docker::one(&amd, json!([TAG])));
    let loaded = takes(&tar).quietly();
    assert_eq!(loaded.images.len(), 2, "{:?}", loaded.images);
    assert!(loaded.images.iter().all(|(_, names)| names == &[NAME]));
}

#[test]
fn layers_out_of_order_in_index_json_give_way_to_manifest_json() {
    // As docker 25.0.0 wrote it: uncompressed layers, listed in another order than the config's.
    let image = Image::new("shuffled", 3);
    let mut oci = Oci::new();
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layers: Vec<Value> = image.layers.iter().rev().map(|l| oci.blob(kind, l)).collect();
    let config = oci.blob("application/vnd.oci.image.config.v1+json", &image.config);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers,
        "mediaType": "application/vnd.oci.image.manifest.v1+json"});
    let desc = oci.blob("application/vnd.oci.image.manifest.v1+json", &text(&manifest));
    oci.name(&desc, Some(NAME));
    let tar = hybrid(&oci, &Docker::one(&image, json!([TAG])));
    takes(&tar).warns("order").is(&image, NAME);
    refuses_with(&tar, &["--prefer", "oci"], "diff id");
}

#[test]
fn oci_layout_without_index_json_is_read_by_manifest_json_with_a_warning() {
    let (image, docker) = one();
    let tar = docker
        .body()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("manifest.json", text(&docker.items));
    takes(&tar.end()).warns("index.json").is(&image, NAME);
}

#[test]
fn index_json_without_oci_layout_is_read_with_a_warning() {
    let (image, docker) = one();
    let oci = Oci::one(&image, Some(NAME));
    let no_marker = |tar: Tar| {
        let members = oci.members();
        let all = members.iter().filter(|(name, _)| name != "oci-layout");
        all.fold(tar, |tar, (name, bytes)| tar.file(name, bytes)).end()
    };
    takes(&no_marker(Tar::new())).warns("oci-layout").is(&image, NAME);
    let both = docker.body().file("manifest.json", text(&docker.items));
    takes(&no_marker(both)).warns("oci-layout").is(&image, NAME);
}

#[test]
fn an_oci_archive_alone_is_accepted_and_saved_for_docker_with_a_manifest_json() {
    let (image, _) = one();
    let sandbox = Sandbox::new();
    let oci = Oci::one(&image, Some(NAME)).tar();
    takes(&oci).is(&image, NAME).quietly();
    let path = sandbox.write("oci.tar", &oci);
    sandbox.run(&["load", "-i", &path]).ok();
    sandbox.run(&["save", "-o", "out.tar", TAG]).ok();
    let shown = sandbox.run(&["inspect", "--format", "json", "--prefer", "docker", "out.tar"]);
    let shown = shown.ok().json();
    assert_eq!(strings(&shown["images"][0]["names"]), [NAME]);
    assert_eq!(shown["images"][0]["image_id"], image.id());
}

#[test]
fn an_oci_archive_without_a_blob_is_refused() {
    let (image, _) = one();
    let whole = Oci::one(&image, Some(NAME));
    for at in 0..whole.blobs.len() {
        let mut cut = whole.clone();
        let (hex, _) = cut.blobs.remove(at);
        refuses(&cut.tar(), &hex);
    }
}

#[test]
fn a_damaged_blob_of_an_oci_archive_is_refused() {
    let (image, _) = one();
    let whole = Oci::one(&image, Some(NAME));
    for at in 0..whole.blobs.len() {
        let mut bad = whole.clone();
        let middle = bad.blobs[at].1.len() / 2;
        bad.blobs[at].1[middle] ^= 1;
        let hex = bad.blobs[at].0.clone();
        refuses(&bad.tar(), &hex);
    }
}
