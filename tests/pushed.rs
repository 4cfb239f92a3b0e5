//! A registry that is pushed to: killed at random times, crowded, full, drained, shared with other verbs.
//!
//! Each test starts `imgpack serve --writable` and talks to it over a socket. `IMGPACK_TEST_SCALE=soak`
//! kills it 200 times. OCI distribution-spec, "Pushing".

mod common;
mod net;

#[path = "pushed/crowd.rs"]
mod crowd;
#[path = "pushed/killed.rs"]
mod killed;
#[path = "pushed/places.rs"]
mod places;
#[path = "pushed/space.rs"]
mod space;

use std::io;
use std::time::{Duration, Instant};

use common::{Sandbox, sha256};
use net::raw::{self, Answer};
use net::serve::Server;
use serde_json::json;

/// What most manifests here are.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A server over `registry` in a sandbox.
pub fn serve(sandbox: &Sandbox, more: &[&str]) -> Server {
    let store = sandbox.text("registry");
    Server::start(sandbox, &[&["--writable", &store, "--delete"], more].concat())
}

/// A manifest over one layer, and its config.
pub fn image(layer: &[u8], mark: u64) -> (Vec<u8>, Vec<u8>) {
    let config = json!({"os": "linux", "architecture": "amd64", "mark": mark,
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]}});
    let config = config.to_string().into_bytes();
    let part = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": part(CONFIG, &config), "layers": [part(LAYER, layer)]});
    (manifest.to_string().into_bytes(), config)
}

/// Pushes a blob whole; the status.
pub fn post(host: &str, repository: &str, bytes: &[u8]) -> io::Result<u16> {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(bytes));
    Ok(raw::send(host, "POST", &target, &[], bytes)?.status())
}

/// Pushes a manifest; the status.
pub fn put(host: &str, repository: &str, name: &str, bytes: &[u8]) -> io::Result<u16> {
    let target = format!("/v2/{repository}/manifests/{name}");
    Ok(raw::send(host, "PUT", &target, &[("Content-Type", MANIFEST)], bytes)?.status())
}

/// Reads something of a repository.
pub fn get(host: &str, repository: &str, what: &str) -> io::Result<Answer> {
    raw::send(host, "GET", &format!("/v2/{repository}/{what}"), &[], b"")
}

/// Waits until something holds; the server may be busy with others.
#[track_caller]
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the server has begun to keep what one request brings.
#[track_caller]
pub fn wait_for_upload(sandbox: &Sandbox) {
    let uploads = sandbox.path("registry/.imgpack-uploads");
    let kept = |entry: io::Result<std::fs::DirEntry>| {
        entry.and_then(|entry| entry.metadata()).is_ok_and(|meta| meta.len() > 0)
    };
    wait("an upload", || std::fs::read_dir(&uploads).is_ok_and(|mut all| all.any(kept)));
}

/// The session that a `POST` opens: the path where it goes on.
pub fn begin(host: &str, repository: &str) -> io::Result<String> {
    let target = format!("/v2/{repository}/blobs/uploads/");
    let answer = raw::send(host, "POST", &target, &[], b"")?;
    assert_eq!(answer.status(), 202, "{}", String::from_utf8_lossy(&answer.body));
    Ok(answer.head.get("Location").expect("a location").to_owned())
}
