//! The rig of the registry tests itself: its proxy breaks what it should and nothing else, its registry
//! and its issuer are taken for real ones by skopeo and by docker-registry.
//!
//! No test here runs imgpack.

mod common;
mod net;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Sandbox, sha256};
use net::image::{TAG, big, digest, image, small, weight};
use net::issuer::{Issuer, Modes};
use net::mock::Mock;
use net::profiles::{self, Auth, PLAIN, Profile};
use net::proxy::Proxy;
use net::raw;
use net::registry::{PASSWORD, Registry, USER};
use net::rules::{Fault, Rule};
use net::{have, skip};

/// The blob of the big layer.
fn layer() -> (String, &'static [u8]) {
    let (hex, bytes) = big().blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    (format!("sha256:{hex}"), bytes)
}

/// A test registry that holds the big image, a proxy before it, and the path of the big layer.
fn rig(rules: Vec<Rule>) -> (Mock, Proxy, String) {
    let mock = Mock::start(PLAIN);
    mock.fill("x", big());
    let proxy = Proxy::start(&mock.address(), rules);
    (mock, proxy, format!("/v2/x/blobs/{}", layer().0))
}

fn skopeo(args: &[&str]) -> (bool, String) {
    let done = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn skopeo_missing() -> bool {
    let missing = !have("skopeo");
    if missing {
        skip("skopeo is missing");
    }
    missing
}

#[test]
fn a_proxy_without_rules_changes_nothing_and_counts_bytes() {
    let (_mock, proxy, path) = rig(vec![]);
    let answer = raw::get(&proxy.address(), &path);
    assert_eq!(sha256(&answer.body), layer().0);
    assert_eq!(proxy.down(), layer().1.len() as u64);
    raw::push_blob(&proxy.address(), "y", layer().1);
    assert_eq!(proxy.up(), layer().1.len() as u64);
    assert_eq!(proxy.struck(), 0);
}

#[test]
fn a_reset_comes_after_exactly_as_many_bytes_as_the_rule_says() {
    let at = 1_234_567;
    let rules = vec![
        Rule::once("GET */blobs/*", Fault::ResetDown(at)),
        Rule::once("PUT *", Fault::ResetUp(at)),
    ];
    let (mock, proxy, path) = rig(rules);
    let error = raw::send(&proxy.address(), "GET", &path, &[], b"").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.down(), at);
    assert_eq!(raw::get(&proxy.address(), &path).body, layer().1, "only once");

    let session = raw::send(&proxy.address(), "POST", "/v2/y/blobs/uploads/", &[], b"").unwrap();
    let to = session.head.get("location").unwrap().to_owned();
    let put = format!("{to}&digest={}", layer().0);
    raw::send(&proxy.address(), "PUT", &put, &[], layer().1).unwrap_err();
    assert_eq!(proxy.up(), at);
    // The session has what was sent, and goes on from there.
    assert!(proxy.wait(Duration::from_secs(60), |_| {
        let told = raw::get(&mock.address(), &to);
        told.head.get("range") == Some(&format!("0-{}", at - 1))
    }));
    let rest = &layer().1[usize::try_from(at).unwrap()..];
    let range = format!("{at}-{}", layer().1.len() - 1);
    let done =
        raw::send(&proxy.address(), "PUT", &put, &[("Content-Range", &range)], rest).unwrap();
    assert_eq!(done.status(), 201, "{done:?}");
    assert_eq!(proxy.up(), layer().1.len() as u64);
}

#[test]
fn every_other_fault_is_what_its_name_says() {
    let (_mock, proxy, path) = rig(vec![]);
    let host = proxy.address();
    let size = layer().1.len();
    let get = |rules: Vec<Rule>, headers: &[(&str, &str)]| {
        proxy.rules(rules);
        raw::send(&host, "GET", &path, headers, b"")
    };
    let all = "GET */blobs/*";
    let kind = |error: std::io::Error| error.kind();
    let eof = std::io::ErrorKind::UnexpectedEof;

    let short = get(vec![Rule::once(all, Fault::CloseDown(1000))], &[]).unwrap_err();
    assert_eq!(kind(short), eof);
    let reset = get(vec![Rule::once(all, Fault::Reset)], &[]).unwrap_err();
    assert_eq!(kind(reset), std::io::ErrorKind::ConnectionReset);
    let range = [("Range", "bytes=10-")];
    assert_eq!(get(vec![], &range).unwrap().status(), 206);
    assert_eq!(get(vec![Rule::once(all, Fault::IgnoreRange)], &range).unwrap().status(), 200);
    let wait = vec![("Retry-After", "2".to_owned())];
    let busy = get(vec![Rule::once(all, Fault::Status(429, wait))], &[]).unwrap();
    assert_eq!((busy.status(), busy.head.get("retry-after")), (429, Some("2")));
    let flipped = get(vec![Rule::once(all, Fault::Corrupt(70_000))], &[]).unwrap().body;
    let wrong = flipped.iter().zip(layer().1).filter(|(a, b)| a != b).count();
    assert_eq!((wrong, flipped[70_000] == layer().1[70_000]), (1, false));
    let gone = get(vec![Rule::once(all, Fault::DropHeader("Docker-Content-Digest"))], &[]).unwrap();
    assert_eq!(gone.head.get("docker-content-digest"), None);
    assert!(get(vec![], &[]).unwrap().head.get("docker-content-digest").is_some());
    let packed = get(vec![Rule::once(all, Fault::Gzip)], &[]).unwrap();
    assert_eq!(packed.head.get("content-encoding"), Some("gzip"));
    let portal = get(vec![Rule::once(all, Fault::Portal)], &[]).unwrap();
    assert!(portal.body.starts_with(b"<!DOCTYPE html>"));
    let long = get(vec![Rule::once(all, Fault::WrongLength(7))], &[]).unwrap_err();
    assert_eq!(kind(long), eof);
    let cut = get(vec![Rule::once(all, Fault::WrongLength(-7))], &[]).unwrap();
    assert_eq!(cut.body.len(), size - 7);
    let chunk = get(vec![Rule::once(all, Fault::BadChunk(5000))], &[]).unwrap_err();
    assert_eq!(kind(chunk), std::io::ErrorKind::InvalidData);
    let start = Instant::now();
    get(vec![Rule::once(all, Fault::Delay(Duration::from_millis(300)))], &[]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let start = Instant::now();
    get(vec![Rule::once(all, Fault::Rate(40_000_000))], &[]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    let to = get(vec![Rule::once(all, Fault::Redirect("http://there:1".into()))], &[]).unwrap();
    let location = format!("http://there:1{path}");
    assert_eq!((to.status(), to.head.get("location")), (307, Some(location.as_str())));
    // Rules skip and run out.
    proxy.rules(vec![Rule::times(2, all, Fault::Status(503, vec![])).after(1)]);
    let statuses: Vec<u16> = (0..5).map(|_| raw::get(&host, &path).status()).collect();
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
}

#[test]
fn docker_registry_runs_plain_with_tls_and_with_tokens_and_skopeo_agrees() {
    if !Registry::installed() || skopeo_missing() {
        return;
    }
    let sandbox = Sandbox::new();
    small().write(&sandbox.path("image"));
    let from = format!("oci:{}:{TAG}", sandbox.text("image"));
    let creds = format!("{USER}:{PASSWORD}");

    let plain = Registry::plain().unwrap();
    raw::push(&plain.address(), "x", small());
    assert_eq!(raw::check(&plain.address(), "x", TAG), digest(small()));
    let there = format!("docker://{}/y:{TAG}", plain.address());
    let (ok, said) = skopeo(&["copy", "--dest-tls-verify=false", &from, &there]);
    assert!(ok, "{said}");
    let blob = plain.blob(&digest(small()));
    assert_eq!(sha256(&std::fs::read(blob).unwrap()), digest(small()));

    let tls = Registry::tls().unwrap();
    let there = format!("docker://localhost:{}/y:{TAG}", tls.port());
    let certs = sandbox.path("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(tls.ca(), certs.join("ca.crt")).unwrap();
    let certs = certs.to_str().unwrap();
    let push = ["copy", "--dest-cert-dir", certs, "--dest-creds", &creds, &from, &there];
    let (ok, said) = skopeo(&push);
    assert!(ok, "{said}");
    let (ok, said) =
        skopeo(&["copy", "--dest-cert-dir", certs, "--dest-creds", "alice:wrong", &from, &there]);
    assert!(!ok && said.contains("unauthorized"), "{said}");

    for modes in [
        Modes::default(),
        Modes { access_token_only: true, issued_at: None, ..Modes::default() },
        Modes { post: Some(404), told: None, ..Modes::default() },
    ] {
        let issuer = Issuer::start(modes);
        let bearer = Registry::bearer(&issuer).unwrap();
        assert_eq!(raw::get(&bearer.address(), "/v2/").status(), 401);
        let there = format!("docker://{}/y:{TAG}", bearer.address());
        let push = ["copy", "--dest-tls-verify=false", "--dest-creds", &creds, &from, &there];
        let (ok, said) = skopeo(&push);
        assert!(ok, "{said}");
        assert!(issuer.asked().iter().any(|a| a.status == 200 && !a.scopes.is_empty()));
    }
}

#[test]
fn a_token_dies_when_its_life_is_over() {
    // What lives is asked at once, what is to be dead after its life: neither can come too late.
    for (life, wait, want) in [(300, 0, 200), (1, 2_100, 401)] {
        let issuer = Issuer::start(Modes { life: Duration::from_secs(life), ..Modes::default() });
        let Some(registry) = Registry::bearer(&issuer) else { return };
        let basic = raw::basic(USER, PASSWORD);
        let realm = issuer.realm();
        let host = realm.trim_start_matches("http://").trim_end_matches("/token");
        let got = raw::send(host, "GET", "/token", &[("Authorization", &basic)], b"").unwrap();
        let header = format!("Bearer {}", common::string(&got.json()["token"]));
        std::thread::sleep(Duration::from_millis(wait));
        let headers = [("Authorization", header.as_str())];
        let got = raw::send(&registry.address(), "GET", "/v2/", &headers, b"").unwrap();
        assert_eq!(got.status(), want, "a life of {life} s, after {wait} ms");
    }
}

#[test]
fn the_test_registry_is_a_registry_to_skopeo_in_every_profile() {
    if skopeo_missing() {
        return;
    }
    let sandbox = Sandbox::new();
    small().write(&sandbox.path("image"));
    let from = format!("oci:{}:{TAG}", sandbox.text("image"));
    let creds = format!("{USER}:{PASSWORD}");
    for profile in profiles::all().into_iter().chain([PLAIN]) {
        let name = profile.name;
        assert!(!profile.source.is_empty());
        // What skopeo 1.9 is known not to do: PUT only, a second try after 404.
        let beyond = ["gar", "artifactory"].contains(&name);
        let mock = Mock::start(profile.clone());
        mock.create("team/app");
        let there = format!("docker://{}/team/app:{TAG}", mock.address());
        let mut push = vec!["copy", "--dest-tls-verify=false"];
        let mut pull = vec!["copy", "--src-tls-verify=false"];
        if profile.auth != Auth::Open {
            push.extend(["--dest-creds", creds.as_str()]);
            pull.extend(["--src-creds", creds.as_str()]);
        }
        push.extend([from.as_str(), there.as_str()]);
        let (ok, said) = skopeo(&push);
        assert_eq!(ok, !beyond, "{name}: {said}");
        if beyond {
            mock.fill("team/app", small());
        }
        assert_eq!(mock.complete("team/app", TAG), Some(digest(small())), "{name}");
        let to = format!("oci:{}:{TAG}", sandbox.text("back"));
        let _ = std::fs::remove_dir_all(sandbox.path("back"));
        pull.extend([there.as_str(), to.as_str()]);
        let (ok, said) = skopeo(&pull);
        assert!(ok, "{name}: {said}");
        assert_eq!(mock.complaints(), [""; 0], "{name}");
    }
}

#[test]
fn the_test_registry_checks_what_it_is_sent() {
    let mock = Mock::start(Profile { chunk_max: Some(1000), body_max: Some(2000), ..PLAIN });
    let host = mock.address();
    let send = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        raw::send(&host, method, target, headers, body).unwrap()
    };
    let bytes = net::image::noise(7, 1500);
    let begin = || {
        let session = send("POST", "/v2/x/blobs/uploads/", &[], b"");
        session.head.get("location").unwrap().to_owned()
    };
    let to = begin();
    let part = |at: &str, body: &[u8]| send("PATCH", &to, &[("Content-Range", at)], body).status();
    assert_eq!(part("0-1499", &bytes), 416, "over the largest chunk");
    assert_eq!(part("0-499", &bytes[..500]), 202);
    assert_eq!(part("600-999", &bytes[600..1000]), 416, "a gap");
    assert_eq!(part("bytes 500-999", &bytes[500..1000]), 400, "HTTP's form, not the registry's");
    assert_eq!(part("500-999", &bytes[500..1000]), 202);
    assert_eq!(raw::get(&host, &to).head.get("range"), Some("0-999"));
    let close = |digest: &str| format!("{to}&digest={digest}");
    let unencoded = close(&sha256(&bytes)).replace("%2F", "/");
    assert_eq!(send("PUT", &unencoded, &[], &bytes[1000..]).status(), 400, "a changed query");
    let closed = send("PUT", &close(&sha256(&bytes)), &[], &bytes[1000..]);
    assert_eq!(closed.status(), 201, "{closed:?}");
    assert_eq!(raw::get(&host, &to).status(), 404, "the session is over");

    assert_eq!(send("PATCH", &begin(), &[], &[0; 3000]).status(), 413);
    let wrong = format!("{}&digest={}", begin(), sha256(b"other"));
    assert_eq!(send("PUT", &wrong, &[], &bytes).status(), 400);
    let manifest = image(9, &[10]);
    let json = &manifest.blobs.last().unwrap().1;
    let early = send("PUT", "/v2/x/manifests/v1", &[], json);
    assert_eq!(early.status(), 404, "blobs come before manifests");
    let (from, to) = ("/v2/y/blobs/uploads/?mount=", "&from=x");
    let mount = send("POST", &format!("{from}{}{to}", sha256(&bytes)), &[], b"");
    assert_eq!(mount.status(), 201);
    assert!(weight(small()) > 30_000);
}

#[test]
fn lists_come_in_pages() {
    let mock = Mock::start(Profile { page: 2, ..PLAIN });
    mock.fill("team/app", small());
    for tag in ["a", "b", "c"] {
        mock.tag("team/app", TAG, tag);
    }
    let (mut at, mut found, mut pages) = ("/v2/team/app/tags/list".to_owned(), Vec::new(), 0);
    loop {
        let page = raw::get(&mock.address(), &at);
        found.extend(common::strings(&page.json()["tags"]));
        pages += 1;
        let Some(link) = page.head.get("link") else { break };
        at = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!((found, pages), (["a", "b", "c", TAG].map(str::to_owned).to_vec(), 2));
}
