//! `imgpack serve` at its limits: blobs beyond 4 GiB, long lists, more clients than files, large bodies that
//! nobody wants. The same at full size is in `scripts/soak`.

mod common;
mod net;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::image::{Image, Oci};
use common::{Sandbox, list, sha256, string, strings};
use net::raw;
use net::serve::{Imgpack, Server};
use net::wire::{Body, Head};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const GIB: u64 = 1 << 30;

/// A file that is all holes.
fn sparse(path: &std::path::Path, size: u64) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    File::create(path).and_then(|file| file.set_len(size)).expect("a sparse file");
}

#[test]
fn a_blob_beyond_4_gib_is_read_by_ranges() {
    let sandbox = Sandbox::new();
    let (size, digest) = (5 * GIB, sha256(b"as long as nobody reads all of it"));
    let mut oci = Oci::new();
    let config = oci.blob("application/vnd.oci.image.config.v1+json", b"{}");
    let layer = json!({"mediaType": LAYER, "digest": digest, "size": size});
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let desc = oci.blob(MANIFEST, manifest.to_string().as_bytes());
    oci.name(&desc, Some("docker.io/library/big:1"));
    oci.write(&sandbox.path("layout"));
    sparse(&sandbox.path("layout/blobs").join(digest.replace(':', "/")), size);
    let place = sandbox.text("layout");
    let server = Imgpack::read_only(sandbox, &[&place]);
    let target = format!("/v2/big/blobs/{digest}");
    let head = raw::send(server.address(), "HEAD", &target, &[], b"").expect("an answer");
    assert_eq!(head.head.get("content-length"), Some(size.to_string().as_str()));
    for (asked, first, last) in [
        ("4294967295-4294967296".to_owned(), 4 * GIB - 1, 4 * GIB),
        (format!("{}-", size - 5), size - 5, size - 1),
        ("-7".to_owned(), size - 7, size - 1),
        (format!("{}-{}", 4 * GIB + 9, size + 9), 4 * GIB + 9, size - 1),
    ] {
        // What is long is not read to its end.
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        let host = server.address();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={asked}\r\n\r\n")
            .expect("a request");
        let head = Head::read(&mut BufReader::new(stream)).expect("an answer").expect("a head");
        assert_eq!((head.status(), head.length()), (206, Some(last - first + 1)), "{asked}");
        let range = format!("bytes {first}-{last}/{size}");
        assert_eq!(head.get("content-range"), Some(range.as_str()), "{asked}");
    }
    let range = format!("bytes={size}-");
    let beyond = raw::send(server.address(), "GET", &target, &[("Range", &range)], b"");
    assert_eq!(beyond.expect("an answer").status(), 416);
}

#[test]
fn an_upload_goes_on_across_4_gib() {
    let sandbox = Sandbox::new();
    let store = sandbox.text("registry");
    let start = || Server::start(&sandbox, &["--writable", &store]);
    let server = start();
    let begun = raw::send(server.address(), "POST", "/v2/big/blobs/uploads/", &[], b"");
    let place = begun.expect("an answer").head.get("location").expect("a place").to_owned();
    drop(server);
    // What a client sent before the server was started again.
    let uploads = sandbox.path("registry/.imgpack-uploads");
    let mut files = std::fs::read_dir(uploads).expect("uploads").map(|e| e.expect("a file").path());
    sparse(&files.next().expect("a session"), 4 * GIB - 10);
    let server = start();
    let ask = |method: &str, range: &str, body: &[u8]| {
        let headers: &[_] = if range.is_empty() { &[] } else { &[("Content-Range", range)] };
        let answer = raw::send(server.address(), method, &place, headers, body).expect("an answer");
        (answer.status(), answer.head.get("range").unwrap_or_default().to_owned())
    };
    assert_eq!(ask("GET", "", b""), (204, "0-4294967285".into()));
    assert_eq!(ask("PATCH", "0-19", &[1; 20]).0, 416);
    let twenty = "4294967286-4294967305";
    assert_eq!(ask("PATCH", twenty, &[1; 20]), (202, "0-4294967305".into()));
    assert_eq!(ask("PATCH", twenty, &[1; 20]), (416, "0-4294967305".into()));
    assert_eq!(ask("DELETE", "", b"").0, 204);
}

/// Every entry of a list, and how many pages it has.
fn pages(host: &str, first: &str, key: &str) -> (Vec<Value>, usize) {
    let (mut all, mut next, mut count) = (Vec::new(), Some(first.to_owned()), 0);
    while let Some(target) = next {
        let answer = raw::get(host, &target);
        assert_eq!(answer.status(), 200, "{target}");
        all.extend_from_slice(list(&answer.json()[key]));
        count += 1;
        let link = answer.head.get("link").map(|l| l.split(['<', '>']).nth(1).expect("a link"));
        next = link.map(str::to_owned);
        assert!(count < 100, "{target} leads nowhere");
    }
    (all, count)
}

#[test]
fn long_lists_come_in_pages_from_a_layout_and_from_a_store() {
    let sandbox = Sandbox::new();
    let mut oci = Oci::new();
    let subject = oci.manifest(&Image::new("subject", 1));
    let tags: Vec<String> = (0..3000).map(|n| format!("t{n:04}")).collect();
    for tag in &tags {
        oci.name(&subject, Some(&format!("docker.io/library/long:{tag}")));
    }
    let names: Vec<String> = (0..1200).map(|n| format!("many/r{n:04}")).collect();
    let other = oci.manifest(&Image::new("other", 1));
    for name in &names {
        oci.name(&other, Some(&format!("docker.io/{name}:1")));
    }
    let mut about = BTreeSet::new();
    for n in 0..1500 {
        let config = oci.blob("application/vnd.oci.empty.v1+json", b"{}");
        let referrer = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b",
            "config": config, "layers": [], "subject": subject,
            "annotations": {"n": format!("{n:03000}")}});
        let desc = oci.blob(MANIFEST, referrer.to_string().as_bytes());
        about.insert(string(&desc["digest"]));
        oci.name(&desc, None);
    }
    oci.write(&sandbox.path("layout"));
    let place = sandbox.text("layout");
    for more in [&[place.as_str()][..], &["--writable", &place]] {
        let server = Server::start(&sandbox, more);
        let host = server.address();
        for (n, want) in [("", 1), ("?n=1000", 3), ("?n=999", 4), ("?n=3000", 1), ("?n=2999", 2)] {
            let (found, count) = pages(host, &format!("/v2/long/tags/list{n}"), "tags");
            assert_eq!((strings(&Value::Array(found)), count), (tags.clone(), want), "{n}");
        }
        let rest = raw::get(host, "/v2/long/tags/list?n=5&last=t2997").json();
        assert_eq!(rest["tags"], json!(["t2998", "t2999"]));
        let behind = raw::get(host, "/v2/long/tags/list?last=t29985").json();
        assert_eq!(behind["tags"], json!(["t2999"]));
        let none = raw::get(host, "/v2/long/tags/list?n=0");
        assert_eq!((none.json()["tags"].clone(), none.head.get("link")), (json!([]), None));
        let (found, count) = pages(host, "/v2/_catalog?n=500", "repositories");
        assert_eq!((found.len(), found[0].as_str(), count), (1201, Some("long"), 3));
        let subject = string(&subject["digest"]);
        let (found, count) = pages(host, &format!("/v2/long/referrers/{subject}"), "manifests");
        assert_eq!((found.len(), count), (1500, 2));
        // Every next page is asked of the registry that the first was asked of.
        for first in
            ["_catalog?n=5", "long/tags/list?n=5", &format!("long/referrers/{subject}?x=y")]
        {
            let answer = raw::get(host, &format!("/v2/{first}&ns=docker.io"));
            let link = answer.head.get("link").expect("more");
            assert!(link.contains("&ns=docker%2Eio>"), "{first}: {link}");
        }
        let found: BTreeSet<String> = found.iter().map(|desc| string(&desc["digest"])).collect();
        assert_eq!(found, about);
    }
}

#[test]
fn a_store_with_its_last_changes_beside_its_index_is_served_and_read_whole() {
    let sandbox = Sandbox::new();
    let mut oci = Oci::new();
    let desc = oci.manifest(&Image::new("journal", 1));
    // Beyond 1 MiB an index is no longer written anew for each tag.
    for n in 0..4000 {
        oci.name(&desc, Some(&format!("docker.io/library/app:old-and-quite-long-name-{n}")));
    }
    oci.write(&sandbox.path("layout"));
    let place = sandbox.text("layout");
    let bytes = {
        let server = Server::start(&sandbox, &["--writable", &place]);
        let manifest =
            raw::get(server.address(), &format!("/v2/app/manifests/{}", string(&desc["digest"])));
        raw::push_manifest(server.address(), "app", "new", &manifest.body);
        manifest.body
    };
    assert!(sandbox.path("layout/index.journal").exists(), "there is nothing to be tested");
    let server = Server::start(&sandbox, &[&place]);
    assert_eq!(raw::get(server.address(), "/v2/app/manifests/new").body, bytes);
    for place in [place.clone(), format!("oci:{place}")] {
        assert!(sandbox.run(&["ls", &place]).ok().out().contains("app:new"), "{place}");
    }
}

/// Everything of a connection that is used for one request, and then kept.
fn held(host: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(host).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    write!(stream, "GET /v2/app/manifests/1 HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("a request");
    let mut from = BufReader::new(stream.try_clone().expect("a socket"));
    let head = Head::read(&mut from).expect("an answer").expect("a head");
    let mut body = Vec::new();
    Body::new(&mut from, head.answer_framing("GET")).read_to_end(&mut body).expect("a body");
    (head.status(), stream)
}

#[test]
fn more_clients_than_files_are_all_answered_though_none_hangs_up() {
    let sandbox = Sandbox::new();
    Oci::one(&Image::new("crowd", 1), Some("docker.io/library/app:1"))
        .write(&sandbox.path("layout"));
    let place = sandbox.text("layout");
    let server = Server::limited(&sandbox, 256, &[&place]);
    let host = server.address();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..400).map(|_| scope.spawn(|| held(host))).collect();
        let held: Vec<_> = clients.into_iter().map(|c| c.join().expect("a client")).collect();
        held.iter().map(|(status, _)| *status).collect()
    });
    assert_eq!(statuses, [200; 400]);
    assert_eq!(raw::get(host, "/healthz").status(), 200);
}

/// Sends `size` bytes in one go, as a client that reads nothing before, and reads the answer.
fn blunt(host: &str, head: &str, size: usize) -> std::io::Result<Head> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "{head} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n")?;
    let piece = vec![7; 1 << 20];
    let mut left = size;
    while left > 0 {
        let n = left.min(piece.len());
        stream.write_all(&piece[..n])?;
        left -= n;
    }
    Head::read(&mut BufReader::new(stream))?.ok_or(std::io::ErrorKind::UnexpectedEof.into())
}

#[test]
fn who_sends_much_that_is_refused_reads_why() {
    let sandbox = Sandbox::new();
    let hash = bcrypt::hash("s3cret", 4).expect("a hash");
    let users = sandbox.write("users", format!("al:{hash}\n").as_bytes());
    let (mine, other) = (sandbox.text("registry"), sandbox.text("guarded"));
    let open = Server::start(&sandbox, &["--writable", &mine]);
    let guarded = Server::start(&sandbox, &["--writable", &other, "--htpasswd", &users]);
    let large = sandbox.path("large");
    sparse(&large, 100 << 20);
    for (server, method, path, status, why) in [
        (&guarded, "PUT", "/v2/a/blobs/uploads/x?digest=sha256:0", 401, "UNAUTHORIZED"),
        (&open, "PUT", "/v2/a/blobs/uploads/x?digest=sha256:0", 404, "BLOB_UPLOAD_UNKNOWN"),
        (&open, "PATCH", "/v2/a/blobs/uploads/x", 404, "BLOB_UPLOAD_UNKNOWN"),
        (&open, "PUT", "/v2/a/manifests/1", 413, "SIZE_INVALID"),
        (&open, "POST", "/v2/a/blobs/uploads?digest=sha256:0", 400, "DIGEST_INVALID"),
    ] {
        let head = blunt(server.address(), &format!("{method} {path}"), 100 << 20);
        assert_eq!(head.expect("an answer").status(), status, "{method} {path}");
        for expect in ["Expect:", "Expect: 100-continue"] {
            let url = format!("http://{}{path}", server.address());
            let file = large.to_str().expect("a path");
            let args = ["-sS", "-X", method, "-T", file, "-H", expect, "-w", "%{http_code}", &url];
            let Ok(ran) = Command::new("curl").args(args).output() else {
                net::skip("curl is not installed");
                continue;
            };
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            let good = said.contains(why) && said.ends_with(&status.to_string());
            assert!(
                good,
                "{method} {path} {expect}: {said} {}",
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }
}
