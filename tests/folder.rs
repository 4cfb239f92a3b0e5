//! A folder of images: every verb sees the same in it, and names what it cannot read.

mod common;
mod net;

use common::image::{Docker, Image, Oci};
use common::{Sandbox, list, string, strings};
use net::raw;
use net::registry::Registry;
use net::serve::Server;
use serde_json::{Value, json};

/// A stick with a layout, one beneath a path that names it, an archive and a directory of skopeo.
fn stick(sandbox: &Sandbox) {
    let oci = |seed, name: &str| Oci::one(&Image::new(seed, 1), Some(name));
    oci("a", "docker.io/demo/a:1").write(&sandbox.path("stick/layout"));
    oci("b", "b:2").write(&sandbox.path("stick/team/b"));
    let index = sandbox.path("stick/team/b/index.json");
    let mut bare: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    bare["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": "2"});
    std::fs::write(&index, bare.to_string()).unwrap();
    let archive = Docker::one(&Image::new("c", 1), json!(["demo/c:3"])).tar();
    sandbox.write("stick/media/c.tar", &archive);
    let mut skopeo = Oci::new();
    let manifest = skopeo.manifest(&Image::new("d", 1));
    let hex = string(&manifest["digest"]).replace("sha256:", "");
    for (name, bytes) in &skopeo.blobs {
        let name = if *name == hex { "manifest.json" } else { name };
        sandbox.write(&format!("stick/r.example/d:4/{name}"), bytes);
    }
    sandbox.write("stick/r.example/d:4/version", b"Directory Transport Version: 1.1\n");
    sandbox.write("stick/readme.txt", b"nothing");
}

const ALL: [&str; 4] =
    ["docker.io/demo/a:1", "docker.io/demo/c:3", "docker.io/team/b:2", "r.example/d:4"];

fn names(sandbox: &Sandbox, place: &str) -> Vec<String> {
    let ran = sandbox.run(&["inspect", place]);
    let mut names: Vec<String> =
        list(&ran.json()["images"]).iter().flat_map(|row| strings(&row["names"])).collect();
    names.sort();
    names
}

/// What each verb does with the folder, as the names that arrive somewhere; `keep` goes with each.
fn everywhere(sandbox: &Sandbox, registry: Option<&Registry>, code: i32, keep: &[&str]) {
    let copies: [(&[&str], &str); 4] = [
        (&["load", "-i", "stick"], "store:"),
        (&["copy", "stick", "oci:copied"], "copied"),
        (&["copy", "stick", "copied.tar"], "copied.tar"),
        (&["sync", "dir-to-dir", "stick", "synced"], "synced"),
    ];
    for (args, place) in copies {
        sandbox.run(&[args, keep].concat()).code(code);
        assert_eq!(names(sandbox, place), ALL, "{args:?}");
    }
    if let Some(address) = registry.map(Registry::address) {
        let args = ["sync", "dir-to-registry", "stick", &address];
        sandbox.run(&[&args, keep].concat()).code(code);
        for name in ["demo/a:1", "d:4"] {
            sandbox.run(&["inspect", &format!("docker://{address}/{name}")]).ok();
        }
    }
    let server = Server::start(sandbox, &["stick"]);
    for name in [
        "demo/a/manifests/1",
        "demo/c/manifests/3",
        "team/b/manifests/2",
        "r.example/d/manifests/4",
    ] {
        assert_eq!(raw::get(server.address(), &format!("/v2/{name}")).status(), 200, "{name}");
    }
}

#[test]
fn every_verb_sees_the_same_in_a_folder() {
    let sandbox = Sandbox::new();
    stick(&sandbox);
    assert_eq!(names(&sandbox, "stick"), ALL);
    let ran = sandbox.run(&["verify", "stick"]).ok();
    assert!(ran.out().contains("OK, 4 images"), "{}", ran.out());
    assert_eq!(sandbox.run(&["ls", "-q", "stick"]).ok().out().lines().count(), 4);
    everywhere(&sandbox, Registry::plain().as_ref(), 0, &[]);
}

#[test]
fn an_archive_that_cannot_be_opened_is_named_by_every_verb() {
    let sandbox = Sandbox::new();
    stick(&sandbox);
    let archive = std::fs::read(sandbox.path("stick/media/c.tar")).unwrap();
    sandbox.write("stick/media/bad.tar", &archive[..archive.len() / 2]);
    sandbox.run(&["verify", "stick"]).code(3).says("media/bad.tar");
    let row = sandbox.run(&["verify", "--format", "json", "stick"]).code(3).json();
    assert_eq!(row[0]["ok"], false);
    assert_eq!(row[0]["unreadable"][0]["part"], "stick/media/bad.tar");
    let ls = sandbox.run(&["ls", "stick"]).code(3).says("media/bad.tar");
    assert_eq!(ls.out().lines().count(), 5, "the others are shown: {}", ls.out());
    sandbox.run(&["inspect", "stick"]).code(3).says("media/bad.tar");
    for (args, made) in [
        (&["load", "-i", "stick"][..], ""),
        (&["copy", "stick", "oci:refused"], "refused/index.json"),
        (&["copy", "stick", "refused.tar"], "refused.tar"),
        (&["sync", "--fail-fast", "dir-to-dir", "stick", "refused"], "refused/index.json"),
    ] {
        sandbox.run(args).code(3).says("media/bad.tar");
        assert!(made.is_empty() || !sandbox.path(made).exists(), "{args:?}");
    }
    assert!(sandbox.stored().is_empty());
    everywhere(&sandbox, Registry::plain().as_ref(), 9, &["--keep-going"]);
    sandbox.run(&["sync", "dir-to-dir", "--delete", "--yes", "stick", "synced"]).code(9);
    assert_eq!(names(&sandbox, "synced"), ALL);
}

#[test]
fn a_damaged_archive_in_a_folder_is_damage_of_the_folder() {
    let sandbox = Sandbox::new();
    stick(&sandbox);
    let path = sandbox.path("stick/media/c.tar");
    let mut archive = std::fs::read(&path).unwrap();
    let at = archive.windows(5).position(|w| w == b"c-0/0").unwrap_or(archive.len() / 2);
    archive[at] ^= 1;
    std::fs::write(&path, archive).unwrap();
    sandbox.run(&["verify", "stick"]).code(3).says("media/c.tar");
    sandbox.run(&["load", "-i", "stick"]).code(3);
    assert!(sandbox.stored().is_empty());
}

#[test]
fn what_is_passed_over_is_named() {
    let sandbox = Sandbox::new();
    stick(&sandbox);
    let archive = std::fs::read(sandbox.path("stick/media/c.tar")).unwrap();
    sandbox.write("stick/nginx", &archive);
    sandbox.run(&["verify", "stick"]).ok().says("stick/nginx");
    sandbox.run(&["load", "-i", "stick"]).ok().says("stick/nginx");
    // What lies in a layout is no part of it.
    sandbox.write("stick/layout/more.tar", &archive);
    sandbox.run(&["verify", "stick/layout"]).ok().says("layout/more.tar");
}
