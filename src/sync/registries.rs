//! Registries as the ends of a sync.
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
use crate::reference::Reference;
use crate::registry::{Registries, Repository, TagOrDigest, no_repository};
use crate::sync::destination::Destination;
use crate::sync::naming::Base;
use crate::sync::source::Listing;
use crate::transport::registry::sink::standing;
use crate::transport::registry::{Known, RegistrySource, remains};
use crate::transport::table::{Env, Place};
use crate::transport::{Root, Sink, Source};

/// Most questions that a plan asks about blobs; beyond, they are taken to be absent.
const MAX_QUESTIONS: usize = 5_000;

/// The registries that are read.
pub struct Upstream {
    env: Env,
    /// Tags of repositories that were listed.
    tags: Mutex<HashMap<String, Vec<String>>>,
}

impl Upstream {
    /// With what opening places needs to know of the run.
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone(), tags: Mutex::default() }
    }

    fn registries(&self) -> Result<Arc<Registries>> {
        self.env.network.source(&self.env.ctx)
    }
}

impl Listing for Upstream {
    fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        let tags = self.registries()?.repository(repository)?.tags()?;
        let tags = tags.ok_or_else(|| no_repository(repository))?;
        lock(&self.tags).insert(repository.repository(), tags.clone());
        Ok(tags)
    }

    fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        self.registries()?.catalog(domain)
    }

    fn open(&self, wanted: &[Reference], companions: bool) -> Result<Box<dyn Source>> {
        let tags = std::mem::take(&mut *lock(&self.tags));
        let known = Known { tags, indexes: Some(self.env.network.indexes()) };
        let registries = self.registries()?;
        let source = RegistrySource::open(&registries, wanted, companions, known, &self.env.ctx)?;
        Ok(Box::new(source))
    }
}

/// The registries that are written.
pub struct Downstream {
    env: Env,
}

impl Downstream {
    /// With what opening places needs to know of the run.
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone() }
    }

    fn ctx(&self) -> &Context {
        &self.env.ctx
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

impl Destination for Downstream {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Place::registry("").sink(&self.env, None)
    }

    fn standing(&self, roots: &[Root]) -> Vec<Result<Option<Digest>>> {
        self.each(roots, |root| {
            let Some(name) = root.names.first() else { return Ok(None) };
            let found = standing(&self.at_target(name)?, name, root)?;
            Ok(found.map(|desc| desc.digest))
        })
    }

    fn holds(&self, names: &[Reference], blobs: &[Descriptor]) -> Vec<bool> {
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

    fn names(&self, beneath: Option<&Base>) -> Result<Vec<Reference>> {
        let Some(base) = beneath else { return Ok(Vec::new()) };
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

    fn delete(&self, names: &[Reference]) -> Vec<Result<()>> {
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
