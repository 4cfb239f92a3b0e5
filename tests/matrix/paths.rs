//! Rows about member names and links.

use serde_json::json;

use crate::common::image::{Docker, Image, text};
use crate::common::tarball::Tar;
use crate::{NAME, TAG, refuses, takes};

fn one(count: usize) -> (Image, Docker) {
    let image = Image::new("paths", count);
    let docker = Docker::one(&image, json!([TAG]));
    (image, docker)
}

/// The archive of one layer whose reference is `layer`; `members` adds how the layer lies there.
fn linked(members: impl Fn(Tar, &[u8]) -> Tar, layer: &str) -> (Image, Vec<u8>) {
    let image = Image::new("links", 1);
    let table = json!([{"Config": "c.json", "RepoTags": [TAG], "Layers": [layer]}]);
    let tar = members(Tar::new(), &image.layers[0]).file("c.json", &image.config);
    (image, tar.file("manifest.json", text(&table)).end())
}

#[test]
fn manifest_json_may_come_first_or_last() {
    let (image, docker) = one(2);
    takes(&docker.tar()).is(&image, NAME).quietly();
    let first = Tar::new().file("manifest.json", text(&docker.items));
    let first = docker.members.iter().rev().fold(first, |tar, (n, b)| tar.file(n, b));
    takes(&first.end()).is(&image, NAME).quietly();
}

#[test]
fn members_may_begin_with_a_dot() {
    let (image, docker) = one(2);
    let tar = docker
        .members
        .iter()
        .fold(Tar::new().dir("./"), |tar, (n, b)| tar.file(format!("./{n}"), b));
    takes(&tar.file("./manifest.json", text(&docker.items)).end()).is(&image, NAME);
}

#[test]
fn references_may_begin_with_a_dot() {
    let (image, tar) = linked(|tar, layer| tar.file("a.tar", layer), "./a.tar");
    takes(&tar).is(&image, NAME);
}

#[test]
fn references_that_lead_upwards_are_refused() {
    let (_, tar) = linked(|tar, layer| tar.file("y.tar", layer), "x/../y.tar");
    refuses(&tar, "upwards");
}

#[test]
fn members_that_lead_upwards_are_refused() {
    let (_, docker) = one(1);
    let tar = docker.body().file("x/../../y", b"y").file("manifest.json", text(&docker.items));
    refuses(&tar.end(), "upwards");
}

#[test]
fn one_leading_slash_is_dropped_from_references_and_members() {
    let (image, tar) = linked(|tar, layer| tar.file("a.tar", layer), "/a.tar");
    takes(&tar).is(&image, NAME);
    let (image, tar) = linked(|tar, layer| tar.file("/a.tar", layer), "a.tar");
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_hard_linked_layer_is_found_from_the_root() {
    let (image, tar) = linked(
        |tar, layer| tar.dir("d/").file("d/real.tar", layer).hard_link("d/link.tar", "d/real.tar"),
        "d/link.tar",
    );
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_symlinked_layer_beside_its_file_is_followed() {
    let layer = crate::common::image::layer("twice");
    let image = Image::of(vec![layer.clone(), layer.clone()]);
    let table =
        json!([{"Config": "c.json", "RepoTags": [TAG], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let tar = Tar::new()
        .dir("a/")
        .file("a/layer.tar", &layer)
        .dir("b/")
        .symlink("b/layer.tar", "../a/layer.tar")
        .file("c.json", &image.config)
        .file("manifest.json", text(&table));
    takes(&tar.end()).is(&image, NAME);
}

#[test]
fn a_symlink_may_be_the_only_reference_to_a_layer() {
    let (image, tar) = linked(
        |tar, layer| tar.symlink("b/layer.tar", "../a/layer.tar").file("a/layer.tar", layer),
        "b/layer.tar",
    );
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_chain_of_two_symlinks_is_followed_and_a_loop_is_refused() {
    let (image, tar) =
        linked(|tar, layer| tar.symlink("c", "b").symlink("b", "a.tar").file("a.tar", layer), "c");
    takes(&tar).is(&image, NAME);
    let (_, tar) = linked(|tar, _| tar.symlink("c", "b").symlink("b", "c"), "c");
    refuses(&tar, "link");
}

#[test]
fn an_absolute_symlink_means_the_root_of_the_archive() {
    let (image, tar) =
        linked(|tar, layer| tar.symlink("b.tar", "/d/a.tar").file("d/a.tar", layer), "b.tar");
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_symlinked_directory_is_followed() {
    let (image, tar) =
        linked(|tar, layer| tar.dir("d/").file("d/a.tar", layer).symlink("e", "d"), "e/a.tar");
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_symlink_out_of_the_archive_is_refused() {
    let (_, tar) = linked(|tar, _| tar.symlink("b.tar", "../../etc/hostname"), "b.tar");
    refuses(&tar, "b.tar");
}

#[test]
fn manifest_json_may_be_a_symlink() {
    let (image, docker) = one(1);
    let tar = docker
        .body()
        .symlink("manifest.json", "tables/real.json")
        .file("tables/real.json", text(&docker.items));
    takes(&tar.end()).is(&image, NAME);
}

#[test]
fn names_are_not_trusted_and_the_config_is_its_own_id() {
    let image = Image::new("named", 1);
    for config in ["config.json", "0000000000000000.json", "blobs/sha256/deadbeef"] {
        let table = json!([{"Config": config, "RepoTags": [TAG], "Layers": ["l"]}]);
        let tar = Tar::new().file("l", &image.layers[0]).file(config, &image.config);
        takes(&tar.file("manifest.json", text(&table)).end()).is(&image, NAME);
    }
}

#[test]
fn two_copies_of_a_member_must_have_the_same_bytes() {
    let (image, docker) = one(1);
    let table = text(&docker.items);
    let again = docker.body().file("0.tar", &image.layers[0]).file("manifest.json", &table);
    takes(&again.end()).is(&image, NAME);
    let other = docker.body().file("0.tar", b"something else").file("manifest.json", &table);
    refuses(&other.end(), "0.tar");
    let config = docker.members[1].0.clone();
    let other = docker.body().file(&config, b"{}").file("manifest.json", &table);
    refuses(&other.end(), &config);
}

#[test]
fn two_manifest_json_members_are_refused() {
    let (_, docker) = one(1);
    let mut second = docker.items.clone();
    second[0]["RepoTags"] = json!(["fx/other:1"]);
    let tar = docker
        .body()
        .file("manifest.json", text(&docker.items))
        .file("manifest.json", text(&second));
    refuses(&tar.end(), "manifest.json");
}
