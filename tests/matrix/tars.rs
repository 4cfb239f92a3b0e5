//! Rows about the tar itself.

use serde_json::json;

use crate::common::image::{Docker, Image, text};
use crate::common::tarball::Tar;
use crate::{NAME, TAG, refuses, takes};

fn one() -> (Image, Docker, Vec<u8>) {
    let image = Image::new("tars", 1);
    let docker = Docker::one(&image, json!([TAG]));
    let table = text(&docker.items);
    (image, docker, table)
}

/// One image whose layer has a name longer than a header holds.
fn long(add: impl Fn(Tar, &str, &[u8]) -> Tar) -> (Image, Vec<u8>) {
    let image = Image::new("long", 1);
    let name = format!("{}/layer.tar", "a-long-directory-name/".repeat(12));
    let table = json!([{"Config": "c", "RepoTags": [TAG], "Layers": [name]}]);
    let tar = add(Tar::new(), &name, &image.layers[0]).file("c", &image.config);
    (image, tar.file("manifest.json", text(&table)).end())
}

#[test]
fn long_names_in_gnu_and_pax_form_are_read() {
    let (image, tar) = long(|tar, name, bytes| tar.file(name, bytes));
    takes(&tar).is(&image, NAME);
    let (image, tar) = long(|tar, name, bytes| tar.pax(&[("path", name)]).file("short", bytes));
    takes(&tar).is(&image, NAME);
}

#[test]
fn a_pax_global_header_is_passed_over() {
    let (image, docker, table) = one();
    let tar = Tar::new().pax_global("comment", "made by git archive");
    let tar = docker.members.iter().fold(tar, |tar, (n, b)| tar.file(n, b));
    takes(&tar.file("manifest.json", &table).end()).is(&image, NAME);
}

#[test]
fn members_from_before_posix_are_files() {
    let (image, docker, table) = one();
    let tar = docker.members.iter().fold(Tar::new(), |tar, (n, b)| tar.old_file(n, b));
    takes(&tar.old_file("manifest.json", &table).end()).is(&image, NAME);
}

#[test]
fn unknown_members_and_fields_are_passed_over() {
    let (image, mut docker, _) = one();
    docker.items[0]["Future"] = json!({"a": [1, 2, 3]});
    let tar = docker
        .body()
        .file("README", b"nobody reads me")
        .dir("empty/")
        .file("version.json", b"not even JSON")
        .member("a-fifo", b'6', b"", "")
        .file("manifest.json", text(&docker.items));
    takes(&tar.end()).is(&image, NAME);
}

#[test]
fn a_tar_without_its_end_is_accepted_with_a_warning() {
    let (image, docker, table) = one();
    takes(&docker.body().file("manifest.json", &table).0).warns("end").is(&image, NAME);
}

#[test]
fn junk_after_the_end_is_accepted_with_a_warning() {
    let (image, docker, _) = one();
    let junk = [docker.tar(), b"some junk that is no tar".repeat(40)].concat();
    takes(&junk).warns("after").is(&image, NAME);
}

#[test]
fn zeros_after_the_end_are_padding() {
    let (image, docker, _) = one();
    takes(&[docker.tar(), vec![0; 9000]].concat()).quietly().is(&image, NAME);
}

#[test]
fn two_tars_in_a_row_are_refused() {
    let (_, docker, _) = one();
    refuses(&docker.tar().repeat(2), "second");
}

#[test]
fn a_member_cut_short_is_refused() {
    let (_, docker, _) = one();
    let tar = docker.tar();
    refuses(&tar[..tar.len() - 1800], "");
}

#[test]
fn what_is_no_archive_is_refused() {
    refuses(b"", "");
    refuses(&[0; 10240], "no images");
    refuses(b"hello, world", "");
    let rootfs = Tar::new().dir("etc/").file("etc/hostname", b"x\n").end();
    refuses(&rootfs, "import");
}
