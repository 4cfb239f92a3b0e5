//! `imgpack serve` over places that change: pulled out, cut, overwritten, replaced, added to, loaded into.
//!
//! Whatever happens to a medium, a client gets right bytes or an answer that says there are none. What
//! the same looks like to real engines is in `scripts/engines/serve.sh`.

mod common;
mod net;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::image::{Docker, Image, Oci, gzip};
use common::tarball::Tar;
use common::{Sandbox, hex, list, sha256, string};
use net::image::noise;
use net::raw;
use net::serve::Imgpack;
use net::wire::Head;
use serde_json::json;

/// Longest wait for a change to be seen.
const LIMIT: Duration = Duration::from_secs(60);

/// More than all buffers between a server and a client take, so that a pull can be stopped within.
const LARGE: usize = 24 << 20;

const HUB: &str = "docker.io/library/app:1";

/// An image of one layer that does not fit into any buffer, different for every `seed`.
fn large(seed: u8) -> Image {
    let body = noise(u64::from(seed), LARGE);
    Image::of(vec![Tar::new().file("data", &body).end()])
}

/// In which form images lie on the medium.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Layout,
    OciArchive,
    DockerArchive,
}

const FORMS: [Form; 3] = [Form::Layout, Form::OciArchive, Form::DockerArchive];

impl Form {
    /// Puts an image there, whole and at once, as a careful program does it.
    fn write(self, image: &Image, at: &Path) {
        let part = at.with_extension("part");
        match self {
            Self::Layout => Oci::one(image, Some(HUB)).write(&part),
            Self::OciArchive => {
                std::fs::write(&part, Oci::one(image, Some(HUB)).tar()).expect("a file");
            }
            Self::DockerArchive => {
                std::fs::write(&part, Docker::one(image, json!(["app:1"])).tar()).expect("a file");
            }
        }
        if self == Self::Layout && at.exists() {
            std::fs::remove_dir_all(at).expect("a directory");
        }
        std::fs::rename(&part, at).expect("a new name");
    }

    /// The file in which a blob lies.
    fn file(self, at: &Path, digest: &str) -> PathBuf {
        match self {
            Self::Layout => at.join("blobs").join(digest.replace(':', "/")),
            _ => at.to_owned(),
        }
    }
}

/// The digest of what a tag stands for, everything beneath it fetched and right; the status when it is
/// not there. Wrong bytes fail the test.
fn fetched(host: &str, path: &str) -> Result<String, u16> {
    let answer = raw::send(host, "GET", &format!("/v2/{path}"), &[], b"").map_err(|_| 0u16)?;
    if answer.status() != 200 {
        return Err(answer.status());
    }
    let (repository, _) = path.split_once("/manifests/").expect("the path of a manifest");
    let manifest = answer.json();
    for desc in list(&manifest["layers"]).iter().chain(manifest.get("config")) {
        let digest = string(&desc["digest"]);
        let target = format!("/v2/{repository}/blobs/{digest}");
        // A body that is cut is an error to every client: it has fewer bytes than were announced.
        let blob = raw::send(host, "GET", &target, &[], b"").map_err(|_| 0u16)?;
        if blob.status() != 200 {
            return Err(blob.status());
        }
        if blob.body.len() as u64 != blob.head.length().expect("a length") {
            return Err(0);
        }
        assert_eq!(sha256(&blob.body), digest, "{path}: wrong bytes, and all of them");
    }
    Ok(sha256(&answer.body))
}

/// Waits until a tag stands for something whole that `wanted` takes.
#[track_caller]
fn settles(server: &Imgpack, path: &str, wanted: impl Fn(&Result<String, u16>) -> bool) {
    let end = Instant::now() + LIMIT;
    loop {
        let found = fetched(server.address(), path);
        if wanted(&found) {
            return;
        }
        assert!(Instant::now() < end, "{path} stays {found:?}: {}", server.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A pull of a blob that has begun: some of its bytes have come.
struct Pull {
    stream: BufReader<TcpStream>,
    length: usize,
    body: Vec<u8>,
}

impl Pull {
    fn begin(host: &str, target: &str) -> Self {
        let mut stream = TcpStream::connect(host).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("a request");
        let mut stream = BufReader::new(stream);
        let head = Head::read(&mut stream).expect("an answer").expect("an answer");
        assert_eq!(head.status(), 200);
        let length = usize::try_from(head.length().expect("a length")).expect("a size");
        let mut body = vec![0; 256 << 10];
        stream.read_exact(&mut body).expect("the beginning");
        Self { stream, length, body }
    }

    /// Reads on to the end. Whether all of it came; then it is right.
    #[track_caller]
    fn end(mut self, digest: &str) -> bool {
        let left = (self.length - self.body.len()) as u64;
        // Cut off or reset, it is an error for whoever pulls.
        let _ = (&mut self.stream).take(left).read_to_end(&mut self.body);
        let whole = self.body.len() == self.length;
        assert!(!whole || sha256(&self.body) == digest, "wrong bytes, and all of them");
        whole
    }
}

/// What happens to a medium.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    PulledOut,
    Cut,
    Overwritten,
    Replaced,
}

#[test]
fn a_medium_that_is_harmed_while_it_is_pulled_from_gives_no_wrong_bytes() {
    let (mine, other) = (large(1), large(2));
    for form in FORMS {
        for harm in [Harm::PulledOut, Harm::Cut, Harm::Overwritten, Harm::Replaced] {
            println!("{form:?}, {harm:?}");
            harmed(form, harm, &mine, &other);
        }
    }
}

fn harmed(form: Form, harm: Harm, mine: &Image, other: &Image) {
    let sandbox = Sandbox::new();
    let (at, away) = (sandbox.path("medium"), sandbox.path("away"));
    form.write(mine, &at);
    let place = sandbox.text("medium");
    let mut server = Imgpack::read_only(sandbox, &[&place]);
    let host = server.address().to_owned();
    let tag = "app/manifests/1";
    let before = fetched(&host, tag).expect("it is there");
    let manifest = raw::get(&host, &format!("/v2/{tag}")).json();
    let layer = string(&manifest["layers"][0]["digest"]);
    let file = form.file(&at, &layer);

    let pull = Pull::begin(&host, &format!("/v2/app/blobs/{layer}"));
    match harm {
        Harm::PulledOut => std::fs::rename(&at, &away).expect("a new name"),
        Harm::Cut => {
            let opened = std::fs::File::options().write(true).open(&file).expect("a file");
            opened.set_len(opened.metadata().expect("a size").len() / 2).expect("a file");
        }
        Harm::Overwritten => {
            let mut opened = std::fs::File::options().write(true).open(&file).expect("a file");
            std::io::Seek::seek(&mut opened, std::io::SeekFrom::Start(LARGE as u64 / 2))
                .expect("a file");
            opened.write_all(&[7; 4096]).expect("a file");
        }
        Harm::Replaced => form.write(other, &at),
    }
    let whole = pull.end(&layer);
    assert!(!whole || harm == Harm::PulledOut || harm == Harm::Replaced, "{form:?}, {harm:?}");
    match harm {
        // Nothing wrong comes, and soon it is something else.
        Harm::Replaced => {
            settles(&server, tag, |found| found.as_ref().is_ok_and(|d| *d != before));
        }
        _ => settles(&server, tag, |found| {
            assert!(found != &Ok(before.clone()) || harm == Harm::PulledOut, "{form:?}, {harm:?}");
            matches!(found, Err(0 | 404 | 500..=599))
        }),
    }
    assert_eq!(raw::get(&host, "/healthz").status(), 200, "{form:?}, {harm:?}");
    // Put in again, it is served again.
    if harm != Harm::PulledOut {
        form.write(mine, &at);
    } else {
        std::fs::rename(&away, &at).expect("a new name");
    }
    settles(&server, tag, |found| *found == Ok(before.clone()));
    assert!(!server.said().contains("panicked"), "{}", server.said());
    server.signal("TERM");
    assert_eq!(server.end(), Some(0), "{form:?}, {harm:?}: {}", server.said());
}

#[test]
fn times_of_a_blob_that_change_do_not_take_it_away() {
    let sandbox = Sandbox::new();
    let (at, image) = (sandbox.path("medium"), Image::new("touched", 2));
    Form::Layout.write(&image, &at);
    let place = sandbox.text("medium");
    let server = Imgpack::read_only(sandbox, &[&place]);
    let before = fetched(server.address(), "app/manifests/1").expect("it is there");
    // As a backup by hard links, or `chmod -R`, does it.
    let backup = server.sandbox.path("backup");
    std::fs::create_dir(&backup).expect("a directory");
    for entry in std::fs::read_dir(at.join("blobs/sha256")).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::hard_link(entry.path(), backup.join(entry.file_name())).expect("a link");
    }
    settles(&server, "app/manifests/1", |found| *found == Ok(before.clone()));
}

#[test]
fn an_archive_that_comes_into_a_served_folder_is_served_soon() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("media");
    std::fs::create_dir(&folder).expect("a directory");
    let first = Docker::one(&Image::new("first", 2), json!(["first:1"])).tar();
    let second = Docker::one(&Image::new("second", 2), json!(["second:1", "quay.io/a/b:2"])).tar();
    std::fs::write(folder.join("first.tar"), first).expect("a file");
    let place = sandbox.text("media");
    let server = Imgpack::read_only(sandbox, &[&place]);
    let host = server.address();
    let one = fetched(host, "first/manifests/1").expect("it is there");
    assert_eq!(fetched(host, "second/manifests/1"), Err(404));
    // Half copied, it hides nothing.
    std::fs::write(folder.join("second.tar"), &second[..second.len() / 2]).expect("a file");
    server.says("not served: ");
    assert_eq!(fetched(host, "first/manifests/1"), Ok(one.clone()));
    assert_eq!(fetched(host, "second/manifests/1"), Err(404));
    let begun = Instant::now();
    std::fs::write(folder.join("second.tar"), &second).expect("a file");
    settles(&server, "second/manifests/1", Result::is_ok);
    println!("a new archive is served after {:?}", begun.elapsed());
    assert_eq!(fetched(host, "second/manifests/1"), fetched(host, "quay.io/a/b/manifests/2"));
    assert_eq!(fetched(host, "first/manifests/1"), Ok(one));
    std::fs::remove_file(folder.join("first.tar")).expect("a file");
    settles(&server, "first/manifests/1", |found| *found == Err(404));
    assert!(fetched(host, "second/manifests/1").is_ok());
}

#[test]
fn a_store_that_is_loaded_into_gives_the_old_image_or_the_new_one() {
    let sandbox = Sandbox::new();
    let images = [Image::new("old", 3), Image::new("new", 3)];
    let archives = ["old.tar", "new.tar"];
    for (image, name) in images.iter().zip(archives) {
        sandbox.write(name, &Docker::one(image, json!(["app:1"])).tar());
    }
    let digest = |name: &str| {
        let shown = sandbox.run(&["ls", "--no-trunc", "--format", "{{.Manifest}}", name]).ok();
        shown.out().trim().to_owned()
    };
    let allowed = archives.map(digest);
    assert_ne!(allowed[0], allowed[1]);
    sandbox.run(&["load", "-q", "-i", "old.tar"]).ok();
    let server = Imgpack::read_only(sandbox, &["store:"]);
    let (host, over) = (server.address(), AtomicBool::new(false));
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0, 0];
            while !over.load(Ordering::Relaxed) || seen[1] == 0 {
                let found = fetched(host, "app/manifests/1");
                let at = allowed.iter().position(|d| Ok(d) == found.as_ref());
                seen[at.unwrap_or_else(|| panic!("{found:?}: {}", server.said()))] += 1;
            }
            seen
        });
        for _ in 0..4 {
            for name in archives {
                server.sandbox.run(&["load", "-q", "-i", name]).ok();
                std::thread::sleep(Duration::from_millis(700));
            }
        }
        settles(&server, "app/manifests/1", |found| found.as_ref() == Ok(&allowed[1]));
        over.store(true, Ordering::Relaxed);
        reader.join().expect("only old and new images")
    });
    println!("the old image was read {} times, the new one {}", seen[0], seen[1]);
}

#[test]
fn one_image_has_every_name_that_engines_call_it_by() {
    let sandbox = Sandbox::new();
    Oci::one(&Image::new("hub", 1), Some(HUB)).write(&sandbox.path("media/hub"));
    Oci::one(&Image::new("quay", 1), Some("quay.io/a/b:2")).write(&sandbox.path("media/quay"));
    Oci::one(&Image::new("own", 1), Some("reg.test:5000/c:3")).write(&sandbox.path("media/own"));
    let place = sandbox.text("media");
    let default = Imgpack::read_only(sandbox, &[&place]);
    let quay = Imgpack::start(Sandbox::new(), &["--default-namespace", "quay.io", &place]);
    // What is asked, and which of the images it is: with the usual default namespace, and with quay.io.
    for (path, usual, other) in [
        ("app/manifests/1", 'h', '-'),
        ("library/app/manifests/1", 'h', '-'),
        ("docker.io/library/app/manifests/1", 'h', 'h'),
        ("library/app/manifests/1?ns=docker.io", 'h', 'h'),
        ("app/manifests/1?ns=docker.io", 'h', 'h'),
        ("app/manifests/1?ns=quay.io", '-', '-'),
        ("a/b/manifests/2", '-', 'q'),
        ("quay.io/a/b/manifests/2", 'q', 'q'),
        ("a/b/manifests/2?ns=quay.io", 'q', 'q'),
        ("a/b/manifests/2?ns=ghcr.io", '-', '-'),
        ("ghcr.io/a/b/manifests/2", '-', '-'),
        ("c/manifests/3?ns=reg.test:5000", 'o', 'o'),
        ("reg.test_5000/c/manifests/3", 'o', 'o'),
        ("c/manifests/3", '-', '-'),
        // containerd's override_path: the registry stands in the path, and in the query too.
        ("quay.io/a/b/manifests/2?ns=quay.io", 'q', 'q'),
        ("reg.test_5000/c/manifests/3?ns=reg.test:5000", 'o', 'o'),
        ("quay.io/a/b/manifests/2?ns=docker.io", '-', '-'),
    ] {
        let which = |server: &Imgpack| {
            let answer = raw::get(server.address(), &format!("/v2/{path}"));
            let layer = string(&answer.json()["layers"][0]["digest"]);
            assert!(matches!(answer.status(), 200 | 404), "{path}: {}", answer.status());
            match answer.status() {
                200 => [("hub", 'h'), ("quay", 'q'), ("own", 'o')]
                    .into_iter()
                    .find(|(seed, _)| layer == first_layer(seed))
                    .map_or('?', |(_, letter)| letter),
                _ => '-',
            }
        };
        assert_eq!((which(&default), which(&quay)), (usual, other), "{path}");
    }
}

#[test]
fn what_was_pushed_is_found_by_its_name_as_a_mirror_of_any_registry() {
    let server = Imgpack::writable();
    let host = server.address();
    raw::push(
        host,
        "coreos/etcd",
        &Oci::one(&Image::new("etcd", 1), Some("quay.io/coreos/etcd:1")),
    );
    let etcd = raw::check(host, "coreos/etcd", "1");
    raw::push(host, "quay.io/own/app", &Oci::one(&Image::new("own", 1), Some("x:1")));
    for (path, want) in [
        ("coreos/etcd/manifests/1?ns=quay.io", 200),
        ("coreos/etcd/manifests/1?ns=docker.io", 200),
        ("coreos/etcd/manifests/2?ns=quay.io", 404),
        ("own/app/manifests/1?ns=quay.io", 200),
        ("own/app/manifests/1?ns=ghcr.io", 404),
    ] {
        let answer = raw::get(host, &format!("/v2/{path}"));
        assert_eq!(answer.status(), want, "{path}");
        let layer = string(&answer.json()["layers"][0]["digest"]);
        let repository = path.split("/manifests/").next().expect("a name");
        let query = path.split('?').nth(1).expect("a query");
        let blob = raw::get(host, &format!("/v2/{repository}/blobs/{layer}?{query}"));
        assert!(want == 404 || sha256(&blob.body) == layer, "{path}");
    }
    assert_eq!(fetched(host, "coreos/etcd/manifests/1"), Ok(etcd));
    // The configuration of engines can be had while the store is locked by who serves it.
    let show = ["serve", "--listen", "192.0.2.1:5000", "--writable", "registry"];
    let shown = server.sandbox.run(&[&show[..], &["--print-config", "podman"]].concat()).ok();
    assert!(shown.out().contains("192.0.2.1:5000/quay.io"), "{}", shown.out());
    let none =
        ["serve", "--listen", "192.0.2.1:5000", "--writable", "none", "--print-config", "k3s"];
    server.sandbox.run(&none).ok();
    assert!(!server.sandbox.path("none").exists());
}

fn first_layer(seed: &str) -> String {
    let oci = Oci::one(&Image::new(seed, 1), None);
    format!("sha256:{}", oci.blobs[0].0)
}

#[test]
fn who_has_it_already_is_sent_nothing() {
    let sandbox = Sandbox::new();
    Form::Layout.write(&Image::new("known", 1), &sandbox.path("medium"));
    let place = sandbox.text("medium");
    let server = Imgpack::read_only(sandbox, &[&place]);
    let host = server.address();
    let manifest = raw::get(host, "/v2/app/manifests/1");
    let layer = string(&manifest.json()["layers"][0]["digest"]);
    let other = format!("\"sha256:{}\"", hex(b"other"));
    for target in ["/v2/app/manifests/1".to_owned(), format!("/v2/app/blobs/{layer}")] {
        let full = raw::get(host, &target);
        let tag = full.head.get("etag").expect("an ETag").to_owned();
        for (known, status) in [(tag.as_str(), 304), (&format!("W/{tag}"), 304), (&other, 200)] {
            let again = raw::send(host, "GET", &target, &[("If-None-Match", known)], b"");
            let again = again.expect("an answer");
            assert_eq!(again.status(), status, "{target} {known}");
            assert_eq!(again.body.is_empty(), status == 304, "{target} {known}");
            assert_eq!(again.head.get("etag"), Some(tag.as_str()), "{target}");
        }
    }
}

/// How long a first pull takes is printed: it depends on the machine.
#[test]
fn what_is_served_is_what_the_source_says_from_the_first_pull_on() {
    let image = large(3);
    for form in FORMS {
        let sandbox = Sandbox::new();
        form.write(&image, &sandbox.path("medium"));
        let place = sandbox.text("medium");
        let shown = sandbox.run(&["ls", "--no-trunc", "--format", "{{.ID}} {{.Manifest}}", &place]);
        let begun = Instant::now();
        let server = Imgpack::read_only(sandbox, &[&place]);
        let manifest = raw::get(server.address(), "/v2/app/manifests/1");
        println!("{form:?}: the first manifest {:?} after the start", begun.elapsed());
        let digest = fetched(server.address(), "app/manifests/1").expect("it is there");
        println!("{form:?}: the first image of 24 MiB {:?} after the start", begun.elapsed());
        let id = string(&manifest.json()["config"]["digest"]);
        assert_eq!(shown.ok().out().trim(), format!("{id} {digest}"), "{form:?}");
        assert_eq!(id, image.id(), "{form:?}");
    }
}

/// Bytes that a process asked the system for so far.
fn read_by(server: &Imgpack) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).expect("its numbers");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|n| n.parse().ok()).expect("a number")
}

/// Puts a Docker archive with layers in gzip there, as crane and Bazel write it, not just now.
fn packed(image: &Image, at: &Path) {
    let archive = Docker::one(image, json!(["app:1"])).compressed(|_, layer| gzip(layer));
    std::fs::write(at, archive.tar()).expect("a file");
    let file = std::fs::File::options().write(true).open(at).expect("a file");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(old).expect("another time");
}

const TAG: &str = "app/manifests/1";

#[test]
fn layers_that_must_be_hashed_are_hashed_at_the_first_start_only() {
    let sandbox = Sandbox::new();
    packed(&large(4), &sandbox.path("medium.tar"));
    let place = sandbox.text("medium.tar");
    let start = |sandbox: Sandbox, hashes: bool| {
        let server = Imgpack::read_only(sandbox, &[&place, "--state-dir", "state"]);
        let manifest = raw::get(server.address(), &format!("/v2/{TAG}"));
        let read = read_by(&server);
        println!("{read} bytes are read before the first manifest");
        assert_eq!(read > LARGE as u64, hashes, "{}", server.said());
        assert!(hashes || read < LARGE as u64 / 8, "{read}");
        (server, sha256(&manifest.body))
    };
    let (server, first) = start(sandbox, true);
    assert!(!server.said().contains("warning"), "{}", server.said());
    assert_eq!(fetched(server.address(), TAG), Ok(first.clone()));
    let (server, second) = start(server.ended(), false);
    assert_eq!(fetched(server.address(), TAG), Ok(first.clone()));
    assert_eq!(second, first);
    // Written anew, it is hashed anew.
    let sandbox = server.ended();
    packed(&large(5), &sandbox.path("medium.tar"));
    let (server, third) = start(sandbox, true);
    assert_ne!(third, first);
    // Nobody else keeps a memory, and nobody who only looks.
    let sandbox = server.ended();
    std::fs::remove_dir_all(sandbox.path("state")).expect("a directory");
    sandbox.run(&["serve", &place, "--state-dir", "state", "--print-config", "k3s"]).ok();
    sandbox.run(&["verify", &place]).ok();
    assert!(!sandbox.path("state").exists() && !sandbox.path(".local").exists());
    // Where none can be kept, it is served all the same.
    sandbox.write("state", b"no directory");
    let (server, again) = start(sandbox, true);
    assert_eq!(again, third);
    assert!(!server.said().contains("warning"), "{}", server.said());
}

#[test]
fn a_memory_that_lies_gives_no_wrong_bytes_and_is_corrected() {
    let sandbox = Sandbox::new();
    let place = sandbox.text("medium.tar");
    packed(&large(6), &sandbox.path("medium.tar"));
    let args = [place.as_str(), "--state-dir", "state"];
    let server = Imgpack::read_only(sandbox, &args);
    let right = fetched(server.address(), TAG).expect("it is there");
    let sandbox = server.ended();
    let memory = sandbox.path("state/digests");
    let text = std::fs::read_to_string(&memory).expect("a memory");
    let (_, line) = text.split_once('\n').expect("lines");
    let (before, digests) = line.split_once("sha256:").expect("a digest");
    let (_, diff_id) = digests.split_once(' ').expect("a diff id");
    let lie = sha256(b"something else");
    let write = |line: &str| {
        std::fs::write(&memory, format!("{}\n{line}", sha256(line.as_bytes()))).expect("a file");
    };
    // Where the layers must be unpacked anyway, the lie is found at the start.
    write(&format!("{before}{lie}\n"));
    let server = Imgpack::read_only(sandbox, &args);
    assert_eq!(fetched(server.address(), TAG), Ok(right.clone()));
    let sandbox = server.ended();
    assert_eq!(std::fs::read_to_string(&memory).expect("a memory"), text);
    write(&format!("{before}{lie} {diff_id}"));

    let server = Imgpack::read_only(sandbox, &args);
    let host = server.address().to_owned();
    let manifest = raw::get(&host, &format!("/v2/{TAG}")).json();
    assert_eq!(string(&manifest["layers"][0]["digest"]), lie, "the lie is believed so far");
    // The end does not come: `fetched` fails when it does, with other bytes than the digest says.
    assert_eq!(fetched(&host, TAG), Err(0));
    settles(&server, TAG, |found| *found == Ok(right.clone()));
    let blob = raw::get(&host, &format!("/v2/app/blobs/{lie}"));
    assert_eq!(blob.status(), 404);
    let sandbox = server.ended();
    assert_eq!(std::fs::read_to_string(&memory).expect("a memory"), text);
    let server = Imgpack::read_only(sandbox, &args);
    assert_eq!(fetched(server.address(), TAG), Ok(right));
}
