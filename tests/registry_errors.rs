//! What goes wrong at registries for good: one clear line, the right exit code, nothing left behind, and
//! never a secret in it.
//!
//! Exit codes are the README's: 3 damaged or no registry, 4 not found, 5 network or access, 7 no space.

mod common;
mod net;

#[path = "registry_errors/hostile.rs"]
mod hostile;
#[path = "registry_errors/secrets.rs"]
mod secrets;

use std::path::Path;
use std::process::Command;

use common::{Ran, Sandbox};
use net::image::{self, TAG, big, digest, small};
use net::issuer::{Issuer, Modes};
use net::mock::Mock;
use net::profiles::{Auth, PLAIN, Profile};
use net::proxy::Proxy;
use net::raw;
use net::registry::{PASSWORD, Registry, USER};
use net::rules::{Fault, Rule};
use net::run;
use net::tunnel::Tunnel;

/// Fails unless the run ended with one line that says these words, in any case of letters.
#[track_caller]
fn one_line(ran: &Ran, code: i32, words: &[&str]) {
    let Ran { line, stderr, .. } = ran;
    assert_eq!(ran.code, code, "imgpack {line}: {stderr}");
    assert_eq!(ran.out(), "", "{line}: data on standard output");
    let warning = |line: &&str| line.starts_with("imgpack: warning: ");
    let errors = stderr.lines().filter(|l| l.starts_with("imgpack: ") && !warning(l));
    let errors: Vec<&str> = errors.collect();
    assert_eq!(errors.len(), 1, "{line}: {stderr}");
    let others = stderr.lines().filter(|l| !l.starts_with("imgpack: ") && !l.starts_with("hint: "));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0], "{line}");
    assert!(errors[0].len() < 400, "{line}: {stderr}");
    for word in words {
        assert!(
            stderr.to_lowercase().contains(&word.to_lowercase()),
            "{line}: no {word:?}: {stderr}"
        );
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("Kind::"), "{line}: {stderr}");
}

/// Fails when a directory holds an image, or files in the making.
#[track_caller]
fn nothing_left(sandbox: &Sandbox, name: &str) {
    let dir = sandbox.path(name);
    let mut found = Vec::new();
    files(&dir, &mut |path| {
        let below = path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
        // What was fetched of a blob stays for the next run, and so does an empty layout.
        let kept = below.starts_with(".imgpack-partial/") || below == "oci-layout";
        let empty = below == "index.json" && {
            let json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            common::list(&json["manifests"]).is_empty()
        };
        if !kept && !empty {
            found.push(below);
        }
    });
    assert_eq!(found, [""; 0], "left behind in {name}");
}

fn files(dir: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() { files(&path, each) } else { each(&path) }
    }
}

/// Pulls from `host/repository` with more in the environment; what was wanted must not be there.
fn fail(sandbox: &Sandbox, from: &str, more: &[(&str, &str)]) -> Ran {
    let ran = run::begin(sandbox, &["copy", from, "oci:out"], more).wait();
    nothing_left(sandbox, "out");
    ran
}

#[test]
fn an_unknown_host() {
    let sandbox = Sandbox::new();
    let from = "docker://name.invalid/x:v1";
    let ran = run::run(&sandbox, &["copy", "--retry-times", "1", from, "oci:out"]);
    nothing_left(&sandbox, "out");
    one_line(&ran, 5, &["name.invalid"]);
    small().write(&sandbox.path("in"));
    let ran = run::run(&sandbox, &["copy", "--retry-times", "1", "oci:in", from]);
    one_line(&ran, 5, &["name.invalid"]);
}

#[test]
fn nobody_listens() {
    let sandbox = Sandbox::new();
    let from = format!("docker://127.0.0.1:{}/x:v1", net::free_port());
    let ran = run::run(&sandbox, &["copy", "--retry-times", "0", &from, "oci:out"]);
    one_line(&ran, 5, &[&from[9..from.len() - 5], "refused"]);
}

#[test]
fn a_wrong_password() {
    let sandbox = Sandbox::new();
    let issuer = Issuer::start(Modes::default());
    let mut hosts = Vec::new();
    let mock = Mock::start(Profile { auth: Auth::Basic, ..PLAIN });
    let tokens = Mock::start(Profile { auth: Auth::Bearer, ..PLAIN });
    hosts.extend([mock.address(), tokens.address()]);
    let bearer = Registry::bearer(&issuer);
    hosts.extend(bearer.as_ref().map(Registry::address));
    for host in hosts {
        let auth = run::authfile(&sandbox, &host, USER, "wrong");
        let from = format!("docker://{host}/team/app:{TAG}");
        let ran = fail(&sandbox, &from, &[("REGISTRY_AUTH_FILE", &auth)]);
        one_line(&ran, 5, &[&host]);
        assert!(!ran.stderr.contains("wrong\""), "{}", ran.stderr);
        // Without any password at all.
        one_line(&fail(&sandbox, &from, &[]), 5, &[&host]);
        // And when something is to be written.
        small().write(&sandbox.path("in"));
        let more = [("REGISTRY_AUTH_FILE", auth.as_str())];
        one_line(&run::begin(&sandbox, &["copy", "oci:in", &from], &more).wait(), 5, &[&host]);
    }
    assert_eq!(mock.tags("team/app"), [""; 0]);
}

#[test]
fn a_wrong_password_over_tls() {
    let Some(registry) = Registry::tls() else { return };
    let sandbox = Sandbox::new();
    let host = format!("localhost:{}", registry.port());
    let auth = run::authfile(&sandbox, &host, USER, "wrong");
    let ca = registry.ca().display().to_string();
    let from = format!("docker://{host}/x:{TAG}");
    let more = [("REGISTRY_AUTH_FILE", auth.as_str())];
    let args = ["copy", "--ca-cert", &ca, &from, "oci:out"];
    one_line(&run::begin(&sandbox, &args, &more).wait(), 5, &[&host]);
    nothing_left(&sandbox, "out");
    // The certificate of nobody is no reason to fall back to http, nor to send the password.
    one_line(&fail(&sandbox, &from, &more), 5, &[&host, "certificate"]);
}

#[test]
fn a_missing_repository_and_a_missing_tag() {
    let sandbox = Sandbox::new();
    let registry = Registry::plain();
    let mock = Mock::start(PLAIN);
    mock.fill("x", small());
    if let Some(registry) = &registry {
        raw::push(&registry.address(), "x", small());
    }
    for host in registry.iter().map(Registry::address).chain([mock.address()]) {
        for name in ["missing/app:v1", "x:missing"] {
            let from = format!("docker://{host}/{name}");
            one_line(&fail(&sandbox, &from, &[]), 4, &[name]);
        }
        let ran = run::run(&sandbox, &["tags", &format!("{host}/missing/app")]);
        one_line(&ran, 4, &["missing/app"]);
    }
}

#[test]
fn http_where_https_was_expected() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", small());
    let proxy = Proxy::start(&mock.address(), vec![]);
    // A name that is not loopback: the tunnel leads to a registry that speaks http.
    let tunnel = Tunnel::start(&proxy.address());
    let sandbox = Sandbox::new();
    let url = tunnel.url();
    let more = [("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", url.as_str())];
    let ran = fail(&sandbox, "docker://registry.test:5000/x:v1", &more);
    one_line(&ran, 5, &["registry.test:5000", "http"]);
    assert!(proxy.seen("* *").is_empty(), "it spoke http although nobody allowed it");
    assert!(!tunnel.asked().is_empty(), "the proxy of the environment was not used");
}

#[test]
fn https_where_http_was_asked_for() {
    let Some(registry) = Registry::tls() else { return };
    let sandbox = Sandbox::new();
    let from = format!("docker://localhost:{}/x:{TAG}", registry.port());
    let ran = run::run(&sandbox, &["copy", "--plain-http", &from, "oci:out"]);
    one_line(&ran, 5, &["https"]);
    nothing_left(&sandbox, "out");
}

#[test]
fn a_captive_portal() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", small());
    let sandbox = Sandbox::new();
    small().write(&sandbox.path("in"));
    for pattern in ["* *", "* */manifests/*"] {
        let proxy = Proxy::start(&mock.address(), vec![Rule::always(pattern, Fault::Portal)]);
        let host = proxy.address();
        let from = format!("docker://{host}/x:{TAG}");
        one_line(&fail(&sandbox, &from, &[]), 3, &[&host, "not a registry"]);
        let to = format!("docker://{host}/y:{TAG}");
        let ran = run::run(&sandbox, &["copy", "oci:in", &to]);
        one_line(&ran, 3, &[&host, "not a registry"]);
    }
    assert_eq!(mock.tags("y"), [""; 0]);
}

#[test]
fn a_page_of_html_instead_of_a_token() {
    let issuer = Issuer::start(Modes { html: true, ..Modes::default() });
    let Some(registry) = Registry::bearer(&issuer) else { return };
    let sandbox = Sandbox::new();
    let host = registry.address();
    let auth = run::authfile(&sandbox, &host, USER, PASSWORD);
    let from = format!("docker://{host}/x:{TAG}");
    let ran = fail(&sandbox, &from, &[("REGISTRY_AUTH_FILE", &auth)]);
    one_line(&ran, 3, &["token"]);
}

#[test]
fn a_blob_that_is_always_wrong_is_named() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", big());
    let proxy = Proxy::start(
        &mock.address(),
        vec![Rule::always("GET */blobs/*", Fault::Corrupt(7_000_000))],
    );
    let sandbox = Sandbox::new();
    let from = format!("docker://{}/x:{TAG}", proxy.address());
    let (hex, _) = big().blobs.iter().max_by_key(|(_, b)| b.len()).expect("a layer");
    one_line(&fail(&sandbox, &from, &[]), 3, &[&hex[..12]]);
    assert!(proxy.seen(&format!("GET */{hex}")).len() <= 4, "it asks forever");
}

#[test]
fn what_a_bad_proxy_does_once_is_survived() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", small());
    let blobs = "GET */blobs/*";
    for fault in [
        Fault::WrongLength(7),
        Fault::WrongLength(-7),
        Fault::BadChunk(1000),
        Fault::CloseDown(0),
        Fault::Corrupt(0),
    ] {
        let words = format!("{fault:?}");
        let proxy = Proxy::start(&mock.address(), vec![Rule::once(blobs, fault)]);
        let sandbox = Sandbox::new();
        let from = format!("docker://{}/x:{TAG}", proxy.address());
        let ran = run::run(&sandbox, &["copy", &from, "oci:out"]);
        assert_eq!(ran.code, 0, "{words}: {}", ran.stderr);
        assert_eq!(image::check(&sandbox.path("out")), digest(small()), "{words}");
    }
}

#[test]
fn what_a_bad_proxy_always_does_is_said() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", small());
    let blobs = "GET */blobs/*";
    for (fault, codes) in [
        (Fault::WrongLength(7), [3, 5]),
        (Fault::BadChunk(0), [3, 5]),
        (Fault::Portal, [3, 3]),
        (Fault::Gzip, [3, 3]),
        (Fault::CloseDown(0), [5, 5]),
        (Fault::Corrupt(0), [3, 3]),
    ] {
        let words = format!("{fault:?}");
        let proxy = Proxy::start(&mock.address(), vec![Rule::always(blobs, fault)]);
        let sandbox = Sandbox::new();
        let from = format!("docker://{}/x:{TAG}", proxy.address());
        let ran = run::run(&sandbox, &["copy", "--retry-times", "2", &from, "oci:out"]);
        nothing_left(&sandbox, "out");
        assert!(codes.contains(&ran.code), "{words}: {} {}", ran.code, ran.stderr);
        one_line(&ran, ran.code, &[]);
    }
}

#[test]
fn a_full_disk() {
    let mock = Mock::start(PLAIN);
    mock.fill("x", big());
    let sandbox = Sandbox::new();
    let from = format!("docker://{}/x:{TAG}", mock.address());
    for args in [&["copy", &from, "oci:out"][..], &["pull", &from[9..]]] {
        // No file may grow beyond this.
        let inner = sandbox.command(args);
        let mut command = Command::new("prlimit");
        command.arg("--fsize=3000000").arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.current_dir(sandbox.root()).stdin(std::process::Stdio::null());
        let ran = run::start(command, &args.join(" ")).wait();
        one_line(&ran, 7, &[]);
        nothing_left(&sandbox, "out");
        assert!(sandbox.stored().is_empty());
    }
}

#[test]
fn a_full_file_system() {
    let mount = "mount -t tmpfs -o size=4m tmpfs out";
    let can = Command::new("unshare").args(["-m", "true"]).output();
    if !can.is_ok_and(|done| done.status.success()) {
        return net::skip("unshare -m needs root");
    }
    let mock = Mock::start(PLAIN);
    mock.fill("x", big());
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("out")).unwrap();
    let from = format!("docker://{}/x:{TAG}", mock.address());
    let inner = sandbox.command(&["copy", &from, "oci:out"]);
    let list = "find out -type f -not -path '*/.imgpack-partial/*' -not -name oci-layout";
    let script = format!("{mount} || exit 99; \"$@\"; code=$?; {list} > left; exit $code");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.current_dir(sandbox.root());
    let ran = run::start(command, "copy into 4 MB").wait();
    if ran.code == 99 {
        return net::skip("tmpfs cannot be mounted");
    }
    // That it cannot fit is said before the first byte of a layer is asked for.
    one_line(&ran, 7, &["needs ", " free"]);
    assert_eq!(std::fs::read_to_string(sandbox.path("left")).unwrap(), "");
}
