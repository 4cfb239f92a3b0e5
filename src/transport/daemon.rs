//! `docker-daemon:`, `podman:`, `containerd:` the images of an engine, which gives and takes archives.
//!
//! It knows no format: an engine's output is read as an archive from a pipe, and its input is written as
//! one. `docker` (an API), `podman` and `containerd` (programs) know how to talk to each engine.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::encoding::Encoding;
use crate::error::{Error, Kind, Result};
use crate::io::scratch::{Lazy, Scratch};
use crate::layer::Compression;
use crate::layout::Reading;
use crate::locks::lock;
use crate::progress::Event;
use crate::transport::archive::{ArchiveSink, ArchiveSource, ArchiveTarget, Halves};
use crate::transport::{Accepts, Blob, Maker, Refused, Reused, Sealed, Sink};

mod command;
mod containerd;
mod docker;
mod engine;
mod podman;
mod socket;
mod tls;
mod words;

use docker::Docker;
use engine::ArchiveFeed;
pub use engine::{Engine, Engines};

/// What an engine can load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Before docker 23: no zstd layers.
    Old,
    /// Docker 23 and later with a graph driver, which chains a bounded number of layers.
    GraphDriver,
    /// Everything else.
    Current,
}

/// Which generation of the engine answers.
///
/// # Errors
/// `Unreachable`, `Denied`.
pub fn version(engine: Engine, engines: &Engines, ctx: &Context) -> Result<Version> {
    const ZSTD: u32 = 23;
    if engine != Engine::Docker {
        return Ok(Version::Current);
    }
    let docker = Docker::new(engines, ctx)?;
    Ok(match docker.major()? {
        Some(major) if major < ZSTD => Version::Old,
        Some(_) if docker.has_graph_driver()? => Version::GraphDriver,
        _ => Version::Current,
    })
}

/// Images of an engine: the one that is named, several with commas between, all when none is.
///
/// # Errors
/// `Missing`, `Unreachable`, `Denied`, `Malformed`, `Io`.
pub fn source(
    engine: Engine,
    wanted: Option<&str>,
    engines: &Engines,
    scratch: &dyn Fn() -> Result<Arc<Scratch>>,
    reading: Reading,
    ctx: &Context,
) -> Result<ArchiveSource> {
    let place = format!("{}:{}", engine.scheme(), wanted.unwrap_or_default());
    let archive = || {
        let all = || match engine {
            Engine::Docker => Docker::new(engines, ctx)?.names(),
            Engine::Podman => podman::names(ctx),
            Engine::Containerd => containerd::names(engines, ctx),
        };
        let names = match wanted {
            Some(wanted) => split(wanted)?,
            None => all()?,
        };
        if names.is_empty() {
            return Err(Error::missing("the engine has no images"));
        }
        let from: Box<dyn io::Read + Send> = match engine {
            Engine::Docker => Box::new(Docker::new(engines, ctx)?.save(&names)?),
            Engine::Podman => Box::new(podman::save(&names, ctx)?),
            Engine::Containerd => containerd::export(&names, engines, ctx)?,
        };
        ArchiveSource::stream(from, &place, scratch()?, reading, ctx)
    };
    archive().map_err(|e| e.input_or(place.trim_end_matches(':')))
}

fn split(wanted: &str) -> Result<Vec<String>> {
    let names: Vec<String> = wanted.split(',').map(str::to_owned).collect();
    // A name that begins like a flag would be one to a program.
    match names.iter().find(|n| n.is_empty() || n.starts_with('-')) {
        Some(bad) => {
            let bad = crate::text::escape(bad);
            Err(Error::new(Kind::Usage, format!("{bad:?} is not the name of an image")))
        }
        None => Ok(names),
    }
}

/// An engine being fed an archive.
pub struct EngineSink {
    engine: Engine,
    archive: ArchiveSink,
    feed: Shared,
    ctx: Context,
}

/// The feed, for the archive that writes into it and for the sink that ends it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<Box<dyn ArchiveFeed>>>>);

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn ArchiveFeed>>> {
        lock(&self.0)
    }
}

impl Write for Shared {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            Some(feed) => feed.write(buf),
            None => Err(io::Error::other("the engine was told that this is all")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().as_mut().map_or(Ok(()), |feed| feed.flush())
    }
}

impl EngineSink {
    /// Looks whether the engine is there and makes ready to feed it. `scratch` gives a directory for
    /// layers in the making.
    ///
    /// # Errors
    /// `Missing`, `Unreachable`, `Denied`.
    pub fn open(engine: Engine, engines: &Engines, scratch: Lazy, ctx: &Context) -> Result<Self> {
        let feed: Result<Box<dyn ArchiveFeed>> = match engine {
            Engine::Docker => Docker::new(engines, ctx).and_then(Docker::load).map(boxed),
            Engine::Podman => podman::load(ctx).map(boxed),
            Engine::Containerd => containerd::import(engines, ctx).map(boxed),
        };
        let feed = feed.map_err(|e| e.input_or(engine.scheme()))?;
        let feed = Shared(Arc::new(Mutex::new(Some(feed))));
        let archive = ArchiveSink::create(
            ArchiveTarget::Stream(Box::new(feed.clone())),
            engine.scheme().to_owned(),
            Halves::Union,
            Compression::new(Encoding::Plain),
            scratch,
        )?;
        Ok(Self { engine, archive, feed, ctx: ctx.clone() })
    }
}

fn boxed(feed: impl ArchiveFeed + 'static) -> Box<dyn ArchiveFeed> {
    Box::new(feed)
}

impl Sink for EngineSink {
    fn place(&self) -> String {
        self.archive.place()
    }

    fn accepts(&self) -> Accepts {
        self.archive.accepts()
    }

    fn scratch(&self) -> Result<Arc<Scratch>> {
        self.archive.scratch()
    }

    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>> {
        self.archive.reuse(desc)
    }

    fn put(&self, blob: &Blob<'_>) -> Result<()> {
        self.archive.put(blob)
    }

    fn stream(&self, make: &mut Maker<'_>) -> Result<Option<Descriptor>> {
        self.archive.stream(make)
    }

    fn publish(&self, sealed: Sealed) -> Result<()> {
        let root = &sealed.root;
        if self.engine == Engine::Containerd && root.names.is_empty() && !root.companion {
            // It would be imported, named by nobody and removed by the next collection of garbage.
            let what = format!("{} has no name, so containerd makes no image of it", root.title());
            return Err(Error::unsupported(what).input(self.place()));
        }
        self.archive.publish(sealed)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Refused>> {
        let place = self.place();
        Box::new(self.archive).finish()?;
        let feed = self.feed.lock().take();
        let lines = feed.map_or_else(|| Ok(Vec::new()), ArchiveFeed::end);
        for line in lines.map_err(|e| e.input_or(&*place))? {
            self.ctx.progress.event(Event::Detail(&format!("{place}: {line}")));
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_names_have_commas_between_and_none_is_a_flag() {
        assert_eq!(split("nginx:1,redis").unwrap(), ["nginx:1", "redis"]);
        for bad in ["", "a,", "-o", "a,--all"] {
            assert_eq!(split(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn names_are_written_in_full_and_ids_are_left_alone() {
        let id = format!("sha256:{}", "a".repeat(64));
        for (name, wanted) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
            (id.as_str(), id.as_str()),
        ] {
            assert_eq!(engine::full(name), wanted);
        }
    }
}
