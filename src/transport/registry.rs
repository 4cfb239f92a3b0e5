//! `docker://` repositories of registries as a source and as a sink, any number of them at once.
//!
//! It knows no request: the protocol is in `registry`. A source learns which repository holds a blob
//! from the manifests that it hands out.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::companion::{self, Link, subject_of_tag};
use crate::context::Context;
use crate::descriptor::{ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::io::lanes;
use crate::io::parts::Extent;
use crate::locks::lock;
use crate::manifest::{self, Document};
use crate::media_type::Role;
use crate::progress::Event;
use crate::reference::Reference;
use crate::registry::{Registries, Repository, TagOrDigest, no_image};
use crate::transport::{Checked, Origin, Root, Source};

pub mod indexes;
mod memory;
pub mod network;
pub mod recoded;
pub mod remains;
pub mod sink;

pub use indexes::Indexes;
pub use network::Network;
pub use sink::RegistrySink;

/// What is already known without a request.
#[derive(Default)]
pub struct Known {
    /// All tags of repositories that were listed already, by `registry/path`.
    pub tags: HashMap<String, Vec<String>>,
    /// What indexes list.
    pub indexes: Option<Arc<Indexes>>,
}

/// Images of repositories, opened for reading.
pub struct RegistrySource {
    place: String,
    repositories: Vec<Repository>,
    roots: Vec<Root>,
    unreadable: Vec<(String, Error)>,
    held: Mutex<HashMap<Digest, Held>>,
    read: Mutex<HashMap<Digest, Vec<u8>>>,
    /// What indexes list whose platforms may have companions.
    listed: Mutex<HashMap<Digest, Vec<Digest>>>,
    fetch_foreign: bool,
    /// Whether it was said that a registry cannot be asked for companions.
    unheard: AtomicBool,
    known: Known,
}

/// What is known of a blob before it is asked for.
#[derive(Default)]
struct Held {
    /// Repositories that have it, by position.
    at: Vec<usize>,
    /// Whether a manifest lists it as a config or a layer, so that it is no document.
    leaf: bool,
}

impl RegistrySource {
    /// Asks what each reference names, one request each, and, where wanted, which companions lie
    /// beside the images.
    ///
    /// # Errors
    /// `Denied` when a registry is blocked. What is wrong with one reference is [`Source::unreadable`].
    pub fn open(
        registries: &Arc<Registries>,
        wanted: &[Reference],
        companions: bool,
        known: Known,
        ctx: &Context,
    ) -> Result<Self> {
        let mut repositories: Vec<Repository> = Vec::new();
        let mut at: HashMap<String, usize> = HashMap::new();
        let mut asked: Vec<(Reference, usize)> = Vec::new();
        for name in wanted {
            let i = match at.get(&name.repository()) {
                Some(i) => *i,
                None => {
                    repositories.push(registries.repository(name)?);
                    at.insert(name.repository(), repositories.len() - 1);
                    repositories.len() - 1
                }
            };
            asked.push((name.clone().or_latest(), i));
        }
        let place = match wanted {
            [one] => one.familiar(),
            _ => "docker://".into(),
        };
        let source = Self {
            place,
            repositories,
            roots: Vec::new(),
            unreadable: Vec::new(),
            held: Mutex::default(),
            read: Mutex::default(),
            listed: Mutex::default(),
            fetch_foreign: registries.fetch_foreign(),
            unheard: AtomicBool::new(false),
            known,
        };
        let heads = lanes::each(&asked, ctx.jobs, |(name, i)| source.head(name, *i));
        let (mut roots, mut unreadable) = (Vec::new(), Vec::new());
        for ((name, i), head) in asked.into_iter().zip(heads) {
            match head {
                Ok(desc) => source.take_root(&mut roots, name, desc, i),
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(e) => unreadable.push((name.to_string(), e)),
            }
        }
        if companions {
            let found = source.companions(&roots, ctx)?;
            roots.extend(found);
            source.known.indexes.iter().for_each(|indexes| indexes.save());
        }
        Ok(Self { roots, unreadable, ..source })
    }

    fn head(&self, name: &Reference, at: usize) -> Result<Descriptor> {
        let found = self.repositories[at]
            .head(TagOrDigest::to_read(name))
            .map_err(|e| e.input_or(name.familiar()))?;
        found.ok_or_else(|| no_image(name))
    }

    fn take_root(&self, roots: &mut Vec<Root>, name: Reference, desc: Descriptor, at: usize) {
        self.hold(&desc.digest, at, false);
        let name = match name.tag() {
            // A tag with a digest was pulled by the digest and goes on under the tag.
            Some(tag) => name.with_tag(tag).unwrap_or_else(|_| name.clone()),
            None => name,
        };
        let known = roots.iter_mut().find(|r: &&mut Root| r.desc.digest == desc.digest);
        match known {
            Some(root) if root.names.contains(&name) => {}
            Some(root) => root.names.push(name),
            None => roots.push(Root {
                names: vec![name],
                label: None,
                desc,
                origin: Origin::Recorded,
                companion: false,
            }),
        }
    }

    /// Signatures and the like: cosign's tags, and what the registry lists as referrers. A listing
    /// that is refused costs the companions, not the images.
    fn companions(&self, roots: &[Root], ctx: &Context) -> Result<Vec<Root>> {
        let mut subjects: Vec<Vec<Digest>> = vec![Vec::new(); self.repositories.len()];
        for root in roots {
            for at in self.holders_of(&root.desc.digest) {
                subjects[at].push(root.desc.digest);
            }
        }
        // Where no image was found there is nothing that could have any.
        let all: Vec<usize> =
            (0..self.repositories.len()).filter(|at| !subjects[*at].is_empty()).collect();
        let indexes: Vec<Descriptor> = roots
            .iter()
            .filter(|root| root.desc.media_type.role() == Role::Index)
            .map(|root| root.desc.clone())
            .collect();
        let found = lanes::each(&all, ctx.jobs, |at| {
            self.tagged_companions(*at, &subjects[*at], &indexes, ctx)
        });
        let mut companions: Vec<Root> = Vec::new();
        let mut seen = HashSet::new();
        for one in found {
            let new = |root: &Root| seen.insert((root.desc.digest, root.names.clone()));
            companions.extend(one?.into_iter().filter(new));
        }
        Ok(companions)
    }

    /// Companions in one repository: of the images, of their platforms, and of what was found itself,
    /// such as the signature of an SBOM.
    fn tagged_companions(
        &self,
        at: usize,
        images: &[Digest],
        indexes: &[Descriptor],
        ctx: &Context,
    ) -> Result<Vec<Root>> {
        let repository = &self.repositories[at];
        let companion = |desc, names| Root {
            names,
            label: None,
            desc,
            origin: Origin::Recorded,
            companion: true,
        };
        let tags = match self.known.tags.get(&repository.name()) {
            Some(tags) => Some(tags.clone()),
            None => self.tolerated(repository.tags(), ctx)?.flatten(),
        };
        let chosen: HashSet<&Digest> = images.iter().collect();
        let other = |tag: &String| subject_of_tag(tag).is_some_and(|s| !chosen.contains(&s));
        let others = tags.as_ref().is_none_or(|tags| tags.iter().any(other));
        let found = companion::follow::<_, Error>(images.iter().copied(), |subjects| {
            let mut found = Vec::new();
            let wanted: HashSet<&Digest> = subjects.iter().collect();
            for tag in tags.iter().flatten() {
                // What a fallback tag of the referrers API leads to is found there.
                let about = subject_of_tag(tag).filter(|s| tag.contains('.') && wanted.contains(s));
                let Some(subject) = about else { continue };
                let head = repository.head(TagOrDigest::Tag(tag));
                if let (Some(Some(desc)), Ok(name)) =
                    (self.tolerated(head, ctx)?, format!("{}:{tag}", repository.name()).parse())
                {
                    self.hold(&desc.digest, at, false);
                    let (digest, item) = (desc.digest, Some(companion(desc, vec![name])));
                    found.push(Link { subject, digest, item });
                }
            }
            let ask = |subject: &Digest| repository.referrers(subject, tags.as_deref());
            // The first answer tells whether there is anyone to ask.
            let (first, rest) = subjects.split_at(1);
            let mut listed: Vec<_> = first.iter().map(&ask).collect();
            listed.extend(lanes::each(rest, ctx.jobs, ask));
            for (subject, listed) in subjects.iter().zip(listed) {
                for mut desc in self.tolerated(listed, ctx)?.unwrap_or_default() {
                    self.hold(&desc.digest, at, false);
                    desc.annotate(ANNOTATION_SUBJECT, &subject.to_string());
                    let name = repository.name().parse::<Reference>();
                    let names = name.map(|n| n.with_digest(desc.digest)).into_iter().collect();
                    let (digest, item) = (desc.digest, Some(companion(desc, names)));
                    found.push(Link { subject: *subject, digest, item });
                }
            }
            // By now it is known whether the registry can be asked for referrers.
            let own = indexes.iter().filter(|index| wanted.contains(&index.digest));
            for index in own.filter(|index| chosen.contains(&index.digest)) {
                let platforms = self.platforms(index, at, others, ctx)?;
                let beneath = |digest| Link { subject: index.digest, digest, item: None };
                found.extend(platforms.into_iter().map(beneath));
            }
            Ok(found)
        })?;
        Ok(found.into_iter().filter_map(|link| link.item).collect())
    }

    /// What an index lists, where any of it may have companions: its document is fetched only when it is
    /// not known, and the registry can be asked for referrers or has tags about `others` than the
    /// images.
    fn platforms(
        &self,
        index: &Descriptor,
        at: usize,
        others: bool,
        ctx: &Context,
    ) -> Result<Vec<Digest>> {
        let repository = &self.repositories[at];
        if !others
            && !self.tolerated(repository.lists_referrers(&index.digest), ctx)?.unwrap_or(false)
        {
            return Ok(Vec::new());
        }
        let memory = self.known.indexes.as_ref();
        if let Some(listed) = memory.and_then(|memory| memory.listed(&index.digest)) {
            lock(&self.listed).insert(index.digest, listed.clone());
            return Ok(listed);
        }
        let Some(Some(bytes)) = self.tolerated(self.document(index, at), ctx)? else {
            return Ok(Vec::new());
        };
        let Ok(document) = Document::parse(&bytes, &index.media_type) else {
            return Ok(Vec::new());
        };
        let all: Vec<Digest> = document.children().iter().map(|child| child.digest).collect();
        if let Some(memory) = memory {
            memory.note_listed(&index.digest, all.clone());
        }
        self.read().insert(index.digest, bytes);
        lock(&self.listed).insert(index.digest, all.clone());
        Ok(all)
    }

    /// Documents that were read before anyone asked for them.
    fn read(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Vec<u8>>> {
        lock(&self.read)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Held>> {
        lock(&self.held)
    }

    fn hold(&self, digest: &Digest, at: usize, leaf: bool) {
        let mut held = self.held();
        let entry = held.entry(*digest).or_default();
        entry.leaf |= leaf;
        if !entry.at.contains(&at) {
            entry.at.push(at);
        }
    }

    fn holders_of(&self, digest: &Digest) -> Vec<usize> {
        self.held().get(digest).map(|h| h.at.clone()).unwrap_or_default()
    }

    /// Notes what a document leads to.
    fn learn(&self, bytes: &[u8], desc: &Descriptor, at: usize) {
        let Ok(doc) = Document::parse(bytes, &desc.media_type) else { return };
        let leaf = matches!(doc.kind, manifest::DocumentKind::Manifest { .. });
        for child in doc.children() {
            self.hold(&child.digest, at, leaf);
        }
    }

    /// What a listing gave; nothing when the registry does not let us list, or cannot be asked.
    fn tolerated<T>(&self, listing: Result<T>, ctx: &Context) -> Result<Option<T>> {
        match listing {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.kind() == Kind::Interrupted => Err(e),
            Err(e) => {
                let what = format!("companions are not listed: {e}");
                // One of many images says it for all.
                let unheard = e.kind() == Kind::Unreachable;
                if unheard && !self.unheard.swap(true, Ordering::Relaxed) {
                    ctx.warn(&what);
                } else {
                    ctx.progress.event(Event::Detail(&what));
                }
                Ok(None)
            }
        }
    }

    fn document(&self, desc: &Descriptor, at: usize) -> Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.read().get(&desc.digest) {
            return Ok(Some(bytes.clone()));
        }
        let found = self.repositories[at].manifest(TagOrDigest::Digest(&desc.digest))?;
        let Some((_, bytes)) = found else { return Ok(None) };
        self.learn(&bytes, desc, at);
        Ok(Some(bytes))
    }
}

impl Source for RegistrySource {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn unreadable(&self) -> &[(String, Error)] {
        &self.unreadable
    }

    fn open(&self, desc: &Descriptor, checked: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        self.open_at(desc, 0, checked)
    }

    fn open_at(
        &self,
        desc: &Descriptor,
        offset: u64,
        _: &Checked,
    ) -> Result<Box<dyn Read + Send + '_>> {
        let leaf = self.held().get(&desc.digest).is_some_and(|h| h.leaf);
        let document = desc.media_type.role().is_document() || !leaf;
        let mut last = Error::missing(format!("{} is in none of the repositories", desc.digest));
        for at in self.holders_of(&desc.digest) {
            let repository = &self.repositories[at];
            let opened: Result<Option<Box<dyn Read + Send>>> = if document {
                self.document(desc, at).map(|found| {
                    found.map(|bytes| {
                        let mut reader = Cursor::new(bytes);
                        reader.set_position(offset);
                        Box::new(reader) as Box<dyn Read + Send>
                    })
                })
            } else {
                repository.blob(desc, offset).map(Some)
            };
            match opened {
                Ok(Some(reader)) => return Ok(reader),
                Ok(None) => {}
                Err(e) if e.kind() == Kind::Missing => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    fn remote(&self) -> bool {
        true
    }

    fn holders(&self, desc: &Descriptor) -> Vec<String> {
        // A layer of ten thousand images need not be offered from all of them.
        const OFFERS: usize = 16;
        let at = self.holders_of(&desc.digest);
        at.into_iter().take(OFFERS).map(|i| self.repositories[i].name()).collect()
    }

    /// Where no companions of platforms were found, none needs to be told whose it is.
    fn listed(&self, index: &Descriptor) -> Option<Vec<Digest>> {
        Some(lock(&self.listed).get(&index.digest).cloned().unwrap_or_default())
    }

    fn extent(&self, _: &Descriptor) -> Option<Extent> {
        None
    }

    /// What a manifest lists is taken to be there: asking costs a request, and fetching tells.
    fn has(&self, desc: &Descriptor) -> Result<bool> {
        if desc.media_type.role() != Role::ForeignLayer || self.fetch_foreign {
            return Ok(true);
        }
        for at in self.holders_of(&desc.digest) {
            if self.repositories[at].blob_size(&desc.digest)? == Some(desc.size) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        let at = self.holders_of(&desc.digest).first().copied();
        match at.and_then(|i| self.repositories.get(i)) {
            Some(repository) => format!("{}@{}", repository.name(), desc.digest),
            None => desc.digest.to_string(),
        }
    }
}
