//! What the process itself does: no program started, no network, no path outside its own (S-8, S-19,
//! S-32), and no window for a directory that changes under it (S-9).

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::image::{Docker, Image, Oci, gzip};
use crate::common::{have, skip};
use crate::hostile::{IMGPACK, SECRET, Sandbox, command, run, scale};

#[test]
fn nothing_is_started_nobody_is_called_nothing_else_is_opened() {
    if !have("strace") {
        return skip("needs strace");
    }
    let sandbox = Sandbox::new();
    let archive = Docker::foldered(&Image::small().packed("gzip", gzip), "x:1");
    let link = archive
        .body()
        .symlink("0", "../../outside")
        .file("manifest.json", archive.items.to_string());
    let good = sandbox.put("in/good.tar", &archive.tar()).display().to_string();
    let bad = sandbox.put("in/bad.tar", &link.end()).display().to_string();
    let dir = sandbox.path("in/layout");
    Oci::one(&Image::small(), Some("docker.io/library/y:1")).write(&dir);
    let dir = dir.display().to_string();
    let out = sandbox.path("out/x.tar").display().to_string();
    let layout = format!("oci:{}", sandbox.path("out/layout").display());
    for args in [
        vec!["load", "-i", &good],
        vec!["load", "-i", &bad],
        vec!["verify", &good],
        vec!["verify", &dir],
        vec!["ls", &dir],
        vec!["inspect", &good],
        vec!["copy", &dir, &layout],
        vec!["copy", "--compress", "gzip", &good, &layout],
        vec!["save", "-o", &out, "x:1"],
        vec!["images"],
        vec!["prune"],
    ] {
        let log = sandbox.path("outside/trace");
        let mut cmd = command("strace", &sandbox);
        cmd.args(["-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=%file,%network,execve"]);
        cmd.arg(IMGPACK).args(&args);
        run(cmd, None, Duration::from_secs(300));
        let trace = fs::read_to_string(&log).unwrap();
        assert!(trace.contains("openat"), "nothing was traced");
        for line in trace.lines() {
            let line = line.split_once(char::is_whitespace).map_or(line, |(_, l)| l.trim_start());
            check_call(line, &args, &sandbox);
        }
        fs::remove_file(&log).unwrap();
    }
}

fn check_call(line: &str, args: &[&str], sandbox: &Sandbox) {
    let call = line.split('(').next().unwrap_or_default();
    match call {
        "execve" => assert!(line.contains(IMGPACK), "{args:?} starts: {line}"),
        "socket" | "connect" | "bind" | "sendto" | "sendmsg" | "socketpair" => {
            assert!(line.contains("AF_UNIX"), "{args:?} calls: {line}");
        }
        _ => {}
    }
    let Some(path) = line.split('"').nth(1).filter(|p| p.starts_with('/')) else { return };
    // What the loader and the C library open before main, and what the kernel says of itself.
    let own = ["/etc/ld.so", "/lib", "/usr/lib", "/proc/self/", "/sys/", "/proc/locks", "/dev/"];
    let inside = path.starts_with(sandbox.path("").to_str().unwrap().trim_end_matches('/'));
    let outside = path.starts_with(sandbox.path("outside").to_str().unwrap());
    let fine = (inside && !outside) || own.iter().any(|p| path.starts_with(p));
    assert!(fine || call == "execve", "{args:?} touches: {line}");
    assert!(!outside, "{args:?} touches: {line}");
}

/// While a layout is copied, its blobs become a link to elsewhere and back, over and over.
#[test]
fn a_directory_that_turns_into_a_link_leads_nowhere() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("in/layout");
    Oci::one(&Image::small(), Some("docker.io/library/x:1")).write(&dir);
    let canary = sandbox.snapshot("outside");
    let stop = AtomicBool::new(false);
    let (real, aside, link) =
        (dir.join("blobs/sha256"), dir.join("blobs/aside"), dir.join("blobs/link"));
    symlink(sandbox.path("outside"), &link).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&real, &aside);
                let _ = fs::rename(&link, &real);
                let _ = fs::rename(&real, &link);
                let _ = fs::rename(&aside, &real);
            }
        });
        let mut seen = std::collections::BTreeMap::new();
        for round in 0..scale(100, 2000) {
            let out = sandbox.path(&format!("out/{round}"));
            let target = format!("oci:{}", out.display());
            let done = sandbox.imgpack(&["--no-sync", "copy", dir.to_str().unwrap(), &target]);
            *seen.entry(done.code()).or_insert(0) += 1;
            assert!(matches!(done.code(), 0 | 3), "{}: {}", done.code(), done.stderr);
            assert!(!done.stderr.contains(SECRET));
        }
        stop.store(true, Ordering::Relaxed);
        eprintln!("exit statuses {seen:?}");
    });
    assert_eq!(sandbox.snapshot("outside"), canary);
}
