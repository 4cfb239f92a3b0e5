//! `imgpack serve` guarded: certificates, passwords, reloading, stopping; with curl and openssl.
//!
//! What strangers may send is in the library's own tests of `serve::http`.

mod common;
mod net;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use common::image::{Image, Oci};
use common::{Sandbox, hex};
use net::raw::basic;
use net::registry::{PASSWORD, USER, certificate, openssl, passwords};
use net::serve::Imgpack;
use net::{have, raw, skip};

/// A sandbox with `images/` in it, that holds docker.io/library/app:1.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = Image::new("guarded", 1);
    Oci::one(&image, Some("docker.io/library/app:1")).write(&sandbox.path("images"));
    sandbox
}

fn serve(sandbox: Sandbox, flags: &[&str]) -> Imgpack {
    let images = sandbox.text("images");
    Imgpack::start(sandbox, &[flags, &[images.as_str()]].concat())
}

/// What curl says: the status, the version of HTTP, the body. Status 0 when it was not let in at all.
fn curl(args: &[&str]) -> (String, String, Vec<u8>) {
    let done = Command::new("curl")
        .args(["-s", "--noproxy", "*", "-m", "60", "-w", "\n%{http_code} %{http_version}"])
        .args(args)
        .output()
        .expect("curl");
    let at = done.stdout.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let (body, line) = done.stdout.split_at(at);
    let line = String::from_utf8_lossy(line).trim().to_owned();
    let (status, version) = line.split_once(' ').unwrap_or((&line, ""));
    (status.to_owned(), version.to_owned(), body.to_vec())
}

fn status(args: &[&str]) -> String {
    curl(args).0
}

fn fingerprint(path: &Path) -> String {
    let done = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(path)
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.split('=').nth(1).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_certificate_of_our_own_is_trusted_once_and_lasts() {
    if !have("curl") || !have("openssl") {
        return skip("curl or openssl is missing");
    }
    let sandbox = sandbox();
    let (state, ca) = (sandbox.text("state"), sandbox.text("ca.crt"));
    let flags = ["--tls", "self-signed=reg.test", "--state-dir", &state];
    let server = serve(sandbox, &flags);
    let at = |host: &str, path: &str| format!("https://{host}:{}{path}", server.port());
    assert_eq!(status(&[&at("localhost", "/v2/")]), "000", "nobody trusts it yet");
    assert_eq!(status(&["-k", "-o", &ca, &at("localhost", "/ca.crt")]), "200");
    let print = fingerprint(Path::new(&ca));
    server.says(&print);
    for (host, more) in
        [("localhost", &[][..]), ("127.0.0.1", &[]), ("reg.test", &["--tls-max", "1.2"])]
    {
        let resolve = format!("{host}:{}:127.0.0.1", server.port());
        let url = at(host, "/v2/library/app/manifests/1");
        let args = [&["--cacert", &ca, "--resolve", &resolve, "--http1.1", &url], more].concat();
        let (code, version, body) = curl(&args);
        assert_eq!((code.as_str(), version.as_str()), ("200", "1.1"), "{host}");
        assert!(body.starts_with(b"{"), "{host}");
    }
    let two = curl(&["--cacert", &ca, "--http2", &at("localhost", "/v2/library/app/tags/list")]);
    assert_eq!((two.0.as_str(), two.1.as_str()), ("200", "2"));
    assert_eq!(status(&["--tls-max", "1.1", "-k", &at("localhost", "/v2/")]), "000");
    let target = format!("docker://localhost:{}/app:1", server.port());
    let pulled = server.sandbox.run(&["copy", "--ca-cert", &ca, &target, "oci:pulled"]);
    pulled.ok();
    // The same over a restart, and with other names.
    let old = std::fs::read(server.sandbox.path("state/server.crt")).expect("a file");
    let names = ["--tls", "self-signed=other.test", "--state-dir", &state];
    for (flags, same) in [(&flags, true), (&names, false)] {
        let again = Imgpack::start(
            Sandbox::new(),
            &[&flags[..], &[&server.sandbox.text("images")]].concat(),
        );
        let url = format!("https://localhost:{}/v2/", again.port());
        assert_eq!(status(&["--cacert", &ca, &url]), "200");
        let now = std::fs::read(server.sandbox.path("state/server.crt")).expect("a file");
        assert_eq!(now == old, same);
    }
}

#[test]
fn an_authority_that_was_removed_is_followed_by_another_after_a_reload() {
    if !have("curl") || !have("openssl") {
        return skip("curl or openssl is missing");
    }
    let sandbox = sandbox();
    let (state, old, new) =
        (sandbox.text("state"), sandbox.text("old.crt"), sandbox.text("new.crt"));
    let server = serve(sandbox, &["--tls", "self-signed", "--state-dir", &state]);
    let at = |path: &str| format!("https://localhost:{}{path}", server.port());
    let fetch = |file: &str| assert_eq!(status(&["-k", "-o", file, &at("/ca.crt")]), "200");
    fetch(&old);
    assert_eq!(status(&["--cacert", &old, &at("/v2/")]), "200");
    std::fs::remove_file(server.sandbox.path("state/ca.crt")).expect("a file");
    server.signal("HUP");
    server.says("all clients must be given its certificate");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while status(&["--cacert", &old, &at("/v2/")]) == "200" {
        assert!(std::time::Instant::now() < end, "{}", server.said());
    }
    // What is handed out follows what is shown, a moment later.
    let same = || std::fs::read(&new).expect("a file") == std::fs::read(&old).expect("a file");
    fetch(&new);
    while same() {
        assert!(std::time::Instant::now() < end, "{}", server.said());
        fetch(&new);
    }
    server.says(&fingerprint(Path::new(&new)));
    assert_eq!(status(&["--cacert", &new, &at("/v2/")]), "200");
}

#[test]
fn passwords_and_certificates_are_read_again_and_connections_stay() {
    if !have("curl") || !have("openssl") {
        return skip("curl or openssl is missing");
    }
    let sandbox = sandbox();
    let tls = sandbox.path("tls");
    std::fs::create_dir(&tls).expect("a directory");
    certificate(&tls);
    passwords(&tls);
    let at = |name: &str| tls.join(name).display().to_string();
    let (chain, key, users) = (at("chain.crt"), at("srv.key"), at("htpasswd"));
    let server = serve(sandbox, &["--tls-cert", &chain, "--tls-key", &key, "--htpasswd", &users]);
    let url = format!("https://localhost:{}/v2/", server.port());
    let good = format!("{USER}:{PASSWORD}");
    let ask = |ca: &str, user: &str| status(&["--cacert", ca, "-u", user, &url]);
    assert_eq!(ask(&at("ca.crt"), &good), "200");
    assert_eq!(ask(&at("ca.crt"), "alice:wrong"), "401");
    assert_eq!(status(&["--cacert", &at("ca.crt"), &url]), "401");
    // A file that cannot be used changes nothing.
    let file = std::fs::read_to_string(&users).expect("a file");
    std::fs::write(&users, "alice:plain\n").expect("a file");
    server.signal("HUP");
    server.says("the list of users is unchanged");
    assert!(!server.said().contains("plain"), "{}", server.said());
    assert_eq!(ask(&at("ca.crt"), &good), "200");
    // Another user, and another authority.
    std::fs::write(&users, file.replace(USER, "bob")).expect("a file");
    std::fs::copy(tls.join("ca.crt"), tls.join("old.crt")).expect("a file");
    certificate(&tls);
    server.signal("HUP");
    let bob = format!("bob:{PASSWORD}");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ask(&at("ca.crt"), &bob) != "200" {
        assert!(std::time::Instant::now() < end, "{}", server.said());
    }
    assert_eq!(ask(&at("ca.crt"), &good), "401");
    assert_eq!(ask(&at("old.crt"), &bob), "000");
}

#[test]
fn a_connection_outlives_a_reload() {
    let server = serve(sandbox(), &["--access-log", "json"]);
    let mut kept = TcpStream::connect(server.address()).expect("a connection");
    let get = "GET /v2/library/app/manifests/1 HTTP/1.1\r\nHost: a\r\nUser-Agent: t\"\u{202e}\r\n";
    kept.write_all(format!("{get}\r\n").as_bytes()).expect("sent");
    server.says("\"status\":200");
    server.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    kept.write_all(format!("{get}Connection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut text = String::new();
    kept.read_to_string(&mut text).expect("two answers");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    let said = server.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    let entry: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(entry["path"], "/v2/library/app/manifests/1");
    assert_eq!(entry["agent"], "t\"\\u{202e}");
    assert!(entry["bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{entry}");
}

#[test]
fn reads_are_for_everybody_and_a_token_is_for_who_has_a_password() {
    if !have("htpasswd") && !have("python3") {
        return skip("htpasswd and python3 are missing");
    }
    let sandbox = sandbox();
    passwords(sandbox.root());
    let users = sandbox.text("htpasswd");
    let server = serve(sandbox, &["--htpasswd", &users, "--anonymous-pull"]);
    let send = |method: &str, path: &str, shown: &str| {
        let headers: &[(&str, &str)] = &[("Authorization", shown)];
        let headers = if shown.is_empty() { &[] } else { headers };
        raw::send(server.address(), method, path, headers, b"").expect("an answer")
    };
    let good = basic(USER, PASSWORD);
    assert_eq!(send("GET", "/v2/library/app/tags/list", "").status(), 200);
    assert_eq!(send("POST", "/v2/library/app/blobs/uploads/", "").status(), 401);
    assert_eq!(send("POST", "/v2/library/app/blobs/uploads/", &good).status(), 405);
    let base = send("GET", "/v2/", "");
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"imgpack\"", server.address());
    assert_eq!((base.status(), base.head.get("www-authenticate")), (401, Some(realm.as_str())));
    // A proxy that ends TLS before it.
    let forwarded = [("X-Forwarded-Proto", "https"), ("Host", "registry.test")];
    let base = raw::send(server.address(), "GET", "/v2/", &forwarded, b"").expect("an answer");
    let realm = "Bearer realm=\"https://registry.test/token\",service=\"imgpack\"";
    assert_eq!((base.status(), base.head.get("www-authenticate")), (401, Some(realm)));
    let token = |shown: &str| {
        let json = send("GET", "/token?service=imgpack", shown).json();
        format!("Bearer {}", json["token"].as_str().expect("a token"))
    };
    for (token, want) in [(token(""), 401), (token(&good), 405)] {
        assert_eq!(send("GET", "/v2/", &token).status(), 200);
        assert_eq!(send("POST", "/v2/library/app/blobs/uploads/", &token).status(), want);
    }
    assert_eq!(send("GET", "/token", &basic(USER, "wrong")).status(), 401);
    // A client that does all this by itself.
    let name = format!("docker://{}/app:1", server.address());
    server.sandbox.run(&["copy", "--src-tls-verify=false", &name, "oci:pulled"]).ok();
}

#[test]
fn a_client_certificate_is_asked_for() {
    if !have("curl") || !have("openssl") {
        return skip("curl or openssl is missing");
    }
    let sandbox = sandbox();
    let tls = sandbox.path("tls");
    std::fs::create_dir(&tls).expect("a directory");
    certificate(&tls);
    std::fs::write(tls.join("me.ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    for args in [
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout me.key -subj /CN=me -out me.csr",
        "x509 -req -in me.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile me.ext -out me.crt",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout no.key -subj /CN=no -days 30 -out no.crt",
    ] {
        openssl(&tls, args);
    }
    let at = |name: &str| tls.join(name).display().to_string();
    let (ca, chain, key) = (at("ca.crt"), at("chain.crt"), at("srv.key"));
    let server = serve(sandbox, &["--tls-cert", &chain, "--tls-key", &key, "--client-ca", &ca]);
    let url = format!("https://localhost:{}/v2/", server.port());
    let show = |name: &str| {
        let (cert, key) = (at(&format!("{name}.crt")), at(&format!("{name}.key")));
        status(&["--cacert", &ca, "--cert", &cert, "--key", &key, &url])
    };
    assert_eq!(show("me"), "200");
    assert_eq!(show("no"), "000");
    assert_eq!(status(&["--cacert", &ca, &url]), "000");
}

#[test]
fn a_pull_that_runs_is_finished_before_the_end() {
    let sandbox = Sandbox::new();
    // Larger than what the sockets of both sides hold.
    let layer: Vec<u8> =
        (0..64_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut oci = Oci::new();
    let digest = format!("sha256:{}", hex(&layer));
    let config = oci.blob("application/vnd.oci.image.config.v1+json", b"{}");
    let blob = oci.blob("application/vnd.example.data", &layer);
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [blob],
        "mediaType": "application/vnd.oci.image.manifest.v1+json"});
    let desc =
        oci.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    oci.name(&desc, Some("docker.io/library/big:1"));
    oci.write(&sandbox.path("images"));
    let mut server = serve(sandbox, &[]);
    let begin = |server: &Imgpack| {
        let mut pull = TcpStream::connect(server.address()).expect("a connection");
        let get = format!("GET /v2/library/big/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n");
        pull.write_all(get.as_bytes()).expect("sent");
        let mut first = [0; 100];
        pull.read_exact(&mut first).expect("an answer");
        assert!(first.starts_with(b"HTTP/1.1 200"));
        (pull, first)
    };
    let (mut pull, first) = begin(&server);
    server.signal("TERM");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while TcpStream::connect(server.address()).is_ok() {
        assert!(std::time::Instant::now() < end, "connections are still taken");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut rest = Vec::new();
    pull.read_to_end(&mut rest).expect("the rest");
    let all = [&first[..], &rest].concat();
    assert_eq!(hex(&all[all.len() - layer.len()..]), hex(&layer));
    assert_eq!(server.end(), Some(0), "{}", server.said());
    // A second signal does not wait for anybody.
    let images = server.sandbox.text("images");
    let mut hasty = Imgpack::start(Sandbox::new(), &[&images]);
    let (_pull, _) = begin(&hasty);
    hasty.signal("TERM");
    while TcpStream::connect(hasty.address()).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    hasty.signal("TERM");
    assert_eq!(hasty.end(), Some(143));
}

#[test]
fn what_cannot_be_guarded_is_not_started() {
    let sandbox = sandbox();
    let users = sandbox.write("users", b"# all\nal:$apr1$x$y\n");
    let images = sandbox.text("images");
    for (flags, want) in [
        (&["--htpasswd", users.as_str()][..], "[line 2]"),
        (&["--htpasswd", "nowhere"], "no such file"),
        (&["--anonymous-pull"], "--anonymous-pull needs"),
        (&["--client-ca", &users], "--client-ca needs"),
        (&["--tls", "letsencrypt"], "expected self-signed"),
        (&["--tls", "self-signed=a b", "--state-dir", "state"], "no name of a host"),
        (&["--listen", "127.0.0.1:99999"], "cannot listen"),
        (&["--listen", "127.0.0.1:0", "--print-config", "k3s"], "needs a port"),
    ] {
        let ran = sandbox.run(&[&["serve"], flags, &[&images]].concat());
        assert!(ran.code != 0 && ran.stderr.contains(want), "{flags:?}: {}", ran.stderr);
    }
}

#[test]
fn engines_are_told_how_to_find_it() {
    let sandbox = sandbox();
    Oci::one(&Image::new("other", 1), Some("quay.io/a/b:2")).write(&sandbox.path("more"));
    let show = |engine: &str, flags: &[&str]| {
        let (one, two) = (sandbox.text("images"), sandbox.text("more"));
        let args = ["serve", "--listen", "192.0.2.1:5000", "--print-config", engine, &one, &two];
        let ran = sandbox.run(&[&args, flags].concat()).ok().says("goes to: ");
        String::from_utf8(ran.stdout).expect("text")
    };
    let tls = ["--tls", "self-signed"];
    let containerd = show("containerd", &tls);
    let table: toml::Table = containerd.parse().expect("TOML");
    let host = &table["host"]["https://192.0.2.1:5000"];
    assert_eq!(host["ca"].as_str(), Some("/etc/containerd/certs.d/imgpack-ca.crt"));
    assert!(table.get("server").is_none());
    let k3s: serde_yaml_ng::Value = serde_yaml_ng::from_str(&show("k3s", &tls)).expect("YAML");
    assert_eq!(k3s["mirrors"]["*"]["endpoint"][0], "https://192.0.2.1:5000");
    assert!(k3s["configs"]["192.0.2.1:5000"]["tls"]["ca_file"].is_string());
    let podman: toml::Table = show("podman", &[]).parse().expect("TOML");
    let locations: Vec<&str> = podman["registry"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["mirror"][0]["location"].as_str())
        .collect();
    assert_eq!(locations, ["192.0.2.1:5000", "192.0.2.1:5000/quay.io"]);
    let json: serde_json::Value = serde_json::from_str(&show("docker", &[])).expect("JSON");
    assert_eq!(json["registry-mirrors"][0], "http://192.0.2.1:5000");
    assert_eq!(json["insecure-registries"][0], "192.0.2.1:5000");
    let kaniko = show("kaniko", &[]);
    assert!(kaniko.contains("docker.io=192.0.2.1:5000;quay.io=192.0.2.1:5000/quay.io"), "{kaniko}");
}
