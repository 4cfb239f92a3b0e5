//! The fault matrix: every row through a proxy that breaks things, in front of Debian's docker-registry.
//!
//! The matrix was measured with a 205 MB image; here it is a tenth of that, with a tenth of each offset.
//! P0 and U0 are controls. docker-registry 2.8.2 drops an upload session after a cut, so that U1 and U2
//! may send the blob again there; the same rows against a registry that keeps its sessions must resume.

mod common;
mod net;

use std::time::{Duration, Instant};

use common::{Ran, Sandbox};
use imgpack::Context;
use imgpack::copy::{Policy, copy};
use imgpack::registry::Registries;
use imgpack::registry::settings::Settings;
use imgpack::transport::Source;
use imgpack::transport::layout::{LayoutOptions, LayoutSink};
use imgpack::transport::registry::{Known, RegistrySource};
use net::image::{self, TAG, big, digest, weight};
use net::issuer::{Issuer, Modes};
use net::mock::Mock;
use net::profiles::PLAIN;
use net::proxy::Proxy;
use net::raw;
use net::registry::{PASSWORD, Registry, USER};
use net::rules::{Fault, Rule};
use net::run;

const BLOB: &str = "GET */blobs/*";
const MANIFEST: &str = "GET|HEAD */manifests/*";
const UPLOAD: &str = "PATCH|PUT */blobs/uploads/*";
/// A tenth of the matrix's 50 MB.
const FIFTY: u64 = 5_000_000;

/// What may move when 205 MB may cost 206.
fn once() -> u64 {
    weight(big()) * 206 / 205
}

/// A row that came to its end.
struct Row {
    proxy: Proxy,
    ran: Ran,
    took: Duration,
}

impl Row {
    /// The rule was met so many times, or the row says nothing.
    #[track_caller]
    fn struck(self, times: usize) -> Self {
        assert_eq!(self.proxy.struck(), times, "faults that struck; {}", self.ran.stderr);
        self
    }

    #[track_caller]
    fn down_at_most(self, bytes: u64) -> Self {
        assert!(self.proxy.down() <= bytes, "{} bytes came, not {bytes}", self.proxy.down());
        self
    }

    #[track_caller]
    fn up_at_most(self, bytes: u64) -> Self {
        assert!(self.proxy.up() <= bytes, "{} bytes were sent, not {bytes}", self.proxy.up());
        self
    }

    #[track_caller]
    fn within(self, seconds: f64) -> Self {
        assert!(self.took.as_secs_f64() < seconds, "it took {:?}", self.took);
        self
    }
}

/// Copies the image from a registry into a layout. `None` when there is no docker-registry.
#[track_caller]
fn pull(rules: Vec<Rule>) -> Option<Row> {
    pull_with(rules, &[])
}

/// The same with more flags.
#[track_caller]
fn pull_with(rules: Vec<Rule>, flags: &[&str]) -> Option<Row> {
    let registry = Registry::plain()?;
    raw::push(&registry.address(), "x", big());
    let proxy = Proxy::start(&registry.address(), rules);
    let sandbox = Sandbox::new();
    let from = format!("docker://{}/x:{TAG}", proxy.address());
    let start = Instant::now();
    let words = [&["copy", &from, "oci:out"], flags].concat();
    let ran = run::run(&sandbox, &words).ok();
    let took = start.elapsed();
    assert_eq!(image::check(&sandbox.path("out")), digest(big()));
    Some(Row { proxy, ran, took })
}

/// Copies a layout into a registry behind the proxy, with more flags.
fn send(proxy: &Proxy, flags: &[&str]) -> (Ran, Duration) {
    let sandbox = Sandbox::new();
    big().write(&sandbox.path("in"));
    let to = format!("docker://{}/y:{TAG}", proxy.address());
    let start = Instant::now();
    let ran = run::run(&sandbox, &[&["copy"], flags, &["oci:in", &to]].concat()).ok();
    (ran, start.elapsed())
}

/// Copies the image into docker-registry.
#[track_caller]
fn push_with(rules: Vec<Rule>, flags: &[&str]) -> Option<Row> {
    let registry = Registry::plain()?;
    let proxy = Proxy::start(&registry.address(), rules);
    let (ran, took) = send(&proxy, flags);
    assert_eq!(raw::check(&registry.address(), "y", TAG), digest(big()));
    Some(Row { proxy, ran, took })
}

#[track_caller]
fn push(rules: Vec<Rule>) -> Option<Row> {
    push_with(rules, &[])
}

/// Copies the image into the registry that keeps its sessions.
#[track_caller]
fn push_to_keeper(rules: Vec<Rule>) -> Row {
    let mock = Mock::start(PLAIN);
    let proxy = Proxy::start(&mock.address(), rules);
    let (ran, took) = send(&proxy, &[]);
    assert_eq!(mock.complete("y", TAG), Some(digest(big())));
    assert_eq!(mock.complaints(), [""; 0]);
    assert_eq!(mock.sessions(), 0, "an upload session is left open");
    Row { proxy, ran, took }
}

#[test]
fn p0_no_fault() {
    let Some(row) = pull(vec![]) else { return };
    row.struck(0).down_at_most(weight(big()));
}

#[test]
fn p01_reset_once() {
    let Some(row) = pull(vec![Rule::once(BLOB, Fault::ResetDown(FIFTY))]) else { return };
    row.struck(1).down_at_most(once());
}

#[test]
fn p02_reset_three_times() {
    let Some(row) = pull(vec![Rule::times(3, BLOB, Fault::ResetDown(FIFTY))]) else { return };
    row.struck(3).down_at_most(once());
}

#[test]
fn p03_reset_twenty_times() {
    let Some(row) = pull(vec![Rule::times(20, BLOB, Fault::ResetDown(900_000))]) else { return };
    row.struck(20).down_at_most(once()).within(60.0);
}

#[test]
fn p04_reset_early_three_times() {
    let Some(row) = pull(vec![Rule::times(3, BLOB, Fault::ResetDown(20_000))]) else { return };
    row.struck(3).down_at_most(once());
}

#[test]
fn p05_orderly_end_before_the_end() {
    let Some(row) = pull(vec![Rule::once(BLOB, Fault::CloseDown(FIFTY))]) else { return };
    row.struck(1).down_at_most(once());
}

#[test]
fn p06_reset_where_ranges_are_ignored() {
    let rules =
        vec![Rule::always(BLOB, Fault::IgnoreRange), Rule::once(BLOB, Fault::ResetDown(FIFTY))];
    let Some(row) = pull(rules) else { return };
    // It has to be read again, once.
    row.down_at_most(once() + FIFTY);
}

#[test]
fn p07_unavailable_twice() {
    let Some(row) = pull(vec![Rule::times(2, BLOB, Fault::Status(503, vec![]))]) else { return };
    row.struck(2).down_at_most(once());
}

#[test]
fn p08_too_many_requests_with_a_time() {
    let wait = vec![("Retry-After", "2".to_owned())];
    let Some(row) = pull(vec![Rule::times(2, MANIFEST, Fault::Status(429, wait))]) else { return };
    let row = row.struck(2).within(60.0);
    assert!(row.took >= Duration::from_secs(4), "it did not wait: {:?}", row.took);
}

#[test]
fn p09_too_many_requests_eight_times() {
    // Eight waits that double would take two minutes; what is shown is that eight are borne.
    let rules = vec![Rule::times(8, MANIFEST, Fault::Status(429, vec![]))];
    let Some(row) = pull_with(rules, &["--retry-max-delay", "2"]) else { return };
    let row = row.struck(8);
    assert!(row.took >= Duration::from_secs(4), "it did not back off: {:?}", row.took);
}

#[test]
fn p10_one_wrong_byte() {
    let Some(row) = pull(vec![Rule::once(BLOB, Fault::Corrupt(7_000_000))]) else { return };
    row.struck(1).down_at_most(2 * weight(big()));
}

#[test]
fn p11_no_digest_header() {
    let drop = Fault::DropHeader("Docker-Content-Digest");
    let Some(row) = pull(vec![Rule::always("* *", drop)]) else { return };
    row.down_at_most(once());
}

#[test]
fn p12_reset_on_the_first_request() {
    let rules = vec![
        Rule::once("* *", Fault::Reset),
        Rule::once("GET /v2/", Fault::Reset), // the ping, if there is one
    ];
    let Some(row) = pull(rules) else { return };
    assert!(row.proxy.struck() >= 1);
}

#[test]
fn p13_reset_twice_on_the_manifest() {
    let Some(row) = pull(vec![Rule::times(2, MANIFEST, Fault::Reset)]) else { return };
    row.struck(2);
}

/// Through the library, where the limit can be shorter than the minute that it is.
#[test]
fn p14_stands_still_in_the_middle_twice() {
    let registry = Mock::start(PLAIN);
    raw::push(&registry.address(), "x", big());
    let proxy =
        Proxy::start(&registry.address(), vec![Rule::times(2, BLOB, Fault::StallDown(FIFTY))]);
    let (dir, ctx) = (tempfile::tempdir().unwrap(), Context::default());
    let idle_timeout = Duration::from_millis(700);
    let settings = Settings { plain_http: true, idle_timeout, ..Settings::default() };
    let registries = Registries::new(settings, &ctx).unwrap();
    let name = format!("{}/x:{TAG}", proxy.address()).parse().unwrap();
    let source = RegistrySource::open(&registries, &[name], false, Known::default(), &ctx).unwrap();
    let out = dir.path().join("out");
    let sink = LayoutSink::create(&out, LayoutOptions::PLAIN, None, &ctx).unwrap();
    copy(&source, Box::new(sink), source.roots(), &Policy::default(), &ctx).unwrap();
    assert_eq!(image::check(&out), digest(big()));
    assert_eq!(proxy.struck(), 2);
    assert!(proxy.down() <= once(), "{} bytes came", proxy.down());
}

#[test]
fn u0_no_fault() {
    let Some(row) = push(vec![]) else { return };
    let manifest = 10_000;
    row.struck(0).up_at_most(weight(big()) + manifest);
}

#[test]
fn u1_reset_once() {
    let Some(row) = push(vec![Rule::once(UPLOAD, Fault::ResetUp(FIFTY))]) else { return };
    // 2.8.2 has forgotten the session: the blob may start again.
    row.struck(1).up_at_most(once() + FIFTY);
}

#[test]
fn u1_reset_once_and_the_registry_keeps_the_session() {
    let row = push_to_keeper(vec![Rule::once(UPLOAD, Fault::ResetUp(FIFTY))]);
    row.struck(1).up_at_most(once());
}

#[test]
fn u2_reset_three_times() {
    let Some(row) = push(vec![Rule::times(3, UPLOAD, Fault::ResetUp(FIFTY))]) else { return };
    row.struck(3).up_at_most(once() + 3 * FIFTY);
}

#[test]
fn u2_reset_three_times_and_the_registry_keeps_the_session() {
    let row = push_to_keeper(vec![Rule::times(3, UPLOAD, Fault::ResetUp(FIFTY))]);
    row.struck(3).up_at_most(weight(big()) * 103 / 100);
}

#[test]
fn u3_unavailable_when_an_upload_begins() {
    let rules = vec![Rule::times(2, "POST */blobs/uploads/*", Fault::Status(503, vec![]))];
    let Some(row) = push(rules) else { return };
    row.struck(2).up_at_most(once());
}

#[test]
fn u4_too_many_requests_on_the_manifest() {
    let Some(row) = push(vec![Rule::once("PUT */manifests/*", Fault::Status(429, vec![]))]) else {
        return;
    };
    row.struck(1).up_at_most(once());
}

#[test]
fn u5_error_when_an_upload_is_closed() {
    let rules = vec![Rule::once("PUT */blobs/uploads/*", Fault::Status(500, vec![]))];
    let Some(row) = push(rules) else { return };
    row.struck(1).up_at_most(once());
}

#[test]
fn u6_stuck_range() {
    let Some(row) = push(vec![Rule::always("* *", Fault::StuckRange)]) else { return };
    row.up_at_most(once());
}

#[test]
fn u6_stuck_range_in_chunks() {
    let stuck = vec![Rule::always("* *", Fault::StuckRange)];
    let Some(row) = push_with(stuck, &run::CHUNKED) else { return };
    assert!(row.proxy.seen("PATCH *").len() > 10, "no chunks");
    row.up_at_most(once());
}

#[test]
fn u7_no_digest_header() {
    let drop = Fault::DropHeader("Docker-Content-Digest");
    let Some(row) = push(vec![Rule::always("* *", drop)]) else { return };
    row.up_at_most(once());
}

/// A token works for two seconds, the layer takes four.
fn token_dies(told: Option<u64>, issued_at: Option<i64>) {
    let life = Duration::from_secs(2);
    let issuer = Issuer::start(Modes { life, told, issued_at, ..Modes::default() });
    let Some(registry) = Registry::bearer(&issuer) else { return };
    let proxy = Proxy::start(&registry.address(), vec![Rule::always(UPLOAD, Fault::Rate(FIFTY))]);
    let sandbox = Sandbox::new();
    big().write(&sandbox.path("in"));
    let auth = run::authfile(&sandbox, &proxy.address(), USER, PASSWORD);
    let to = format!("docker://{}/y:{TAG}", proxy.address());
    let start = Instant::now();
    let ran =
        run::begin(&sandbox, &["copy", "oci:in", &to], &[("REGISTRY_AUTH_FILE", &auth)]).wait();
    let words = format!("expires_in {told:?}, issued_at {issued_at:?}");
    assert_eq!(ran.code, 0, "{words}: {}", ran.stderr);
    assert!(start.elapsed() > Duration::from_secs(4), "{words}: the token did not die");
    assert!(proxy.up() <= once(), "{words}: {} bytes were sent", proxy.up());
    let open = Registry::plain_over(&registry).expect("docker-registry");
    assert_eq!(raw::check(&open.address(), "y", TAG), digest(big()), "{words}");
}

#[test]
fn t_tokens_die_while_a_blob_is_sent() {
    let variants = [
        (Some(2), Some(0)),
        (Some(2), None),
        (None, Some(0)),
        (None, None),
        // Beyond the matrix: an issuer that promises too much, and clocks an hour apart.
        (Some(300), Some(0)),
        (Some(2), Some(-3600)),
        (Some(2), Some(3600)),
    ];
    std::thread::scope(|scope| {
        for (told, issued_at) in variants {
            scope.spawn(move || token_dies(told, issued_at));
        }
    });
}

#[test]
fn r1_a_redirect_to_another_port_gets_no_token() {
    let issuer = Issuer::start(Modes::default());
    let Some(registry) = Registry::bearer(&issuer) else { return };
    let open = Registry::plain_over(&registry).expect("docker-registry");
    raw::push(&open.address(), "x", big());
    let storage = Proxy::start(&open.address(), vec![]);
    let to = Fault::Redirect(format!("http://{}", storage.address()));
    let proxy = Proxy::start(&registry.address(), vec![Rule::always(BLOB, to)]);
    let sandbox = Sandbox::new();
    let auth = run::authfile(&sandbox, &proxy.address(), USER, PASSWORD);
    let from = format!("docker://{}/x:{TAG}", proxy.address());
    run::begin(&sandbox, &["copy", &from, "oci:out"], &[("REGISTRY_AUTH_FILE", &auth)]).wait().ok();
    assert_eq!(image::check(&sandbox.path("out")), digest(big()));
    let asked = storage.seen(BLOB);
    assert!(!asked.is_empty());
    for entry in asked {
        assert_eq!(entry.header("authorization"), None, "{}", entry.target);
    }
    let with_token = |entry: &net::proxy::Entry| {
        entry.header("authorization").is_some_and(|v| v.starts_with("Bearer "))
    };
    assert!(proxy.seen(BLOB).iter().any(with_token), "the registry itself gets the token");
}

#[test]
fn r2_a_redirect_from_localhost_to_its_address() {
    let Some(registry) = Registry::plain() else { return };
    raw::push(&registry.address(), "x", big());
    let storage = Proxy::start(&registry.address(), vec![]);
    let to = Fault::Redirect(format!("http://{}", storage.address()));
    let proxy = Proxy::start(&registry.address(), vec![Rule::always(BLOB, to)]);
    let sandbox = Sandbox::new();
    let from = format!("docker://localhost:{}/x:{TAG}", proxy.port());
    run::run(&sandbox, &["copy", &from, "oci:out"]).ok();
    assert_eq!(image::check(&sandbox.path("out")), digest(big()));
    assert!(!storage.seen(BLOB).is_empty());
}
