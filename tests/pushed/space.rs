//! A medium that is full: a clear answer, no half blob, and pushes go on once there is room.

use std::process::Command;

use crate::common::{Sandbox, sha256};
use crate::net::image::noise;
use crate::net::{raw, skip};
use crate::{begin, get, image, post, put, serve};

/// A file system of 32 MiB in memory, until dropped.
struct Small(String);

impl Small {
    fn mount(at: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let args = ["-t", "tmpfs", "-o", "size=32m", "tmpfs", at];
        let done = Command::new("mount").args(args).output().ok()?;
        done.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).output();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    let Some(_small) = Small::mount(&sandbox.text("registry")) else {
        return skip("a full disk needs the right to mount one");
    };
    let server = serve(&sandbox, &[]);
    let host = server.address();
    let kept = noise(1, 4 << 20);
    let (manifest, config) = image(&kept, 0);
    for blob in [&kept, &config] {
        assert_eq!(post(host, "app", blob).unwrap(), 201);
    }
    assert_eq!(put(host, "app", "1", &manifest).unwrap(), 201);
    let filler = sandbox.path("registry/.imgpack-filler");
    let large = noise(2, 20 << 20);
    let half = large.len() / 2;
    let place = begin(host, "app").unwrap();
    assert_eq!(raw::send(host, "PATCH", &place, &[], &large[..half]).unwrap().status(), 202);
    // Fill what is left, down to the last page.
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let full = raw::send(host, "PATCH", &place, &[], &large[half..half + 500_000]).unwrap();
    assert_eq!(full.status(), 507);
    let said = full.json()["errors"][0]["message"].to_string();
    assert!(said.contains("no space left"), "{said}");
    // What is there can be read, and every kind of push is refused as cleanly.
    assert_eq!(get(host, "app", "manifests/1").unwrap().status(), 200);
    assert!(post(host, "app", &noise(3, 500_000)).unwrap() >= 500);
    let (other, _) = image(&kept, 0);
    let other = [other, b" ".repeat(100_000)].concat();
    assert!(put(host, "app", "2", &other).unwrap() >= 500);
    assert_eq!(get(host, "app", "manifests/2").unwrap().status(), 404);
    // With room again the session goes on where it was.
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let status = raw::send(host, "GET", &place, &[], b"").unwrap();
    let range = status.head.get("Range").unwrap();
    let at: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!(at >= half, "{range}");
    let digest = sha256(&large);
    let closing = format!("{place}?digest={digest}");
    assert_eq!(raw::send(host, "PUT", &closing, &[], &large[at..]).unwrap().status(), 201);
    assert!(get(host, "app", &format!("blobs/{digest}")).unwrap().body == large);
    assert_eq!(put(host, "app", "2", &other).unwrap(), 201);
    drop(server);
    let store = sandbox.text("registry");
    let ran = sandbox.command(&["--store", &store, "verify", "-q", "store:"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
