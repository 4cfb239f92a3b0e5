//! A medium that no longer answers: a signal ends the run all the same, while the read still waits.
//!
//! The medium is a file system in user space whose reads do not end. No clock is asserted: that the run
//! ended before the medium was taken away is what counts.

mod common;
mod net;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Sandbox;
use common::image::{Image, Oci, gzip, layer};
use net::run::{self, Running};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stalled/stall.py");
/// Longest wait for the file system; a run has as long to end, of the ten minutes a read takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A mounted layout, one of whose blobs cannot be read.
struct Stick {
    child: Child,
    mount: PathBuf,
}

impl Stick {
    /// Mounts `medium` as `stick`; nothing where that cannot be done.
    fn mount(sandbox: &Sandbox, stalls: &str) -> Option<Self> {
        let fusepy = Command::new("python3")
            .args(["-c", "try:\n import fusepy\nexcept ImportError:\n import fuse"])
            .output();
        if !fusepy.is_ok_and(|out| out.status.success()) || !PathBuf::from("/dev/fuse").exists() {
            eprintln!("skipped: needs fusepy and /dev/fuse");
            return None;
        }
        let mount = sandbox.path("stick");
        std::fs::create_dir(&mount).unwrap();
        let child = Command::new("python3")
            .arg(SCRIPT)
            .args([sandbox.path("medium"), mount.clone()])
            .arg(stalls)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stick = Self { child, mount };
        wait("the file system", || stick.mount.join("oci-layout").exists());
        Some(stick)
    }

    /// Whether a read waits.
    fn asked(&self) -> bool {
        self.mount.with_extension("asked").exists()
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

#[track_caller]
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(running: &Running, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &running.pid().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// An image in `medium`; a part of the name of its second layer.
fn medium(sandbox: &Sandbox) -> String {
    let mut oci = Oci::new();
    let image = Image::for_platform(vec![layer("one"), layer("two")], "linux", "amd64");
    let desc = oci.manifest(&image);
    oci.name(&desc, Some("docker.io/team/app:1"));
    oci.write(&sandbox.path("medium"));
    common::hex(&gzip(image.layers.last().unwrap()))
}

/// Everything beneath a sandbox but the medium.
fn names(sandbox: &Sandbox) -> Vec<String> {
    let mut all: Vec<String> = walkdir::WalkDir::new(sandbox.root())
        .into_iter()
        .filter_entry(|e| e.file_name() != "stick" && e.file_name() != "medium")
        .map(|e| e.unwrap().path().display().to_string())
        .filter(|path| !path.ends_with("stick.asked"))
        .collect();
    all.sort();
    all
}

/// Runs verbs until they wait for the medium, sends signals, and sees them end while it still stalls.
fn ends(verbs: &[&[&str]], signals: &[&str], code: i32) {
    for verb in verbs {
        let sandbox = Sandbox::new();
        let blob = medium(&sandbox);
        let Some(mut stick) = Stick::mount(&sandbox, &blob) else { return };
        let before = names(&sandbox);
        let mut running = run::begin(&sandbox, verb, &[]);
        wait("a read", || stick.asked());
        for name in signals {
            signal(&running, name);
        }
        wait("the run", || running.ended());
        assert!(stick.child.try_wait().unwrap().is_none(), "{verb:?}: the medium is gone");
        let ran = running.wait();
        assert_eq!(ran.code, code, "{verb:?}: {}", ran.stderr);
        let left: Vec<String> =
            names(&sandbox).into_iter().filter(|n| !before.contains(n)).collect();
        let shows = |path: &&String| {
            // The store's own directory may be there, with nothing in it.
            std::fs::metadata(path).is_ok_and(|m| m.is_file()) && !path.contains("digests")
        };
        assert_eq!(left.iter().find(shows), None, "{verb:?} leaves {left:?}");
    }
}

const VERBS: [&[&str]; 5] = [
    &["load", "-i", "stick"],
    &["verify", "stick"],
    &["copy", "stick", "oci:out"],
    &["copy", "stick", "out.tar"],
    &["sync", "dir-to-dir", "stick", "out"],
];

#[test]
fn one_sigterm_ends_a_run_whose_medium_does_not_answer() {
    ends(&VERBS, &["TERM"], 143);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    ends(&VERBS[..2], &["INT", "INT"], 130);
}

#[test]
fn a_server_that_waits_for_its_place_ends_too() {
    let sandbox = Sandbox::new();
    medium(&sandbox);
    // Its table, so that it waits before it listens.
    let Some(stick) = Stick::mount(&sandbox, "index.json") else { return };
    let args = ["serve", "--listen", "127.0.0.1:0", "stick"];
    let mut running = run::begin(&sandbox, &args, &[]);
    wait("a read", || stick.asked());
    signal(&running, "TERM");
    wait("the server", || running.ended());
    let ran = running.wait();
    assert_eq!(ran.code, 143, "{}", ran.stderr);
}
