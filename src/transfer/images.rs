//! Where images are and which of them are meant, opened.
//!
//! It knows what docker's verbs mean by their words, and nothing of where the images go.

use std::io::Read;
use std::sync::Arc;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::find::{Rule, no_image};
use crate::io::look;
use crate::io::scratch::Scratch;
use crate::reference::Reference;
use crate::transfer::choose;
use crate::transport::registry::{Known, RegistrySource};
use crate::transport::rootfs::{Facts, RootfsSource};
use crate::transport::store::Store;
use crate::transport::table::{Env, Place, Scheme};
use crate::transport::{Root, Source};

/// Images as a user asks for them.
pub enum Images {
    /// Of a place: the one that is named there, or all.
    At(Place),
    /// Of the store by names and IDs, or else of one engine, as `docker save` takes them.
    Saved(Vec<String>),
    /// Of the store or a place, as `docker push` takes them.
    Pushed {
        /// Where the image is.
        from: Place,
        /// Whether a repository means all its tags.
        all_tags: bool,
    },
    /// Of registries.
    Pulled {
        /// Their names.
        names: Vec<Reference>,
        /// Whether signatures, attestations and other companions come along.
        companions: bool,
    },
    /// A root file system tar, which becomes one.
    Imported {
        /// The tar.
        tar: Box<dyn Read + Send>,
        /// How it is called in messages.
        place: String,
        /// What the image says of itself.
        facts: Box<Facts>,
    },
}

/// A source with what is wanted of it.
pub(super) struct Opened {
    pub source: Box<dyn Source>,
    pub roots: Vec<Root>,
}

impl Opened {
    fn new(source: impl Source + 'static, roots: Vec<Root>) -> Self {
        Self { source: Box::new(source), roots }
    }
}

impl Images {
    /// Fails when nothing lies where images are to be read: then nothing is made at the target either.
    pub(super) fn check(&self) -> Result<()> {
        let (Self::At(from) | Self::Pushed { from, .. }) = self else { return Ok(()) };
        if from.is_file() && !look::exists(&from.path)? {
            return Err(Error::no_such_file(&from.path));
        }
        Ok(())
    }

    /// Opens the source and chooses; `scratch` gives a directory for what must be unpacked first.
    pub(super) fn open(
        self,
        env: &Env,
        scratch: &dyn Fn() -> Result<Arc<Scratch>>,
    ) -> Result<Opened> {
        let ctx = &env.ctx;
        match self {
            Self::At(place) => at(&place, env, scratch),
            Self::Saved(words) => match stored(&words, env) {
                // An image of the store may be called podman:5, and is meant first.
                Err(e) if e.kind() == Kind::Missing => {
                    at(&of_engine(&words)?.ok_or(e)?, env, scratch)
                }
                found => found,
            },
            Self::Pushed { from, all_tags } => {
                let source = from.source(env, scratch)?;
                let roots = match (from.scheme, &from.image) {
                    (Scheme::Store, Some(word)) if all_tags => {
                        every_tag(source.as_ref(), word, ctx)?
                    }
                    _ => choose::choose(source.as_ref(), &from, ctx)?,
                };
                Ok(Opened { source, roots })
            }
            Self::Pulled { names, companions } => {
                let (registries, known) = (env.network.source(ctx)?, Known::default());
                let source = RegistrySource::open(&registries, &names, companions, known, ctx)?;
                let roots = source.roots().to_vec();
                Ok(Opened::new(source, roots))
            }
            Self::Imported { tar, place, facts } => {
                let source = RootfsSource::read(tar, place, *facts, scratch()?, ctx)?;
                let roots = source.roots().to_vec();
                Ok(Opened::new(source, roots))
            }
        }
    }
}

fn at(place: &Place, env: &Env, scratch: &dyn Fn() -> Result<Arc<Scratch>>) -> Result<Opened> {
    let source = place.source(env, scratch)?;
    let roots = choose::choose(source.as_ref(), place, &env.ctx)?;
    Ok(Opened { source, roots })
}

fn stored(words: &[String], env: &Env) -> Result<Opened> {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let source = Store::new(&env.store, &env.ctx).source()?.ok_or_else(|| no_image(first))?;
    let roots = choose::meant(&source, words, Rule::EveryTag, &env.ctx)?;
    Ok(Opened::new(source, roots))
}

/// All tags of a repository of the store.
fn every_tag(source: &dyn Source, word: &str, ctx: &Context) -> Result<Vec<Root>> {
    let name = word.parse::<Reference>().map_err(|e| e.kind_as(Kind::Usage))?;
    if name.tag().is_some() || name.digest().is_some() {
        let what = "--all-tags takes a repository, without a tag";
        return Err(Error::new(Kind::Usage, what).input(word));
    }
    let mut roots = choose::meant(source, &[word], Rule::EveryTag, ctx)?;
    roots.retain(|root| root.companion || root.names.iter().any(|name| name.tag().is_some()));
    if roots.iter().all(|root| root.companion) { Err(no_image(word)) } else { Ok(roots) }
}

/// The one place of an engine that all of `words` lie in; nothing when they are of the store.
fn of_engine(words: &[String]) -> Result<Option<Place>> {
    let places = words.iter().map(|word| Place::parse(word)).collect::<Result<Vec<_>>>()?;
    let Some(mut place) = places.iter().find(|p| matches!(p.scheme, Scheme::Engine(_))).cloned()
    else {
        return Ok(None);
    };
    let names: Vec<&str> = places
        .iter()
        .filter(|p| p.scheme == place.scheme)
        .filter_map(|p| p.image.as_deref())
        .collect();
    if names.len() != places.len() {
        let what = "the images of one archive are all of the store, or all of one engine and named";
        return Err(Error::new(Kind::Usage, what));
    }
    place.image = Some(names.join(","));
    Ok(Some(place))
}
