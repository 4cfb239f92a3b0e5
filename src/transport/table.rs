//! The list of transports: `scheme:path[:image]`, or a path that is recognised by its content.
//!
//! It knows how places are spelled and which transport answers; it reads no image. Spelling as in
//! skopeo's `containers-transports(5)`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::encoding::Encoding;
use crate::error::{Cause, Error, Kind, Result};
use crate::io::look;
use crate::io::output::{Named, OutputFile};
use crate::io::scratch::{Lazy, Scratch};
use crate::layer::{self, Compression};
use crate::layout::Reading;
use crate::reference::Reference;
use crate::transport::archive::{ArchiveSink, ArchiveSource, ArchiveTarget, Halves};
use crate::transport::daemon::{self, Engine, EngineSink, Engines};
use crate::transport::distribution::RegistryFiles;
use crate::transport::folder::{self, Directory};
use crate::transport::foreign::ForeignLayers;
use crate::transport::layout::{LayoutOptions, LayoutSink, LayoutSource};
use crate::transport::registry::{Known, Network, RegistrySink, RegistrySource};
use crate::transport::skopeo_dir::{DirSink, DirSource};
use crate::transport::store::{self, Store};
use crate::transport::union::{Union, UnionPart};
use crate::transport::{Sink, Source};

/// The kinds of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `docker-archive:` a tar with manifest.json.
    DockerArchive,
    /// `oci-archive:` a tar of an OCI layout.
    OciArchive,
    /// `oci:` an OCI layout directory.
    Oci,
    /// `dir:` skopeo's flat directory.
    Dir,
    /// `store:` the local store.
    Store,
    /// `docker://` a repository of a registry.
    Registry,
    /// `docker-daemon:`, `podman:`, `containerd:` the images of an engine.
    Engine(Engine),
    /// A bare path.
    Path,
}

const SCHEMES: [(&str, Scheme); 10] = [
    ("docker://", Scheme::Registry),
    ("docker-daemon:", Scheme::Engine(Engine::Docker)),
    ("podman:", Scheme::Engine(Engine::Podman)),
    ("containers-storage:", Scheme::Engine(Engine::Podman)),
    ("containerd:", Scheme::Engine(Engine::Containerd)),
    ("docker-archive:", Scheme::DockerArchive),
    ("oci-archive:", Scheme::OciArchive),
    ("oci:", Scheme::Oci),
    ("dir:", Scheme::Dir),
    ("store:", Scheme::Store),
];

/// A place as the user spelled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What kind.
    pub scheme: Scheme,
    /// Where; empty for the store and for engines.
    pub path: PathBuf,
    /// Which image there: a name, a tag, `@index`.
    pub image: Option<String>,
}

/// What the run provides for opening places.
#[derive(Clone)]
pub struct Env {
    /// Where the store is.
    pub store: PathBuf,
    /// A directory for scratch files where no better one is known.
    pub temporary: PathBuf,
    /// How ambiguous tables are read.
    pub reading: Reading,
    /// Where the engines are.
    pub engines: Engines,
    /// How registries are reached.
    pub network: Network,
    /// Whether existing files are overwritten.
    pub force: bool,
    /// Budgets and listeners.
    pub ctx: Context,
}

impl Env {
    /// Scratch space where none lies beside a target.
    ///
    /// # Errors
    /// `Io`.
    pub fn scratch(&self) -> Result<Arc<Scratch>> {
        Scratch::within(&self.temporary)
    }
}

impl Place {
    /// Reads a place. A bare path needs no scheme; a name that is neither is a bare path too.
    ///
    /// # Errors
    /// `Usage` when the path is empty.
    pub fn parse(text: &str) -> Result<Self> {
        for (prefix, scheme) in SCHEMES {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            if scheme == Scheme::Registry && rest.is_empty() {
                return Err(Error::new(Kind::Usage, "docker:// needs a name").input(text));
            }
            if let Scheme::Store | Scheme::Registry | Scheme::Engine(_) = scheme {
                // An address of IPv6 begins like that too.
                if rest.starts_with('[') && scheme != Scheme::Registry {
                    // Where podman keeps its images is for podman's own configuration to say.
                    let what = "separate storage is not supported; use podman:NAME";
                    return Err(Error::unsupported(what).input(text));
                }
                let image = Some(rest).filter(|r| !r.is_empty()).map(str::to_owned);
                return Ok(Self { scheme, path: PathBuf::new(), image });
            }
            let (path, image) = match rest.split_once(':') {
                Some((path, image)) if scheme != Scheme::Dir => (path, Some(image.to_owned())),
                _ => (rest, None),
            };
            if path.is_empty() {
                return Err(Error::new(Kind::Usage, format!("{prefix} needs a path")));
            }
            return Ok(Self { scheme, path: path.into(), image: image.filter(|i| !i.is_empty()) });
        }
        if text.is_empty() {
            return Err(Error::new(Kind::Usage, "a place needs a path"));
        }
        Ok(Self { scheme: Scheme::Path, path: text.into(), image: None })
    }

    /// What lies at a path, recognised by its content.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { scheme: Scheme::Path, path: path.into(), image: None }
    }

    /// The local store, all of it.
    pub fn store() -> Self {
        Self { scheme: Scheme::Store, path: PathBuf::new(), image: None }
    }

    /// A layout directory.
    pub fn layout(path: impl Into<PathBuf>) -> Self {
        Self { scheme: Scheme::Oci, path: path.into(), image: None }
    }

    /// An archive, whatever its name ends in; `-` is a standard stream.
    pub fn archive(path: impl Into<PathBuf>) -> Self {
        Self { scheme: Scheme::DockerArchive, path: path.into(), image: None }
    }

    /// The place of a name in a registry; without one, of the names that images have.
    pub fn registry(name: &str) -> Self {
        let image = Some(name.strip_prefix("docker://").unwrap_or(name).to_owned());
        Self {
            scheme: Scheme::Registry,
            path: PathBuf::new(),
            image: image.filter(|i| !i.is_empty()),
        }
    }

    /// The name that is meant in a registry.
    ///
    /// # Errors
    /// `Usage` when it breaks the grammar.
    pub fn reference(&self) -> Result<Reference> {
        let name = self.image.as_deref().unwrap_or_default();
        name.parse().map_err(|e: Error| e.kind_as(Kind::Usage))
    }

    /// Which image is to be chosen among those of the opened place; an engine or a registry was asked
    /// for just that.
    pub fn choice(&self) -> Option<&str> {
        match self.scheme {
            Scheme::Engine(_) | Scheme::Registry => None,
            _ => self.image.as_deref(),
        }
    }

    /// Whether it is read from a path that has to exist.
    pub fn is_file(&self) -> bool {
        let named = matches!(self.scheme, Scheme::Store | Scheme::Registry | Scheme::Engine(_));
        !named && self.path != Path::new("-")
    }

    /// Whether `text` can only mean a place: it has a scheme, or something lies at that path.
    ///
    /// # Errors
    /// `Io` when it cannot be told what lies there.
    pub fn is_place(text: &str) -> Result<bool> {
        Ok(Self::has_scheme(text) || text == "-" || look::itself(Path::new(text))?.is_some())
    }

    /// Whether `text` is spelled as a place, whatever lies where.
    pub fn has_scheme(text: &str) -> bool {
        SCHEMES.iter().any(|(prefix, _)| text.starts_with(prefix))
    }

    /// Opens the place for reading. `scratch` gives a directory for what must be unpacked first. Foreign
    /// layers that it lacks are fetched from elsewhere, where that is wished.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Corrupt`, `Unsupported`, `Io`.
    pub fn source(
        &self,
        env: &Env,
        scratch: &dyn Fn() -> Result<Arc<Scratch>>,
    ) -> Result<Box<dyn Source>> {
        let source = self.own_source(env, scratch)?;
        if !env.network.from.fetch_foreign || source.remote() {
            return Ok(source);
        }
        let elsewhere = Box::new(ForeignLayers(env.network.source(&env.ctx)?));
        let parts = vec![UnionPart::whole(source), UnionPart::whole(elsewhere)];
        Ok(Box::new(Union::new(self.path.display().to_string(), parts)))
    }

    fn own_source(
        &self,
        env: &Env,
        scratch: &dyn Fn() -> Result<Arc<Scratch>>,
    ) -> Result<Box<dyn Source>> {
        let (path, ctx, reading) = (&self.path, &env.ctx, env.reading);
        match self.scheme {
            Scheme::Store => {
                let store = Store::new(&env.store, ctx);
                let source = store.source()?.ok_or_else(|| store::empty(&env.store))?;
                Ok(Box::new(source))
            }
            Scheme::Registry => {
                let registries = env.network.source(ctx)?;
                let wanted = [self.reference()?];
                let source =
                    RegistrySource::open(&registries, &wanted, true, Known::default(), ctx)?;
                match source.unreadable().first() {
                    Some((_, error)) => Err(error.clone()),
                    None => Ok(Box::new(source)),
                }
            }
            Scheme::Engine(engine) => {
                let (image, engines) = (self.image.as_deref(), &env.engines);
                Ok(Box::new(daemon::source(engine, image, engines, scratch, reading, ctx)?))
            }
            Scheme::Oci => Ok(Box::new(LayoutSource::open(path, reading, ctx)?)),
            Scheme::Dir => Ok(Box::new(DirSource::open(path)?)),
            Scheme::Path if path == Path::new("-") => {
                let input = std::io::stdin();
                let source =
                    ArchiveSource::stream(input, "standard input", scratch()?, reading, ctx)?;
                Ok(Box::new(source))
            }
            Scheme::DockerArchive | Scheme::OciArchive => {
                Ok(Box::new(ArchiveSource::open(path, scratch, reading, ctx)?))
            }
            Scheme::Path if look::is_dir(path)? => self.directory(env),
            Scheme::Path => Ok(Box::new(ArchiveSource::open(path, scratch, reading, ctx)?)),
        }
    }

    fn directory(&self, env: &Env) -> Result<Box<dyn Source>> {
        let (path, ctx, reading) = (&self.path, &env.ctx, env.reading);
        Ok(match Directory::of(path)? {
            Directory::Layout => {
                let mut source = LayoutSource::open(path, reading, ctx)?;
                source.warn(folder::beside(path)?);
                Box::new(source)
            }
            Directory::Unpacked => Box::new(LayoutSource::open(path, reading, ctx)?),
            Directory::Skopeo => Box::new(DirSource::open(path)?),
            Directory::Storage => Box::new(RegistryFiles::open(path, ctx)?),
            Directory::Folder => Box::new(folder::open(path, ctx, &|path| one(path, env))?),
        })
    }

    /// The same for what goes by names: a directory of skopeo, which contains none, is called like its
    /// path.
    ///
    /// # Errors
    /// As [`Place::source`].
    pub fn named_source(&self, env: &Env) -> Result<Box<dyn Source>> {
        let dir = self.scheme == Scheme::Path && look::is_dir(&self.path)?;
        if dir && Directory::of(&self.path)? == Directory::Skopeo {
            return Ok(Box::new(folder::skopeo(&self.path, &|path| one(path, env))?));
        }
        self.source(env, &|| env.scratch())
    }

    /// Opens the place for writing. `halves` narrows an archive to one of its tables.
    ///
    /// # Errors
    /// `Usage`, `Conflict`, `Unsupported`, `Busy`, `Io`.
    pub fn sink(&self, env: &Env, halves: Option<Halves>) -> Result<Box<dyn Sink>> {
        let ctx = &env.ctx;
        match self.scheme {
            Scheme::Store => Ok(Box::new(Store::new(&env.store, ctx).sink(ctx)?)),
            Scheme::Registry => {
                let registries = env.network.sink(ctx)?;
                let (temporary, memory) = (env.temporary.clone(), env.network.memory.clone());
                Ok(Box::new(RegistrySink::new(registries, temporary, memory, ctx)))
            }
            Scheme::Engine(engine) => {
                let scratch = Lazy::within(env.temporary.clone());
                Ok(Box::new(EngineSink::open(engine, &env.engines, scratch, ctx)?))
            }
            Scheme::Oci => {
                let label = self.image.clone();
                Ok(Box::new(LayoutSink::create(&self.path, LayoutOptions::PLAIN, label, ctx)?))
            }
            Scheme::Dir => Ok(Box::new(DirSink::create(&self.path, ctx)?)),
            Scheme::DockerArchive => self.archive_sink(env, halves.unwrap_or(Halves::Union)),
            Scheme::OciArchive => self.archive_sink(env, halves.unwrap_or(Halves::Oci)),
            Scheme::Path if look::is_dir(&self.path)? => {
                let what = "is a directory; use oci:DIR or dir:DIR";
                Err(Error::new(Kind::Usage, what).input(self.path.display().to_string()))
            }
            Scheme::Path if !names_archive(&self.path) => {
                let what =
                    "unclear what to write; use oci:DIR, dir:DIR, store: or a name ending in .tar";
                let error = Error::new(Kind::Usage, what).because(Cause::UnclearTarget);
                Err(error.input(self.path.display().to_string()))
            }
            Scheme::Path => self.archive_sink(env, halves.unwrap_or(Halves::Union)),
        }
    }

    fn archive_sink(&self, env: &Env, halves: Halves) -> Result<Box<dyn Sink>> {
        if self.path == Path::new("-") {
            return stream(env, halves);
        }
        file(&self.path, env, halves)
    }
}

/// What lies at a path, which is not parsed: it may begin with what looks like a scheme.
fn one(path: &Path, env: &Env) -> Result<Box<dyn Source>> {
    Place::at(path).source(env, &|| env.scratch())
}

/// `.tar`, alone or with the ending of a compression, or standard output.
fn names_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "-"
        || [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.zstd"]
            .iter()
            .any(|e| name.ends_with(e))
}

/// An archive that appears at `path`, compressed as its name says.
///
/// # Errors
/// `Conflict` when it exists, `Unsupported` for a compression that cannot be written, `Io`.
pub fn file(path: &Path, env: &Env, halves: Halves) -> Result<Box<dyn Sink>> {
    let encoding = layer::output_encoding(path)?.unwrap_or(Encoding::Plain);
    let output = OutputFile::create(path, env.force, env.ctx.sync)?;
    let directory = output.directory().to_path_buf();
    let place = path.display().to_string();
    let scratch = Lazy::within(directory);
    let sink = ArchiveSink::create(
        ArchiveTarget::File(output),
        place,
        halves,
        Compression::new(encoding),
        scratch,
    )?;
    Ok(Box::new(sink))
}

/// An archive on standard output.
///
/// # Errors
/// `Io`.
pub fn stream(env: &Env, halves: Halves) -> Result<Box<dyn Sink>> {
    // The descriptor itself: Rust's own handle looks for line ends in what are blobs.
    let shown = Path::new("standard output");
    let fd = std::io::stdout().as_fd().try_clone_to_owned();
    let file = File::from(fd.map_err(|e| Error::io(shown, "opening", &e))?);
    let target = ArchiveTarget::Stream(Box::new(Named { file, path: shown.to_path_buf() }));
    let scratch = Lazy::within(env.temporary.clone());
    let whole = Compression::new(Encoding::Plain);
    let sink = ArchiveSink::create(target, "standard output".into(), halves, whole, scratch)?;
    Ok(Box::new(sink))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spelled_as_in_skopeo() {
        for (text, scheme, path, image) in [
            ("oci:dir", Scheme::Oci, "dir", None),
            ("oci:dir:name:tag", Scheme::Oci, "dir", Some("name:tag")),
            ("oci:/a/b:@1", Scheme::Oci, "/a/b", Some("@1")),
            ("docker-archive:x.tar:nginx:1", Scheme::DockerArchive, "x.tar", Some("nginx:1")),
            ("dir:a:b", Scheme::Dir, "a:b", None),
            ("store:nginx:1", Scheme::Store, "", Some("nginx:1")),
            ("store:", Scheme::Store, "", None),
            ("docker-daemon:nginx:1", Scheme::Engine(Engine::Docker), "", Some("nginx:1")),
            ("containers-storage:a", Scheme::Engine(Engine::Podman), "", Some("a")),
            ("podman:", Scheme::Engine(Engine::Podman), "", None),
            ("containerd:a/b:1,c", Scheme::Engine(Engine::Containerd), "", Some("a/b:1,c")),
            ("x.tar", Scheme::Path, "x.tar", None),
            ("docker://[::1]:5000/a:1", Scheme::Registry, "", Some("[::1]:5000/a:1")),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!(place.scheme, scheme, "{text}");
            assert_eq!(place.path, Path::new(path), "{text}");
            assert_eq!(place.image.as_deref(), image, "{text}");
        }
        assert!(Place::parse("oci:").is_err());
        assert!(Place::parse("containers-storage:[vfs@/x]a").is_err());
    }
}
