//! `kill -9` at random times, again and again, over one store: what was answered stays, nothing dangles.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Sandbox, list, sha256, string};
use crate::net::image::noise;
use crate::net::raw;
use crate::{begin, get, image, post, put, serve, wait};

/// What one client knows of its repository.
#[derive(Default)]
struct Known {
    repository: String,
    /// What each tag may name: one thing when the last change was answered, two when it was cut off.
    tags: HashMap<String, Vec<Option<String>>>,
    /// Uploads that were not finished: where, all their bytes, and how many were taken.
    open: Vec<(String, Vec<u8>, u64)>,
    count: u64,
}

impl Known {
    fn bytes(&mut self) -> Vec<u8> {
        self.count += 1;
        let seed = self.repository.bytes().map(u64::from).sum::<u64>() * 1_000_003 + self.count;
        noise(seed, 20_000 + (seed as usize * 7919) % 200_000)
    }

    /// Pushes and deletes until the server is gone.
    fn work(&mut self, host: &str, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let done = match self.count % 7 {
                3 => self.remove(host),
                5 => self.upload(host),
                _ => self.push(host),
            };
            self.count += 1;
            if done.is_err() {
                return;
            }
        }
    }

    fn push(&mut self, host: &str) -> io::Result<()> {
        let layer = self.bytes();
        let (manifest, config) = image(&layer, self.count);
        for blob in [&layer, &config] {
            assert_eq!(post(host, &self.repository, blob)?, 201);
        }
        let tag = format!("t{}", self.count % 3);
        let new = Some(sha256(&manifest));
        let may = self.tags.entry(tag.clone()).or_insert_with(|| vec![None]);
        may.push(new.clone());
        assert_eq!(put(host, &self.repository, &tag, &manifest)?, 201);
        *may = vec![new];
        Ok(())
    }

    fn remove(&mut self, host: &str) -> io::Result<()> {
        let tag = format!("t{}", self.count % 3);
        let Some(may) = self.tags.get_mut(&tag) else { return Ok(()) };
        may.push(None);
        let target = format!("/v2/{}/manifests/{tag}", self.repository);
        let status = raw::send(host, "DELETE", &target, &[], b"")?.status();
        assert!(status == 202 || (status == 404 && may[0].is_none()), "{status} {may:?}");
        *may = vec![None];
        Ok(())
    }

    fn upload(&mut self, host: &str) -> io::Result<()> {
        let bytes = self.bytes();
        let place = begin(host, &self.repository)?;
        self.open.push((place.clone(), bytes.clone(), 0));
        let half = bytes.len() / 2;
        let first = raw::send(host, "PATCH", &place, &[], &bytes[..half])?;
        assert_eq!(first.status(), 202);
        self.open.last_mut().unwrap().2 = half as u64;
        let closing = format!("{place}?digest={}", sha256(&bytes));
        assert_eq!(raw::send(host, "PUT", &closing, &[], &bytes[half..])?.status(), 201);
        self.open.pop();
        self.whole(host, &sha256(&bytes), bytes.len());
        Ok(())
    }

    /// A blob is there, and is what its name says.
    fn whole(&self, host: &str, digest: &str, size: usize) {
        let Ok(answer) = get(host, &self.repository, &format!("blobs/{digest}")) else { return };
        assert_eq!((answer.status(), answer.body.len()), (200, size), "{digest}");
        assert_eq!(sha256(&answer.body), digest);
    }

    /// After a restart: everything is as it was answered, and what was cut off can go on.
    fn check(&mut self, host: &str) {
        for (tag, may) in &mut self.tags {
            let answer = get(host, &self.repository, &format!("manifests/{tag}")).unwrap();
            let found = (answer.status() == 200).then(|| sha256(&answer.body));
            assert!(may.contains(&found), "{tag}: {found:?}, not one of {may:?}");
            if let Some(digest) = &found {
                let json = answer.json();
                let parts = list(&json["layers"]).iter().chain([&json["config"]]);
                for part in parts {
                    let size = part["size"].as_u64().unwrap() as usize;
                    self_whole(host, &self.repository, &string(&part["digest"]), size);
                }
                let by_digest =
                    get(host, &self.repository, &format!("manifests/{digest}")).unwrap();
                assert_eq!(by_digest.body, answer.body);
            }
            *may = vec![found];
        }
        for (place, bytes, taken) in std::mem::take(&mut self.open) {
            let answer = raw::send(host, "GET", &place, &[], b"").unwrap();
            if answer.status() == 404 {
                // It was closed, and only the answer was lost.
                self_whole(host, &self.repository, &sha256(&bytes), bytes.len());
                continue;
            }
            assert_eq!(answer.status(), 204);
            let range = answer.head.get("Range").unwrap();
            let last: u64 = range.strip_prefix("0-").unwrap().parse().unwrap();
            let at = if last == 0 { 0 } else { last + 1 };
            assert!(at >= taken && at <= bytes.len() as u64, "{range}, {taken} were taken");
            let closing = format!("{place}?digest={}", sha256(&bytes));
            let rest = &bytes[at as usize..];
            let done = raw::send(host, "PUT", &closing, &[], rest).unwrap();
            assert_eq!(done.status(), 201, "{}", String::from_utf8_lossy(&done.body));
            self_whole(host, &self.repository, &sha256(&bytes), bytes.len());
        }
    }
}

fn self_whole(host: &str, repository: &str, digest: &str, size: usize) {
    let answer = get(host, repository, &format!("blobs/{digest}")).unwrap();
    assert_eq!((answer.status(), answer.body.len()), (200, size), "{digest}");
    assert_eq!(sha256(&answer.body), digest);
}

#[test]
fn what_was_answered_outlives_any_kill() {
    let kills = match std::env::var("IMGPACK_TEST_SCALE").as_deref() {
        Ok("soak") => 200,
        _ => 12,
    };
    let sandbox = Sandbox::new();
    let mut clients: Vec<Known> = (0..3)
        .map(|at| Known { repository: format!("client/n{at}"), ..Known::default() })
        .collect();
    for kill in 0..=kills {
        // Short enough that blobs which nothing came to refer to are collected on the way.
        let server = serve(&sandbox, &["--grace", "3"]);
        let host = server.address().to_owned();
        for client in &mut clients {
            client.check(&host);
        }
        let over = AtomicBool::new(kill == kills);
        // Spread evenly from the first request to some hundred of them; some live to collect.
        let life = if kill % 16 == 15 { 5000 } else { (kill * 7919) % 120 };
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| client.work(&host, &over));
            }
            std::thread::sleep(Duration::from_millis(life));
            drop(server);
            over.store(true, Ordering::Relaxed);
        });
    }
    forgotten(&sandbox);
    let store = sandbox.text("registry");
    for args in [["verify", "-q", "store:"].as_slice(), &["prune"]] {
        let ran = sandbox.command(&[&["--store", &store], args].concat()).output().unwrap();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{args:?}: {error}");
    }
}

/// Uploads of which no client ever heard are given up after a day.
fn forgotten(sandbox: &Sandbox) {
    let uploads = sandbox.path("registry/.imgpack-uploads");
    let left = || -> Vec<_> {
        std::fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    for path in left() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(25 * 3600)).unwrap();
    }
    let _server = serve(sandbox, &["--grace", "3"]);
    wait("what was left behind", || left().is_empty());
}
