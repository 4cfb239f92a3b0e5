//! Output files: nothing is followed, nothing is overwritten unasked, nothing shows too early (S-13).

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::common::image::{Docker, Image};
use crate::hostile::{IMGPACK, SECRET, Sandbox, command};

fn loaded() -> Sandbox {
    let sandbox = Sandbox::new();
    let path = sandbox.put("in/x.tar", &Docker::foldered(&Image::small(), "x:1").tar());
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    sandbox
}

#[test]
fn a_link_at_the_target_is_not_followed() {
    let sandbox = loaded();
    let target = sandbox.path("out/x.tar");
    symlink(sandbox.path("outside/secret"), &target).unwrap();
    for force in [&["-f"][..], &[]] {
        for verb in ["save", "export"] {
            let mut args = vec![verb, "-o", target.to_str().unwrap(), "x:1"];
            args.extend(force);
            let done = sandbox.imgpack(&args);
            assert_ne!(done.code(), 0, "{verb} {force:?}");
            assert_eq!(fs::read_to_string(sandbox.path("outside/secret")).unwrap(), SECRET);
            assert!(fs::symlink_metadata(&target).unwrap().is_symlink());
            assert_eq!(fs::read_dir(sandbox.path("out")).unwrap().count(), 1);
        }
    }
}

#[test]
fn an_existing_file_stays_unless_forced() {
    let sandbox = loaded();
    let target = sandbox.put("out/x.tar", b"mine");
    let name = target.to_str().unwrap();
    let done = sandbox.imgpack(&["save", "-o", name, "x:1"]);
    assert_eq!(done.code(), 1, "{}", done.stderr);
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    sandbox.ok(&["save", "-f", "-o", name, "x:1"]);
    sandbox.ok(&["verify", name]);
}

#[test]
fn the_umask_is_honoured() {
    let sandbox = loaded();
    for (mask, mode) in [("022", 0o644), ("077", 0o600), ("027", 0o640)] {
        let target = sandbox.path(&format!("out/{mask}.tar"));
        let mut shell = command("sh", &sandbox);
        let script = "umask $1; exec \"$0\" save -o \"$2\" x:1";
        shell.args(["-c", script, IMGPACK, mask, target.to_str().unwrap()]);
        assert!(shell.status().unwrap().success());
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, mode, "umask {mask}");
    }
}

#[test]
fn a_failed_run_leaves_no_output() {
    let sandbox = Sandbox::new();
    let mut image = Image::small();
    image.layers[1][600] ^= 1;
    let path = sandbox.put("in/x.tar", &Docker::foldered(&image, "x:1").tar());
    for target in ["out/x.tar", "out/x.tar.gz", "out/x.tar.zst"] {
        let target = sandbox.path(target);
        let done = sandbox.imgpack(&["copy", path.to_str().unwrap(), target.to_str().unwrap()]);
        assert_eq!(done.code(), 3, "{}", done.stderr);
        assert_eq!(fs::read_dir(sandbox.path("out")).unwrap().count(), 0);
    }
}
