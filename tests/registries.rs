//! Real registries: docker-registry 2.8.2 plain, with TLS and a password or client certificates, with
//! Bearer tokens. skopeo and podman pull what imgpack pushes, and the reverse; digests are equal end to end.
//!
//! docker's engine against the same registry is a matter of `scripts/engines`.

mod common;
mod net;

use std::process::Command;

use common::image::{Image, Oci, layer};
use common::{Ran, Sandbox, list, string};
use net::image::{self, TAG, digest, small};
use net::issuer::{Issuer, Modes};
use net::raw;
use net::registry::{PASSWORD, Registry, USER};
use net::{have, run, skip};
use serde_json::json;

/// One of the three, and what is needed to talk to it.
struct Rig {
    registry: Registry,
    sandbox: Sandbox,
    /// `host:port`.
    host: String,
    auth: String,
    certs: String,
    secured: bool,
    issuer: Option<Issuer>,
}

impl Rig {
    fn new(registry: Registry, name: &str, secured: bool, issuer: Option<Issuer>) -> Self {
        let sandbox = Sandbox::new();
        let host = format!("{name}:{}", registry.port());
        let auth = run::authfile(&sandbox, &host, USER, PASSWORD);
        let certs = sandbox.text("certs");
        std::fs::create_dir(&certs).expect("a directory");
        if registry.ca().exists() {
            std::fs::copy(registry.ca(), sandbox.path("certs/ca.crt")).expect("a file");
        }
        Self { registry, sandbox, host, auth, certs, secured, issuer }
    }

    /// All three; none when docker-registry is not installed.
    fn all() -> Vec<(&'static str, Self)> {
        let Some(plain) = Registry::plain() else { return Vec::new() };
        let issuer = Issuer::start(Modes::default());
        let bearer = Registry::bearer(&issuer).expect("docker-registry");
        let tls = Registry::tls().expect("docker-registry");
        vec![
            ("plain", Self::new(plain, "127.0.0.1", false, None)),
            ("TLS and a password", Self::new(tls, "localhost", true, None)),
            ("Bearer tokens", Self::new(bearer, "127.0.0.1", false, Some(issuer))),
        ]
    }

    fn run(&self, args: &[&str]) -> Ran {
        let more = [("REGISTRY_AUTH_FILE", self.auth.as_str())];
        let certs = ["--cert-dir", self.certs.as_str()];
        run::begin(&self.sandbox, &[args, &certs[..]].concat(), &more).wait()
    }

    /// skopeo or podman, with the same login and certificates.
    #[track_caller]
    fn tool(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.sandbox.root());
        command.env("REGISTRY_AUTH_FILE", &self.auth).env("HOME", self.sandbox.root());
        let done = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program} {}: {said}", args.join(" "));
    }

    #[track_caller]
    fn skopeo(&self, from: &str, to: &str) {
        let verify = |side: &str| format!("--{side}-tls-verify={}", self.secured);
        let certs = |side: &str| format!("--{side}-cert-dir={}", self.certs);
        let (src, dest) =
            if from.starts_with("docker:") { ("src", "src") } else { ("dest", "dest") };
        let args = ["--insecure-policy", "copy", &verify(src), &certs(dest), from, to];
        self.tool("skopeo", &args);
    }

    fn at(&self, name: &str) -> String {
        format!("docker://{}/{name}:{TAG}", self.host)
    }
}

#[test]
fn skopeo_pulls_what_is_pushed_and_the_reverse() {
    if !have("skopeo") {
        return skip("skopeo is missing");
    }
    for (name, rig) in Rig::all() {
        small().write(&rig.sandbox.path("in"));
        let pushed = rig.run(&["copy", "oci:in", &rig.at("team/ours")]);
        assert_eq!(pushed.code, 0, "{name}: {}", pushed.stderr);
        rig.skopeo(&rig.at("team/ours"), &format!("oci:back:{TAG}"));
        assert_eq!(image::check(&rig.sandbox.path("back")), digest(small()), "{name}");

        rig.skopeo(&format!("oci:in:{TAG}"), &rig.at("team/theirs"));
        let pulled = rig.run(&["copy", &rig.at("team/theirs"), "oci:out"]);
        assert_eq!(pulled.code, 0, "{name}: {}", pulled.stderr);
        assert_eq!(image::check(&rig.sandbox.path("out")), digest(small()), "{name}");
        let stored = std::fs::read(rig.registry.blob(&digest(small()))).expect("a manifest");
        assert_eq!(
            common::sha256(&stored),
            digest(small()),
            "{name}: in the registry's own storage"
        );
    }
}

#[test]
fn podman_pulls_what_is_pushed_and_the_reverse() {
    if !have("podman") {
        return skip("podman is missing");
    }
    for (name, rig) in Rig::all() {
        small().write(&rig.sandbox.path("in"));
        rig.run(&["copy", "oci:in", &rig.at("team/ours")]).ok();
        let (root, state) = (rig.sandbox.text("podman"), rig.sandbox.text("state"));
        let engine = ["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
        let verify = format!("--tls-verify={}", rig.secured);
        let certs = format!("--cert-dir={}", rig.certs);
        let image = format!("{}/team/ours:{TAG}", rig.host);
        rig.tool("podman", &[&engine[..], &["pull", "-q", &verify, &certs, &image]].concat());
        let copy = format!("{}/team/theirs:{TAG}", rig.host);
        let push = ["push", "-q", "--format", "oci", &verify, &certs, &image, &copy];
        rig.tool("podman", &[&engine[..], &push].concat());
        let pulled = rig.run(&["pull", &copy]);
        assert_eq!(pulled.code, 0, "{name}: {}", pulled.stderr);
        rig.sandbox.run(&["verify", "store:"]).ok();
        let images = rig.sandbox.stored();
        assert_eq!(images.len(), 1, "{name}");
        let json: serde_json::Value = small()
            .blobs
            .iter()
            .find(|(hex, _)| digest(small()).ends_with(hex.as_str()))
            .map(|(_, bytes)| serde_json::from_slice(bytes).expect("JSON"))
            .expect("a manifest");
        assert_eq!(images[0].0, string(&json["config"]["digest"]), "{name}: the same image ID");
        // Files of its own that podman locks away.
        rig.tool("podman", &[&engine[..], &["rmi", "-af"]].concat());
    }
}

#[test]
fn an_index_comes_whole_and_goes_whole() {
    for (name, rig) in Rig::all() {
        let mut oci = common::image::Oci::new();
        let platforms = [("linux", "amd64"), ("linux", "arm64")].map(|(os, arch)| {
            let layers = vec![common::image::layer(arch)];
            let image = common::image::Image::for_platform(layers, os, arch);
            let mut desc = oci.manifest(&image);
            desc["platform"] = serde_json::json!({"os": os, "architecture": arch});
            desc
        });
        let index = oci.index(&platforms);
        oci.name(&index, Some("docker.io/library/both:v1"));
        oci.write(&rig.sandbox.path("in"));
        rig.run(&["copy", "oci:in", &rig.at("both")]).ok();
        rig.run(&["copy", &rig.at("both"), "oci:out"]).ok();
        let out = std::fs::read(rig.sandbox.path("out/index.json")).expect("a file");
        let out: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(list(&out["manifests"])[0]["digest"], index["digest"], "{name}");
        let listed = rig.run(&["ls", &rig.at("both")]).ok();
        assert_eq!(listed.stderr, "", "{name}: layers that were not fetched are not missing");
        let asked = rig.run(&["digest", &rig.at("both")[9..]]).ok();
        assert!(asked.out().contains(&string(&index["digest"])), "{name}: {}", asked.out());
    }
}

#[test]
fn what_refers_to_a_platform_travels_and_what_refers_to_that() {
    for (name, rig) in Rig::all() {
        let mut oci = common::image::Oci::new();
        let image = common::image::Image::new("signed", 1);
        let mut platform = oci.manifest(&image);
        platform["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
        let index = oci.index(std::slice::from_ref(&platform));
        let sbom = oci.referrer(&platform, "text/x-sbom");
        let of_sbom = oci.referrer(&sbom, "text/x-signature");
        let tagged = oci.manifest(&common::image::Image::new("signature", 1));
        let tag = string(&platform["digest"]).replace(':', "-");
        oci.name(&index, Some("docker.io/library/app:v1"));
        oci.name(&tagged, Some(&format!("docker.io/library/app:{tag}.sig")));
        oci.name(&sbom, None);
        oci.name(&of_sbom, None);
        oci.write(&rig.sandbox.path("in"));
        let to = format!("{}/m", rig.host);
        rig.run(&["sync", "dir-to-registry", "in", &to]).ok();
        let from = format!("{to}/library/app:v1");
        rig.run(&["sync", "registry-to-dir", &from, "synced"]).ok();
        rig.run(&["copy", &format!("docker://{from}"), "oci:copied"]).ok();
        for out in ["synced", "copied"] {
            let out = std::fs::read(rig.sandbox.path(out).join("index.json")).expect("a file");
            let out: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            let found: Vec<_> =
                list(&out["manifests"]).iter().map(|e| string(&e["digest"])).collect();
            for wanted in [&index, &tagged, &sbom, &of_sbom] {
                assert!(found.contains(&string(&wanted["digest"])), "{name}: {out}");
            }
        }
    }
}

#[test]
fn a_registry_that_asks_for_certificates_gets_them_from_flags_and_from_certs_d() {
    let Some(registry) = Registry::tls_for_clients() else { return };
    let sandbox = Sandbox::new();
    small().write(&sandbox.path("in"));
    let host = format!("localhost:{}", registry.port());
    let (cert, key) = registry.client();
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (ca, cert, key) = (text(&registry.ca()), text(&cert), text(&key));
    // Of the right form, and of an authority that the registry does not know.
    let stranger = tempfile::tempdir().expect("a directory");
    net::registry::certificate(stranger.path());
    net::registry::client_certificate(stranger.path());
    let strange = |name: &str| text(&stranger.path().join(name));
    let (strange_cert, strange_key) = (strange("client.crt"), strange("client.key"));
    let both_ways = |name: &str, flags: &[&str]| {
        let at = format!("docker://{host}/{name}:{TAG}");
        let pushed = run::run(&sandbox, &[&["copy", "oci:in", &at], flags].concat());
        if pushed.code != 0 {
            return pushed;
        }
        let back = format!("oci:{name}");
        let pulled = run::run(&sandbox, &[&["copy", &at, &back], flags].concat());
        if pulled.code == 0 {
            assert_eq!(image::check(&sandbox.path(name)), digest(small()), "{name}");
        }
        pulled
    };
    let ca_only = ["--ca-cert", ca.as_str()];
    let flags = ["--ca-cert", &ca, "--client-cert", &cert, "--client-key", &key];
    let wrong = ["--ca-cert", &ca, "--client-cert", &strange_cert, "--client-key", &strange_key];
    both_ways("none", &ca_only).code(5).says(&host);
    both_ways("strange", &wrong).code(5).says(&host);
    both_ways("flags", &flags).ok();
    let home = sandbox.path(".config/containers/certs.d").join(&host);
    std::fs::create_dir_all(&home).expect("a directory");
    for (from, to) in [(&ca, "ca.crt"), (&cert, "client.cert"), (&key, "client.key")] {
        std::fs::copy(from, home.join(to)).expect("a file");
    }
    both_ways("certs-d", &[]).ok();
}

#[test]
fn a_login_serves_skopeo_too() {
    for (name, rig) in Rig::all().into_iter().skip(1) {
        std::fs::remove_file(&rig.auth).expect("a file");
        let before = rig.run(&["tags", &format!("{}/x", rig.host)]);
        assert_eq!(before.code, 5, "{name}: {}", before.stderr);
        let login = |password: &[u8]| {
            let args =
                ["login", "-u", USER, "--password-stdin", "--cert-dir", &rig.certs, &rig.host];
            let mut command = rig.sandbox.command(&args);
            command.env("REGISTRY_AUTH_FILE", &rig.auth);
            std::fs::write(rig.sandbox.path("password"), password).expect("a file");
            command.stdin(std::fs::File::open(rig.sandbox.path("password")).expect("a file"));
            run::start(command, &args.join(" ")).wait()
        };
        let wrong = login(b"wrong");
        assert_eq!(wrong.code, 5, "{name}: {}", wrong.stderr);
        assert!(!std::path::Path::new(&rig.auth).exists(), "{name}: a login that failed is kept");
        let right = login(PASSWORD.as_bytes());
        assert_eq!(right.code, 0, "{name}: {}", right.stderr);
        let mode = {
            use std::os::unix::fs::PermissionsExt;
            std::fs::metadata(&rig.auth).expect("a file").permissions().mode() & 0o777
        };
        assert_eq!(mode, 0o600, "{name}");
        small().write(&rig.sandbox.path("in"));
        if have("skopeo") {
            rig.skopeo(&format!("oci:in:{TAG}"), &rig.at("team/theirs"));
            rig.run(&["copy", &rig.at("team/theirs"), "oci:out"]).ok();
        }
        rig.run(&["logout", &rig.host]).ok();
        let after = rig.run(&["tags", &format!("{}/team/theirs", rig.host)]);
        assert_eq!(after.code, 5, "{name}: {}", after.stderr);
    }
}

#[test]
fn issuers_of_every_kind_are_understood() {
    let kinds = [
        ("access_token only", Modes { access_token_only: true, ..Modes::default() }),
        ("nothing about time", Modes { told: None, issued_at: None, ..Modes::default() }),
        ("POST is not there", Modes { post: Some(404), ..Modes::default() }),
        ("the first scope only", Modes { first_scope_only: true, ..Modes::default() }),
        ("away twice", Modes { unavailable: 2, ..Modes::default() }),
        // By the issuer's word: how long a token works in truth is the registry's clock, and ours is none.
        ("a life of a second", Modes { told: Some(1), ..Modes::default() }),
    ];
    for (name, modes) in kinds {
        let lasting = modes.told != Some(1);
        let issuer = Issuer::start(modes);
        let Some(registry) = Registry::bearer(&issuer) else { return };
        let open = Registry::plain_over(&registry).expect("docker-registry");
        raw::push(&open.address(), "team/app", small());
        let rig = Rig::new(registry, "127.0.0.1", false, Some(issuer));
        // From one repository to another of the same registry: two scopes in one token.
        let copied = rig.run(&["copy", &rig.at("team/app"), &rig.at("team/copy")]);
        assert_eq!(copied.code, 0, "{name}: {}", copied.stderr);
        assert_eq!(raw::check(&open.address(), "team/copy", TAG), digest(small()), "{name}");
        let asked = rig.issuer.as_ref().map(Issuer::asked).unwrap_or_default();
        assert!(asked.len() < 12 || !lasting, "{name}: {} requests for tokens", asked.len());
    }
}

#[test]
fn an_index_that_lacks_a_platform_is_refused_at_once() {
    let Some(registry) = Registry::plain() else { return };
    let sandbox = Sandbox::new();
    let mut oci = Oci::new();
    let children = ["amd64", "arm64"].map(|architecture| {
        let image = Image::for_platform(vec![layer(architecture)], "linux", architecture);
        let mut child = oci.manifest(&image);
        child["platform"] = json!({"os": "linux", "architecture": architecture});
        child
    });
    let index = oci.index(&children);
    oci.name(&index, Some("docker.io/demo/sparse:1"));
    oci.write(&sandbox.path("layout"));
    let absent = string(&children[1]["digest"]).replace(':', "/");
    std::fs::remove_file(sandbox.path("layout/blobs").join(absent)).expect("a file");
    let target = format!("{}/demo/sparse:1", registry.address());
    let push = ["-v", "push", "layout", &target];
    let ran = sandbox.run(&push).code(8).says("linux/arm64").says("--platform linux/amd64");
    assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    sandbox.run(&[&push[..], &["--platform", "linux/amd64"]].concat()).ok();
    sandbox.run(&["digest", &target]).ok();
}
