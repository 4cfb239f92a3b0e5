//! A store that is written to: what is held is what is read again, and what is collected.

use std::collections::BTreeSet;

use super::*;
use crate::descriptor::Descriptor;
use crate::digest::Algorithm;
use crate::manifest;
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::transport::layout::index;
use crate::transport::store::Store;

fn name(text: &str) -> RepositoryName {
    RepositoryName::of(&text.parse().unwrap())
}

fn context() -> Context {
    Context { sync: false, wait: 0, ..Context::default() }
}

fn open(path: &Path, grace: u64) -> Writable {
    let grace = Duration::from_secs(grace);
    Writable::open(
        path,
        WriteSettings { delete: true, grace, ..WriteSettings::default() },
        &context(),
    )
    .unwrap()
}

fn push(to: &Writable, name: &RepositoryName, bytes: &[u8]) -> Descriptor {
    let desc = Descriptor::of(OCI_LAYER, bytes);
    let session = to.uploads().begin(name, Algorithm::Sha256).unwrap();
    let mut claimed = session.claim().unwrap();
    claimed.append(None, None, &mut { bytes }).unwrap();
    to.commit(name, claimed, &desc.digest).unwrap();
    desc
}

/// An image of one layer, not pushed: its descriptor and bytes.
fn image(to: &Writable, name: &RepositoryName, layer: &[u8]) -> (Descriptor, Vec<u8>) {
    let mut config = push(to, name, b"{}");
    config.media_type = OCI_CONFIG.into();
    let bytes = manifest::image(&config, &[push(to, name, layer)]);
    (Descriptor::of(OCI_MANIFEST, &bytes), bytes)
}

fn publish(
    to: &Writable,
    name: &RepositoryName,
    (desc, bytes): &(Descriptor, Vec<u8>),
    tags: &[&str],
) {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    assert_eq!(to.publish(name, desc, bytes, &tags).unwrap(), None);
}

fn blob(of: &Writable, name: &RepositoryName, digest: &Digest) -> Option<u64> {
    of.blob(name, digest).unwrap()
}

/// Tags, and how many manifests there are.
fn held(of: &Writable, name: &RepositoryName) -> (BTreeSet<String>, usize) {
    let look = |r: &ServedRepository| (r.tags.keys().cloned().collect(), r.manifests.len());
    of.look(name, look).unwrap_or_default()
}

fn set(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

#[test]
fn what_clients_were_told_of_is_forgotten_and_what_is_absent_never_noted() {
    let temp = tempfile::tempdir().unwrap();
    let (store, x) = (open(temp.path(), 0), name("r.example/x"));
    let there = push(&store, &x, b"layer");
    let known = |store: &Writable| store.shelf.seen.lock().unwrap().len();
    for n in 0..1000 {
        assert_eq!(blob(&store, &x, &Digest::of(format!("{n}").as_bytes())), None);
        assert_eq!(blob(&store, &x, &there.digest), Some(5));
    }
    assert_eq!(known(&store), 1);
    store.collect().unwrap();
    assert_eq!(known(&store), 0);
}

/// What is held must be what is read back.
#[track_caller]
fn same_when_read_again(store: Writable, path: &Path, names: &[&RepositoryName]) -> Writable {
    let before: Vec<_> = names.iter().map(|name| held(&store, name)).collect();
    drop(store);
    let store = open(path, 0);
    let after: Vec<_> = names.iter().map(|name| held(&store, name)).collect();
    assert_eq!(before, after);
    store
}

#[test]
fn what_is_pushed_is_an_image_of_the_store_and_stays_over_restarts() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), 3600);
    let x = name("docker.io/library/x");
    let (one, two) = (image(&store, &x, b"one"), image(&store, &x, b"two"));
    publish(&store, &x, &one, &["1", "latest"]);
    publish(&store, &x, &two, &["latest"]);
    publish(&store, &x, &one, &[]);
    assert_eq!(held(&store, &x), (set(&["1", "latest"]), 2));
    let named = |path: &Path| -> BTreeSet<String> {
        let source = Store::new(path, &context()).source().unwrap().unwrap();
        use crate::transport::Source;
        source.roots().iter().flat_map(|r| r.names.iter().map(ToString::to_string)).collect()
    };
    let both = ["docker.io/library/x:1", "docker.io/library/x:latest"];
    assert_eq!(named(temp.path()), set(&both));
    // A tag that moves leaves its manifest behind, to be had by digest.
    publish(&store, &x, &two, &["1"]);
    assert_eq!(held(&store, &x), (set(&["1", "latest"]), 2));
    let store = same_when_read_again(store, temp.path(), &[&x]);
    assert!(store.untag(&x, "1").unwrap() && store.untag(&x, "latest").unwrap());
    assert!(!store.untag(&x, "latest").unwrap());
    assert_eq!(held(&store, &x), (set(&[]), 2));
    let store = same_when_read_again(store, temp.path(), &[&x]);
    for (desc, _) in [&one, &two] {
        assert!(store.remove(&x, &desc.digest).unwrap());
        assert!(!store.remove(&x, &desc.digest).unwrap());
    }
    drop(same_when_read_again(store, temp.path(), &[&x]));
    let index = index::Index::load(&Dir::open(temp.path()).unwrap()).unwrap();
    assert_eq!(index.entries().count(), 0);
}

#[test]
fn a_manifest_needs_what_the_rules_say() {
    let temp = tempfile::tempdir().unwrap();
    let x = name("docker.io/library/x");
    let absent = Descriptor::of(OCI_LAYER, b"absent");
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let foreign = Descriptor::of(foreign, b"elsewhere");
    let mut config = Descriptor::of(OCI_CONFIG, b"{}");
    for (validate, image_is_taken, index_is_taken) in [
        (Validate::Strict, false, false),
        (Validate::IndexSparse, false, true),
        (Validate::None, true, true),
    ] {
        let settings = WriteSettings { validate, ..WriteSettings::default() };
        let store = Writable::open(temp.path(), settings, &context()).unwrap();
        push(&store, &x, b"{}");
        let of = |bytes: Vec<u8>, media_type| (Descriptor::of(media_type, &bytes), bytes);
        let sparse = of(manifest::image(&config, std::slice::from_ref(&absent)), OCI_MANIFEST);
        let taken = store.publish(&x, &sparse.0, &sparse.1, &[]).unwrap();
        assert_eq!(taken.is_none(), image_is_taken, "{validate:?}: {taken:?}");
        let list = manifest::index(&[Descriptor::of(OCI_MANIFEST, b"absent")]);
        let list = of(list, OCI_INDEX);
        let taken = store.publish(&x, &list.0, &list.1, &[]).unwrap();
        assert_eq!(taken.is_none(), index_is_taken, "{validate:?}: {taken:?}");
        let whole = of(manifest::image(&config, std::slice::from_ref(&foreign)), OCI_MANIFEST);
        assert_eq!(store.publish(&x, &whole.0, &whole.1, &[]).unwrap(), None);
    }
    // A size that is not the blob's is another blob's.
    config.size += 1;
    let store = open(temp.path(), 0);
    let bytes = manifest::image(&config, &[]);
    let desc = Descriptor::of(OCI_MANIFEST, &bytes);
    assert_eq!(store.publish(&x, &desc, &bytes, &[]).unwrap(), Some(config.digest));
}

#[test]
fn an_index_stands_for_what_it_lists_and_lets_it_go() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), 0);
    let x = name("docker.io/library/x");
    let (one, two) = (image(&store, &x, b"one"), image(&store, &x, b"two"));
    publish(&store, &x, &one, &[]);
    publish(&store, &x, &two, &[]);
    let bytes = manifest::index(&[one.0.clone(), two.0.clone()]);
    let list = (Descriptor::of(OCI_INDEX, &bytes), bytes);
    publish(&store, &x, &list, &["all"]);
    let entries =
        |path: &Path| index::Index::load(&Dir::open(path).unwrap()).unwrap().entries().count();
    assert_eq!(entries(temp.path()), 1);
    let store = same_when_read_again(store, temp.path(), &[&x]);
    // A platform is deleted though the index stays, and is pushed again.
    assert!(store.remove(&x, &two.0.digest).unwrap());
    assert!(!store.manifest(&x, &two.0.digest));
    let store = same_when_read_again(store, temp.path(), &[&x]);
    publish(&store, &x, &two, &[]);
    assert!(store.manifest(&x, &two.0.digest));
    let store = same_when_read_again(store, temp.path(), &[&x]);
    // The index goes; what it listed can still be had.
    assert!(store.remove(&x, &list.0.digest).unwrap());
    assert_eq!(held(&store, &x), (set(&[]), 2));
    drop(same_when_read_again(store, temp.path(), &[&x]));
}

#[test]
fn a_blob_is_everybodys_until_a_repository_deletes_it() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), 3600);
    let (x, y) = (name("docker.io/library/x"), name("quay.io/a/y"));
    let digest = push(&store, &x, b"layer").digest;
    assert_eq!((blob(&store, &x, &digest), blob(&store, &y, &digest)), (Some(5), Some(5)));
    assert!(store.remove_blob(&x, &digest).unwrap());
    assert!(!store.remove_blob(&x, &digest).unwrap());
    let store = same_when_read_again(store, temp.path(), &[]);
    assert_eq!((blob(&store, &x, &digest), blob(&store, &y, &digest)), (None, Some(5)));
    assert!(!store.mount(&x, &digest, Some(&x)).unwrap());
    assert!(store.mount(&x, &digest, Some(&y)).unwrap());
    assert_eq!(blob(&store, &x, &digest), Some(5));
    store.remove_blob(&x, &digest).unwrap();
    push(&store, &x, b"layer");
    assert_eq!(blob(&store, &x, &digest), Some(5));
    assert!(!store.mount(&x, &Digest::of(b"nowhere"), None).unwrap());
}

#[test]
fn what_another_process_does_is_followed() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), 3600);
    let x = name("docker.io/library/x");
    let one = image(&store, &x, b"one");
    publish(&store, &x, &one, &["1"]);
    assert!(!store.refresh().unwrap());
    let other = Store::new(temp.path(), &context());
    other.tag(&one.0, &"quay.io/a/y:2".parse().unwrap()).unwrap();
    assert!(store.refresh().unwrap());
    assert_eq!(held(&store, &name("quay.io/a/y")), (set(&["2"]), 1));
    // And when it comes between a look and a push.
    other.remove(&[], &["docker.io/library/x:1".parse().unwrap()]).unwrap();
    publish(&store, &x, &one, &["3"]);
    assert_eq!(held(&store, &x), (set(&["3"]), 1));
    // What was deleted here and is put there again is there again.
    assert!(store.remove(&x, &one.0.digest).unwrap());
    other.tag(&one.0, &"docker.io/library/x:4".parse().unwrap()).unwrap();
    assert!(store.refresh().unwrap());
    assert_eq!(held(&store, &x), (set(&["4"]), 1));
    let store = same_when_read_again(store, temp.path(), &[&x]);
    assert_eq!(other.prune(false).unwrap_err().kind(), crate::Kind::Busy);
    other.tidy().unwrap();
    drop(store);
    assert_eq!(other.prune(false).unwrap(), []);
}

#[test]
fn what_nothing_leads_to_is_collected_after_its_grace() {
    let temp = tempfile::tempdir().unwrap();
    let x = name("docker.io/library/x");
    let store = open(temp.path(), 3600);
    let kept = image(&store, &x, b"kept");
    publish(&store, &x, &kept, &["1"]);
    let stray = push(&store, &x, b"stray");
    assert_eq!(store.collect().unwrap(), Collected::default(), "too young");
    drop(store);
    let store = open(temp.path(), 0);
    {
        let _load = Dir::open(temp.path()).unwrap().sub("blobs").unwrap().lock(false, 0).unwrap();
        assert_eq!(store.collect().unwrap_err().kind(), crate::Kind::Busy);
    }
    assert_eq!(store.collect().unwrap(), Collected { blobs: 1, bytes: 5, uploads: 0 });
    assert_eq!((blob(&store, &x, &stray.digest), store.collect().unwrap().blobs), (None, 0));
    assert!(store.remove(&x, &kept.0.digest).unwrap());
    // The manifest, its config and its layer.
    assert_eq!(store.collect().unwrap().blobs, 3);
    drop(store);
    let store = open(temp.path(), 0);
    assert_eq!(held(&store, &x), (set(&[]), 0));
}

#[test]
fn what_others_call_an_image_does_not_cost_it_its_layers() {
    let temp = tempfile::tempdir().unwrap();
    let (theirs, x) = (name("docker.io/library/theirs"), name("docker.io/library/x"));
    let store = open(temp.path(), 0);
    let kept = image(&store, &x, b"kept");
    let large = push(&store, &theirs, &vec![b'{'; 9 << 20]);
    let called = |desc: &Descriptor, media_type: &str| Descriptor {
        media_type: media_type.into(),
        ..desc.clone()
    };
    let entries = [
        called(&kept.0, OCI_LAYER),
        called(&kept.0, OCI_CONFIG),
        called(&kept.0, OCI_INDEX),
        called(&large, OCI_MANIFEST),
    ];
    let mut nested = manifest::index(&entries);
    for depth in 0..12 {
        let entry = Descriptor::of(OCI_INDEX, &nested);
        publish(&store, &theirs, &(entry.clone(), nested), &[&format!("{depth}")]);
        nested = manifest::index(&[entry]);
    }
    publish(&store, &x, &kept, &["1"]);
    assert_eq!(store.collect().unwrap().blobs, 0);
    for tag in 0..12 {
        assert!(store.untag(&theirs, &format!("{tag}")).unwrap());
    }
    assert_eq!(store.collect().unwrap().blobs, 0);
}

#[test]
fn who_gives_a_wrong_size_hides_nobodys_manifest() {
    let temp = tempfile::tempdir().unwrap();
    let (theirs, x) = (name("docker.io/library/theirs"), name("docker.io/library/x"));
    let store = open(temp.path(), 3600);
    let kept = image(&store, &x, b"kept");
    let index = |entry: Descriptor| {
        let bytes = manifest::index(&[entry]);
        (Descriptor::of(OCI_INDEX, &bytes), bytes)
    };
    publish(&store, &theirs, &index(Descriptor { size: 1, ..kept.0.clone() }), &["1"]);
    publish(&store, &x, &kept, &[]);
    publish(&store, &x, &index(kept.0.clone()), &["1"]);
    let store = same_when_read_again(store, temp.path(), &[&x]);
    assert_eq!(held(&store, &x), (set(&["1"]), 2));
}

#[test]
fn what_a_client_was_told_of_is_not_collected_before_it_can_use_it() {
    let temp = tempfile::tempdir().unwrap();
    let x = name("docker.io/library/x");
    let digest = push(&open(temp.path(), 3600), &x, b"found").digest;
    let old =
        std::fs::File::options().write(true).open(temp.path().join(digest.blob_path())).unwrap();
    let modified = old.metadata().unwrap().modified().unwrap();
    old.set_modified(modified - Duration::from_secs(7200)).unwrap();
    let mut store = open(temp.path(), 3600);
    let earlier = |time: Instant| time.checked_sub(Duration::from_secs(7200)).unwrap();
    store.since = earlier(store.since);
    assert_eq!(blob(&store, &x, &digest), Some(5));
    assert_eq!(store.collect().unwrap().blobs, 0);
    lock(&store.shelf.seen).values_mut().for_each(|told| *told = earlier(*told));
    assert_eq!(store.collect().unwrap().blobs, 1);
}
