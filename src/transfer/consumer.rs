//! Who loads what is written, and what each can take.
//!
//! The facts were observed with the engines themselves; `scripts/engines` holds them to it. What an engine
//! cannot take is adapted where nothing but the packing of layers changes, and refused otherwise.

use std::str::FromStr;

use crate::context::Context;
use crate::copy::{Policy, walk};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Kind, Result};
use crate::layer::Compression;
use crate::transport::daemon::{self, Engine, Version};
use crate::transport::table::{Env, Place, Scheme};
use crate::transport::{Root, Source};

/// Who loads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// Docker up to 20.10.
    Docker20,
    /// Docker 23 and later.
    Docker,
    /// podman.
    Podman,
    /// `ctr` and nerdctl.
    Containerd,
    /// k3s and RKE2.
    K3s,
}

use Encoding::{Bzip2, Gzip, Plain, Xz, Zstd};

/// What a consumer takes.
struct Takes {
    /// As the user writes it.
    name: &'static str,
    /// Who it is, in a few words.
    about: &'static str,
    /// Encodings of layers.
    layers: &'static [Encoding],
    /// Whether it makes images that have no name.
    unnamed: bool,
    /// Whether an index may list platforms that are absent.
    sparse: bool,
    /// Whether signatures and attestations may lie beside the images.
    companions: bool,
}

const TABLE: [(Consumer, Takes); 5] = [
    (
        Consumer::Docker20,
        Takes {
            name: "docker20",
            about: "Docker up to 20.10: no zstd layers",
            layers: &[Plain, Gzip, Xz, Bzip2],
            unnamed: true,
            sparse: true,
            companions: false,
        },
    ),
    (
        Consumer::Docker,
        Takes {
            name: "docker",
            about: "Docker 23 and later",
            layers: &[Plain, Gzip, Zstd],
            unnamed: true,
            sparse: true,
            companions: true,
        },
    ),
    (
        Consumer::Podman,
        Takes {
            name: "podman",
            about: "podman: no sparse index",
            layers: &[Plain, Gzip, Zstd, Xz, Bzip2],
            unnamed: true,
            sparse: false,
            companions: false,
        },
    ),
    (
        Consumer::Containerd,
        Takes {
            name: "containerd",
            about: "ctr and nerdctl: names required, no sparse index",
            layers: &[Plain, Gzip, Zstd],
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
            layers: &[Plain, Gzip, Zstd],
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

    /// The engine behind a place; nothing when there is none.
    ///
    /// # Errors
    /// Those of asking it for its version.
    pub fn behind(place: &Place, env: &Env) -> Result<Option<Self>> {
        let Scheme::Engine(engine) = place.scheme else { return Ok(None) };
        let version = daemon::version(engine, &env.engines, &env.ctx)?;
        Ok(Some(match (engine, version) {
            (Engine::Docker, Version::Old) => Self::Docker20,
            (Engine::Docker, Version::Current) => Self::Docker,
            (Engine::Podman, _) => Self::Podman,
            (Engine::Containerd, _) => Self::Containerd,
        }))
    }

    fn takes(self) -> &'static Takes {
        let own = TABLE.iter().find(|(consumer, _)| *consumer == self);
        own.map_or(&TABLE[0].1, |(_, takes)| takes)
    }

    /// As the user writes it.
    pub fn name(self) -> &'static str {
        self.takes().name
    }

    /// Who it is, in a few words.
    pub fn about(self) -> &'static str {
        self.takes().about
    }

    /// Checks that it will load the images, and adapts what may be adapted.
    ///
    /// # Errors
    /// `Policy` with the reason.
    pub fn adapt(
        self,
        source: &dyn Source,
        roots: &mut Vec<Root>,
        policy: &mut Policy,
        ctx: &Context,
    ) -> Result<()> {
        let takes = self.takes();
        let refuse = |what: String| Err(Error::new(Kind::Policy, what));
        let unnamed = |r: &&Root| r.names.is_empty() && !r.companion;
        if let Some(root) = roots.iter().find(unnamed).filter(|_| !takes.unnamed) {
            let title = root.title();
            return refuse(format!(
                "{title} has no name, which containerd requires; name it with `imgpack tag`"
            ));
        }
        policy.complete |= !takes.sparse;
        roots.retain(|r| !r.companion || takes.companions);
        for root in roots.iter().filter(|r| !r.companion) {
            let tree = walk(source, root, ctx)?;
            for manifest in tree.node.manifests() {
                if manifest.config_bytes.is_none() {
                    if !manifest.desc.is_attestation() {
                        let title = root.title();
                        return refuse(format!(
                            "{title} is not an image, and engines load only images"
                        ));
                    }
                    continue;
                }
                for layer in &manifest.layers {
                    let Some(extent) = source.extent(layer) else { continue };
                    let encoding = Encoding::sniff(&extent.head(SNIFF_LEN)?);
                    let recoded = policy.compress.is_some_and(|c| c.encoding != encoding);
                    if takes.layers.contains(&encoding) || recoded {
                        continue;
                    }
                    ctx.warn(&format!(
                        "{}: {encoding} layers are not loaded by that engine and become gzip",
                        root.title()
                    ));
                    policy.compress = Some(Compression::new(Gzip));
                }
            }
        }
        match policy.compress {
            Some(wish) if !takes.layers.contains(&wish.encoding) => {
                refuse("docker 20.10 cannot load zstd layers; use --compress gzip".into())
            }
            _ => Ok(()),
        }
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
