//! kill -9 in the middle of a push, a pull and a sync; then the same command again, and bytes counted.
//!
//! A slow proxy makes the moment certain. Only the client is killed. Uploads are counted against a
//! registry that keeps its sessions; docker-registry 2.8.2 forgets them, so there no finished blob may be
//! sent twice.

mod common;
mod net;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use common::Sandbox;
use common::image::Oci;
use net::image::{self, TAG, digest, weight};
use net::mock::Mock;
use net::profiles::PLAIN;
use net::proxy::{Entry, Proxy};
use net::raw;
use net::registry::Registry;
use net::rules::{Fault, Rule};
use net::run;

const LONG: Duration = Duration::from_secs(60);
/// Bytes per second of each request while the first run lives.
const SLOW: u64 = 3_000_000;
/// What may move in both runs together, of a hundred.
const PERCENT: u64 = 105;

/// Four layers, 20 MB together.
fn layered() -> &'static Oci {
    static IMAGE: OnceLock<Oci> = OnceLock::new();
    IMAGE.get_or_init(|| image::image(5, &[8_000_000, 6_000_000, 4_000_000, 2_000_000]))
}

/// Runs a command, kills it when `ripe` says so, and runs it again at full speed.
#[track_caller]
fn kill_and_repeat(
    sandbox: &Sandbox,
    proxy: &Proxy,
    args: &[&str],
    ripe: impl Fn(&Proxy) -> bool,
    between: impl FnOnce(&Proxy),
) {
    proxy.rules(vec![Rule::always("* *", Fault::Rate(SLOW))]);
    let mut first = run::begin(sandbox, args, &[]);
    let first_ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", first.pid()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    proxy.wait(LONG, |proxy| ripe(proxy) || first_ended());
    let was_ripe = ripe(proxy);
    assert!(!first.ended(), "it ended too early: {}", first.kill().stderr);
    let killed = first.kill();
    assert!(was_ripe, "nothing moved: {}", killed.stderr);
    assert_eq!(killed.code, -1, "killed by a signal");
    proxy.cut();
    between(proxy);
    proxy.rules(vec![]);
    run::run(sandbox, args).ok();
}

#[track_caller]
fn at_most(what: &str, moved: u64, size: u64) {
    let most = size * PERCENT / 100;
    assert!(moved <= most, "{what}: {moved} bytes moved, {most} are allowed for {size}");
}

/// Digests of uploads that came to their end.
fn finished(proxy: &Proxy) -> BTreeSet<String> {
    let done = |e: &Entry| matches!(e.status, 201 | 204) && e.target.contains("digest=");
    let digest = |e: &Entry| {
        let after = e.target.split("digest=").nth(1).unwrap_or_default();
        net::wire::decode(after.split('&').next().unwrap_or_default())
    };
    proxy.seen("PUT|POST */blobs/uploads/*").iter().filter(|e| done(e)).map(digest).collect()
}

#[test]
fn a_killed_push_goes_on_where_the_registry_has_it() {
    let mock = Mock::start(PLAIN);
    let proxy = Proxy::start(&mock.address(), vec![]);
    let sandbox = Sandbox::new();
    layered().write(&sandbox.path("in"));
    let to = format!("docker://{}/y:{TAG}", proxy.address());
    let half = weight(layered()) / 2;
    let ripe = |proxy: &Proxy| proxy.up() > half;
    kill_and_repeat(&sandbox, &proxy, &["copy", "oci:in", &to], ripe, |_| {
        assert_eq!(mock.complete("y", TAG), None, "a tag stands before its blobs");
    });
    assert_eq!(mock.complete("y", TAG), Some(digest(layered())));
    assert_eq!(mock.complaints(), [""; 0]);
    at_most("push", proxy.up(), weight(layered()));
}

#[test]
fn a_killed_push_to_docker_registry_sends_no_finished_blob_again() {
    let Some(registry) = Registry::plain() else { return };
    let proxy = Proxy::start(&registry.address(), vec![]);
    let sandbox = Sandbox::new();
    layered().write(&sandbox.path("in"));
    let to = format!("docker://{}/y:{TAG}", proxy.address());
    let ripe = |proxy: &Proxy| finished(proxy).len() >= 2 && proxy.up() > 6_000_000;
    let mut before = BTreeSet::new();
    kill_and_repeat(&sandbox, &proxy, &["copy", "oci:in", &to], ripe, |proxy| {
        before = finished(proxy);
        proxy.forget();
    });
    assert_eq!(raw::check(&registry.address(), "y", TAG), digest(layered()));
    let again: Vec<_> = finished(&proxy).intersection(&before).cloned().collect();
    assert!(before.len() >= 2 && again.is_empty(), "sent twice: {again:?}");
    let size = |digest: &String| std::fs::metadata(registry.blob(digest)).expect("a blob").len();
    let held: u64 = before.iter().map(size).sum();
    at_most("what was left", proxy.up(), weight(layered()) - held);
}

/// A registry that holds the image, and a proxy before it.
fn holder() -> Option<(Registry, Proxy)> {
    let registry = Registry::plain()?;
    raw::push(&registry.address(), "x", layered());
    let proxy = Proxy::start(&registry.address(), vec![]);
    Some((registry, proxy))
}

#[test]
fn a_killed_pull_into_the_store_goes_on_from_the_disk() {
    let Some((_registry, proxy)) = holder() else { return };
    let sandbox = Sandbox::new();
    let from = format!("{}/x:{TAG}", proxy.address());
    let half = weight(layered()) / 2;
    let ripe = |proxy: &Proxy| proxy.down() > half;
    kill_and_repeat(&sandbox, &proxy, &["pull", &from], ripe, |_| {
        assert!(sandbox.stored().is_empty(), "an image is listed before it is whole");
    });
    at_most("pull", proxy.down(), weight(layered()));
    sandbox.run(&["verify", "store:"]).ok();
    assert_eq!(sandbox.stored().len(), 1);
}

#[test]
fn a_killed_pull_into_a_layout_goes_on_from_the_disk() {
    let Some((_registry, proxy)) = holder() else { return };
    let sandbox = Sandbox::new();
    let from = format!("docker://{}/x:{TAG}", proxy.address());
    let half = weight(layered()) / 2;
    let ripe = |proxy: &Proxy| proxy.down() > half;
    kill_and_repeat(&sandbox, &proxy, &["copy", &from, "oci:out"], ripe, |_| {});
    at_most("pull", proxy.down(), weight(layered()));
    assert_eq!(image::check(&sandbox.path("out")), digest(layered()));
    let left: Vec<_> = std::fs::read_dir(sandbox.path("out"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| !["blobs", "index.json", "oci-layout"].contains(&name.as_str()))
        .collect();
    assert_eq!(left, [""; 0], "left behind");
}

#[test]
fn a_killed_sync_from_a_registry_goes_on_from_the_disk() {
    let Some((registry, proxy)) = holder() else { return };
    let other = image::image(6, &[5_000_000]);
    raw::push(&registry.address(), "w", &other);
    let sandbox = Sandbox::new();
    let list = format!("{0}/x:{TAG}\n{0}/w:{TAG}\n", proxy.address());
    sandbox.write("images.txt", list.as_bytes());
    let all = weight(layered()) + weight(&other);
    let ripe = |proxy: &Proxy| proxy.down() > all / 2;
    let sync = ["sync", "registry-to-dir", "-f", "images.txt", "usb"];
    kill_and_repeat(&sandbox, &proxy, &sync, ripe, |_| {});
    at_most("sync", proxy.down(), all);
    sandbox.run(&["verify", "oci:usb"]).ok();
    // A third run has nothing to do.
    proxy.forget();
    run::run(&sandbox, &sync).ok();
    assert_eq!(proxy.down(), 0);
    assert!(proxy.seen("* */manifests/*").len() <= 2, "one question for each image");
}

#[test]
fn a_killed_sync_into_a_registry_goes_on_where_the_registry_has_it() {
    let mock = Mock::start(PLAIN);
    let proxy = Proxy::start(&mock.address(), vec![]);
    let sandbox = Sandbox::new();
    layered().write(&sandbox.path("usb"));
    let ripe = |proxy: &Proxy| proxy.up() > weight(layered()) / 2;
    let sync = ["sync", "dir-to-registry", "usb", &proxy.address()];
    kill_and_repeat(&sandbox, &proxy, &sync, ripe, |_| {});
    at_most("sync", proxy.up(), weight(layered()));
    let tagged = ["docker.io/library/noise", "library/noise"];
    assert!(tagged.iter().any(|name| mock.complete(name, TAG) == Some(digest(layered()))));
    assert_eq!(mock.complaints(), [""; 0]);
}
