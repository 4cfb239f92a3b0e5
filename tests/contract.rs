//! What every sink promises: one body of checks over each of them.
//!
//! Of a registry C6 is not asked: it takes no manifest whose layers it lacks, so that what stands under a
//! name is taken for whole. Nor is all of C8: blobs lie there until it collects what no manifest names.
//! An engine is fed one archive, so that it keeps what a file keeps (C7) and not C6: it is not asked what it
//! has. C9 is about words alone.

mod common;
mod engine;
mod net;

use std::io::Read;
use std::path::Path;

use common::image::Image as Made;
use engine::daemons::{Daemon, ENGINES};
use engine::{KINDS, Spot, content, context, file, remote, seed, transfer, verify};
use imgpack::copy::Policy;
use imgpack::descriptor::Descriptor;
use imgpack::digest::Digest;
use imgpack::io::parts::Extent;
use imgpack::reference::Reference;
use imgpack::transport::{Blob, Checked, Image, Need, Origin, Root, Sealed, Sink, Source};
use imgpack::{Context, Error, Kind, Result};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A source whose every blob is the same bytes, whatever was asked for.
struct Liar(Vec<u8>);

impl Source for Liar {
    fn place(&self) -> String {
        "liar".into()
    }

    fn roots(&self) -> &[Root] {
        &[]
    }

    fn open(&self, _: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.as_slice()))
    }

    fn extent(&self, _: &Descriptor) -> Option<Extent> {
        None
    }

    fn has(&self, _: &Descriptor) -> Result<bool> {
        Ok(true)
    }
}

/// An image as blobs to put: config, layer, manifest; and what to publish there.
fn parts(spot: &Spot) -> (Vec<(Descriptor, Vec<u8>)>, Sealed) {
    let made = Made::new("contract", 1);
    let layer = Descriptor::of(LAYER, &made.layers[0]);
    let config = Descriptor::of(CONFIG, &made.config);
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": config.to_value(), "layers": [layer.to_value()]});
    let bytes = common::image::text(&text);
    let manifest = Descriptor::of(MANIFEST, &bytes);
    let root = Root {
        names: vec!["docker.io/fx/contract:1".parse().unwrap()],
        label: None,
        desc: manifest.clone(),
        origin: Origin::Recorded,
        companion: false,
    };
    let root = spot.named(&[root]).remove(0);
    let image = Image {
        manifest: manifest.clone(),
        config: config.clone(),
        layers: vec![layer.clone()],
        diff_ids: vec![made.diff_ids()[0].parse().unwrap()],
        proven: vec![true],
        platform: Some("linux/amd64".parse().unwrap()),
    };
    let blobs = vec![config.clone(), layer.clone(), manifest.clone()];
    let sealed = Sealed { root, images: vec![image], blobs };
    let all = vec![(config, made.config), (layer, made.layers[0].clone()), (manifest, bytes)];
    (all, sealed)
}

/// A clause: the kind, the place, a fresh sink of it.
type Clause = fn(&'static str, &Spot, Box<dyn Sink>, &Context);

/// Runs a check with a fresh sink of each kind.
fn each(check: Clause) {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        run(check, kind, &Spot::new(kind, &dir.path().join("spot")));
    }
}

fn run(check: Clause, kind: &'static str, spot: &Spot) {
    let ctx = context(8);
    let sink = spot.sink(&ctx);
    let (blobs, sealed) = parts(spot);
    expect(sink.as_ref(), &sealed.root, blobs.iter().map(|(desc, _)| desc));
    check(kind, spot, sink, &ctx);
}

/// Engines that are private to the test. One that was fed nothing yet takes what a stream takes.
#[test]
fn engines_keep_the_contract_of_a_stream() {
    let clauses = [c1 as Clause, c2_flipped, c2_shorter, c2_longer, c3_c4, c5, c7, c8];
    for kind in ENGINES {
        let Some(daemon) = Daemon::start(kind) else { continue };
        for clause in clauses {
            let dir = tempfile::tempdir().unwrap();
            run(clause, kind, &Spot::of_engine(kind, &dir.path().join("spot"), &daemon.engines));
            daemon.empty();
        }
    }
}

/// Tells a sink what a root will need, as the engine does before any blob.
fn expect<'d>(sink: &dyn Sink, root: &Root, needs: impl Iterator<Item = &'d Descriptor>) {
    let need = |desc: &Descriptor| Need { desc: desc.clone(), holders: Vec::new() };
    if let Some(network) = sink.network() {
        network.expect(root, needs.map(need).collect());
    }
}

fn put(sink: &dyn Sink, desc: &Descriptor, bytes: &[u8], ctx: &Context) -> Result<()> {
    sink.put(&Blob::memory(bytes, desc.clone(), ctx))
}

#[test]
fn c1_an_empty_sink_reuses_nothing() {
    each(c1);
}

fn c1(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, _: &Context) {
    for (desc, _) in parts(spot).0 {
        assert!(sink.reuse(&desc).unwrap().is_none(), "{kind}: {}", desc.digest);
    }
}

#[test]
fn c2_bytes_that_do_not_match_are_refused_and_leave_nothing() {
    each(c2_flipped);
    each(c2_shorter);
    each(c2_longer);
}

fn c2_flipped(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    c2(kind, spot, sink, ctx, &|bytes| bytes[700] ^= 1);
}

fn c2_shorter(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    c2(kind, spot, sink, ctx, &|bytes| bytes.truncate(bytes.len() - 1));
}

fn c2_longer(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    c2(kind, spot, sink, ctx, &|bytes| bytes.push(b'x'));
}

fn c2(
    kind: &'static str,
    spot: &Spot,
    sink: Box<dyn Sink>,
    ctx: &Context,
    harm: &dyn Fn(&mut Vec<u8>),
) {
    let (desc, bytes) = parts(spot).0.swap_remove(1);
    let mut wrong = bytes.clone();
    harm(&mut wrong);
    let error = sink.put(&Blob::new(&Liar(wrong), desc.clone(), ctx)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{kind}: {error}");
    assert!(sink.reuse(&desc).unwrap().is_none(), "{kind}: it is kept");
    drop(sink);
    let kept = spot.files().values().any(|b| b.windows(600).any(|w| w == &bytes[..600]));
    assert!(!kept, "{kind}: {:?}", spot.files().keys());
}

#[test]
fn c3_putting_twice_is_fine_and_c4_what_was_put_reads_back() {
    each(c3_c4);
}

fn c3_c4(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    let (blobs, sealed) = parts(spot);
    for _ in 0..2 {
        for (desc, bytes) in &blobs {
            put(sink.as_ref(), desc, bytes, ctx).unwrap();
        }
    }
    sink.publish(sealed).unwrap();
    sink.finish().unwrap();
    assert_eq!(verify(spot, ctx), 1, "{kind}");
    let source = spot.source(ctx).unwrap();
    let found = content(source.as_ref(), &source.roots()[0], ctx);
    for (desc, bytes) in blobs.iter().filter(|(d, _)| d.media_type.as_str() != MANIFEST) {
        assert!(found.get(&desc.digest.to_string()) == Some(bytes), "{kind}: {}", desc.digest);
    }
}

#[test]
fn c5_any_number_of_threads_may_put_at_once() {
    each(c5);
}

fn c5(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    let (blobs, sealed) = parts(spot);
    let many: Vec<Vec<u8>> =
        (0..40).map(|i| format!("blob {}", i % 20).repeat(50).into()).collect();
    let needs: Vec<Descriptor> = many.iter().map(|b| Descriptor::of(LAYER, b)).collect();
    expect(sink.as_ref(), &sealed.root, needs.iter());
    std::thread::scope(|scope| {
        for part in many.chunks(5) {
            let sink = sink.as_ref();
            scope.spawn(move || {
                for bytes in part {
                    put(sink, &Descriptor::of(LAYER, bytes), bytes, ctx).unwrap();
                }
            });
        }
    });
    for bytes in &many {
        let there = sink.reuse(&Descriptor::of(LAYER, bytes)).unwrap();
        assert!(there.is_some(), "{kind}: one is lost");
    }
    for (desc, bytes) in &blobs {
        put(sink.as_ref(), desc, bytes, ctx).unwrap();
    }
    sink.publish(sealed).unwrap();
    sink.finish().unwrap();
    assert_eq!(verify(spot, ctx), 1, "{kind}");
}

#[test]
fn c6_a_manifest_that_is_there_does_not_hide_a_missing_layer() {
    let ctx = context(2);
    for kind in KINDS.into_iter().filter(|k| !file(k) && !remote(k)) {
        let dir = tempfile::tempdir().unwrap();
        let source = seed("oci", dir.path());
        let target = Spot::new(kind, &dir.path().join("target"));
        transfer(&source, &target, &Policy::default(), &ctx).unwrap();
        let images = verify(&target, &ctx);
        let files = target.files();
        let (path, _) = files.iter().find(|(_, b)| b.starts_with(b"\x1f\x8b")).unwrap();
        let path = target.path().parent().unwrap().join(path);
        std::fs::remove_file(&path).unwrap();
        let report = transfer(&source, &target, &Policy::default(), &ctx).unwrap();
        assert_eq!(report.stored, 1, "{kind}");
        assert_eq!(verify(&target, &ctx), images, "{kind}");
        // A file of the right name and the wrong size is no blob either.
        std::fs::write(&path, b"cut").unwrap();
        transfer(&source, &target, &Policy::default(), &ctx).unwrap();
        assert_eq!(verify(&target, &ctx), images, "{kind}");
    }
}

#[test]
fn c7_a_stream_that_failed_in_the_middle_is_never_completed() {
    for kind in KINDS.into_iter().filter(|k| file(k)) {
        let dir = tempfile::tempdir().unwrap();
        run(c7, kind, &Spot::new(kind, &dir.path().join("spot")));
    }
}

fn c7(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    let (blobs, sealed) = parts(spot);
    assert_eq!(sink.accepts().writers, 1, "{kind}");
    let mut wrong = blobs[1].1.clone();
    wrong[0] ^= 1;
    sink.put(&Blob::new(&Liar(wrong), blobs[1].0.clone(), ctx)).unwrap_err();
    put(sink.as_ref(), &blobs[0].0, &blobs[0].1, ctx).unwrap_err();
    let again =
        sink.publish(Sealed { blobs: Vec::new(), images: Vec::new(), root: sealed.root.clone() });
    assert!(again.and_then(|()| sink.finish()).is_err(), "{kind}: it was completed");
    assert_eq!(spot.files().len(), 0, "{kind}: {:?}", spot.files().keys());
    assert!(spot.source(ctx).is_err(), "{kind}: it holds an image");
}

#[test]
fn c8_dropped_before_the_end_nothing_shows() {
    each(c8);
}

fn c8(kind: &'static str, spot: &Spot, sink: Box<dyn Sink>, ctx: &Context) {
    let (blobs, sealed) = parts(spot);
    for (desc, bytes) in &blobs {
        put(sink.as_ref(), desc, bytes, ctx).unwrap();
    }
    sink.publish(sealed).unwrap();
    drop(sink);
    let mut left = spot.files();
    left.retain(|path, _| !remote(kind) || !path.to_string_lossy().contains("/blobs/"));
    assert!(left.is_empty(), "{kind}: {:?}", left.keys());
    assert!(spot.source(ctx).is_err() || spot.source(ctx).unwrap().roots().is_empty(), "{kind}");
}

#[test]
fn c9_names_that_lead_elsewhere_cannot_be_spelled() {
    let hex = "ab".repeat(32);
    for digest in [
        "sha256:../../etc/passwd".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}/"),
        format!("sha256:{}", &hex[1..]),
        format!("../sha256:{hex}"),
        format!("sha256:{hex}\0"),
        format!("/sha256:{hex}"),
    ] {
        assert!(digest.parse::<Digest>().is_err(), "{digest:?}");
        let desc = serde_json::json!({"mediaType": LAYER, "digest": digest, "size": 1});
        let error: Error = Descriptor::from_value(&desc).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{digest:?}");
    }
    for name in ["../a:1", "a/../b:1", "/a:1", "a//b:1", "a:1\n", "a\x1b[0m:1", "a:../x", "a\0:1"] {
        assert!(name.parse::<Reference>().is_err(), "{name:?}");
    }
    assert!(
        Path::new(&format!("sha256:{hex}").parse::<Digest>().unwrap().blob_path()).is_relative()
    );
}
