//! `import`, `export` and `diff` as a user meets them: what becomes of a root file system on the way
//! in, what is refused, and what comes out again.

mod common;

use common::image::{bzip2, gzip, xz, zstd};
use common::tarball::Tar;
use common::{Sandbox, sha256};

fn rootfs() -> Tar {
    Tar::new()
        .dir("etc/")
        .file("etc/os-release", b"ID=tiny\n")
        .symlink("etc/outward", "../../../../etc/passwd")
        .hard_link("etc/again", "etc/os-release")
}

fn diff_id(sandbox: &Sandbox, name: &str) -> String {
    let shown = sandbox.run(&["inspect", "--format", "{{index .RootFS.Layers 0}}", name]).ok();
    shown.out().trim().to_owned()
}

#[test]
fn the_diff_id_is_that_of_the_bytes_however_they_arrive() {
    let sandbox = Sandbox::new();
    let tar = rootfs().end();
    let want = sha256(&tar);
    let forms = [
        ("plain", tar.clone(), "none"),
        ("gzip", gzip(&tar), "gzip"),
        ("zstd", zstd(&tar), "zstd"),
        ("xz", xz(&tar), "none"),
        ("bzip2", bzip2(&tar), "none"),
    ];
    for (name, bytes, kept) in forms {
        let file = sandbox.write(name, &bytes);
        sandbox.run(&["import", &file, name]).ok();
        assert_eq!(diff_id(&sandbox, name), want, "{name} from a file");
        sandbox.feed(&["import", "-", &format!("{name}:piped")], &bytes).ok();
        assert_eq!(diff_id(&sandbox, &format!("{name}:piped")), want, "{name} from a pipe");
        let seen = sandbox.inspect(&format!("store:{name}"));
        assert_eq!(seen["images"][0]["layers"][0]["compression"], kept, "{name}");
    }
    sandbox.run(&["verify", "store:"]).ok();
}

#[test]
fn names_that_lead_out_are_refused_and_leave_nothing() {
    for (what, tar) in [
        ("upwards", rootfs().file("../evil", b"x")),
        ("in the middle", rootfs().file("a/../../evil", b"x")),
        ("absolute", rootfs().file("/etc/evil", b"x")),
        ("hard link upwards", rootfs().hard_link("a", "../evil")),
    ] {
        let sandbox = Sandbox::new();
        let bytes = tar.end();
        let file = sandbox.write("rootfs.tar", &bytes);
        let refused = sandbox.run(&["import", &file, "evil:1"]).code(3).says("..");
        assert!(refused.stdout.is_empty(), "{what}");
        assert!(sandbox.stored().is_empty(), "{what}");
        // Asked for, they pass unchanged: nothing is ever unpacked.
        sandbox.run(&["import", "--allow-unsafe-names", &file, "evil:1"]).ok();
        assert_eq!(diff_id(&sandbox, "evil:1"), sha256(&bytes), "{what}");
    }
}

#[test]
fn what_is_no_tar_is_refused_and_an_image_archive_is_pointed_out() {
    let sandbox = Sandbox::new();
    let tar = rootfs().file("big", [7; 3000]).end();
    let mut flipped = gzip(&tar);
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    for (what, bytes) in [
        ("text", b"hello, world\n".repeat(100)),
        ("empty", Vec::new()),
        ("cut in a body", tar[..tar.len() - 3000].to_vec()),
        ("cut gzip", gzip(&tar)[..200].to_vec()),
        ("bad checksum", flipped),
    ] {
        let file = sandbox.write("input", &bytes);
        let code = sandbox.run(&["import", &file, "x:1"]).code;
        assert_eq!(code, 3, "{what}");
        assert!(sandbox.stored().is_empty(), "{what}");
    }
    let archive = sandbox.write("images.tar", &Tar::new().file("manifest.json", b"[]").end());
    sandbox.run(&["import", &archive, "odd:1"]).ok().says("imgpack load");
}

#[test]
fn the_same_import_at_the_same_time_is_the_same_image() {
    let tar = rootfs().end();
    let id = |args: &[&str]| {
        let sandbox = Sandbox::new();
        let file = sandbox.write("rootfs.tar", &tar);
        let mut line = vec!["import", "--created", "2026-01-02T03:04:05Z", "-c", "CMD [\"/a\"]"];
        line.extend(args);
        line.extend([file.as_str(), "x:1"]);
        sandbox.run(&line).ok().out()
    };
    assert_eq!(id(&[]), id(&[]));
    assert_eq!(id(&["--created", "1767323045"]), id(&[]), "the same moment, given last");
    assert_ne!(id(&[]), id(&["-m", "another message"]));
    assert_ne!(id(&[]), id(&["--platform", "linux/arm64"]));
}

#[test]
fn an_export_imports_to_the_same_tree_and_diff_says_so() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("rootfs.tar", &rootfs().end());
    sandbox.run(&["import", &file, "a:1"]).ok();
    let out = sandbox.text("out.tar");
    sandbox.run(&["export", "-o", &out, "a:1"]).ok();
    sandbox.run(&["import", &out, "b:1"]).ok();
    let json = sandbox.run(&["diff", "--format", "json", "a:1", "b:1"]).json();
    assert_eq!(json["files"], serde_json::json!([]), "{json}");
    sandbox.run(&["diff", "a:1", "a:1"]).code(0);
    let more = sandbox.write("more.tar", &rootfs().file("new", b"x").end());
    sandbox.run(&["import", &more, "c:1"]).ok();
    let text = sandbox.run(&["diff", "a:1", "c:1"]).code(1).out();
    assert!(text.contains("A /new"), "{text}");
    sandbox.run(&["export", "-o", &sandbox.text("out.tar.zst"), "a:1"]).ok();
    sandbox.run(&["export", "-o", &out, "a:1"]).code(1).says("file exists");
}
