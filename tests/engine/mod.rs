//! What the tests of the engine share: kinds of place, opened through the library, and their content.
#![allow(dead_code, unreachable_pub)] // every test crate uses a part of it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgpack::copy::{Mode, Policy, Report, copy, walk};
use imgpack::descriptor::Descriptor;
use imgpack::io::dir::Dir;
use imgpack::io::scratch::Scratch;
use imgpack::layout::Reading;
use imgpack::reference::Reference;
use imgpack::registry::settings::Settings;
use imgpack::transport::daemon::Engines;
use imgpack::transport::discard::Discard;
use imgpack::transport::registry::{Known, Network, RegistrySource};
use imgpack::transport::table::{Env, Place};
use imgpack::transport::{Blob, Root, Sink, Source};
use imgpack::{Context, Result};
use serde_json::json;

pub mod daemons;

use crate::common::image::{Image, Oci, layer};
use crate::net::mock::Mock;
use crate::net::profiles::PLAIN;

/// Kinds of place that can be written and read.
pub const KINDS: [&str; 7] =
    ["archive", "docker-archive", "oci-archive", "oci", "dir", "store", "registry"];

/// Whether a kind holds one image only.
pub fn single(kind: &str) -> bool {
    kind == "dir"
}

/// Whether a kind is one file that is written anew each time.
pub fn file(kind: &str) -> bool {
    kind.ends_with("archive")
}

/// Whether a kind is spoken to over a network: what lies there cannot be reached otherwise, and what was
/// sent stays until the other side collects what has no name.
pub fn remote(kind: &str) -> bool {
    kind == "registry"
}

/// A place of a kind below a directory, or a registry of its own.
pub struct Spot {
    kind: &'static str,
    dir: PathBuf,
    registry: Option<Mock>,
    engines: Engines,
}

impl Spot {
    /// The place of this kind below `dir`, which is made.
    pub fn new(kind: &'static str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        let registry = remote(kind).then(|| Mock::start(PLAIN));
        Self { kind, dir: dir.to_path_buf(), registry, engines: Engines::default() }
    }

    /// The images of an engine, with its scratch files below `dir`.
    pub fn of_engine(kind: &'static str, dir: &Path, engines: &Engines) -> Self {
        Self { engines: engines.clone(), ..Self::new(kind, dir) }
    }

    /// The registry that it is.
    pub fn registry(&self) -> Option<&Mock> {
        self.registry.as_ref()
    }

    /// Roots under names that it can keep: those of a registry begin with its address, and none is absent.
    pub fn named(&self, roots: &[Root]) -> Vec<Root> {
        let mut roots = roots.to_vec();
        if let Some(registry) = &self.registry {
            let here = |path: &str| format!("{}/{path}", registry.address()).parse();
            for root in &mut roots {
                for name in &mut root.names {
                    let tag = name.tag().unwrap_or("latest");
                    *name = here(&format!("{}:{tag}", name.path())).expect("a name");
                }
                if root.names.is_empty() {
                    root.names.push(here("fx/unnamed:1").expect("a name"));
                }
            }
        }
        roots
    }

    /// The file or directory it is.
    pub fn path(&self) -> PathBuf {
        self.dir.join(if file(self.kind) { "x.tar" } else { "x" })
    }

    fn place(&self) -> Place {
        let path = self.path();
        let text = match self.kind {
            "archive" => path.display().to_string(),
            "store" => "store:".into(),
            // Which repositories are meant is in the names of what is copied.
            "registry" => "docker://any".into(),
            // All images.
            kind if daemons::ENGINES.contains(&kind) => format!("{kind}:"),
            kind => format!("{kind}:{}", path.display()),
        };
        Place::parse(&text).expect("a place")
    }

    fn env(&self, ctx: &Context) -> Env {
        Env {
            store: self.path(),
            temporary: self.dir.clone(),
            engines: self.engines.clone(),
            network: network(),
            reading: Reading::default(),
            force: true,
            ctx: ctx.clone(),
        }
    }

    /// Opened for reading.
    pub fn source(&self, ctx: &Context) -> Result<Box<dyn Source>> {
        if let Some(registry) = &self.registry {
            let at = |name| format!("{}/{name}", registry.address()).parse().expect("a name");
            let names: Vec<Reference> = registry.names().into_iter().map(at).collect();
            let registries = network().source(ctx)?;
            let source = RegistrySource::open(&registries, &names, true, Known::default(), ctx)?;
            assert!(source.unreadable().is_empty(), "{:?}", source.unreadable());
            return Ok(Box::new(source));
        }
        let scratch = || Ok(Arc::new(Scratch::create(Dir::open(&self.dir)?)?));
        self.place().source(&self.env(ctx), &scratch)
    }

    /// Opened for writing.
    pub fn sink(&self, ctx: &Context) -> Box<dyn Sink> {
        self.place().sink(&self.env(ctx), None).expect("a sink")
    }

    /// Everything below its directory, and in its registry: name and bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = self.registry.as_ref().map(Mock::files).unwrap_or_default();
        for entry in walkdir::WalkDir::new(&self.dir) {
            let entry = entry.expect("an entry");
            if entry.file_type().is_file() {
                let below = entry.path().strip_prefix(&self.dir).expect("below").to_path_buf();
                all.insert(below, std::fs::read(entry.path()).expect("a file"));
            }
        }
        all
    }
}

/// Registries that speak plain http.
fn network() -> Network {
    Network::new(Settings { plain_http: true, ..Settings::default() }, None)
}

/// A context for tests: nothing is flushed.
pub fn context(jobs: usize) -> Context {
    Context { jobs, sync: false, ..Context::default() }
}

/// Copies all roots, or the first where the target holds one.
pub fn transfer(from: &Spot, to: &Spot, policy: &Policy, ctx: &Context) -> Result<Report> {
    let source = from.source(ctx)?;
    let roots = source.roots();
    let roots = if single(to.kind) { &roots[..1] } else { roots };
    copy(source.as_ref(), to.sink(ctx), &to.named(roots), policy, ctx)
}

/// Reads every blob of a root, verified.
pub fn content(source: &dyn Source, root: &Root, ctx: &Context) -> BTreeMap<String, Vec<u8>> {
    let tree = walk(source, root, ctx).expect("a sound root");
    let mut all = BTreeMap::new();
    let mut parents: Vec<Descriptor> = vec![root.desc.clone()];
    parents.extend(tree.node.manifests().iter().map(|m| m.desc.clone()));
    let leaves = tree.node.leaves().into_iter().map(|(desc, _)| desc.clone());
    for desc in parents.into_iter().chain(leaves) {
        let bytes = Blob::new(source, desc.clone(), ctx).bytes(1 << 20).expect("a sound blob");
        all.insert(desc.digest.to_string(), bytes);
    }
    all
}

/// Checks everything a place holds; the number of images that are sound.
pub fn verify(spot: &Spot, ctx: &Context) -> usize {
    let source = spot.source(ctx).expect("a place");
    let policy = Policy { mode: Mode::Survey, ..Policy::default() };
    let sink = Box::new(Discard::new(spot.dir.clone(), ctx));
    let report = copy(source.as_ref(), sink, source.roots(), &policy, ctx).expect("a report");
    assert!(report.failed.is_empty() && report.damage.is_empty(), "{:?}", report.failed);
    report.published.len()
}

/// Writes a place of a kind with an index of two platforms and an image of its own (where several
/// fit), each named; all layers gzip.
pub fn seed(kind: &'static str, dir: &Path) -> Spot {
    let mut oci = Oci::new();
    let children: Vec<_> = ["amd64", "arm64"]
        .iter()
        .map(|cpu| {
            let shared = layer("shared");
            let image = Image::for_platform(vec![shared, layer(cpu)], "linux", cpu);
            let mut desc = oci.manifest(&image);
            desc["platform"] = json!({"os": "linux", "architecture": cpu});
            desc
        })
        .collect();
    let index = oci.index(&children);
    let lone = oci.manifest(&Image::new("lone", 2));
    oci.name(&lone, Some("docker.io/fx/lone:1"));
    oci.name(&index, Some("docker.io/fx/multi:1"));
    let origin = Spot::new("oci-archive", &dir.join("origin"));
    std::fs::write(origin.path(), oci.tar()).expect("a file");
    let spot = Spot::new(kind, &dir.join("seed"));
    transfer(&origin, &spot, &Policy::default(), &context(2)).expect("a copy");
    spot
}
