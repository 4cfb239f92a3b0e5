//! Archives and layouts of real tools: what `inspect`, `load`, `copy`, `verify` and `save` make of them.
//!
//! The expected values come from `expected.json`, which was computed without any image library. The
//! whole set lies beside the project, or where `IMGPACK_FIXTURES` says; without it a part of it, kept
//! in `fixtures/`, covers the same ground.

mod common;
#[path = "fixtures/oracle.rs"]
mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use common::{Ran, Sandbox, list, sha256, string};
use oracle::{Fixture, Row, Verdict};

/// Runs a check over every fixture and reports all that fail together.
fn each(check: impl Fn(&Fixture) -> Result<(), String> + Sync) {
    let all = oracle::fixtures();
    assert!(all.len() > 20, "only {} fixtures", all.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(fixture) = all.get(at) else { return };
                    if let Err(e) = check(fixture) {
                        failures.lock().unwrap().push(format!("{}: {e}", fixture.file));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} fixtures\n{}", failures.len(), failures.join("\n"));
}

fn expect(ran: Ran, code: i32) -> Result<Ran, String> {
    if ran.code == code {
        return Ok(ran);
    }
    Err(format!("{}: exit {} instead of {code}: {}", ran.line, ran.code, ran.stderr.trim()))
}

fn rows(sandbox: &Sandbox, place: &str) -> Result<BTreeSet<Row>, String> {
    let all = expect(sandbox.run(&["inspect", "--format", "json", place]), 0)?.json();
    Ok(list(&all["images"]).iter().map(Row::inspected).collect())
}

fn compare<T: Ord + std::fmt::Debug>(
    found: &BTreeSet<T>,
    wanted: &BTreeSet<T>,
) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    let more: Vec<&T> = found.difference(wanted).collect();
    let less: Vec<&T> = wanted.difference(found).collect();
    Err(format!("\n  not expected: {more:#?}\n  not found: {less:#?}"))
}

#[test]
fn inspect_agrees_with_what_is_expected() {
    each(|fixture| {
        let sandbox = Sandbox::new();
        if fixture.verdict() == Verdict::Unreadable {
            return expect(sandbox.run(&["inspect", &fixture.place()]), 3).map(drop);
        }
        let found = rows(&sandbox, &fixture.place())?;
        if let Some(wanted) = fixture.legacy() {
            return compare(&found.iter().map(Row::chain).collect(), &wanted);
        }
        match fixture.rows() {
            Some(wanted) => compare(&found, &wanted),
            None => {
                let wanted = fixture.targets();
                compare(&found.iter().map(Row::target).collect(), &wanted)
            }
        }
    });
}

#[test]
fn the_id_that_docker_29_shows_is_known_beforehand() {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    each(|fixture| {
        let observed = fixture.seen_by_containerd();
        if observed.is_empty() {
            return Ok(());
        }
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let found = rows(&Sandbox::new(), &fixture.place())?;
        let ours: BTreeSet<String> = found.iter().map(|r| r.target.clone()).collect();
        if observed.iter().any(|engine| engine.is_subset(&ours)) {
            return Ok(());
        }
        Err(format!("engines show {observed:?}, here {ours:?}"))
    });
    assert!(seen.into_inner() > 5, "hardly any fixture was loaded by an engine");
}

#[test]
fn whole_images_are_accepted_and_broken_ones_refused() {
    each(|fixture| {
        let place = fixture.place();
        let sandbox = Sandbox::new();
        let runs = || {
            let tar = sandbox.text("copy.tar");
            [
                sandbox.run(&["load", "-i", &place]),
                sandbox.run(&["copy", &place, &tar]),
                sandbox.run(&["verify", &place]),
            ]
        };
        match fixture.verdict() {
            Verdict::Sound => runs().into_iter().try_for_each(|r| expect(r, 0).map(drop)),
            Verdict::Sparse(missing) => runs().into_iter().try_for_each(|ran| {
                let ran = expect(ran, 0)?;
                match missing.iter().find(|m| !ran.stderr.contains(m.as_str())) {
                    None => Ok(()),
                    Some(m) => Err(format!("{}: does not name {m}: {}", ran.line, ran.stderr)),
                }
            }),
            Verdict::Broken | Verdict::Unreadable => {
                runs().into_iter().try_for_each(|r| expect(r, 3).map(drop))?;
                if sandbox.path("copy.tar").exists() || !sandbox.stored().is_empty() {
                    return Err("something broken was kept".into());
                }
                Ok(())
            }
        }
    });
}

#[test]
fn a_root_file_system_is_no_image_and_the_error_names_import() {
    each(|fixture| {
        if !fixture.file.starts_with("rootfs-tar/") {
            return Ok(());
        }
        let sandbox = Sandbox::new();
        for args in [vec!["load", "-i"], vec!["inspect"], vec!["ls"]] {
            let args: Vec<&str> =
                args.into_iter().chain([fixture.path.to_str().unwrap()]).collect();
            let ran = expect(sandbox.run(&args), 3)?;
            if !ran.stderr.contains("imgpack import") {
                return Err(format!("no word of import: {}", ran.stderr));
            }
        }
        Ok(())
    });
}

#[test]
fn a_stream_reads_as_the_file_does() {
    each(|fixture| {
        if fixture.path.is_dir() || fixture.verdict() == Verdict::Unreadable {
            return Ok(());
        }
        let sandbox = Sandbox::new();
        let bytes = std::fs::read(&fixture.path).unwrap();
        let all = sandbox.feed(&["inspect", "--format", "json", "-"], &bytes);
        let found = list(&expect(all, 0)?.json()["images"]).iter().map(Row::inspected).collect();
        compare(&found, &rows(&sandbox, &fixture.place())?)
    });
}

/// Every blob of an archive by its name, each checked against it.
fn blobs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut all = BTreeMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(path).map_err(|e| e.to_string())?);
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let name = entry.path().map_err(|e| e.to_string())?.display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|h| !h.is_empty()) {
            let digest = format!("sha256:{hex}");
            if sha256(&bytes) != digest {
                return Err(format!("{name} is {}", sha256(&bytes)));
            }
            all.insert(digest, bytes);
        }
    }
    Ok(all)
}

#[test]
fn every_byte_survives_store_union_directory_and_union() {
    each(|fixture| {
        if !matches!(fixture.verdict(), Verdict::Sound | Verdict::Sparse(_)) {
            return Ok(());
        }
        let place = fixture.place();
        let sandbox = Sandbox::new();
        let run = |args: &[&str]| expect(sandbox.run(args), 0);
        run(&["load", "-q", "-i", &place])?;
        let before = rows(&sandbox, &place)?;
        let mut images: Vec<&str> = Vec::new();
        for row in &before {
            let mut names: Vec<&str> = row.names.iter().map(String::as_str).collect();
            if names.is_empty() {
                names.push(&row.target);
            }
            images.extend(names);
        }
        images.dedup();
        let mut save = vec!["save", "--jobs", "1", "-o", "one.tar"];
        save.extend(&images);
        run(&save)?;
        save[2] = "8";
        save[4] = "eight.tar";
        run(&save)?;
        run(&["copy", "-q", "one.tar", "oci:layout"])?;
        run(&["copy", "-q", "--jobs", "8", "oci:layout", "two.tar"])?;
        run(&["verify", "two.tar"])?;
        let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
        if read("one.tar") != read("eight.tar") {
            return Err("save depends on --jobs".into());
        }
        if read("one.tar") != read("two.tar") {
            return Err("the second union is not the first".into());
        }
        let after: BTreeSet<Row> = rows(&sandbox, "two.tar")?;
        let plain = |rows: &BTreeSet<Row>| rows.iter().map(Row::content).collect();
        compare::<_>(&plain(&after), &plain(&before))?;
        // Every blob that an image needs is there with its own bytes.
        let kept = blobs(&sandbox.path("two.tar"))?;
        for row in &before {
            let configs = row.image_id.iter();
            let layers = row.layers.iter().filter(|l| l.present()).map(|l| &l.digest);
            for digest in configs.chain(layers).chain([&row.target, &row.manifest]) {
                if !kept.contains_key(digest) {
                    return Err(format!("{digest} is lost"));
                }
            }
        }
        // Docker's table names the same images.
        let all = sandbox.run(&["inspect", "--format", "json", "--prefer", "docker", "two.tar"]);
        for image in list(&expect(all, 0)?.json()["images"]) {
            let id = string(&image["image_id"]);
            if !before.iter().any(|r| r.image_id.as_deref() == Some(&id)) {
                return Err(format!("manifest.json names {id}, which is no image of the input"));
            }
        }
        Ok(())
    });
}
