//! Rows about names.

use serde_json::{Value, json};

use crate::common::image::{Docker, Image};
use crate::{NAME, TAG, refuses, takes, takes_with};

fn tagged(tags: Value) -> (Image, Docker) {
    let image = Image::new("tags", 1);
    let docker = Docker::one(&image, tags);
    (image, docker)
}

#[test]
fn no_tags_mean_an_untagged_image() {
    for tags in [Value::Null, json!([])] {
        let (image, docker) = tagged(tags);
        takes(&docker.tar()).untagged(&image);
    }
    let (image, mut docker) = tagged(Value::Null);
    docker.items[0].as_object_mut().unwrap().remove("RepoTags");
    takes(&docker.tar()).untagged(&image);
}

#[test]
fn a_name_without_a_tag_is_latest() {
    for (tag, name) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("fx/a", "docker.io/fx/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("registry.example.com/x/y", "registry.example.com/x/y:latest"),
    ] {
        let (image, docker) = tagged(json!([tag]));
        takes(&docker.tar()).is(&image, name);
    }
}

#[test]
fn a_digest_reference_is_dropped_with_a_warning() {
    let digest = format!("fx/a@sha256:{}", "ab".repeat(32));
    let (image, docker) = tagged(json!([digest]));
    takes(&docker.tar()).warns("digest").untagged(&image);
    let (image, docker) = tagged(json!([digest, TAG]));
    takes(&docker.tar()).warns("digest").is(&image, NAME);
}

#[test]
fn a_bad_name_refuses_the_archive_unless_bad_names_are_ignored() {
    for bad in ["", "<none>:<none>", "Upper/Case:1", "a:b:c", "x/../y:1", "a b:1", "fx/a:-1"] {
        let (image, docker) = tagged(json!([bad]));
        refuses(&docker.tar(), "reference");
        takes_with(&docker.tar(), &["--ignore-bad-tags"]).untagged(&image);
        let (image, docker) = tagged(json!([bad, TAG]));
        takes_with(&docker.tar(), &["--ignore-bad-tags"]).is(&image, NAME);
    }
}

#[test]
fn one_tag_on_two_images_is_refused() {
    let (first, second) = (Image::new("first", 1), Image::new("second", 1));
    let docker =
        Docker::named(&first, json!([TAG]), "a").and(Docker::named(&second, json!([TAG]), "b"));
    refuses(&docker.tar(), TAG);
    // The same name in two spellings is the same name.
    let other = Docker::named(&second, json!(["docker.io/fx/a:1"]), "b");
    refuses(&Docker::named(&first, json!([TAG]), "a").and(other).tar(), TAG);
}

#[test]
fn tags_of_two_items_with_one_config_are_merged() {
    let image = Image::new("merged", 1);
    let docker = Docker::named(&image, json!([TAG]), "a");
    let mut docker = docker.and(Docker::named(&image, json!(["fx/b:2", TAG]), "b"));
    let loaded = takes(&docker.tar());
    assert_eq!(loaded.images, [(image.id(), vec![NAME.into(), "docker.io/fx/b:2".into()])]);
    docker.items[1]["Config"] = docker.items[0]["Config"].clone();
    assert_eq!(takes(&docker.tar()).images, loaded.images);
}

#[test]
fn several_images_in_one_archive_are_all_loaded() {
    let images: Vec<Image> = (0..4).map(|i| Image::new(&format!("many{i}"), 2)).collect();
    let mut all = Docker::named(&images[0], Value::Null, "0");
    for (i, image) in images.iter().enumerate().skip(1) {
        let names = json!([format!("fx/many:{i}"), format!("localhost:5000/many:{i}")]);
        all = all.and(Docker::named(image, names, &i.to_string()));
    }
    let loaded = takes(&all.tar());
    assert_eq!(loaded.images.len(), 4);
    for (i, image) in images.iter().enumerate().skip(1) {
        let names = vec![format!("docker.io/fx/many:{i}"), format!("localhost:5000/many:{i}")];
        assert!(loaded.images.contains(&(image.id(), names)), "{:?}", loaded.images);
    }
    assert!(loaded.images.contains(&(images[0].id(), Vec::new())));
}
