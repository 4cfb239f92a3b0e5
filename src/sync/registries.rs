//! Registries as ends of a sync; directories and archives are left to [`LocalOpener`].
//!
//! It moves nothing: it opens, asks and deletes. The protocol is in `registry`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::companion::subject_of_tag;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Kind, Result};
use crate::io::lanes;
use crate::locks::lock;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{Registries, Repository, TagOrDigest, no_repository};
use crate::sync::job::End;
use crate::sync::local::LocalOpener;
use crate::sync::naming::Base;
use crate::sync::opener::{OpenedSource, Opener};
use crate::transport::registry::indexes::PrunedIndex;
use crate::transport::registry::sink::is_unlisted;
use crate::transport::registry::{Known, RegistrySink, RegistrySource, remains};
use crate::transport::table::Env;
use crate::transport::{Root, Sink};

/// Most questions that a plan asks about blobs; beyond, they are taken to be absent.
const MAX_QUESTIONS: usize = 5_000;

/// Opens registries, and through [`LocalOpener`] everything else.
pub struct RegistryOpener {
    local: LocalOpener,
    env: Env,
    /// Tags of repositories at the source that were listed.
    tags: Mutex<HashMap<String, Vec<String>>>,
}

impl RegistryOpener {
    /// With what opening places needs to know of the run.
    pub fn new(local: LocalOpener, env: Env) -> Self {
        Self { local, env, tags: Mutex::default() }
    }

    fn ctx(&self) -> &Context {
        &self.env.ctx
    }

    fn from(&self) -> Result<Arc<Registries>> {
        self.env.network.source(self.ctx())
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<String>>> {
        lock(&self.tags)
    }

    /// A repository at the destination itself, whatever mirrors there are.
    fn at_target(&self, name: &Reference) -> Result<Repository> {
        Ok(self.env.network.sink(self.ctx())?.repository(name)?.direct())
    }

    fn each<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        lanes::each(items, self.ctx().jobs, work)
    }

    /// Deletes some names of one repository, and then the signatures of what is gone.
    fn delete_in(&self, names: &[&Reference]) -> Result<Vec<Result<()>>> {
        let repository = self.at_target(names[0])?;
        let goes: HashSet<&str> = names.iter().filter_map(|n| n.tag()).collect();
        let tags = repository.tags()?.unwrap_or_default();
        let stays: Vec<&String> = tags
            .iter()
            .filter(|tag| !goes.contains(tag.as_str()) && subject_of_tag(tag).is_none())
            .collect();
        let mut kept: Option<BTreeSet<Digest>> = None;
        let mut gone = BTreeSet::new();
        let mut done = Vec::new();
        for name in names {
            let there = repository.head(TagOrDigest::to_write(name))?;
            let Some(there) = there else {
                done.push(Ok(()));
                continue;
            };
            let family = remains::family(&repository, &there)?;
            let mut deleted = repository.delete(TagOrDigest::to_write(name));
            let whole = name.tag().is_some()
                && deleted.as_ref().is_err_and(|e| e.kind() == Kind::Unsupported);
            if whole {
                // Without tags of its own to delete, the image goes, if no tag that stays needs it.
                let digests = match kept.take() {
                    Some(known) => known,
                    None => self.digests(&repository, &stays)?,
                };
                if !digests.contains(&there.digest) {
                    deleted = match repository.delete(TagOrDigest::Digest(&there.digest)) {
                        // Another name of the same image took it along.
                        Err(e) if e.kind() == Kind::Missing => Ok(()),
                        other => other,
                    };
                }
                kept = Some(digests);
            }
            if deleted.is_ok() {
                gone.extend(family);
            }
            done.push(deleted);
        }
        remains::sweep(&repository, &tags, &gone, self.ctx())?;
        Ok(done)
    }

    fn digests(&self, repository: &Repository, tags: &[&String]) -> Result<BTreeSet<Digest>> {
        let heads = self.each(tags, |tag| repository.head(TagOrDigest::Tag(tag)));
        heads.into_iter().filter_map(|h| h.map(|h| h.map(|d| d.digest)).transpose()).collect()
    }
}

impl Opener for RegistryOpener {
    fn source(&self, from: &End, wanted: &[Reference], companions: bool) -> Result<OpenedSource> {
        if *from != End::Registry {
            return self.local.source(from, wanted, companions);
        }
        let tags = std::mem::take(&mut *self.listed());
        let known = Known { tags, indexes: Some(self.env.network.indexes()) };
        let (source, unresolved) =
            RegistrySource::open(&self.from()?, wanted, companions, known, self.ctx())?;
        let failed = unresolved.into_iter().map(|(name, e)| (name.to_string(), e)).collect();
        Ok(OpenedSource { source: Box::new(source), failed })
    }

    fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        let tags = self.from()?.repository(repository)?.tags()?;
        let tags = tags.ok_or_else(|| no_repository(repository))?;
        self.listed().insert(repository.repository(), tags.clone());
        Ok(tags)
    }

    fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        self.from()?.catalog(domain)
    }

    fn sink(&self, to: &End) -> Result<Box<dyn Sink>> {
        if *to != End::Registry {
            return self.local.sink(to);
        }
        let network = &self.env.network;
        let (temporary, memory) = (self.env.temporary.clone(), network.memory.clone());
        let registries = network.sink(self.ctx())?;
        Ok(Box::new(RegistrySink::new(registries, temporary, memory, self.ctx())))
    }

    fn present(&self, to: &End, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        if *to != End::Registry {
            return self.local.present(to, roots);
        }
        self.each(roots, |root| {
            let Some(name) = root.names.first() else { return Ok(None) };
            let target = self.at_target(name)?;
            let found = target.head(TagOrDigest::to_write(name));
            let found = found.map_err(|e| e.input_or(name.familiar()))?.map(|desc| desc.digest);
            // What is listed nowhere is found by nobody.
            let whole = found != Some(root.desc.digest) || !is_unlisted(&target, root)?;
            Ok(found.filter(|_| whole))
        })
    }

    fn holds(&self, to: &End, names: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
        if *to != End::Registry {
            return self.local.holds(to, names, blobs);
        }
        let names: BTreeMap<String, &Reference> =
            names.iter().map(|name| (name.repository(), name)).collect();
        if names.len().saturating_mul(blobs.len()) > MAX_QUESTIONS {
            return vec![false; blobs.len()];
        }
        let size = |name: &&Reference, blob: &Descriptor| {
            let asked = self.at_target(name).and_then(|to| to.blob_size(&blob.digest));
            asked.is_ok_and(|size| size == Some(blob.size))
        };
        self.each(blobs, |blob| names.values().any(|name| size(name, blob)))
    }

    fn names(&self, to: &End, beneath: Option<&Base>) -> Result<Vec<Reference>> {
        let (End::Registry, Some(base)) = (to, beneath) else {
            return self.local.names(to, beneath);
        };
        let paths = self.env.network.sink(self.ctx())?.catalog(&base.domain)?;
        let below = |path: &String| match base.path.as_str() {
            "" => true,
            own => path.strip_prefix(own).is_some_and(|r| r.is_empty() || r.starts_with('/')),
        };
        let paths: Vec<String> = paths.into_iter().filter(below).collect();
        let found = self.each(&paths, |path| {
            let repository: Reference = format!("{}/{path}", base.domain).parse()?;
            let tags = self.at_target(&repository)?.tags()?.unwrap_or_default();
            tags.iter().map(|tag| repository.with_tag(tag)).collect::<Result<Vec<_>>>()
        });
        let mut names = Vec::new();
        for some in found {
            names.extend(some?);
        }
        Ok(names)
    }

    fn kept(&self, index: &Digest, platforms: &[Platform]) -> Option<PrunedIndex> {
        self.env.network.indexes().kept(index, platforms)
    }

    fn note_kept(&self, index: &Digest, platforms: &[Platform], kept: &PrunedIndex) {
        let memory = self.env.network.indexes();
        memory.note_kept(index, platforms, kept);
        memory.save();
    }

    fn delete(&self, to: &End, names: &[Reference]) -> Vec<Result<()>> {
        if *to != End::Registry {
            return self.local.delete(to, names);
        }
        let mut repositories: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, name) in names.iter().enumerate() {
            repositories.entry(name.repository()).or_default().push(i);
        }
        let mut all: Vec<Result<()>> = names.iter().map(|_| Ok(())).collect();
        for at in repositories.into_values() {
            let some: Vec<&Reference> = at.iter().map(|i| &names[*i]).collect();
            match self.delete_in(&some) {
                Ok(done) => at.into_iter().zip(done).for_each(|(i, one)| all[i] = one),
                Err(e) => at.into_iter().for_each(|i| all[i] = Err(e.clone())),
            }
        }
        all
    }
}
