//! Whole syncs over registries that are layouts on disk: what is asked, sent, named and reported.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::context::Context;
use crate::copy::Policy;
use crate::descriptor::{ANNOTATION_NAME, ANNOTATION_REF, ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::layout::{Reading, tables};
use crate::reference::Reference;
use crate::sync::destination::Destination;
use crate::sync::files::LayoutDir;
use crate::sync::lock::Lock;
use crate::sync::naming::{Base, RenameRules};
use crate::sync::policy::AdmissionPolicy;
use crate::sync::report::Status;
use crate::sync::select::{Bare, Selection, item};
use crate::sync::signature::tests::{Signer, payload};
use crate::sync::source::{Listing, SyncSource};
use crate::sync::{Ends, Prepared, SyncJob, SyncReport, prepare, run};
use crate::transport::layout::LayoutSource;
use crate::transport::registry::indexes::Indexes;
use crate::transport::table::{Place, Scheme};
use crate::transport::union::{Union, UnionPart};
use crate::transport::{Root, Sink, Source};
use crate::{manifest, media_type};

/// A layout that stands for all registries of one side.
struct Fixture {
    dir: PathBuf,
    entries: Vec<Descriptor>,
}

impl Fixture {
    fn new(dir: PathBuf) -> Self {
        Self { dir, entries: Vec::new() }
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let desc = Descriptor::of(media_type, bytes);
        let path = self.dir.join(desc.digest.blob_path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        desc
    }

    fn entry(&mut self, mut desc: Descriptor, annotations: &[(&str, &str)]) -> Digest {
        annotations.iter().for_each(|(key, value)| desc.annotate(key, value));
        let digest = desc.digest;
        self.entries.push(desc);
        std::fs::write(self.dir.join("index.json"), manifest::index(&self.entries)).unwrap();
        std::fs::write(self.dir.join("oci-layout"), tables::MARKER).unwrap();
        digest
    }

    /// An image of one layer that holds `content`.
    fn image(&mut self, name: &str, content: &str) -> Digest {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", content.as_bytes()).unwrap();
        let layer = self.blob(media_type::OCI_LAYER, &tar.into_inner().unwrap());
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer.digest
        );
        let config = self.blob(media_type::OCI_CONFIG, config.as_bytes());
        let desc = self.blob(media_type::OCI_MANIFEST, &manifest::image(&config, &[layer]));
        if name.is_empty() {
            return self.entry(desc, &[]);
        }
        let name: Reference = name.parse().unwrap();
        let full = name.to_string();
        self.entry(desc, &[(ANNOTATION_NAME, &full), (ANNOTATION_REF, &full)])
    }

    /// A cosign signature of an image, under its tag beside the image.
    fn signature(&mut self, repository: &str, image: Digest, signer: &Signer) -> Digest {
        let payload = payload(repository, &image, "cosign container image signature");
        let mut layer = self.blob("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
        layer.annotate("dev.cosignproject.cosign/signature", &signer.sign(&payload));
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let desc = self.blob(media_type::OCI_MANIFEST, &manifest::image(&config, &[layer]));
        let full = format!("{repository}:sha256-{}.sig", image.hex());
        self.entry(desc, &[(ANNOTATION_NAME, &full), (ANNOTATION_REF, &full)])
    }

    /// An index of one image; gives its digest and the image's.
    fn index(&mut self, name: &str, content: &str) -> (Digest, Digest) {
        let image = self.image("", content);
        let child = self.entries.pop().unwrap();
        let desc = self.blob(media_type::OCI_INDEX, &manifest::index(&[child]));
        (self.entry(desc, &[(ANNOTATION_NAME, name), (ANNOTATION_REF, name)]), image)
    }

    /// A Helm chart.
    fn chart(&mut self, name: &str) -> Digest {
        let layer = self.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart");
        let config = self.blob("application/vnd.cncf.helm.config.v1+json", b"{\"name\":\"chart\"}");
        let desc = self.blob(media_type::OCI_MANIFEST, &manifest::image(&config, &[layer]));
        self.entry(desc, &[(ANNOTATION_NAME, name), (ANNOTATION_REF, name)])
    }

    /// Something that names an image as its subject.
    fn referrer(&mut self, image: Digest) -> Digest {
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let bytes = format!(
            r#"{{"schemaVersion":2,"mediaType":"{m}","config":{},"layers":[],"subject":{{"mediaType":"{m}","digest":"{image}","size":1}}}}"#,
            config.to_value(),
            m = media_type::OCI_MANIFEST,
        );
        let desc = self.blob(media_type::OCI_MANIFEST, bytes.as_bytes());
        self.entry(desc, &[(ANNOTATION_SUBJECT, &image.to_string())])
    }
}

/// Registries that are layouts, and what was asked of them.
#[derive(Clone)]
struct Fake {
    upstream: PathBuf,
    downstream: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new(temp: &TempDir) -> Self {
        let [upstream, downstream] = ["up", "down"].map(|side| temp.path().join(side));
        Self { upstream, downstream, asked: Arc::default() }
    }

    fn note(&self, what: impl ToString) {
        self.asked.lock().unwrap().push(what.to_string());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn ends(&self, job: &SyncJob) -> Ends {
        let layout = |path: &Path| LayoutSource::open(path, Reading::default(), &ctx()).unwrap();
        let from = match job.from.scheme {
            Scheme::Registry => SyncSource::Registries(Box::new(self.clone())),
            _ => SyncSource::Place(Box::new(layout(&job.from.path))),
        };
        let path = match job.to.scheme {
            Scheme::Registry => &self.downstream,
            _ => &job.to.path,
        };
        let to = Box::new(Noted { fake: self.clone(), dir: LayoutDir::new(path, &ctx()) });
        Ends { from, to, indexes: Arc::new(Indexes::open(None)) }
    }

    fn run(&self, job: &SyncJob) -> Result<SyncReport> {
        run(job, self.ends(job), &ctx())
    }

    fn prepare<'j>(&self, job: &'j SyncJob) -> Prepared<'j> {
        prepare(job, self.ends(job), &ctx()).unwrap()
    }
}

impl Listing for Fake {
    fn open(&self, wanted: &[Reference], _: bool) -> Result<Box<dyn Source>> {
        wanted.iter().for_each(|name| self.note(format!("source {name}")));
        let source = LayoutSource::open(&self.upstream, Reading::default(), &ctx())?;
        let mut union = Union::new("docker://".into(), vec![UnionPart::whole(Box::new(source))]);
        let exact = crate::find::Exact::of(union.roots());
        let lost = wanted.iter().filter(|name| exact.find(name).is_none());
        let error = |name: &Reference| Error::missing("no such image").input(name.to_string());
        union.unreadable = lost.map(|name| (name.to_string(), error(name))).collect();
        Ok(Box::new(union))
    }

    fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        self.note(format!("tags {repository}"));
        let names = LayoutDir::new(&self.upstream, &ctx()).names(None)?;
        let of = |name: &&Reference| name.repository() == repository.repository();
        let tags: Vec<String> =
            names.iter().filter(of).filter_map(|n| Some(n.tag()?.to_owned())).collect();
        if tags.is_empty() { Err(Error::missing("no such repository")) } else { Ok(tags) }
    }

    fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        let names = LayoutDir::new(&self.upstream, &ctx()).names(None)?;
        let paths: BTreeSet<String> = names
            .iter()
            .filter(|name| name.domain() == domain)
            .map(|name| name.path().to_owned())
            .collect();
        Ok(paths.into_iter().collect())
    }
}

/// A layout of which it is noted what is asked.
struct Noted {
    fake: Fake,
    dir: LayoutDir,
}

impl Destination for Noted {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        self.fake.note("sink");
        self.dir.sink()
    }

    fn standing(&self, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        roots.iter().for_each(|root| self.fake.note(format!("head {}", root.title())));
        self.dir.standing(roots)
    }

    fn holds(&self, names: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
        self.dir.holds(names, blobs)
    }

    fn names(&self, beneath: Option<&Base>) -> Result<Vec<Reference>> {
        self.dir.names(beneath)
    }

    fn delete(&self, names: &[Reference]) -> Vec<Result<()>> {
        self.dir.delete(names)
    }
}

fn registry() -> Place {
    Place::registry("")
}

fn ctx() -> Context {
    Context { sync: false, ..Context::default() }
}

fn job(from: Place, to: Place, wanted: &[&str]) -> SyncJob {
    let mut selection = Selection::default();
    wanted.iter().for_each(|text| selection.add(item(text, &Bare::Latest).unwrap()));
    let base = (to.scheme == Scheme::Registry).then(|| "r.local:5000".parse().unwrap());
    SyncJob {
        from,
        to,
        selection,
        pins: None,
        naming: RenameRules { base, ..RenameRules::default() },
        intake: AdmissionPolicy::default(),
        companions: true,
        delete: false,
        delete_most: false,
        policy: Policy { keep_going: true, ..Policy::default() },
    }
}

fn setup() -> (TempDir, Fixture, Fake) {
    let temp = tempfile::tempdir().unwrap();
    let fake = Fake::new(&temp);
    let up = Fixture::new(fake.upstream.clone());
    (temp, up, fake)
}

/// Where the one layer of an image lies.
fn layer_of(dir: &Path, image: Digest) -> String {
    let bytes = std::fs::read(dir.join(image.blob_path())).unwrap();
    let doc = manifest::Document::parse(&bytes, &media_type::OCI_MANIFEST.into()).unwrap();
    doc.children()[1].digest.blob_path()
}

/// Status and destination (else source) of each entry.
fn shown(report: &SyncReport) -> Vec<String> {
    let name = |e: &super::report::Entry| match &e.destination {
        Some(name) => name.familiar(),
        None => e.source.clone(),
    };
    report.entries.iter().map(|e| format!("{} {}", e.status.name(), name(e))).collect()
}

#[test]
fn a_second_run_asks_once_for_each_image_and_sends_nothing() {
    let (temp, mut up, fake) = setup();
    up.image("nginx:1", "a");
    up.image("nginx:2", "b");
    up.image("quay.io/x/y:1", "c");
    up.image("quay.io/x/unwanted:1", "d");
    let dir = Place::layout(temp.path().join("usb"));
    let job = job(registry(), dir, &["nginx:*", "quay.io/x/y:1"]);
    let first = fake.run(&job).unwrap();
    assert_eq!(shown(&first), ["copied nginx:1", "copied nginx:2", "copied quay.io/x/y:1"]);
    assert!(first.totals.bytes_sent > 0 && first.totals.stored == 6, "{:?}", first.totals);
    assert!(first.entries.iter().all(|e| e.bytes > 0 && e.digest.is_some()));
    fake.asked();
    let second = fake.run(&job).unwrap();
    assert_eq!(
        shown(&second),
        ["unchanged nginx:1", "unchanged nginx:2", "unchanged quay.io/x/y:1"]
    );
    assert_eq!(second.totals.bytes_sent, 0);
    let asked = fake.asked();
    assert_eq!(asked.iter().filter(|a| a.starts_with("head")).count(), 3, "{asked:?}");
    assert!(!asked.contains(&"sink".to_owned()));
    // Names in the directory are digests and the layout's own, nothing else.
    for entry in walkdir::WalkDir::new(temp.path().join("usb")).min_depth(1) {
        let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
        let known = ["blobs", "sha256", "index.json", "oci-layout"].contains(&name.as_str());
        assert!(known || Digest::from_hex(&name).is_ok(), "{name}");
    }
}

#[test]
fn one_bad_image_does_not_stop_the_others() {
    let (temp, mut up, fake) = setup();
    let good = up.image("a:1", "a");
    let bad = up.image("b:1", "b");
    let layer = fake.upstream.join(layer_of(&fake.upstream, bad));
    let bytes = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, vec![7; bytes.len()]).unwrap();
    let wanted = ["a:1", "b:1", "gone:1", "none:1.*"];
    let dir = Place::layout(temp.path().join("usb"));
    let mut job = job(registry(), dir.clone(), &wanted);
    let report = fake.run(&job).unwrap();
    assert_eq!(
        shown(&report),
        [
            "failed docker.io/library/none:1.*",
            "failed docker.io/library/gone:1",
            "copied a:1",
            "failed b:1"
        ]
    );
    let kinds: Vec<Kind> = report.failed().map(|e| e.error.as_ref().unwrap().kind()).collect();
    assert_eq!(kinds, [Kind::Missing, Kind::Missing, Kind::Corrupt]);
    assert_eq!(report.error().unwrap().kind(), Kind::Partial);
    assert_eq!(report.entries[2].digest, Some(good));
    // Mended, what failed is tried again and nothing else.
    std::fs::write(&layer, bytes).unwrap();
    up.image("gone:1", "g");
    up.image("none:1.5", "n");
    job.selection = super::report::retry(report.to_value().to_string().as_bytes()).unwrap();
    let again = fake.run(&job).unwrap();
    assert_eq!(again.count(Status::Copied), 3, "{:?}", shown(&again));
    assert!(again.error().is_none());
    // Stopping at the first leaves nothing behind.
    let mut strict = self::job(registry(), Place::layout(temp.path().join("strict")), &wanted);
    strict.selection.add(item("missing:1", &Bare::Latest).unwrap());
    strict.policy.keep_going = false;
    assert_eq!(fake.run(&strict).unwrap_err().kind(), Kind::Missing);
    assert!(!temp.path().join("strict/index.json").exists());
}

#[test]
fn every_failure_keeps_its_own_reason() {
    let (temp, mut up, fake) = setup();
    for name in ["a:1", "b:1"] {
        let digest = up.image(name, name);
        std::fs::remove_file(fake.upstream.join(layer_of(&fake.upstream, digest))).unwrap();
    }
    let dir = Place::layout(temp.path().join("usb"));
    let report = fake.run(&job(registry(), dir, &["a:1", "b:1"])).unwrap();
    let texts: BTreeSet<String> =
        report.failed().map(|e| e.error.as_ref().unwrap().to_string()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
}

#[test]
fn collisions_are_found_before_anything_is_sent() {
    let (_temp, mut up, fake) = setup();
    up.image("docker.io/x/app:1", "a");
    up.image("quay.io/x/app:1", "b");
    up.image("quay.io/y/app:1", "b");
    let mut job = job(registry(), registry(), &["docker.io/*", "quay.io/*"]);
    let error = fake.run(&job).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.what().contains("docker.io/x/app:1") && error.what().contains("quay.io/x/app:1"));
    assert!(!fake.asked().contains(&"sink".to_owned()));
    job.naming.style = super::naming::Style::Scoped;
    let report = fake.run(&job).unwrap();
    assert_eq!(
        shown(&report),
        [
            "copied r.local:5000/docker.io/x/app:1",
            "copied r.local:5000/quay.io/x/app:1",
            "copied r.local:5000/quay.io/y/app:1"
        ]
    );
    assert_eq!(report.moved[0].from.to_string(), "docker.io/x/app:1");
}

#[test]
fn companions_follow_their_image_under_its_new_name() {
    let (temp, mut up, fake) = setup();
    let signer = Signer::new();
    let image = up.image("quay.io/x/app:1", "a");
    let other = up.image("quay.io/x/other:1", "b");
    let signature = up.signature("quay.io/x/app", image, &signer);
    let referrer = up.referrer(image);
    up.signature("quay.io/x/other", other, &signer);
    let usb = temp.path().join("usb");
    let fetch = job(registry(), Place::layout(usb.clone()), &["quay.io/x/app:1"]);
    let report = fake.run(&fetch).unwrap();
    let found: BTreeSet<Digest> = report.entries.iter().filter_map(|e| e.digest).collect();
    assert!(found.contains(&image) && found.contains(&signature) && found.contains(&referrer));
    let mut push = job(Place::layout(usb), registry(), &[]);
    let report = fake.run(&push).unwrap();
    let tag = format!("r.local:5000/x/app:sha256-{}.sig", image.hex());
    let names = shown(&report);
    assert!(names.contains(&"copied r.local:5000/x/app:1".to_owned()), "{names:?}");
    assert!(names.contains(&format!("copied {tag}")), "{names:?}");
    assert!(names.contains(&format!("copied r.local:5000/x/app@{referrer}")), "{names:?}");
    let again = fake.run(&push).unwrap();
    assert_eq!(again.entries.iter().filter(|e| e.status == Status::Unchanged).count(), 3);
    push.companions = false;
    assert_eq!(fake.run(&push).unwrap().entries.len(), 1);
}

#[test]
fn companions_of_platforms_and_of_companions_follow_and_go_with_the_image() {
    let (temp, mut up, fake) = setup();
    let signer = Signer::new();
    let (index, image) = up.index("quay.io/x/app:1", "a");
    let signature = up.signature("quay.io/x/app", image, &signer);
    let sbom = up.referrer(image);
    let of_sbom = up.referrer(sbom);
    let all = BTreeSet::from([index, signature, sbom, of_sbom]);
    up.image("quay.io/x/other:1", "b");
    let (from, usb) =
        (Place::layout(fake.upstream.clone()), Place::layout(temp.path().join("usb")));
    let came = |report: &SyncReport| -> BTreeSet<Digest> {
        report.entries.iter().filter_map(|e| e.digest).collect()
    };
    let report = fake.run(&job(from.clone(), usb.clone(), &["quay.io/x/app:1"])).unwrap();
    assert_eq!(came(&report), all, "{:?}", shown(&report));
    let report = fake.run(&job(usb.clone(), registry(), &[])).unwrap();
    assert_eq!(came(&report), all);
    let names = shown(&report);
    assert!(names.contains(&format!("copied r.local:5000/x/app@{of_sbom}")), "{names:?}");
    let mut other = job(from, usb.clone(), &["quay.io/x/other:1"]);
    other.delete = true;
    fake.run(&other).unwrap();
    let left = fake.run(&job(usb, registry(), &[])).unwrap();
    assert_eq!(left.entries.len(), 1, "{:?}", shown(&left));
}

#[test]
fn a_directory_is_the_same_whatever_the_order_of_the_list() {
    let (temp, mut up, fake) = setup();
    for name in ["b:1", "a:1", "c:2"] {
        up.image(name, name);
    }
    let indexes = [["c:2", "a:1", "b:1"], ["a:1", "b:1", "c:2"]].map(|names| {
        let dir = temp.path().join(names[0]);
        fake.run(&job(registry(), Place::layout(dir.clone()), &names)).unwrap();
        std::fs::read_to_string(dir.join("index.json")).unwrap()
    });
    assert_eq!(indexes[0], indexes[1]);
}

#[test]
fn a_lock_replays_what_a_tag_was() {
    let (temp, mut up, fake) = setup();
    let old = up.image("a:1", "old");
    let dir = temp.path().join("one");
    let plain = job(registry(), Place::layout(dir.clone()), &["a:1"]);
    let prepared = fake.prepare(&plain);
    let bytes = prepared.lock().to_bytes();
    prepared.run(&ctx()).unwrap();
    // The tag moves; the old image stays at its registry, by its digest.
    let entry = up.entries.pop().unwrap();
    up.entry(Descriptor::new(entry.media_type.clone(), entry.digest, entry.size), &[]);
    up.image("a:1", "new");
    let again = temp.path().join("two");
    let mut locked = job(registry(), Place::layout(again.clone()), &[]);
    locked.pins = Some(Lock::parse(&bytes).unwrap());
    let prepared = fake.prepare(&locked);
    assert_eq!(prepared.lock().to_bytes(), bytes, "a lock of a replay is the lock");
    let report = prepared.run(&ctx()).unwrap();
    assert_eq!(report.entries[0].digest, Some(old));
    for name in ["index.json", "oci-layout"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert_eq!(read(&dir), read(&again), "{name}");
    }
}

#[test]
fn a_retry_of_a_replay_keeps_its_digests() {
    let (temp, mut up, fake) = setup();
    let digest = up.image("a:1", "a");
    std::fs::remove_file(fake.upstream.join(layer_of(&fake.upstream, digest))).unwrap();
    let wanted = format!("a:1@{digest}");
    let dir = Place::layout(temp.path().join("usb"));
    let report = fake.run(&job(registry(), dir, &[&wanted])).unwrap();
    let again = super::report::retry(report.to_value().to_string().as_bytes()).unwrap();
    assert_eq!(again.wanted[0].to_string(), format!("docker.io/library/{wanted}"));
}

#[test]
fn what_left_the_list_is_removed_with_its_signatures() {
    let (temp, mut up, fake) = setup();
    let signer = Signer::new();
    for name in ["a", "b"] {
        let image = up.image(&format!("{name}:1"), name);
        up.signature(&format!("docker.io/library/{name}"), image, &signer);
    }
    let dir = temp.path().join("usb");
    let to = Place::layout(dir.clone());
    fake.run(&job(registry(), to.clone(), &["a:1", "b:1"])).unwrap();
    let blobs = || walkdir::WalkDir::new(dir.join("blobs")).into_iter().count();
    let before = blobs();
    // With something missing nothing is removed.
    let mut shrunk = job(registry(), to.clone(), &["a:1", "gone:1"]);
    shrunk.delete = true;
    let report = fake.run(&shrunk).unwrap();
    assert_eq!(report.count(Status::Deleted), 0);
    assert!(report.warnings.iter().any(|w| w.starts_with("nothing is removed")));
    let mut shrunk = job(registry(), to.clone(), &["a:1"]);
    shrunk.delete = true;
    let prepared = fake.prepare(&shrunk);
    assert_eq!(prepared.removals(), ["docker.io/library/b:1".parse().unwrap()]);
    let report = prepared.run(&ctx()).unwrap();
    assert_eq!(report.count(Status::Deleted), 1, "{:?}", shown(&report));
    let left = LayoutDir::new(&dir, &ctx()).names(None).unwrap();
    assert_eq!(left.len(), 2, "an image and its signature: {left:?}");
    assert!(blobs() < before);
    let check = fake.run(&job(to, Place::layout(temp.path().join("copy")), &[])).unwrap();
    assert!(check.error().is_none(), "what is left is whole");
}

#[test]
fn a_policy_lets_in_what_is_allowed_and_signed() {
    let (temp, mut up, fake) = setup();
    let signer = Signer::new();
    let good = up.image("quay.io/x/good:1", "a");
    up.signature("quay.io/x/good", good, &signer);
    up.image("quay.io/x/bare:1", "b");
    up.image("quay.io/y/other:1", "c");
    let dir = Place::layout(temp.path().join("usb"));
    let mut job = job(registry(), dir, &["quay.io/*"]);
    job.intake =
        AdmissionPolicy { allow: vec!["quay.io/x/*".parse().unwrap()], keys: vec![signer.key()] };
    job.companions = false;
    let report = fake.run(&job).unwrap();
    assert_eq!(
        shown(&report),
        ["failed quay.io/y/other:1", "failed quay.io/x/bare:1", "copied quay.io/x/good:1"]
    );
    assert!(report.failed().all(|e| e.error.as_ref().unwrap().kind() == Kind::Policy));
    // What is not allowed is not even opened.
    let asked = fake.asked();
    assert!(!asked.iter().any(|a| a.contains("source quay.io/y/other")), "{asked:?}");
}

#[test]
fn a_plan_counts_each_blob_once_and_what_is_there() {
    let (temp, mut up, fake) = setup();
    up.image("a:1", "same");
    up.image("b:1", "same");
    up.image("c:1", "other");
    let dir = Place::layout(temp.path().join("usb"));
    fake.run(&job(registry(), dir.clone(), &["a:1"])).unwrap();
    fake.asked();
    let all = job(registry(), dir, &["a:1", "b:1", "c:1"]);
    let prepared = fake.prepare(&all);
    let plan = prepared.plan(&ctx()).unwrap();
    let there: Vec<bool> = plan.images.iter().map(|image| image.unchanged).collect();
    assert_eq!(there, [true, false, false]);
    // The image of b is that of a: all three of its blobs are there under another name.
    assert_eq!((plan.blobs, plan.present_blobs), (6, 3));
    assert!(plan.sent_blobs == 2 && plan.sent_bytes < plan.images[2].bytes);
    assert!(!fake.asked().contains(&"sink".to_owned()));
    let report = prepared.run(&ctx()).unwrap();
    assert_eq!(report.totals.bytes_sent, plan.sent_bytes);
    assert_eq!(report.count(Status::Copied), 2);
    assert_eq!(report.count(Status::Unchanged), 1);
}

#[test]
fn an_image_without_a_name_goes_to_directories_only() {
    let (temp, mut up, fake) = setup();
    up.image("", "a");
    let from = Place::layout(fake.upstream.clone());
    let report = fake.run(&job(from.clone(), registry(), &[])).unwrap();
    assert_eq!(report.count(Status::Skipped), 1);
    let to = Place::layout(temp.path().join("usb"));
    let report = fake.run(&job(from, to, &[])).unwrap();
    assert_eq!(report.count(Status::Copied), 1);
}

#[test]
fn charts_travel_like_images_whatever_the_platform() {
    let (temp, mut up, fake) = setup();
    up.image("a:1", "a");
    let chart = up.chart("quay.io/charts/app:1.2.3");
    let dir = Place::layout(temp.path().join("usb"));
    let mut job = job(registry(), dir.clone(), &["a:1", "quay.io/charts/app:>=1"]);
    job.policy.platforms = vec!["linux/amd64".parse().unwrap()];
    let prepared = fake.prepare(&job);
    assert_eq!(prepared.plan(&ctx()).unwrap().blobs, 6);
    let report = prepared.run(&ctx()).unwrap();
    assert_eq!(shown(&report), ["copied a:1", "copied quay.io/charts/app:1.2.3"]);
    assert_eq!(report.entries[1].digest, Some(chart));
    job.policy.platforms = vec!["linux/arm64".parse().unwrap()];
    job.to = Place::layout(temp.path().join("arm"));
    let report = fake.run(&job).unwrap();
    assert_eq!(shown(&report), ["failed a:1", "copied quay.io/charts/app:1.2.3"]);
}
