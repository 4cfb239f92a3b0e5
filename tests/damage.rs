//! Damaged images: whatever verb reads them and wherever they were to go, the exit code is 3 and nothing is
//! published. A sink that is a registry is Debian's docker-registry.

mod common;
mod net;

use std::path::Path;

use common::image::{Docker, Image, OCI_LAYER, Oci, gzip, zstd};
use common::tarball::Tar;
use common::{Sandbox, hex, list, sha256, string};
use net::image::noise;
use net::raw;
use net::registry::Registry;
use net::serve::Server;
use serde_json::json;

/// An image in a file or a directory, and whether its digests were recorded by whoever made it.
struct Damaged {
    what: &'static str,
    recorded: bool,
    write: Box<dyn Fn(&Path)>,
}

/// Of noise: what packs well may unpack to the same after one bit has changed.
fn image() -> Image {
    let layer = |seed| Tar::new().file("data", noise(seed, 9_000)).end();
    Image::of(vec![layer(1), layer(2)])
}

/// One bit of the middle of what was packed.
fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes
}

/// A checksum at the end is another one.
fn unchecked(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    bytes
}

/// zstd with a checksum of its content.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.include_checksum(true).expect("memory");
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A Docker archive as crane writes it: members named by the digests of their bytes, compressed layers,
/// no other table. `stored` gives the bytes of each layer, `named` those that it is named by.
fn crane(stored: &[Vec<u8>], named: &[Vec<u8>], config: (&[u8], &[u8])) -> Vec<u8> {
    let names: Vec<String> = named.iter().map(|bytes| format!("{}.tar.gz", hex(bytes))).collect();
    let called = format!("{}.json", hex(config.1));
    let items = json!([{"Config": called, "RepoTags": ["demo/p:1"], "Layers": names}]);
    let mut members = vec![(called, config.0.to_vec())];
    members.extend(names.into_iter().zip(stored.iter().cloned()));
    Docker { items, members }.tar()
}

/// The same without names that say anything: only the diff ids are left.
fn nameless(layers: &[Vec<u8>], config: &[u8]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len()).map(|n| format!("layer{n}")).collect();
    let items = json!([{"Config": "config.json", "RepoTags": ["demo/p:1"], "Layers": names}]);
    let mut members = vec![("config.json".to_owned(), config.to_vec())];
    members.extend(names.into_iter().zip(layers.iter().cloned()));
    Docker { items, members }.tar()
}

/// An OCI layout in which everything lies under its digest, whatever it is.
fn recorded(layers: &[Vec<u8>], kind: &str, config: &[u8]) -> Oci {
    let kind = Some(format!("{OCI_LAYER}+{kind}"));
    let image = Image { config: config.to_vec(), layers: layers.to_vec(), kind };
    Oci::one(&image, Some("docker.io/demo/p:1"))
}

fn all() -> Vec<Damaged> {
    let image = image();
    let config = image.config.clone();
    let gz: Vec<Vec<u8>> = image.layers.iter().map(|layer| gzip(layer)).collect();
    let zst: Vec<Vec<u8>> = image.layers.iter().map(|layer| summed(layer)).collect();
    let second = |all: &[Vec<u8>], bad: Vec<u8>| vec![all[0].clone(), bad];
    let other = zstd(&common::image::layer("other"));
    let bad: Vec<(&'static str, Vec<Vec<u8>>, &str)> = vec![
        ("one bit of a gzip layer", second(&gz, flipped(gz[1].clone())), "gzip"),
        ("the CRC of a gzip layer", second(&gz, unchecked(gz[1].clone(), 8)), "gzip"),
        ("the length of a gzip layer", second(&gz, unchecked(gz[1].clone(), 4)), "gzip"),
        ("the end of a gzip layer", second(&gz, gz[1][..gz[1].len() - 9].to_vec()), "gzip"),
        ("the checksum of a zstd layer", second(&zst, unchecked(zst[1].clone(), 1)), "zstd"),
        ("one bit of a zstd layer", second(&zst, flipped(zst[1].clone())), "zstd"),
        ("another layer than its config says", second(&zst, other), "zstd"),
        ("the layers are in the wrong order", vec![gz[1].clone(), gz[0].clone()], "gzip"),
    ];
    let mut all: Vec<Damaged> = Vec::new();
    let mut file = |what, bytes: Vec<u8>, recorded| {
        let write = Box::new(move |at: &Path| std::fs::write(at, &bytes).expect("a file"));
        all.push(Damaged { what, recorded, write });
    };
    for (what, layers, kind) in &bad {
        file(what, nameless(layers, &config), false);
        file(what, crane(layers, layers, (&config, &config)), false);
        file(what, recorded(layers, kind, &config).tar(), true);
    }
    // The bytes unpack to what they should, and are not those that their names say.
    let mut header = gz[1].clone();
    header[4] ^= 1;
    file("the time in a gzip header", crane(&second(&gz, header), &gz, (&config, &config)), false);
    let mut letter = config.clone();
    let at = String::from_utf8_lossy(&config).find("hello").expect("a command");
    letter[at] ^= 1;
    file("one letter of a config", crane(&gz, &gz, (&letter, &config)), false);
    let mut plain = Docker::one(&image, json!(["demo/p:1"]));
    let name = "1.tar".to_owned();
    let body = flipped(plain.member(&name).clone());
    *plain.member(&name) = body;
    file("one bit of a plain layer", plain.tar(), false);
    let mut layout = Oci::one(&image, Some("docker.io/demo/p:1"));
    let packed = layout.blobs.iter_mut().find(|(_, bytes)| *bytes == gz[1]).expect("a layer");
    packed.1 = flipped(packed.1.clone());
    file("one bit of a blob in an OCI archive", layout.tar(), true);
    let write = Box::new(move |at: &Path| layout.write(at));
    all.push(Damaged { what: "one bit of a blob in a layout", recorded: true, write });
    all
}

/// Whether a repository is without any tag.
fn bare(host: &str, repository: &str) -> bool {
    let answer = raw::get(host, &format!("/v2/{repository}/tags/list"));
    answer.status() == 404 || list(&answer.json()["tags"]).is_empty()
}

fn images(sandbox: &Sandbox, place: &str) -> usize {
    let ran = sandbox.run(&["inspect", "--format", "json", place]);
    if ran.code == 0 { list(&ran.json()["images"]).len() } else { 0 }
}

#[test]
fn nothing_damaged_is_published_by_any_verb_to_any_place() {
    let Some(registry) = Registry::plain() else { return };
    let host = registry.address();
    let mut wrong = Vec::new();
    for (n, damaged) in all().iter().enumerate() {
        let sandbox = Sandbox::new();
        let at = sandbox.path("bad.tar");
        (damaged.write)(&at);
        let bad = sandbox.text("bad.tar");
        let other = Docker::one(&Image::new("other", 1), json!(["demo/o:1"]));
        sandbox.write("other.tar", &other.tar());
        let repository = |verb: &str| format!("d{n}/{verb}");
        let pushed = |verb: &str| format!("{host}/{}:1", repository(verb));
        let (push, copy, into) = (pushed("push"), pushed("copy"), pushed("into"));
        let (copy, into) = (format!("docker://{copy}"), format!("docker://{into}"));
        let synced = format!("{host}/d{n}/sync");
        let from = if at.is_dir() { "dir" } else { "archive" };
        let (to_registry, to_dir) = (format!("{from}-to-registry"), format!("{from}-to-dir"));
        let mut runs: Vec<Vec<&str>> = vec![
            vec!["verify", &bad],
            vec!["load", "-i", &bad],
            vec!["load", "-i", &bad, "--into", "oci:loaded"],
            vec!["load", "-i", &bad, "--into", &into],
            vec!["copy", &bad, "oci:copied"],
            vec!["copy", &bad, "dir:flat"],
            vec!["copy", &bad, "copied.tar"],
            vec!["copy", "--jobs", "1", &bad, "copied1.tar"],
            vec!["copy", "--compress", "zstd", &bad, "packed.tar"],
            vec!["copy", &bad, &copy],
            vec!["push", &bad, &push],
            vec!["sync", &to_registry, &bad, &synced],
            vec!["sync", &to_dir, &bad, "synced"],
        ];
        if !damaged.recorded {
            runs.extend([vec!["export", "-o", "flat.tar", &bad], vec!["diff", &bad, "other.tar"]]);
        }
        for run in &mut runs {
            // What was recorded is carried as it was found, unless more is asked for.
            if damaged.recorded && run[0] == "sync" {
                run.push("--unpack-check");
            // What was made here is checked, whatever is asked for.
            } else if !damaged.recorded && !["sync", "export", "diff"].contains(&run[0]) {
                run.push("--no-unpack-check");
            }
        }
        for run in runs {
            let ran = sandbox.run(&run);
            if ran.code != 3 {
                wrong.push(format!(
                    "{}: {}: exit {}: {}",
                    damaged.what, ran.line, ran.code, ran.stderr
                ));
            }
        }
        for file in ["copied.tar", "copied1.tar", "packed.tar", "flat.tar"] {
            if sandbox.path(file).exists() {
                wrong.push(format!("{}: {file} was written", damaged.what));
            }
        }
        if sandbox.path("flat/manifest.json").exists() {
            wrong.push(format!("{}: dir: was written", damaged.what));
        }
        for place in ["store:", "oci:loaded", "oci:copied", "oci:synced"] {
            if images(&sandbox, place) != 0 {
                wrong.push(format!("{}: {place} names an image", damaged.what));
            }
        }
        for verb in ["push", "copy", "into", "sync/demo/p"] {
            if !bare(&host, &repository(verb)) {
                wrong.push(format!("{}: the registry has {}", damaged.what, repository(verb)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a client of a registry gets of an image: everything right, or not everything.
fn got_whole(host: &str) -> bool {
    let manifest = raw::send(host, "GET", "/v2/demo/p/manifests/1", &[("accept", "*/*")], b"");
    let Ok(manifest) = manifest else { return false };
    if manifest.status() != 200 {
        return false;
    }
    let manifest = manifest.json();
    let config = [manifest["config"].clone()];
    list(&manifest["layers"]).iter().chain(&config).all(|desc| {
        let digest = string(&desc["digest"]);
        let blob = raw::send(host, "GET", &format!("/v2/demo/p/blobs/{digest}"), &[], b"");
        blob.is_ok_and(|blob| blob.status() == 200 && sha256(&blob.body) == digest)
    })
}

#[test]
fn nothing_damaged_is_served_whole() {
    let mut wrong = Vec::new();
    // What was recorded is served as it was recorded: whoever pulls it unpacks it.
    for damaged in all().iter().filter(|damaged| !damaged.recorded) {
        let sandbox = Sandbox::new();
        (damaged.write)(&sandbox.path("bad.tar"));
        let server = Server::start(&sandbox, &[&sandbox.text("bad.tar")]);
        if got_whole(server.address()) {
            wrong.push(format!("{}: served whole", damaged.what));
        }
        let name = format!("{}/demo/p:1", server.address());
        if sandbox.run(&["pull", "--retry-times", "1", &name]).code == 0 {
            wrong.push(format!("{}: pulled", damaged.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_damaged_hides_nothing_else_from_a_server_and_is_named_at_each_start() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("stick")).expect("a directory");
    let all = all();
    let damaged = all.iter().find(|damaged| !damaged.recorded).expect("one");
    (damaged.write)(&sandbox.path("stick/bad.tar"));
    let good = Docker::one(&Image::new("good", 1), json!(["demo/good:1"]));
    sandbox.write("stick/good.tar", &good.compressed(|_, bytes| gzip(bytes)).tar());
    for _ in 0..2 {
        let server = Server::start(&sandbox, &[&sandbox.text("stick")]);
        server.says("demo/p:1 is not served");
        let name = format!("{}/demo/good:1", server.address());
        sandbox.run(&["pull", &name]).ok();
        assert!(!got_whole(server.address()));
    }
}

#[test]
fn what_is_sound_is_checked_once_by_a_server() {
    let sandbox = Sandbox::new();
    let layers: Vec<Vec<u8>> = image().layers.iter().map(|layer| gzip(layer)).collect();
    let config = image().config;
    let archive = sandbox.write("good.tar", &crane(&layers, &layers, (&config, &config)));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let file = std::fs::File::options().write(true).open(&archive).expect("a file");
    file.set_modified(old).expect("a time");
    let memory = || {
        let found = walkdir::WalkDir::new(sandbox.root()).into_iter().filter_map(Result::ok);
        let mut found = found.filter(|entry| entry.file_name() == "digests");
        found.next().map(|entry| std::fs::read_to_string(entry.path()).expect("a file"))
    };
    for _ in 0..2 {
        let mut server = Server::start(&sandbox, &[&archive]);
        assert!(got_whole(server.address()));
        server.signal("TERM");
        assert_eq!(server.end(), Some(0));
        let memory = memory().expect("a memory");
        for layer in image().layers {
            assert!(memory.contains(&sha256(&layer)), "{memory}");
        }
    }
}

#[test]
fn members_may_be_named_by_either_digest_or_by_none() {
    let image = image();
    let packed: Vec<Vec<u8>> = image.layers.iter().map(|layer| gzip(layer)).collect();
    for named in [&packed, &image.layers] {
        let sandbox = Sandbox::new();
        let bytes = crane(&packed, named, (&image.config, &image.config));
        let good = sandbox.write("good.tar", &bytes);
        for args in [["verify", "-q"], ["load", "-i"]] {
            sandbox.run(&[args[0], args[1], &good]).ok();
        }
        let layers = sandbox.inspect("store:");
        let text = layers.to_string();
        packed.iter().for_each(|layer| assert!(text.contains(&sha256(layer)), "{text}"));
    }
}

#[test]
fn all_damage_is_told_in_one_run_by_every_name_in_both_forms() {
    let sandbox = Sandbox::new();
    let image = Image::new("told", 3);
    let mut oci = Oci::new();
    let desc = oci.manifest(&image);
    let names = ["demo/a:1", "demo/a:2", "demo/b:1"];
    names.iter().for_each(|name| oci.name(&desc, Some(&format!("docker.io/{name}"))));
    let packed: Vec<String> = image.layers.iter().map(|layer| hex(&gzip(layer))).collect();
    let config = hex(&image.config);
    for (name, bytes) in &mut oci.blobs {
        if packed[1..].contains(name) {
            *bytes = flipped(std::mem::take(bytes));
        }
    }
    oci.blobs.retain(|(name, _)| *name != config);
    oci.write(&sandbox.path("layout"));
    let ran = sandbox.run(&["verify", "layout"]).code(3);
    let wrong = [&packed[1], &packed[2], &config];
    for needle in wrong.into_iter().map(String::as_str).chain(names) {
        assert!(ran.stderr.contains(needle), "{needle} is not in {}", ran.stderr);
    }
    let shown = sandbox.run(&["verify", "--format", "json", "layout"]).code(3).json();
    let damage = list(&shown[0]["damage"]);
    assert_eq!(damage.len(), 3, "{shown}");
    for damage in damage {
        let digest = string(&damage["digest"]);
        assert!(wrong.iter().any(|hex| digest == format!("sha256:{hex}")), "{digest}");
        assert_eq!(common::strings(&damage["images"]), names, "{digest}");
    }
    assert_eq!(common::strings(&shown[0]["failed"][0]["names"]), names);
}

/// Takes a blob of a layout away, or changes one bit of it.
fn spoil(path: &Path, remove: bool) {
    if remove {
        return std::fs::remove_file(path).expect("a blob");
    }
    let bytes = flipped(std::fs::read(path).expect("a blob"));
    std::fs::write(path, bytes).expect("a blob");
}

#[test]
fn a_second_run_mends_what_it_could_have_supplied() {
    let Some(registry) = Registry::plain() else { return };
    let host = registry.address();
    let sandbox = Sandbox::new();
    let image = Image::new("mended", 2);
    Oci::one(&image, Some("docker.io/demo/m:1")).write(&sandbox.path("good"));
    let name = format!("{host}/demo/m:1");
    sandbox.run(&["push", "oci:good", &name]).ok();
    let layer = hex(&gzip(&image.layers[0]));
    let remote = format!("docker://{name}");
    let runs: [(&str, Vec<&str>); 4] = [
        ("usb", vec!["sync", "registry-to-dir", &name, "usb"]),
        ("pulled", vec!["copy", &remote, "oci:pulled"]),
        ("copied", vec!["copy", "oci:good", "oci:copied"]),
        ("store", vec!["load", "-i", "good"]),
    ];
    for (at, run) in runs {
        sandbox.run(&run).ok();
        for blob in [&layer, &hex(&image.config)] {
            let path = sandbox.path(&format!("{at}/blobs/sha256/{blob}"));
            spoil(&path, true);
            sandbox.run(&run).ok();
            assert_eq!(hex(&std::fs::read(&path).expect("a blob")), *blob, "{at}");
            spoil(&path, false);
            let again = sandbox.run(&[run.as_slice(), &["--recheck"]].concat()).ok();
            assert!(again.stderr.contains("it is replaced"), "{at}: {}", again.stderr);
            assert_eq!(hex(&std::fs::read(&path).expect("a blob")), *blob, "{at}");
            let sound = sandbox.run(&[run.as_slice(), &["--recheck"]].concat()).ok();
            assert!(!sound.stderr.contains("replaced"), "{at}: {}", sound.stderr);
        }
    }
    // Of a registry, each blob is asked for.
    let stored = registry.blob(&format!("sha256:{layer}"));
    std::fs::remove_file(&stored).expect("a blob");
    sandbox.run(&["push", "--recheck", "oci:good", &name]).ok();
    sandbox.run(&["copy", &remote, "oci:whole"]).ok();
}

#[test]
fn nothing_of_a_damaged_store_is_given_out() {
    let image = image();
    for blob in [hex(&gzip(&image.layers[1])), hex(&image.config)] {
        for remove in [true, false] {
            let sandbox = Sandbox::new();
            Oci::one(&image, Some("docker.io/demo/s:1")).write(&sandbox.path("good"));
            sandbox.run(&["load", "-i", "good"]).ok();
            spoil(&sandbox.path(&format!("store/blobs/sha256/{blob}")), remove);
            for run in [
                &["save", "-o", "out", "demo/s:1"][..],
                &["save", "--for", "docker", "-o", "out", "demo/s:1"],
                &["save", "--compress", "zstd", "-o", "out", "demo/s:1"],
                &["export", "-o", "out", "demo/s:1"],
                &["copy", "store:demo/s:1", "oci:out"],
                &["copy", "store:demo/s:1", "dir:out"],
            ] {
                let ran = sandbox.run(run).code(3);
                let named = ran.stderr.contains(&blob) || run[0] == "export";
                assert!(named, "{}: {}", ran.line, ran.stderr);
                assert!(!sandbox.path("out").is_file(), "{}: it was written", ran.line);
                assert_eq!(images(&sandbox, "oci:out"), 0, "{}", ran.line);
                assert!(!sandbox.path("out/manifest.json").exists(), "{}", ran.line);
                let _ = std::fs::remove_dir_all(sandbox.path("out"));
            }
            // Of a pipe, what came cannot be taken back; it is no archive.
            let piped = sandbox.run(&["save", "demo/s:1"]).code(3).stdout;
            let cut = Sandbox::new();
            assert_ne!(cut.feed(&["load"], &piped).code, 0);
            assert!(cut.stored().is_empty());
        }
    }
}
