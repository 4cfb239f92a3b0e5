//! Images that are unusual and legitimate: each is carried like any other, or it is said what of it is not.

mod common;
mod net;

use std::process::Command;
use std::sync::Arc;

use common::image::{Image, Oci, gzip, layer, text};
use common::{Sandbox, sha256};
use net::{have, server, skip};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn manifest(oci: &mut Oci, config: &Value, layers: &[Value], name: &str) {
    let body =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let desc = oci.blob(MANIFEST, &text(&body));
    oci.name(&desc, Some(name));
}

fn reads(sandbox: &Sandbox, args: &[&str]) {
    let ran = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(args)
        .current_dir(sandbox.root())
        .output();
    let ran = ran.expect("skopeo");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// An image whose config has a type that says nothing.
fn untyped(config: &[u8]) -> Oci {
    let (mut oci, image) = (Oci::new(), Image::new("old", 1));
    let config = if config.is_empty() { &image.config } else { config };
    let config = oci.blob("application/octet-stream", config);
    let layer = oci.blob(GZIP, &gzip(&image.layers[0]));
    manifest(&mut oci, &config, &[layer], "docker.io/old/img:1");
    oci
}

#[test]
fn a_config_of_an_unknown_type_is_one_if_it_reads_as_one() {
    let sandbox = Sandbox::new();
    untyped(b"").write(&sandbox.path("old"));
    sandbox.run(&["verify", "old"]).ok();
    sandbox.run(&["load", "-i", "old"]).ok();
    let id = Image::new("old", 1).id();
    assert_eq!(sandbox.run(&["images", "-q", "--no-trunc"]).ok().out().trim(), id);
    for format in ["docker", "oci"] {
        let file = format!("{format}.tar");
        sandbox.run(&["save", "--format", format, "-o", &file, "old/img:1"]).ok();
        sandbox.run(&["verify", &file]).ok();
    }
    sandbox.run(&["save", "-o", "both.tar", "old/img:1"]).ok();
    sandbox.run(&["export", "-o", "fs.tar", "old/img:1"]).ok();
    // Another config of that type belongs to something else, which is carried as it is.
    untyped(b"not a config").write(&sandbox.path("other"));
    sandbox.run(&["verify", "other"]).ok();
    sandbox.run(&["copy", "other", "oci:copied"]).ok();
    sandbox.run(&["copy", "other", "docker-archive:x.tar", "--format", "docker"]).code(1);
    if !have("skopeo") {
        return skip("skopeo");
    }
    let inspect = ["inspect", "--config", "docker-archive:both.tar"];
    reads(&sandbox, &inspect);
}

/// An image with sha512 digests.
fn sha512(sandbox: &Sandbox, name: &str) {
    use imgpack::digest::{Algorithm, Hasher};
    let image = Image::new("s", 1);
    let put = |media_type: &str, bytes: &[u8]| {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(bytes);
        let digest = hasher.finish();
        sandbox.write(&format!("{name}/{}", digest.blob_path()), bytes);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let of = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let config = put(&of("config.v1+json"), &image.config);
    let layer = put(&of("layer.v1.tar"), &image.layers[0]);
    let body = json!({"schemaVersion": 2, "mediaType": of("manifest.v1+json"), "config": config,
        "layers": [layer]});
    let mut desc = put(&of("manifest.v1+json"), &text(&body));
    desc["annotations"] = json!({"io.containerd.image.name": "docker.io/demo/s512:1"});
    let index = json!({"schemaVersion": 2, "manifests": [desc]});
    sandbox.write(&format!("{name}/index.json"), &text(&index));
    sandbox.write(&format!("{name}/oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
}

#[test]
fn an_image_with_sha512_digests_is_saved() {
    let sandbox = Sandbox::new();
    sha512(&sandbox, "layout");
    sandbox.run(&["load", "-i", "layout"]).ok();
    sandbox.run(&["save", "-o", "a.tar", "demo/s512:1"]).ok();
    sandbox.run(&["copy", "layout", "b.tar"]).ok();
    assert_eq!(
        sha256(&std::fs::read(sandbox.path("a.tar")).unwrap()),
        sha256(&std::fs::read(sandbox.path("b.tar")).unwrap()),
    );
    sandbox.run(&["verify", "a.tar"]).ok();
    let wanted = sandbox.inspect("layout")["images"][0]["manifest"].clone();
    assert_eq!(sandbox.inspect("a.tar")["images"][0]["manifest"], wanted);
    assert!(wanted.as_str().is_some_and(|digest| digest.starts_with("sha512:")));
    let listed = Command::new("tar").arg("-tf").arg(sandbox.path("a.tar")).output();
    let listed = String::from_utf8(listed.expect("tar").stdout).expect("names");
    assert_eq!(listed.lines().filter(|name| name.len() > 100).count(), 3, "{listed}");
    if !have("skopeo") {
        return skip("skopeo");
    }
    reads(&sandbox, &["inspect", "--config", "docker-archive:a.tar"]);
}

/// An image of which one layer lies at a URL.
fn foreign(url: &str) -> (Oci, Vec<u8>) {
    let (mut oci, base) = (Oci::new(), gzip(&layer("base")));
    let image = Image::of(vec![layer("base"), layer("own")]);
    let config = oci.blob("application/vnd.docker.container.image.v1+json", &image.config);
    let own = oci.blob(GZIP, &gzip(&image.layers[1]));
    let elsewhere = json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(&base), "size": base.len(), "urls": [url],
    });
    manifest(&mut oci, &config, &[elsewhere, own], "docker.io/demo/win:1");
    (oci, base)
}

/// A web server with one file.
struct OneFile(Vec<u8>);

impl server::Service for OneFile {
    fn serve(&self, _: &mut server::Request<'_>) -> server::Reply {
        server::Reply::of(200, "application/octet-stream", self.0.clone())
    }
}

#[test]
fn a_layer_that_lies_elsewhere_is_told_and_fetched_where_asked() {
    let sandbox = Sandbox::new();
    let (oci, _) = foreign("http://127.0.0.1:1/x");
    oci.write(&sandbox.path("layout"));
    let told = "lies elsewhere";
    sandbox.run(&["verify", "layout"]).ok().says(told);
    sandbox.run(&["load", "-i", "layout"]).ok().says(told);
    sandbox.run(&["save", "-o", "win.tar", "demo/win:1"]).ok().says(told);
    sandbox.run(&["sync", "dir-to-dir", "layout", "usb"]).ok().says(told);
    sandbox.run(&["save", "--format", "docker", "-o", "x.tar", "demo/win:1"]).code(1);
    for place in ["win.tar", "usb"] {
        sandbox.run(&["verify", place]).ok().says(told);
        sandbox.run(&["--store", "again", "load", "-i", place]).ok();
    }
    let fetch = ["load", "--fetch-foreign", "--retry-times", "0", "-i"];
    sandbox.run(&[&["--store", "none"], &fetch[..], &["layout"]].concat()).code(5);
    assert!(!sandbox.path("none/index.json").exists());
    let (_, base) = foreign("");
    let server = server::start(Arc::new(OneFile(base)));
    let (oci, _) = foreign(&format!("http://127.0.0.1:{}/base", server.port()));
    oci.write(&sandbox.path("near"));
    sandbox.run(&[&fetch[..], &["near"]].concat()).ok();
    let saved = sandbox.run(&["save", "--format", "docker", "-o", "whole.tar", "demo/win:1"]).ok();
    assert!(!saved.stderr.contains(told), "{}", saved.stderr);
    sandbox.run(&["verify", "whole.tar"]).ok();
}
