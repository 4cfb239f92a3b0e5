//! Where no password and no token ever goes: other ports, other realms, logs, command lines.
//!
//! Requirements S-25 to S-27 and S-35 of the security tests, end to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, Sandbox};
use crate::files;
use crate::hostile::{Rig, image_type};
use crate::net::image::{TAG, digest, small};
use crate::net::issuer::{Issuer, Modes};
use crate::net::mock::Mock;
use crate::net::profiles::{Auth, PLAIN, Profile};
use crate::net::proxy::{Entry, Proxy};
use crate::net::raw;
use crate::net::registry::{PASSWORD, Registry, USER};
use crate::net::rules::{Fault, Rule};
use crate::net::run;
use crate::net::server::Reply;

fn with_token(entry: &Entry) -> bool {
    entry.header("authorization").is_some()
}

const BEARER: Profile = Profile { auth: Auth::Bearer, ..PLAIN };

#[test]
fn a_next_page_elsewhere_gets_no_token() {
    let spy = Mock::start(PLAIN);
    spy.fill("x", small());
    let elsewhere = Proxy::start(&spy.address(), vec![]);
    let other = elsewhere.address();
    let rig = Rig::new(BEARER, move |head, reply| {
        if head.path().ends_with("/tags/list") && reply.status == 200 {
            reply.set("Link", format!("<http://{other}/v2/x/tags/list?n=1>; rel=\"next\""));
        }
    });
    rig.run(&["tags", &format!("{}/x", rig.proxy.address())]);
    assert!(!elsewhere.seen("* *").iter().any(with_token));
}

#[test]
fn an_upload_that_goes_on_elsewhere_gets_no_token() {
    // The registry names the other port in every location of an upload.
    let switch = Arc::new(std::sync::Mutex::new(String::new()));
    let told = Arc::clone(&switch);
    let registry = Mock::edited(Profile { open_sessions: true, ..BEARER }, move |head, reply| {
        let to = told.lock().expect("a lock").clone();
        if let Some(path) = reply.get("location").map(str::to_owned)
            && path.contains("/uploads/")
            && head.method() != "GET"
        {
            reply.set("Location", format!("http://{to}{path}"));
        }
    });
    let front = Proxy::start(&registry.address(), vec![]);
    let storage = Proxy::start(&registry.address(), vec![]);
    *switch.lock().expect("a lock") = storage.address();
    let sandbox = Sandbox::new();
    small().write(&sandbox.path("in"));
    let auth = run::authfile(&sandbox, &front.address(), USER, PASSWORD);
    let to = format!("docker://{}/y:{TAG}", front.address());
    let more = [("REGISTRY_AUTH_FILE", auth.as_str())];
    run::begin(&sandbox, &["copy", "oci:in", &to], &more).wait().ok();
    assert_eq!(registry.complete("y", TAG), Some(digest(small())));
    assert!(!storage.seen("* *").is_empty());
    assert!(!storage.seen("* *").iter().any(with_token), "a token went to another port");
}

#[test]
fn a_redirected_host_that_asks_for_a_password_gets_none() {
    let thief = Mock::start(Profile { auth: Auth::Basic, ..PLAIN });
    let storage = Proxy::start(&thief.address(), vec![]);
    let rig = Rig::new(BEARER, |_, _| {});
    let to = Fault::Redirect(format!("http://{}", storage.address()));
    rig.proxy.rules(vec![Rule::always("GET */blobs/*", to)]);
    let ran = rig.pull();
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(!storage.seen("* *").is_empty());
    assert!(!storage.seen("* *").iter().any(with_token));
}

#[test]
fn credentials_go_to_no_realm_that_is_not_the_registrys() {
    for realm in ["http://169.254.169.254/token", "http://name.invalid/token", "ftp://127.0.0.1/"] {
        let rig = Rig::new(PLAIN, move |head, reply| {
            if head.path().starts_with("/v2/") {
                let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
                *reply = Reply::error(401, "UNAUTHORIZED", "who are you")
                    .with("WWW-Authenticate", challenge);
            }
        });
        let ran = rig.pull();
        assert!([3, 5].contains(&ran.code), "{realm}: {} {}", ran.code, ran.stderr);
    }
}

#[test]
fn a_realm_that_redirects_gets_no_second_chance() {
    let thief = Mock::start(PLAIN);
    let spy = Proxy::start(&thief.address(), vec![]);
    let to = format!("http://{}/token", spy.address());
    let rig = Rig::new(BEARER, move |head, reply| {
        if head.path() == "/token" {
            *reply = Reply::status(307).with("Location", &to);
        }
    });
    let ran = rig.pull();
    assert_ne!(ran.code, 0);
    assert!(!spy.seen("* *").iter().any(with_token));
}

#[test]
fn layers_that_lie_elsewhere_are_not_fetched_unless_that_is_wanted() {
    let store = Mock::start(PLAIN);
    let spy = Proxy::start(&store.address(), vec![]);
    let rig = Rig::new(PLAIN, |_, _| {});
    let mut oci = small().clone();
    let manifest = oci.blobs.pop().expect("a manifest").1;
    let mut json: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let elsewhere = format!("http://{}/layer", spy.address());
    let layer = &mut json["layers"][0];
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    layer["urls"] = serde_json::json!([elsewhere]);
    let foreign = common::string(&layer["digest"]);
    oci.blobs.retain(|(hex, _)| !foreign.ends_with(hex.as_str()));
    oci.entries.clear();
    let desc = oci.blob(image_type(), json.to_string().as_bytes());
    oci.name(&desc, Some("docker.io/library/noise:v1"));
    rig.mock.fill("foreign", &oci);
    let from = format!("docker://{}/foreign:{TAG}", rig.proxy.address());
    rig.run(&["copy", &from, "oci:out"]);
    assert!(spy.seen("* *").is_empty(), "it connected unasked");
}

/// S-35: in no way that a run may end is a secret written anywhere but into the file of logins.
#[test]
fn no_secret_is_ever_shown() {
    const CANARY: &str = "hunter2-CANARY";
    let basic = raw::basic(USER, CANARY);
    // The password, how Basic sends it, and how every token of the issuer begins.
    let secrets = [CANARY, basic.trim_start_matches("Basic "), "eyJ0eXAi", "token-"];
    let modes = Modes { password: CANARY.to_owned(), ..Modes::default() };
    let issuer = Issuer::start(modes.clone());
    let Some(registry) = Registry::bearer(&issuer) else { return };
    let open = Registry::plain_over(&registry).expect("docker-registry");
    raw::push(&open.address(), "x", small());
    let elsewhere = Proxy::start(&open.address(), vec![]);
    let all = "* *";
    let blobs = "GET */blobs/*";
    let cases: Vec<(&str, Vec<Rule>)> = vec![
        ("nothing", vec![]),
        ("401 for ever", vec![Rule::always(all, Fault::Status(401, vec![]))]),
        ("403", vec![Rule::always("* */manifests/*", Fault::Status(403, vec![]))]),
        ("429", vec![Rule::always(all, Fault::Status(429, vec![]))]),
        ("500", vec![Rule::always(blobs, Fault::Status(500, vec![]))]),
        ("reset", vec![Rule::always("* */manifests/*", Fault::Reset)]),
        ("cut", vec![Rule::always(blobs, Fault::ResetDown(10))]),
        ("portal", vec![Rule::always(all, Fault::Portal)]),
        (
            "redirect",
            vec![Rule::always(blobs, Fault::Redirect(format!("http://{}", elsewhere.address())))],
        ),
        ("wrong", vec![Rule::always(blobs, Fault::Corrupt(0))]),
        ("no token", vec![]),
        ("wrong password", vec![]),
    ];
    for (name, rules) in cases {
        let modes = match name {
            "no token" => Modes { html: true, ..modes.clone() },
            "wrong password" => Modes { password: "other".into(), ..modes.clone() },
            _ => modes.clone(),
        };
        issuer.modes(modes);
        let proxy = Proxy::start(&registry.address(), rules);
        let sandbox = Sandbox::new();
        small().write(&sandbox.path("in"));
        let host = proxy.address();
        let auth = run::authfile(&sandbox, &host, USER, CANARY);
        let (from, to) = (format!("docker://{host}/x:{TAG}"), format!("docker://{host}/y:{TAG}"));
        let tags = format!("{host}/x");
        let url = format!("docker://{USER}:{CANARY}@{host}/x:{TAG}");
        for args in [
            &["copy", &from, "oci:out"][..],
            &["copy", "oci:in", &to],
            &["tags", &tags],
            &["login", "-u", USER, "--password-stdin", &host],
            // A password in a reference is a mistake, and is not repeated.
            &["copy", &url, "oci:out"],
        ] {
            let typed = args.contains(&url.as_str());
            let with = [args, &["-vv", "--log-file", "log"][..]].concat();
            let retry: &[&str] =
                if matches!(args[0], "copy" | "tags") { &["--retry-times", "1"] } else { &[] };
            let mut command = sandbox.command(&[&with[..], retry].concat());
            command.env("REGISTRY_AUTH_FILE", &auth);
            command.stdin(std::process::Stdio::piped());
            let password = std::fs::write(sandbox.path("password"), CANARY)
                .and_then(|()| std::fs::File::open(sandbox.path("password")))
                .unwrap();
            command.stdin(password);
            std::fs::remove_file(sandbox.path("password")).unwrap();
            let mut running = run::start(command, args[0]);
            let mut lines = BTreeMap::new();
            while !running.ended() {
                for (pid, line) in command_lines(running.pid()) {
                    lines.insert(pid, line);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let ran = running.wait();
            let seen = [ran.out(), ran.stderr.clone()].concat();
            for secret in secrets {
                assert!(!seen.contains(secret), "{name}: {} shows {secret}: {seen}", ran.line);
                let shown = lines.values().any(|line| line.contains(secret));
                assert!(typed || !shown, "{name}: {} has {secret} in a command line", ran.line);
                files(sandbox.root(), &mut |path| {
                    let bytes = std::fs::read(path).unwrap_or_default();
                    let held = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                    let login = path.ends_with("auth.json");
                    assert!(login || !held, "{name}: {} holds {secret}", path.display());
                });
            }
        }
    }
}

/// Command lines of a process and of those that it started.
fn command_lines(pid: u32) -> Vec<(u32, String)> {
    let read = |pid: u32| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![read(pid)];
    all.extend(children.split_whitespace().filter_map(|c| c.parse().ok()).map(read));
    all
}
