//! Many clients at once: the same blob pushed and pulled by all, deletes beside pulls, other processes
//! beside the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Sandbox, sha256};
use crate::net::image::noise;
use crate::net::raw;
use crate::{begin, get, image, post, put, serve, wait, wait_for_upload};

#[test]
fn one_blob_pushed_and_pulled_by_all_is_there_once() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox, &[]);
    let host = server.address();
    let bytes = noise(1, 3_000_000);
    let digest = sha256(&bytes);
    let start = Barrier::new(32);
    std::thread::scope(|scope| {
        for at in 0..32 {
            let (bytes, start) = (&bytes, &start);
            scope.spawn(move || {
                start.wait();
                assert_eq!(post(host, &format!("crowd/{at}"), bytes).unwrap(), 201);
            });
        }
    });
    let files = std::fs::read_dir(sandbox.path("registry/blobs/sha256")).unwrap().count();
    assert_eq!(files, 1);
    std::thread::scope(|scope| {
        for at in 0..64 {
            let (bytes, digest) = (&bytes, &digest);
            scope.spawn(move || {
                let answer = get(host, &format!("crowd/{}", at % 32), &format!("blobs/{digest}"));
                assert!(answer.unwrap().body == *bytes);
            });
        }
    });
}

#[test]
fn two_requests_at_once_on_one_upload_never_mix() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox, &[]);
    let host = server.address();
    let place = begin(host, "crowd/x").unwrap();
    // The first stands in the middle of its body.
    let mut first = TcpStream::connect(host).unwrap();
    let bytes = noise(5, 2_000_000);
    let (half, rest) = bytes.split_at(1_000_000);
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2000000\r\n\r\n");
    first.write_all(head.as_bytes()).unwrap();
    first.write_all(half).unwrap();
    wait_for_upload(&sandbox);
    let second = raw::send(host, "PATCH", &place, &[], b"XXXX").unwrap();
    assert_eq!(second.status(), 409, "{}", String::from_utf8_lossy(&second.body));
    first.write_all(rest).unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
    let closing = format!("{place}?digest={}", sha256(&bytes));
    assert_eq!(raw::send(host, "PUT", &closing, &[], b"").unwrap().status(), 201);
}

#[test]
fn what_is_deleted_while_it_is_pulled_arrives_whole() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox, &["--grace", "0"]);
    let host = server.address();
    let bytes = noise(2, 40_000_000);
    let digest = sha256(&bytes);
    let (manifest, config) = image(&bytes, 0);
    let path = sandbox.path(&format!("registry/blobs/sha256/{}", &digest[7..]));
    // With no grace at all a blob may be collected before its manifest comes; then it is pushed again.
    loop {
        for blob in [&bytes, &config] {
            assert_eq!(post(host, "crowd/x", blob).unwrap(), 201);
        }
        if put(host, "crowd/x", "1", &manifest).unwrap() == 201 {
            break;
        }
    }
    let mut pull = TcpStream::connect(host).unwrap();
    let target = format!("/v2/crowd/x/blobs/{digest}");
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    pull.write_all(head.as_bytes()).unwrap();
    let mut begun = vec![0; 4096];
    pull.read_exact(&mut begun).unwrap();
    let target = format!("/v2/crowd/x/manifests/{}", sha256(&manifest));
    assert_eq!(raw::send(host, "DELETE", &target, &[], b"").unwrap().status(), 202);
    assert_eq!(get(host, "crowd/x", "manifests/1").unwrap().status(), 404);
    wait("the blob to go", || !path.exists());
    pull.read_to_end(&mut begun).unwrap();
    assert!(begun.ends_with(&bytes), "{} bytes", begun.len());
}

#[test]
fn pushes_go_on_beside_collecting_and_other_verbs() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox, &["--grace", "3"]);
    let host = server.address();
    let store = sandbox.text("registry");
    let layer = noise(3, 100_000);
    let (manifest, config) = image(&layer, 0);
    for blob in [&layer, &config] {
        assert_eq!(post(host, "app", blob).unwrap(), 201);
    }
    assert_eq!(put(host, "app", "1", &manifest).unwrap(), 201);
    let imgpack = |args: &[&str]| {
        let ran = sandbox.command(&[&["--store", &store], args].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.success(), said, String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let (listed, error, images) = imgpack(&["images"]);
    assert!(listed && images.contains("app"), "{error}{images}");
    let (pruned, error, _) = imgpack(&["--wait", "0", "prune"]);
    assert!(!pruned && error.contains("in use"), "{error}");
    let (saved, error, _) = imgpack(&["save", "-o", &sandbox.text("app.tar"), "app:1"]);
    assert!(saved, "{error}");
    let (done, count, begun) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let pushed = 1 + count.fetch_add(1, Ordering::Relaxed) as u64;
                let layer = noise(100 + pushed, 50_000);
                let (manifest, config) = image(&layer, pushed);
                for blob in [&layer, &config] {
                    assert_eq!(post(host, "busy", blob).unwrap(), 201);
                }
                assert_eq!(put(host, "busy", &format!("t{}", pushed % 5), &manifest).unwrap(), 201);
                let answer = get(host, "busy", &format!("blobs/{}", sha256(&layer))).unwrap();
                assert_eq!(answer.status(), 200);
            }
        });
        for tag in ["app:2", "other/app:3"] {
            let (tagged, error, _) = imgpack(&["tag", "app:1", tag]);
            assert!(tagged, "{error}");
            let (name, tag) = tag.split_once(':').unwrap();
            wait("a tag to be followed", || {
                get(host, name, &format!("manifests/{tag}")).unwrap().status() == 200
            });
        }
        let (loaded, error, _) = imgpack(&["load", "-q", "-i", &sandbox.text("app.tar")]);
        assert!(loaded, "{error}");
        // Long enough that what is older than the grace period was collected.
        wait("pushes", || {
            let ended = pushing.is_finished();
            ended || count.load(Ordering::Relaxed) > 5 && begun.elapsed() > Duration::from_secs(5)
        });
        done.store(true, Ordering::Relaxed);
        pushing.join().unwrap();
    });
    let (sound, error, _) = imgpack(&["verify", "-q", "store:"]);
    assert!(sound, "{error}");
}

#[test]
fn an_upload_under_way_is_brought_to_its_end_before_the_server_stops() {
    let sandbox = Sandbox::new();
    let mut server = serve(&sandbox, &[]);
    let host = server.address().to_owned();
    let bytes = noise(4, 2_000_000);
    let mut push = TcpStream::connect(&host).unwrap();
    let target = format!("/v2/app/blobs/uploads/?digest={}", sha256(&bytes));
    let length = bytes.len();
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    push.write_all(head.as_bytes()).unwrap();
    push.write_all(&bytes[..length / 2]).unwrap();
    wait_for_upload(&sandbox);
    server.signal("TERM");
    wait("the door to close", || TcpStream::connect(&host).is_err());
    push.write_all(&bytes[length / 2..]).unwrap();
    let mut answer = String::new();
    push.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    server.end();
    let blob = sandbox.path(&format!("registry/blobs/sha256/{}", &sha256(&bytes)[7..]));
    assert_eq!(std::fs::read(blob).unwrap(), bytes);
}
