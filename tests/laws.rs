//! The six laws of the engine, over every pair of places.

mod common;
mod engine;
mod net;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::image::{Image, Oci, layer};
use engine::{KINDS, Spot, content, context, file, remote, seed, single, transfer, verify};
use imgpack::copy::{Policy, copy};
use imgpack::descriptor::Descriptor;
use imgpack::io::dir::Dir;
use imgpack::io::scratch::Scratch;
use imgpack::layer::Compression;
use imgpack::transport::{Accepts, Blob, Refused, Reused, Sealed, Sink};
use imgpack::{Kind, Result};

/// Runs a law over every pair; a Docker archive carries no indexes, so its digests are its own.
fn pairs(law: impl Fn(&'static str, &'static str, &Spot, &Spot)) {
    for from in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let source = seed(from, dir.path());
        for to in KINDS {
            law(from, to, &source, &Spot::new(to, &dir.path().join(to)));
        }
    }
}

#[test]
fn identity_an_empty_policy_keeps_every_digest_and_byte() {
    let ctx = context(3);
    pairs(|from, to, source, target| {
        transfer(source, target, &Policy::default(), &ctx).unwrap();
        let (before, after) = (source.source(&ctx).unwrap(), target.source(&ctx).unwrap());
        let count = if single(to) { 1 } else { before.roots().len() };
        assert_eq!(after.roots().len(), count, "{from} to {to}");
        for root in &before.roots()[..count] {
            let same = after.roots().iter().find(|r| r.desc.digest == root.desc.digest);
            let same = same.unwrap_or_else(|| panic!("{from} to {to}: {} is lost", root.title()));
            if !single(to) {
                let named = target.named(std::slice::from_ref(root));
                assert_eq!(same.names, named[0].names, "{from} to {to}");
            }
            let before = content(before.as_ref(), root, &ctx);
            assert!(before == content(after.as_ref(), same, &ctx), "{from} to {to}: other bytes");
            assert!(before.len() >= 4, "{from}: hardly anything to compare");
        }
    });
}

#[test]
fn idempotence_a_second_copy_stores_nothing() {
    let ctx = context(3);
    pairs(|from, to, source, target| {
        let first = transfer(source, target, &Policy::default(), &ctx).unwrap();
        assert!(first.stored > 0 && first.reused == 0, "{from} to {to}: {first:?}");
        let before = target.files();
        let second = transfer(source, target, &Policy::default(), &ctx).unwrap();
        if !file(to) {
            // Of what is asked for over a network names are compared first, and then no blob.
            let asked = remote(from) || remote(to);
            let unchanged = asked && second.published.iter().all(|p| p.unchanged);
            let reused = if unchanged { 0 } else { first.stored };
            assert_eq!((second.stored, second.reused), (0, reused), "{from} to {to}");
            assert!(unchanged || !remote(to), "{from} to {to}: {second:?}");
        }
        assert!(before == target.files(), "{from} to {to}: the second copy changed something");
    });
}

/// A sink that notes the order in which things come.
struct Recorder {
    put: Arc<Mutex<HashSet<String>>>,
    published: Arc<Mutex<Vec<String>>>,
    dir: PathBuf,
    lanes: usize,
}

impl Sink for Recorder {
    fn place(&self) -> String {
        "recorder".into()
    }

    fn accepts(&self) -> Accepts {
        Accepts::staged(self.lanes)
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        Ok(Arc::new(Scratch::create(Dir::open(&self.dir)?)?))
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        Ok(self.put.lock().unwrap().contains(&desc.digest.to_string()).then(Reused::default))
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        blob.open()?.read_to_end(&mut bytes)?;
        let kind = blob.descriptor().media_type.as_str();
        let mut put = self.put.lock().unwrap();
        if kind.contains("manifest") || kind.contains("index") {
            let doc: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let lists = ["manifests", "layers"].map(|key| common::list(&doc[key]).to_vec());
            let config = doc.get("config").cloned();
            for child in lists.into_iter().flatten().chain(config) {
                let digest = common::string(&child["digest"]);
                assert!(put.contains(&digest), "{kind} came before its {digest}");
            }
        }
        put.insert(blob.descriptor().digest.to_string());
        Ok(())
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        let digest = sealed.root.desc.digest.to_string();
        let put = self.put.lock().unwrap();
        assert!(put.contains(&digest), "a name came before its image");
        let absent = sealed.blobs.iter().find(|b| !put.contains(&b.digest.to_string()));
        assert!(absent.is_none(), "{absent:?} is listed and was never stored");
        self.published.lock().unwrap().push(digest);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        Ok(Vec::new())
    }
}

#[test]
fn order_no_parent_before_its_children_and_no_name_before_its_image() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let spot = seed(kind, dir.path());
        for lanes in [1, 8] {
            let ctx = context(8);
            let source = spot.source(&ctx).unwrap();
            let (put, published) = (Arc::default(), Arc::<Mutex<Vec<String>>>::default());
            let recorder =
                Recorder { put, published: published.clone(), dir: dir.path().into(), lanes };
            let roots = source.roots();
            copy(source.as_ref(), Box::new(recorder), roots, &Policy::default(), &ctx).unwrap();
            let wanted: Vec<String> = roots.iter().map(|r| r.desc.digest.to_string()).collect();
            assert_eq!(*published.lock().unwrap(), wanted, "{kind}");
        }
    }
}

/// Changes one byte of a blob that only the image `fx/lone:1` has, wherever it lies.
fn damage(spot: &Spot) {
    let ctx = context(1);
    let source = spot.source(&ctx).unwrap();
    let lone = source.roots().iter().find(|r| r.title().ends_with("fx/lone:1")).unwrap();
    let tree = imgpack::copy::walk(source.as_ref(), lone, &ctx).unwrap();
    let layer = tree.node.manifests()[0].layers[0].clone();
    let bytes = Blob::new(source.as_ref(), layer.clone(), &ctx).bytes(1 << 20).unwrap();
    drop(source);
    if let Some(registry) = spot.registry() {
        assert!(registry.damage(&layer.digest.to_string()), "the layer is nowhere");
        return;
    }
    for entry in walkdir::WalkDir::new(spot.path()) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let mut all = std::fs::read(entry.path()).unwrap();
        let Some(at) = all.windows(bytes.len()).position(|w| w == bytes) else { continue };
        all[at + bytes.len() / 2] ^= 1;
        std::fs::remove_file(entry.path()).unwrap();
        std::fs::write(entry.path(), all).unwrap();
        return;
    }
    panic!("the layer is nowhere");
}

#[test]
fn locality_one_bad_image_fails_alone() {
    let ctx = context(3);
    for from in KINDS.into_iter().filter(|k| !single(k)) {
        let dir = tempfile::tempdir().unwrap();
        let source = seed(from, dir.path());
        damage(&source);
        for to in KINDS.into_iter().filter(|k| !file(k) && !single(k)) {
            let target = Spot::new(to, &dir.path().join(to));
            let error = transfer(&source, &target, &Policy::default(), &ctx).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{from} to {to}: {error}");
            let roots = target.source(&ctx).map_or(0, |s| s.roots().len());
            assert_eq!(roots, 0, "{from} to {to}: something was published");
            let policy = Policy { keep_going: true, ..Policy::default() };
            let report = transfer(&source, &target, &policy, &ctx).unwrap();
            let failed: Vec<&str> = report.failed.iter().map(|f| f.title.as_str()).collect();
            assert!(matches!(failed[..], [one] if one.ends_with("fx/lone:1")), "{from} to {to}");
            assert_eq!(report.published.len(), 1, "{from} to {to}");
            assert_eq!(verify(&target, &ctx), 1, "{from} to {to}");
        }
    }
}

#[test]
fn reproducible_the_same_input_gives_the_same_bytes_at_any_number_of_jobs() {
    let recode =
        Policy { compress: Some("zstd".parse::<Compression>().unwrap()), ..Policy::default() };
    for policy in [Policy::default(), recode] {
        for from in KINDS {
            let dir = tempfile::tempdir().unwrap();
            let source = seed(from, dir.path());
            for to in KINDS {
                let written: Vec<BTreeMap<PathBuf, Vec<u8>>> = [1, 2, 8]
                    .into_iter()
                    .map(|jobs| {
                        let target = Spot::new(to, &dir.path().join(format!("{to}-{jobs}")));
                        transfer(&source, &target, &policy, &context(jobs)).unwrap();
                        let mut files = target.files();
                        // A set of lines in the order in which checks ended.
                        if let Some(proofs) = files.get_mut(&PathBuf::from("x/diff-ids")) {
                            let text = String::from_utf8(proofs.clone()).unwrap();
                            let mut lines: Vec<&str> = text.lines().collect();
                            lines.sort_unstable();
                            *proofs = lines.join("\n").into_bytes();
                        }
                        files
                    })
                    .collect();
                assert!(!written[0].is_empty(), "{from} to {to}: nothing was written");
                assert!(written[0] == written[1], "{from} to {to}: 1 and 2 jobs differ");
                assert!(written[0] == written[2], "{from} to {to}: 1 and 8 jobs differ");
            }
        }
    }
}

#[test]
fn closure_whatever_was_published_verifies() {
    let ctx = context(3);
    let arm = Policy { platforms: vec!["linux/arm64".parse().unwrap()], ..Policy::default() };
    let gzip = Policy { compress: Some("none".parse().unwrap()), ..Policy::default() };
    for policy in [Policy::default(), gzip] {
        pairs(|from, to, source, target| {
            transfer(source, target, &policy, &ctx).unwrap();
            let count = source.source(&ctx).unwrap().roots().len();
            let wanted = if single(to) { 1 } else { count };
            assert_eq!(verify(target, &ctx), wanted, "{from} to {to}");
        });
    }
    // Only the index has that platform; the other image is for another one.
    let dir = tempfile::tempdir().unwrap();
    let source = seed("oci", dir.path());
    let target = Spot::new("oci", &dir.path().join("arm"));
    let policy = Policy { keep_going: true, ..arm };
    let report = transfer(&source, &target, &policy, &ctx).unwrap();
    assert_eq!((report.published.len(), report.failed.len()), (1, 1));
    assert_eq!(verify(&target, &ctx), 1);
}

#[test]
fn what_is_about_a_platform_that_was_not_chosen_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut oci = Oci::new();
    let platforms = ["amd64", "arm64"].map(|cpu| {
        let made = Image::for_platform(vec![layer(cpu)], "linux", cpu);
        let mut entry = oci.manifest(&made);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": cpu});
        entry
    });
    let index = oci.index(&platforms);
    let mut about = |subject: &serde_json::Value, kind: &str| {
        let desc = oci.referrer(subject, kind);
        oci.name(&desc, None);
        desc
    };
    let (chosen, other, whole) = (
        about(&platforms[1], "text/x-sbom"),
        about(&platforms[0], "text/x-sbom"),
        about(&index, "text/x-signature"),
    );
    let of_chosen = about(&chosen, "text/x-signature");
    oci.name(&index, Some("docker.io/library/app:v1"));
    let source = Spot::new("oci", dir.path());
    oci.write(&source.path());
    let arm = Policy { platforms: vec!["linux/arm64".parse().unwrap()], ..Policy::default() };
    let all = [&chosen, &of_chosen, &other, &whole];
    for (policy, wanted) in [(arm, [true, true, false, false]), (Policy::default(), [true; 4])] {
        let target = Spot::new("oci", tempfile::tempdir_in(dir.path()).unwrap().path());
        transfer(&source, &target, &policy, &context(2)).unwrap();
        let there = target.source(&context(2)).unwrap();
        let found = all.map(|desc| {
            let digest = desc["digest"].as_str().unwrap();
            there.roots().iter().any(|r| r.desc.digest.to_string() == digest)
        });
        assert_eq!(found, wanted, "{policy:?}");
    }
}
