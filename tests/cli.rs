//! The command line: docker's words, docker's lines, exit codes, pipes and settings.

mod common;

use std::process::Stdio;

use common::image::{Docker, Image, Oci, gzip};
use common::{Sandbox, list, sha256, string, strings};
use serde_json::{Value, json};

/// A sandbox with one image `fx/a:1` in its store, and that image.
fn with_one() -> (Sandbox, Image) {
    let sandbox = Sandbox::new();
    let image = Image::new("one", 2);
    let path = sandbox.write("one.tar", &Docker::one(&image, json!(["fx/a:1"])).tar());
    sandbox.run(&["load", "-q", "-i", &path]).ok();
    (sandbox, image)
}

/// An index of two platforms with one name, as an OCI archive; the digests of its manifests.
fn two_platforms() -> (Vec<u8>, Vec<String>, String) {
    let image = |cpu: &str| Image::for_platform(vec![common::image::layer(cpu)], "linux", cpu);
    let mut oci = Oci::new();
    let children: Vec<Value> = ["amd64", "arm64", "s390x"]
        .iter()
        .map(|cpu| {
            let mut desc = oci.manifest(&image(cpu));
            desc["platform"] = json!({"os": "linux", "architecture": cpu});
            desc
        })
        .collect();
    let index = oci.index(&children);
    oci.name(&index, Some("docker.io/fx/multi:1"));
    let digests = children.iter().map(|c| string(&c["digest"])).collect();
    (oci.tar(), digests, string(&index["digest"]))
}

#[test]
fn load_prints_a_line_for_each_name_as_docker_does() {
    let sandbox = Sandbox::new();
    let image = Image::new("lines", 1);
    let tags = json!(["busybox:1", "localhost:5000/x/y:2"]);
    let path = sandbox.write("a.tar", &Docker::one(&image, tags).tar());
    let ran = sandbox.run(&["load", "-i", &path]).ok();
    assert_eq!(ran.out(), "Loaded image: busybox:1\nLoaded image: localhost:5000/x/y:2\n");
    let untagged = Docker::one(&Image::new("untagged", 1), Value::Null);
    let ran = sandbox.feed(&["load"], &untagged.tar()).ok();
    assert_eq!(ran.out(), format!("Loaded image ID: {}\n", Image::new("untagged", 1).id()));
    assert_eq!(sandbox.run(&["load", "-q", "-i", &path]).ok().out(), "");
}

#[test]
fn load_says_from_whom_it_takes_a_name() {
    let (sandbox, first) = with_one();
    let second = Image::new("second", 1);
    let path = sandbox.write("two.tar", &Docker::one(&second, json!(["fx/a:1"])).tar());
    let ran = sandbox.run(&["load", "-i", &path]).ok();
    let line = "The image fx/a:1 already exists, renaming the old one with ID sha256:";
    assert!(ran.out().starts_with(line), "{}", ran.out());
    assert!(ran.out().ends_with("to empty string\nLoaded image: fx/a:1\n"), "{}", ran.out());
    let mut wanted = vec![(first.id(), Vec::new()), (second.id(), vec!["docker.io/fx/a:1".into()])];
    wanted.sort();
    assert_eq!(sandbox.stored(), wanted);
    // Once more takes it from nobody.
    assert_eq!(sandbox.run(&["load", "-i", &path]).ok().out(), "Loaded image: fx/a:1\n");
}

#[test]
fn load_can_name_what_it_loads() {
    let sandbox = Sandbox::new();
    let image = Image::new("named", 1);
    let path = sandbox.write("a.tar", &Docker::one(&image, json!(["fx/a:1"])).tar());
    sandbox.run(&["load", "-i", &path, "--tag", "mine:2"]).ok();
    sandbox.run(&["load", "-i", &path, "--prefix", "registry.local:5000/mirror"]).ok();
    let names = &sandbox.stored()[0].1;
    assert_eq!(names, &["docker.io/library/mine:2", "registry.local:5000/mirror/fx/a:1"]);
}

#[test]
fn save_and_load_work_as_pipes() {
    let (sandbox, image) = with_one();
    let saved = sandbox.run(&["save", "fx/a:1"]).ok();
    let other = Sandbox::new();
    assert_eq!(other.feed(&["load"], &saved.stdout).ok().out(), "Loaded image: fx/a:1\n");
    assert_eq!(other.stored(), [(image.id(), vec!["docker.io/fx/a:1".into()])]);
    sandbox.run(&["save", "-o", "file.tar", "fx/a:1"]).ok();
    assert!(std::fs::read(sandbox.path("file.tar")).unwrap() == saved.stdout, "other bytes");
    let through = other.feed(&["copy", "-", "-"], &saved.stdout);
    assert!(through.ok().stdout == saved.stdout, "copy from pipe to pipe changes bytes");
}

#[test]
fn save_does_not_overwrite_unless_forced() {
    let (sandbox, _) = with_one();
    sandbox.write("a.tar", b"precious");
    sandbox.run(&["save", "-o", "a.tar", "fx/a:1"]).code(1).says("--force");
    assert_eq!(std::fs::read(sandbox.path("a.tar")).unwrap(), b"precious");
    sandbox.run(&["save", "-f", "-o", "a.tar", "fx/a:1"]).ok();
    assert_eq!(list(&sandbox.inspect("a.tar")["images"]).len(), 1);
}

#[test]
fn save_by_the_start_of_an_id_leaves_the_name_behind() {
    let (sandbox, image) = with_one();
    let id = image.id();
    for prefix in [&id[..], &id[7..], &id[7..19]] {
        sandbox.run(&["save", "-f", "-o", "id.tar", prefix]).ok();
        let shown = sandbox.inspect("id.tar");
        assert_eq!(list(&shown["images"]).len(), 1);
        assert_eq!(shown["images"][0]["image_id"], id);
        assert_eq!(strings(&shown["images"][0]["names"]), [""; 0]);
    }
}

#[test]
fn save_of_a_repository_is_all_its_tags() {
    let (sandbox, image) = with_one();
    sandbox.run(&["tag", "fx/a:1", "fx/a:2"]).ok();
    sandbox.run(&["tag", "fx/a:1", "fx/b:3"]).ok();
    sandbox.run(&["save", "-o", "all.tar", "fx/a"]).ok();
    let shown = sandbox.inspect("all.tar");
    assert_eq!(strings(&shown["images"][0]["names"]), ["docker.io/fx/a:1", "docker.io/fx/a:2"]);
    assert_eq!(shown["images"][0]["image_id"], image.id());
}

#[test]
fn save_compresses_the_archive_by_the_name_of_the_file() {
    let (sandbox, _) = with_one();
    let plain = sandbox.run(&["save", "fx/a:1"]).ok().stdout;
    sandbox.run(&["save", "-o", "a.tar.gz", "fx/a:1"]).ok();
    sandbox.run(&["save", "-o", "a.tar.zst", "fx/a:1"]).ok();
    let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    let mut unzipped = Vec::new();
    let packed = read("a.tar.gz");
    let mut gz = flate2::read::MultiGzDecoder::new(packed.as_slice());
    std::io::Read::read_to_end(&mut gz, &mut unzipped).unwrap();
    assert!(unzipped == plain, "gzip holds something else");
    assert!(zstd::decode_all(read("a.tar.zst").as_slice()).unwrap() == plain, "zstd does");
    sandbox.run(&["verify", "a.tar.gz", "a.tar.zst"]).ok();
}

#[test]
fn rmi_tag_and_prune_keep_the_store_in_order() {
    let (sandbox, image) = with_one();
    let blobs = || {
        let dir = sandbox.path("store/blobs/sha256");
        std::fs::read_dir(dir).map_or(0, Iterator::count)
    };
    sandbox.run(&["tag", "fx/a:1", "fx/b"]).ok();
    let names = vec!["docker.io/fx/a:1".to_owned(), "docker.io/fx/b:latest".into()];
    assert_eq!(sandbox.stored(), [(image.id(), names)]);
    let ran = sandbox.run(&["rmi", "fx/a:1"]).ok();
    assert_eq!(ran.out(), "Untagged: fx/a:1\n");
    assert_eq!(sandbox.stored(), [(image.id(), vec!["docker.io/fx/b:latest".into()])]);
    let ran = sandbox.run(&["rmi", "--no-prune", "fx/b"]).ok();
    assert!(ran.out().contains("Untagged: fx/b:latest"), "{}", ran.out());
    assert!(ran.out().contains("Deleted: sha256:"), "{}", ran.out());
    assert!(blobs() >= 4);
    let dry = sandbox.run(&["prune", "--dry-run"]).ok().out();
    assert!(blobs() >= 4);
    assert!(dry.contains(&image.id()), "{dry}");
    sandbox.run(&["prune"]).ok();
    assert_eq!(blobs(), 0);
    sandbox.run(&["rmi", "fx/b"]).code(4).says("no such image");
    sandbox.run(&["tag", "fx/a:1", "fx/c"]).code(4);
}

#[test]
fn prune_keeps_what_an_image_uses() {
    let (sandbox, image) = with_one();
    sandbox.run(&["prune"]).ok();
    sandbox.run(&["verify", "store:"]).ok();
    assert_eq!(sandbox.stored(), [(image.id(), vec!["docker.io/fx/a:1".into()])]);
}

#[test]
fn selected_platforms_leave_a_valid_index_and_both_digests_are_printed() {
    let sandbox = Sandbox::new();
    let (tar, manifests, index) = two_platforms();
    let path = sandbox.write("multi.tar", &tar);
    let args = ["copy", "--platform", "linux/amd64,linux/arm64", &path, "two.tar"];
    let ran = sandbox.run(&args).ok();
    sandbox.run(&["verify", "two.tar"]).ok();
    let shown = sandbox.inspect("two.tar");
    let found: Vec<String> =
        list(&shown["images"]).iter().map(|r| string(&r["manifest"])).collect();
    assert_eq!(found, manifests[..2]);
    assert_eq!(shown["warnings"], json!([]));
    let target = string(&shown["images"][0]["target"]);
    assert!(target != index && ran.stderr.contains(&index) && ran.stderr.contains(&target));
    // One platform needs no index: its manifest is what the name points at.
    sandbox.run(&["copy", "--platform", "linux/s390x", &path, "one.tar"]).ok().says(&manifests[2]);
    let shown = sandbox.inspect("one.tar");
    assert_eq!(string(&shown["images"][0]["target"]), manifests[2]);
    sandbox.run(&["copy", "--platform", "linux/riscv64", &path, "no.tar"]).code(4);
    assert!(!sandbox.path("no.tar").exists());
}

#[test]
fn copy_speaks_skopeos_places() {
    let (sandbox, image) = with_one();
    let id = image.id();
    let holds = |place: &str, names: &[&str]| {
        let shown = sandbox.inspect(place);
        assert_eq!(shown["images"][0]["image_id"], id, "{place}");
        assert_eq!(strings(&shown["images"][0]["names"]), names, "{place}");
    };
    sandbox.run(&["copy", "store:fx/a:1", "oci:layout:some/name:2"]).ok();
    holds("oci:layout", &["docker.io/some/name:2"]);
    sandbox.run(&["copy", "oci:layout:some/name:2", "dir:flat"]).ok();
    holds("dir:flat", &[]);
    let version = std::fs::read_to_string(sandbox.path("flat/version")).unwrap();
    assert_eq!(version, "Directory Transport Version: 1.1\n");
    sandbox.run(&["copy", "dir:flat", "docker-archive:d.tar:fx/c:3"]).ok();
    holds("docker-archive:d.tar", &["docker.io/fx/c:3"]);
    sandbox.run(&["copy", "docker-archive:d.tar:fx/c:3", "oci-archive:o.tar:fx/d:4"]).ok();
    holds("o.tar", &["docker.io/fx/d:4"]);
    sandbox.run(&["copy", "docker-archive:d.tar:fx/none:1", "x.tar"]).code(4);
    sandbox.run(&["copy", "oci:", "x.tar"]).code(2);
    assert!(!sandbox.path("x.tar").exists());
}

#[test]
fn appending_to_a_layout_moves_the_tag_and_keeps_other_images() {
    let (sandbox, first) = with_one();
    let second = Image::new("second", 1);
    let two = sandbox.write("two.tar", &Docker::one(&second, json!(["fx/a:1"])).tar());
    sandbox.run(&["copy", "store:", "oci:layout"]).ok();
    sandbox.run(&["copy", "store:fx/a:1", "oci:layout:fx/keep:1"]).ok();
    sandbox.run(&["copy", &two, "oci:layout"]).ok();
    let shown = sandbox.inspect("oci:layout");
    let named = |name: &str| {
        let rows = list(&shown["images"]).iter();
        let ids: Vec<String> = rows
            .filter(|r| strings(&r["names"]).contains(&name.to_owned()))
            .map(|r| string(&r["image_id"]))
            .collect();
        ids
    };
    assert_eq!(named("docker.io/fx/a:1"), [second.id()]);
    assert_eq!(named("docker.io/fx/keep:1"), [first.id()]);
}

#[test]
fn the_digest_file_holds_what_was_written() {
    let (sandbox, _) = with_one();
    sandbox.run(&["copy", "--digestfile", "digest", "store:fx/a:1", "dir:flat"]).ok();
    let manifest = std::fs::read(sandbox.path("flat/manifest.json")).unwrap();
    let digest = std::fs::read_to_string(sandbox.path("digest")).unwrap();
    assert_eq!(digest.trim(), sha256(&manifest));
}

#[test]
fn recompressed_layers_are_announced_and_keep_the_image_id() {
    let (sandbox, image) = with_one();
    let ran = sandbox.run(&["save", "--compress", "gzip", "-o", "gz.tar", "fx/a:1"]).ok();
    let shown = sandbox.inspect("gz.tar");
    assert_eq!(shown["images"][0]["image_id"], image.id());
    for (layer, diff_id) in list(&shown["images"][0]["layers"]).iter().zip(image.diff_ids()) {
        assert_eq!(layer["compression"], "gzip");
        assert_eq!(string(&layer["diff_id"]), diff_id);
        assert!(ran.stderr.contains(&string(&layer["digest"])), "{}", ran.stderr);
    }
    sandbox.run(&["verify", "gz.tar"]).ok();
    let args = ["save", "--jobs", "1", "--compress", "gzip", "-o", "gz1.tar", "fx/a:1"];
    sandbox.run(&args).ok();
    let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert!(read("gz.tar") == read("gz1.tar"), "the bytes depend on --jobs");
    let args = ["copy", "--jobs", "1", "--compress", "zstd", "gz.tar", "oci:zst"];
    sandbox.run(&args).ok();
    sandbox.run(&["verify", "oci:zst"]).ok();
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let (sandbox, image) = with_one();
    let config = sandbox.write("config.toml", b"store = \"from-file\"\n");
    let stored = |store: Option<&str>, flag: Option<&str>| {
        let mut args = vec!["images", "-q", "--no-trunc"];
        args.extend(flag.iter().flat_map(|f| ["--store", f]));
        let mut command = sandbox.command(&args);
        command.env("IMGPACK_CONFIG", &config).env_remove("IMGPACK_STORE");
        if let Some(store) = store {
            command.env("IMGPACK_STORE", store);
        }
        let out = command.output().unwrap();
        String::from_utf8(out.stdout).unwrap().contains(&image.id()[7..])
    };
    std::fs::rename(sandbox.path("store"), sandbox.path("from-file")).unwrap();
    assert!(stored(None, None), "the file is not read");
    assert!(!stored(Some("empty"), None), "the variable does not win over the file");
    assert!(stored(Some("empty"), Some("from-file")), "the flag does not win");
    for bad in [
        "no-such-setting = 1",
        "[save]\nno-such-setting = 1",
        "[save]\noutput = \"no-such_setting\"",
    ] {
        let config = sandbox.write("bad.toml", bad.as_bytes());
        let out = sandbox.command(&["images"]).env("IMGPACK_CONFIG", config).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{bad}");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("no_such_setting") || said.contains("save.output"), "{said}");
    }
    let good =
        sandbox.write("good.toml", b"[save]\ncompress = \"gzip:6\"\n[sync]\nscoped = true\n");
    let out = sandbox.command(&["images"]).env("IMGPACK_CONFIG", good).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let (sandbox, _) = with_one();
    sandbox.write("junk.tar", b"this is no archive at all, only text");
    sandbox.write("there.tar", b"");
    for (args, code) in [
        (vec!["images"], 0),
        (vec!["save", "-o", "there.tar", "fx/a:1"], 1),
        (vec!["no-such-verb"], 2),
        (vec!["save"], 2),
        (vec!["load", "-i", "a.tar", "--jobs", "0"], 2),
        (vec!["copy", "--compress", "rar", "store:", "x.tar"], 2),
        (vec!["load", "-i", "junk.tar"], 3),
        (vec!["inspect", "./junk.tar"], 3),
        (vec!["load", "-i", "absent.tar"], 4),
        (vec!["save", "-o", "x.tar", "fx/none"], 4),
        (vec!["save", "-o", "no/such/directory/x.tar", "fx/a:1"], 4),
        (vec!["save", "--for", "k3s", "-o", "x.tar", "fx/a:1"], 0),
    ] {
        sandbox.run(&args).code(code);
    }
    let untagged = sandbox.stored()[0].0.clone();
    sandbox.run(&["save", "--for", "k3s", "-o", "y.tar", &untagged]).code(8).says("name");
    assert!(!sandbox.path("y.tar").exists());
}

#[test]
fn sound_images_go_on_when_asked_and_the_exit_code_says_so() {
    let sandbox = Sandbox::new();
    let (good, bad) = (Image::new("good", 1), Image::new("bad", 1));
    let mut docker = Docker::named(&good, json!(["fx/good:1"]), "g")
        .and(Docker::named(&bad, json!(["fx/bad:1"]), "b"))
        .compressed(|_, b| gzip(b));
    *docker.member("b0.tar") = gzip(b"not what the config says");
    let path = sandbox.write("half.tar", &docker.tar());
    sandbox.run(&["load", "-i", &path]).code(3);
    assert_eq!(sandbox.stored(), []);
    sandbox.run(&["load", "--keep-going", "-i", &path]).code(9).says("fx/bad:1");
    assert_eq!(sandbox.stored(), [(good.id(), vec!["docker.io/fx/good:1".into()])]);
    let ran = sandbox.run(&["verify", "--format", "json", &path]).code(3);
    let shown = ran.json();
    assert_eq!(shown[0]["ok"], false);
    assert_eq!(strings(&shown[0]["damage"][0]["images"]), ["fx/bad:1"]);
}

#[test]
fn completions_and_the_manual_are_generated() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&["completions", shell]).ok().out();
        assert!(script.contains("imgpack") && script.contains("digestfile"), "{shell}");
    }
    let manual = sandbox.run(&["man"]).ok().out();
    assert!(manual.contains(".TH") && manual.contains("imgpack\\-copy"), "{manual}");
    sandbox.run(&["man", "--dir", "pages"]).ok();
    let copy = std::fs::read_to_string(sandbox.path("pages/imgpack-copy.1")).unwrap();
    assert!(copy.contains("digestfile"), "{copy}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut all = Docker::named(&Image::new("0", 1), json!(["fx/many:0"]), "0");
    for i in 1..400 {
        let name = json!([format!("fx/a-long-repository-name-for-many-lines-{i}:{i}")]);
        all = all.and(Docker::named(&Image::new(&i.to_string(), 1), name, &i.to_string()));
    }
    let path = sandbox.write("many.tar", &all.tar());
    let mut child = sandbox
        .command(&["inspect", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}

#[test]
fn a_full_disk_is_exit_7() {
    let (sandbox, _) = with_one();
    for args in [vec!["images"], vec!["save", "fx/a:1"], vec!["inspect", "one.tar"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = sandbox.command(&args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(7), "{args:?}: {stderr}");
        assert!(stderr.contains("no space"), "{args:?}: {stderr}");
    }
}
