//! A store that is pushed to before places that are only read: what is pushed does not depend on them.

use std::path::Path;

use crate::common::{Sandbox, list, sha256, string};
use crate::net::serve::Server;
use crate::net::{image, raw};
use crate::{get, put, serve};

#[test]
fn what_a_push_finds_on_a_stick_is_taken_over() {
    let sandbox = Sandbox::new();
    let (stick, store) = (sandbox.text("stick"), sandbox.text("registry"));
    let oci = image::small();
    oci.write(Path::new(&stick));
    let digest = image::digest(oci);
    let (_, manifest) = oci.blobs.iter().find(|(hex, _)| digest.ends_with(hex.as_str())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let parts = || list(&json["layers"]).iter().chain([&json["config"]]);
    let server = Server::start(&sandbox, &[&stick, "--writable", &store, "--delete"]);
    let host = server.address();
    assert_eq!(get(host, "noise", &format!("manifests/{digest}")).unwrap().status(), 200);
    // The client finds every blob, pushes none, and names the image anew.
    assert_eq!(put(host, "noise", "new", manifest).unwrap(), 201);
    let first = string(&json["config"]["digest"]);
    let mount = format!("/v2/other/blobs/uploads/?mount={first}&from=noise");
    assert_eq!(raw::send(host, "POST", &mount, &[], b"").unwrap().status(), 201);
    // What is only read is not deleted, and says so.
    let target = format!(
        "/v2/noise/manifests/{}",
        string(&oci.entries[0]["annotations"]["org.opencontainers.image.ref.name"])
    );
    assert_eq!(raw::send(host, "DELETE", &target, &[], b"").unwrap().status(), 403);
    drop(server);
    std::fs::remove_dir_all(&stick).unwrap();
    let server = serve(&sandbox, &[]);
    let host = server.address();
    assert!(get(host, "noise", "manifests/new").unwrap().body == *manifest);
    for part in parts() {
        let digest = string(&part["digest"]);
        let answer = get(host, "noise", &format!("blobs/{digest}")).unwrap();
        assert_eq!((answer.status(), sha256(&answer.body)), (200, digest));
    }
}
