//! What a copy did, as data.

use std::collections::HashMap;

use crate::context::Context;
use crate::copy::tree::{Missing, Tree};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::progress::Event;
use crate::transport::{Root, Sealed, Sink};

/// The outcome of a copy.
#[derive(Debug, Default)]
pub struct Report {
    /// Images that are complete at the destination.
    pub published: Vec<Published>,
    /// Images that are not.
    pub failed: Vec<Failed>,
    /// Parts of the source that could not be opened, and why.
    pub unreadable: Vec<(String, Error)>,
    /// Blobs that do not verify, with the images that need them.
    pub damage: Vec<Damage>,
    /// Blobs that were recoded.
    pub changed: Vec<Changed>,
    /// Companions that were left behind, since what they are about did not come as it was.
    pub orphans: Vec<Orphan>,
    /// Platforms that were listed and absent.
    pub missing: Vec<String>,
    /// Blobs stored.
    pub stored: u64,
    /// Blobs the destination already had.
    pub reused: u64,
}

/// One image at its destination.
#[derive(Debug)]
pub struct Published {
    /// Its names and its descriptor as they were.
    pub root: Root,
    /// Its descriptor as it is now.
    pub target: Descriptor,
    /// Config digest of the image that an engine on this machine would run: the image ID. Not known
    /// of an image that stood there already.
    pub image_id: Option<Digest>,
    /// Whether it stood there already, so that nothing was sent.
    pub unchanged: bool,
    /// Every blob of its graph that is present, each once.
    pub blobs: Vec<Descriptor>,
}

/// One image that failed.
#[derive(Debug)]
pub struct Failed {
    /// Its name, or its digest.
    pub title: String,
    /// Everything that it is called.
    pub names: Vec<String>,
    /// The digest of its root at the source.
    pub digest: Digest,
    /// Everything that is wrong with it; at least one.
    pub errors: Vec<Error>,
}

impl Failed {
    pub(super) fn new(root: &Root, error: Error) -> Self {
        Self::of(root, vec![error])
    }

    pub(super) fn of(root: &Root, errors: Vec<Error>) -> Self {
        Self { title: root.title(), names: root.titles(), digest: root.desc.digest, errors }
    }

    /// An error as one line that names the image once.
    pub fn line(&self, error: &Error) -> String {
        match error.subject() {
            Some(subject) if subject == self.title => error.to_string(),
            _ => format!("{}: {error}", self.title),
        }
    }

    /// The first error, naming the image.
    pub fn error(&self) -> Error {
        match self.errors.first() {
            Some(error) => error.clone(),
            None => Error::new(Kind::Other, format!("{} failed", self.title)),
        }
    }
}

/// One blob that does not verify.
#[derive(Debug)]
pub struct Damage {
    /// What should be there.
    pub digest: Digest,
    /// What is wrong; names the file and the offset where known.
    pub error: Error,
    /// Names of the images that need it.
    pub images: Vec<String>,
}

impl Damage {
    /// What is wrong with the document of an image, so that nothing beneath it was looked at.
    pub(super) fn of(failed: &Failed) -> Self {
        Self { digest: failed.digest, error: failed.error(), images: failed.names.clone() }
    }
}

/// A signature or another companion of what did not come as it was.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Its name, or its digest.
    pub title: String,
    /// Its digest.
    pub digest: Digest,
    /// What it is about.
    pub subject: Digest,
}

/// One layer that became another blob.
#[derive(Debug)]
pub struct Changed {
    /// What it was.
    pub from: Descriptor,
    /// What it is now.
    pub to: Descriptor,
}

impl Report {
    /// Notes companions that stay behind and says of each what it no longer signs; `became` knows what is
    /// there instead.
    pub(super) fn leave(
        &mut self,
        orphans: Vec<Orphan>,
        became: &HashMap<Digest, Digest>,
        ctx: &Context,
    ) {
        for orphan in &orphans {
            let Orphan { title, digest, subject } = orphan;
            let what = match title.contains(&digest.to_string()) {
                true => title.clone(),
                false => format!("{title} ({digest})"),
            };
            let why = match became.get(subject) {
                Some(now) => format!("{subject}, which became {now}"),
                None => format!("{subject}, which is not copied"),
            };
            ctx.warn(&format!("{what} is left behind: it refers to {why}"));
        }
        self.orphans.extend(orphans);
    }

    pub(super) fn note_missing(&mut self, tree: &Tree, ctx: &Context) {
        for Missing { digest, platform } in &tree.missing {
            let platform =
                platform.as_ref().map_or_else(|| "unknown platform".into(), ToString::to_string);
            let text =
                format!("{}: {platform} is listed but not present ({digest})", tree.root.title());
            ctx.warn(&text);
            self.missing.push(text);
        }
    }

    /// Strikes names that an image was not given after all; the image as it was at the source, with
    /// these names. The sink knows it as what it became.
    pub(super) fn take_back(&mut self, refused: Root) -> Root {
        let holds = |p: &Published| {
            let mut names = refused.names.iter();
            p.target.digest == refused.desc.digest && names.all(|n| p.root.names.contains(n))
        };
        let Some(at) = self.published.iter().position(holds) else { return refused };
        let root = &mut self.published[at].root;
        root.names.retain(|name| !refused.names.contains(name));
        let was = Root { names: refused.names, ..root.clone() };
        if root.names.is_empty() || was.names.is_empty() {
            self.published.remove(at);
        }
        was
    }

    /// Notes an image that stood at the sink already.
    pub(super) fn unchanged(&mut self, root: &Root, target: &Descriptor, ctx: &Context) {
        ctx.progress.event(Event::Published(&root.title()));
        let (root, target) = (root.clone(), target.clone());
        self.published.push(Published {
            root,
            target,
            image_id: None,
            unchanged: true,
            blobs: Vec::new(),
        });
    }

    pub(super) fn seal(
        &mut self,
        tree: &Tree,
        sealed: Sealed,
        to: &dyn Sink,
        ctx: &Context,
    ) -> Result<()> {
        let target = sealed.root.desc.clone();
        let image_id = sealed.own_image().map(|image| image.config.digest);
        let (title, blobs) = (sealed.root.title(), sealed.blobs.clone());
        to.publish(sealed)?;
        ctx.progress.event(Event::Published(&title));
        let root = tree.root.clone();
        self.published.push(Published { root, target, image_id, unchanged: false, blobs });
        Ok(())
    }
}
