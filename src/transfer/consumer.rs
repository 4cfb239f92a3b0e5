//! Who loads what is written, and what each can take.
//!
//! The facts were observed with the engines themselves, and `scripts/engines` holds them to it. Where
//! versions and stores of one engine differ, only what all of them take counts. What an engine cannot take
//! is adapted where nothing but the packing of layers changes, and refused otherwise.

use std::path::Path;
use std::str::FromStr;

use crate::context::Context;
use crate::copy::{Policy, walk_wanted};
use crate::descriptor::Descriptor;
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Kind, Result};
use crate::layer::{self, Compression};
use crate::transport::archive::Halves;
use crate::transport::daemon::{self, Engine, Version};
use crate::transport::table::{Env, Place, Scheme};
use crate::transport::{Root, Source};

/// Who loads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// Docker up to 20.10.
    Docker20,
    /// Docker 23 and later, with either of its stores.
    Docker,
    /// podman.
    Podman,
    /// `ctr` and nerdctl.
    Containerd,
    /// k3s and RKE2, from their directory of images.
    K3s,
}

use Encoding::{Bzip2, Gzip, Plain, Xz, Zstd};

/// What a consumer takes.
#[derive(Clone, Copy, Debug)]
pub struct Takes {
    /// As the user writes it.
    name: &'static str,
    /// Who it is, in a few words.
    about: &'static str,
    /// As messages call it.
    title: &'static str,
    /// Encodings of layers.
    layers: &'static [Encoding],
    /// Encodings of a whole archive.
    archive: &'static [Encoding],
    /// More of them, where index.json has one entry.
    archive_of_one: &'static [Encoding],
    /// The most layers of one image, where that is bounded.
    most_layers: Option<usize>,
    /// Whether it reads an archive without manifest.json.
    oci_alone: bool,
    /// Whether it makes images that have no name.
    unnamed: bool,
    /// Whether an index may list platforms that are absent.
    sparse: bool,
    /// Whether signatures and attestations may lie beside the images.
    companions: bool,
}

/// Graph drivers chain no more: moby's `maxLayerDepth`. The 126th ends with "max depth exceeded".
const GRAPH_DRIVER: Option<usize> = Some(125);

const TABLE: [(Consumer, Takes); 5] = [
    (
        Consumer::Docker20,
        Takes {
            name: "docker20",
            about: "Docker up to 20.10: no zstd, at most 125 layers",
            title: "docker 20.10",
            layers: &[Plain, Gzip, Xz, Bzip2],
            archive: &[Plain, Gzip, Xz, Bzip2],
            archive_of_one: &[],
            most_layers: GRAPH_DRIVER,
            oci_alone: false,
            unnamed: true,
            sparse: true,
            companions: false,
        },
    ),
    (
        Consumer::Docker,
        Takes {
            name: "docker",
            about: "Docker 23 and later: at most 125 layers",
            title: "docker",
            layers: &[Plain, Gzip, Zstd],
            archive: &[Plain, Gzip, Zstd, Xz, Bzip2],
            archive_of_one: &[],
            most_layers: GRAPH_DRIVER,
            oci_alone: false,
            unnamed: true,
            sparse: true,
            companions: true,
        },
    ),
    (
        Consumer::Podman,
        Takes {
            name: "podman",
            about: "podman: no sparse index, no gzip archive of several images",
            title: "podman",
            layers: &[Plain, Gzip, Zstd, Xz, Bzip2],
            // podman 4.3 unpacks gzip on its way to index.json, not to manifest.json, which it reads
            // where index.json has several entries.
            archive: &[Plain, Zstd, Xz, Bzip2],
            archive_of_one: &[Gzip],
            most_layers: None,
            oci_alone: true,
            unnamed: true,
            sparse: false,
            companions: false,
        },
    ),
    (
        Consumer::Containerd,
        Takes {
            name: "containerd",
            about: "ctr and nerdctl: names required, no sparse index, no compressed archive",
            title: "containerd",
            layers: &[Plain, Gzip, Zstd],
            archive: &[Plain],
            archive_of_one: &[],
            most_layers: None,
            oci_alone: true,
            unnamed: false,
            sparse: false,
            companions: true,
        },
    ),
    (
        Consumer::K3s,
        Takes {
            name: "k3s",
            about: "k3s and RKE2: names required, no sparse index",
            title: "k3s",
            layers: &[Plain, Gzip, Zstd],
            archive: &[Plain, Gzip, Zstd, Bzip2],
            archive_of_one: &[],
            most_layers: None,
            // RKE2 looks its runtime image up in manifest.json.
            oci_alone: false,
            unnamed: false,
            sparse: false,
            companions: false,
        },
    ),
];

impl Consumer {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(consumer, _)| *consumer)
    }

    /// What it takes.
    pub fn takes(self) -> Takes {
        let own = TABLE.iter().find(|(consumer, _)| *consumer == self);
        own.map_or(TABLE[0].1, |(_, takes)| *takes)
    }

    /// As the user writes it.
    pub fn name(self) -> &'static str {
        self.takes().name
    }

    /// Who it is, in a few words.
    pub fn about(self) -> &'static str {
        self.takes().about
    }
}

impl Takes {
    /// What the engine behind a place takes; nothing when there is none.
    ///
    /// # Errors
    /// Those of asking it for its version.
    pub fn behind(place: &Place, env: &Env) -> Result<Option<Self>> {
        let Scheme::Engine(engine) = place.scheme else { return Ok(None) };
        let version = daemon::version(engine, &env.engines, &env.ctx)?;
        let docker = Consumer::Docker.takes();
        Ok(Some(match (engine, version) {
            (Engine::Docker, Version::Old) => Consumer::Docker20.takes(),
            (Engine::Docker, Version::GraphDriver) => docker,
            (Engine::Docker, Version::Current) => Self { most_layers: None, ..docker },
            (Engine::Podman, _) => Consumer::Podman.takes(),
            (Engine::Containerd, _) => Consumer::Containerd.takes(),
        }))
    }

    /// Checks that the archive that will be written can be read.
    ///
    /// # Errors
    /// `Policy` with the reason.
    pub(super) fn check_archive(
        &self,
        to: &Place,
        halves: Option<Halves>,
        roots: &[Root],
    ) -> Result<()> {
        let alone = match to.scheme {
            Scheme::DockerArchive | Scheme::Path => halves == Some(Halves::Oci),
            Scheme::OciArchive => halves.is_none_or(|h| h == Halves::Oci),
            _ => return Ok(()),
        };
        let place = to.path.display().to_string();
        if alone && !self.oci_alone {
            let what = format!("{} loads no archive without manifest.json", self.title);
            return Err(Error::new(Kind::Policy, what).input(place));
        }
        let whole = match to.path == Path::new("-") {
            true => Plain,
            false => layer::output_encoding(&to.path)?.unwrap_or(Plain),
        };
        let entries: usize = roots.iter().map(|root| root.names.len().max(1)).sum();
        let one = entries == 1 && halves != Some(Halves::Docker);
        let read = self.archive.contains(&whole) || (one && self.archive_of_one.contains(&whole));
        if !read {
            let packed = self.archive.iter().filter(|e| matches!(e, Gzip | Zstd));
            let other: String = packed.map(|e| format!(" or as {e}")).collect();
            let title = self.title;
            let few = match self.archive_of_one.contains(&whole) {
                true => " without index.json or with several names",
                false => "",
            };
            let what =
                format!("{title} loads no {whole} archive{few}; write it uncompressed{other}");
            return Err(Error::new(Kind::Policy, what).input(place));
        }
        Ok(())
    }

    /// Checks that the images will be loaded, and adapts what may be adapted.
    ///
    /// # Errors
    /// `Policy` with the reason.
    pub(super) fn adapt(
        &self,
        source: &dyn Source,
        roots: &mut Vec<Root>,
        policy: &mut Policy,
        ctx: &Context,
    ) -> Result<()> {
        let refuse = |what: String| Err(Error::new(Kind::Policy, what));
        let unnamed = |r: &&Root| r.names.is_empty() && !r.companion;
        if let Some(root) = roots.iter().find(unnamed).filter(|_| !self.unnamed) {
            let title = root.title();
            return refuse(format!(
                "{title} has no name, which containerd requires; name it with `imgpack tag`"
            ));
        }
        policy.complete |= !self.sparse;
        let all = roots.len();
        roots.retain(|r| !r.companion || self.companions);
        if roots.len() < all {
            ctx.warn(&format!(
                "{} takes no signatures and attestations beside images: {} left out",
                self.title,
                all - roots.len()
            ));
        }
        for root in roots.iter().filter(|r| !r.companion) {
            let tree = match walk_wanted(source, root, policy, ctx) {
                Ok(tree) => tree,
                // The copy says so, and goes on with the others.
                Err(_) if policy.keep_going => continue,
                Err(e) => return Err(e),
            };
            let title = root.title();
            for manifest in tree.node.manifests() {
                if manifest.config_bytes.is_none() {
                    if !manifest.desc.is_attestation() {
                        return refuse(format!(
                            "{title} is not an image, and engines load only images"
                        ));
                    }
                    continue;
                }
                let count = manifest.layers.len();
                if let Some(most) = self.most_layers.filter(|most| count > *most) {
                    let own = self.title;
                    return refuse(format!(
                        "{title} has {count} layers, {own} loads at most {most}"
                    ));
                }
                for layer in &manifest.layers {
                    let Some(encoding) = encoding_of(source, layer)? else { continue };
                    let recoded = policy.compress.is_some_and(|c| c.encoding != encoding);
                    if self.layers.contains(&encoding) || recoded {
                        continue;
                    }
                    ctx.warn(&format!(
                        "{title}: {} loads no {encoding} layers; they become gzip",
                        self.title
                    ));
                    policy.compress = Some(Compression::new(Gzip));
                }
            }
        }
        match policy.compress {
            Some(wish) if !self.layers.contains(&wish.encoding) => {
                let (title, wished) = (self.title, wish.encoding);
                refuse(format!("{title} loads no {wished} layers; use --compress gzip"))
            }
            _ => Ok(()),
        }
    }
}

/// How a layer is compressed: by its first bytes, or of what is far away by its media type.
fn encoding_of(source: &dyn Source, layer: &Descriptor) -> Result<Option<Encoding>> {
    match source.extent(layer) {
        Some(extent) => Ok(Some(Encoding::sniff(&extent.head(SNIFF_LEN)?))),
        None => Ok(layer.media_type.to_string().ends_with("zstd").then_some(Zstd)),
    }
}

impl FromStr for Consumer {
    type Err = Error;

    /// # Errors
    /// `Usage` for a name that is none of them.
    fn from_str(name: &str) -> Result<Self> {
        let known = || Self::all().find(|consumer| consumer.name() == name);
        known().ok_or_else(|| {
            let name = crate::text::escape(name);
            Error::new(Kind::Usage, format!("{name:?} is no engine that is known"))
        })
    }
}
