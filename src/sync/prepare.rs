//! The first half of a sync: everything that is decided before a byte is sent.
//!
//! It writes nothing. Names are resolved, checked against the admission policy, renamed and searched for
//! collisions; one request per name finds what the destination already has.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::companion;
use crate::context::Context;
use crate::copy::Policy;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::find::Exact;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::sync::destination::Destination;
use crate::sync::ends::Ends;
use crate::sync::job::SyncJob;
use crate::sync::lock::{Lock, Pinned};
use crate::sync::naming;
use crate::sync::report::{Entry, Status};
use crate::sync::resolve::{self, Resolved};
use crate::sync::select::{Selection, WantedImages};
use crate::sync::source::SyncSource;
use crate::transport::registry::indexes::{Indexes, PrunedIndex};
use crate::transport::table::Scheme;
use crate::transport::{Root, Source, ambiguous};

mod foresee;

/// One name of an image.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// At the source; none for an image without one.
    pub source: Option<Reference>,
    /// The name as requested, possibly with a digest; used by reports and retries.
    pub asked: Option<Reference>,
    /// At the destination.
    pub target: Option<Reference>,
    /// What lies there under that name.
    pub before: Option<Digest>,
    /// Whether nothing has to be done for it.
    pub unchanged: bool,
}

/// One image or companion to be brought over.
#[derive(Clone, Debug)]
pub(super) struct SyncItem {
    /// As the source has it.
    pub root: Root,
    /// Its names; at least one, which may be empty.
    pub names: Vec<Name>,
    /// What it becomes, where some of its platforms are left out and that is known.
    pub kept: Option<PrunedIndex>,
}

impl SyncItem {
    /// The documents that it is at the destination, as far as that is known.
    pub(super) fn becomes(&self) -> Vec<Digest> {
        match &self.kept {
            Some(kept) => kept.documents.iter().chain([&kept.target]).copied().collect(),
            None => vec![self.root.desc.digest],
        }
    }

    /// What is to be copied: the root under those of its new names that lack it.
    pub(super) fn to_copy(&self) -> Option<Root> {
        let open: Vec<&Name> = self.names.iter().filter(|name| !name.unchanged).collect();
        if open.is_empty() {
            return None;
        }
        let mut names: Vec<Reference> =
            open.iter().filter_map(|name| name.target.clone()).collect();
        names.sort();
        // A label is what an image has instead of a name.
        let label = self.root.label.clone().filter(|_| names.is_empty());
        Some(Root { names, label, ..self.root.clone() })
    }
}

/// A sync that is ready to run.
pub struct Prepared<'j> {
    pub(super) job: &'j SyncJob,
    pub(super) source: Option<Box<dyn Source>>,
    pub(super) to: Box<dyn Destination>,
    pub(super) indexes: Arc<Indexes>,
    pub(super) items: Vec<SyncItem>,
    pub(super) entries: Vec<Entry>,
    pub(super) removals: Vec<Reference>,
    /// Why nothing is removed although something left the list.
    pub(super) withheld: Option<Error>,
    pub(super) warnings: Vec<String>,
    /// The job's, with the platforms that some images have of their own.
    pub(super) policy: Policy,
}

/// Decides everything.
///
/// # Errors
/// `Conflict` when two images would get one name; those of the places; the first failure of an image
/// when the job does not keep going; `Interrupted`.
pub fn prepare<'j>(job: &'j SyncJob, ends: Ends, ctx: &Context) -> Result<Prepared<'j>> {
    let Ends { from, to, indexes } = ends;
    let mut prepared = Prepared {
        job,
        source: None,
        to,
        indexes,
        items: Vec::new(),
        entries: Vec::new(),
        removals: Vec::new(),
        withheld: None,
        warnings: job.selection.warnings.clone(),
        policy: job.policy.clone(),
    };
    let wanted = locked(&job.selection, job.pins.as_ref());
    prepared.open(&wanted, from, ctx)?;
    prepared.foresee(ctx)?;
    prepared.ask(ctx)?;
    prepared.find_removals()?;
    for warning in &prepared.warnings {
        ctx.warn(warning);
    }
    Ok(prepared)
}

/// What a lock file pins, each reference with its digest; without one the selection.
fn locked(selection: &Selection, pins: Option<&Lock>) -> Vec<WantedImages> {
    let Some(lock) = pins else { return selection.wanted.clone() };
    let exact = |(name, pinned): (&Reference, &Pinned)| {
        let text = match name.tag() {
            Some(tag) => format!("{}:{tag}@{}", name.repository(), pinned.digest),
            None => name.to_string(),
        };
        text.parse().unwrap_or_else(|_| name.with_digest(pinned.digest))
    };
    lock.images.iter().map(|pin| WantedImages::Image(exact(pin))).collect()
}

impl Prepared<'_> {
    fn open(&mut self, wanted: &[WantedImages], from: SyncSource, ctx: &Context) -> Result<()> {
        let job = self.job;
        let remote = matches!(from, SyncSource::Registries(_));
        let mut resolved = Resolved::default();
        self.note(job.selection.failed.clone())?;
        let source = match from {
            SyncSource::Place(source) => source,
            SyncSource::Registries(registries) => {
                resolved = resolve::at_registries(wanted, registries.as_ref(), ctx)?;
                self.allow(&mut resolved)?;
                if resolved.names.is_empty() {
                    return self.note(resolved.failed);
                }
                let companions = job.companions || job.intake.wants_signatures();
                registries.open(&resolved.names, companions)?
            }
        };
        resolved.failed.extend_from_slice(source.unreadable());
        self.warnings.extend(source.warnings().iter().cloned());
        let roots = source.roots();
        let everything = !remote && wanted.is_empty() && job.selection.is_empty();
        if everything {
            let images = roots.iter().filter(|root| !root.companion);
            resolved.names = images.flat_map(|root| root.names.clone()).collect();
        } else if !remote {
            let found = resolve::among(wanted, roots);
            resolved.names = found.names;
            resolved.failed.extend(found.failed);
        }
        if !remote {
            self.allow(&mut resolved)?;
        }
        let (mut chosen, exact) = (Chosen::default(), Exact::of(roots));
        let known: HashSet<String> = resolved.failed.iter().map(|(what, _)| what.clone()).collect();
        let images = roots.iter().filter(|root| !root.companion);
        let twice: HashMap<&Reference, Error> =
            ambiguous::shared(images).iter().map(|shared| (shared.name, shared.error())).collect();
        for name in &resolved.names {
            match exact.find(name) {
                Some(_) if twice.contains_key(name) => {
                    resolved.failed.push((name.to_string(), twice[name].clone()));
                }
                Some(at) => chosen.add(&roots[at], Some(name.clone())),
                None if known.contains(&name.to_string()) => {}
                None => resolved.failed.push((name.to_string(), Error::missing("is not there"))),
            }
        }
        let bare = roots.iter().filter(|root| !root.companion && root.names.is_empty());
        for root in bare.filter(|_| everything) {
            if job.intake.allow.is_empty() {
                chosen.add(root, None);
            } else {
                let what = "it has no name that could be allowed";
                resolved.failed.push((root.title(), Error::new(Kind::Policy, what)));
            }
        }
        self.note(resolved.failed)?;
        self.policy.own_platforms = chosen.platforms(&job.selection, &job.policy.platforms);
        self.name(chosen, source.as_ref(), ctx)?;
        if job.companions {
            self.follow(source.as_ref(), ctx)?;
        }
        self.source = Some(source);
        Ok(())
    }

    /// Takes out what the intake policy does not let in by its name.
    fn allow(&mut self, resolved: &mut Resolved) -> Result<()> {
        let mut kept = Vec::new();
        for name in std::mem::take(&mut resolved.names) {
            match self.job.intake.allows(&name) {
                Ok(()) => kept.push(name),
                Err(e) => self.note(vec![(name.to_string(), e)])?,
            }
        }
        resolved.names = kept;
        Ok(())
    }

    /// Checks signatures and gives the chosen images their new names.
    fn name(&mut self, chosen: Chosen, source: &dyn Source, ctx: &Context) -> Result<()> {
        let job = self.job;
        for (root, names) in chosen.0 {
            ctx.check()?;
            let known: Vec<Reference> = names.iter().flatten().cloned().collect();
            if let Err(e) = job.intake.signed(source, &root, &known, ctx) {
                let all = names.iter().map(|name| (title(&root, name.as_ref()), e.clone()));
                self.note(all.collect())?;
                continue;
            }
            let mut item = SyncItem { root, names: Vec::new(), kept: None };
            for asked in names {
                let name = asked.as_ref().map(resolve::called);
                let target = match &name {
                    None => None,
                    Some(name) => match job.naming.apply(name, &item.root.desc.digest) {
                        Ok(target) => Some(target),
                        Err(e) => {
                            self.note(vec![(name.to_string(), e)])?;
                            continue;
                        }
                    },
                };
                if target.is_none() && job.to.scheme == Scheme::Registry {
                    let what = "has no name, which a registry needs";
                    self.entries.push(Entry {
                        status: Status::Skipped,
                        error: Some(Error::new(Kind::Usage, what).input(item.root.title())),
                        ..blank(item.root.title())
                    });
                    continue;
                }
                let (before, unchanged) = (None, false);
                item.names.push(Name { source: name, asked, target, before, unchanged });
            }
            if !item.names.is_empty() {
                self.items.push(item);
            }
        }
        let mut taken = Vec::new();
        for item in &self.items {
            for name in &item.names {
                if let Some(target) = &name.target {
                    taken.push((
                        target,
                        title(&item.root, name.asked.as_ref()),
                        &item.root.desc.digest,
                    ));
                }
            }
        }
        naming::collisions(
            taken.iter().map(|(target, source, digest)| (*target, source.as_str(), *digest)),
        )
    }

    /// Adds the companions of what was chosen.
    fn follow(&mut self, source: &dyn Source, ctx: &Context) -> Result<()> {
        let images: Vec<Root> = self
            .items
            .iter()
            .map(|item| {
                let names = item.names.iter().filter_map(|name| name.target.clone()).collect();
                Root { names, ..item.root.clone() }
            })
            .collect();
        let by_digest = self.job.to.scheme == Scheme::Registry;
        let found = companion::of(source, &images, ctx)?;
        let mut found = companion::beside(source, &images, &found, by_digest, ctx);
        if let Some(lock) = &self.job.pins {
            found.retain(|root| lock.companions.contains(&root.desc.digest));
            let have: HashSet<Digest> = found.iter().map(|root| root.desc.digest).collect();
            for digest in lock.companions.iter().filter(|digest| !have.contains(digest)) {
                let what = Error::missing("is locked and not there");
                self.fail(Entry {
                    companion: true,
                    error: Some(what),
                    ..blank(digest.to_string())
                })?;
            }
        }
        for root in found {
            let name =
                |target| Name { source: None, asked: None, target, before: None, unchanged: false };
            let mut names: Vec<Name> = root.names.iter().cloned().map(|n| name(Some(n))).collect();
            if names.is_empty() {
                names.push(name(None));
            }
            self.items.push(SyncItem { root, names, kept: None });
        }
        Ok(())
    }

    /// Asks the destination what it has.
    fn ask(&mut self, ctx: &Context) -> Result<()> {
        let one = |item: &SyncItem, name: &Name| Root {
            names: name.target.iter().cloned().collect(),
            ..item.root.clone()
        };
        let asked: Vec<Root> = self
            .items
            .iter()
            .flat_map(|item| item.names.iter().map(move |name| one(item, name)))
            .collect();
        let mut answers = self.to.standing(&asked).into_iter();
        let mut failed = Vec::new();
        for item in &mut self.items {
            let root = item.root.clone();
            let same = [Some(root.desc.digest), item.kept.as_ref().map(|kept| kept.target)];
            item.names.retain_mut(|name| match answers.next() {
                Some(Ok(before)) => {
                    name.before = before;
                    name.unchanged = !ctx.recheck && before.is_some() && same.contains(&before);
                    true
                }
                Some(Err(e)) => {
                    let source = title(&root, name.asked.as_ref());
                    failed.push(Entry {
                        destination: name.target.clone(),
                        companion: root.companion,
                        error: Some(e),
                        ..blank(source)
                    });
                    false
                }
                None => true,
            });
        }
        self.items.retain(|item| !item.names.is_empty());
        failed.into_iter().try_for_each(|entry| self.fail(entry))
    }

    /// Finds what left the list: names at the destination that nothing here has, but for companions
    /// of what stays.
    fn find_removals(&mut self) -> Result<()> {
        if !self.job.delete {
            return Ok(());
        }
        if self.entries.iter().any(|entry| entry.status == Status::Failed) {
            let what = "nothing is removed, since not everything that is wanted was found";
            self.warnings.push(what.into());
            return Ok(());
        }
        let targets = self.items.iter().flat_map(|item| &item.names);
        let kept: HashSet<&Reference> = targets.filter_map(|name| name.target.as_ref()).collect();
        let there = self.to.names(self.job.naming.base.as_ref())?;
        // A signature goes with its image, which the destination sees to.
        let cosign = |name: &Reference| {
            name.tag().is_some_and(|tag| companion::subject_of_tag(tag).is_some())
        };
        let there: BTreeSet<Reference> = there.into_iter().filter(|name| !cosign(name)).collect();
        let (now, before) = (kept.len(), there.len());
        let gone: Vec<Reference> = there.into_iter().filter(|name| !kept.contains(name)).collect();
        if !gone.is_empty() && now * 2 < before && !self.job.delete_most {
            self.withheld = Some(shrank(now, before));
            return Ok(());
        }
        self.removals = gone;
        Ok(())
    }

    /// Why nothing is removed although something left the list: it would be most of what is there.
    pub fn withheld(&self) -> Option<&Error> {
        self.withheld.as_ref()
    }

    /// Names at the destination that would be removed.
    pub fn removals(&self) -> &[Reference] {
        &self.removals
    }

    /// Every reference with the digest it has.
    pub fn lock(&self) -> Lock {
        let mut lock = Lock::default();
        for item in &self.items {
            if item.root.companion {
                lock.companions.insert(item.root.desc.digest);
                continue;
            }
            for name in item.names.iter().filter_map(|name| name.source.as_ref()) {
                let source = match self.job.from.scheme {
                    Scheme::Registry => name.repository(),
                    _ => self.job.from.path.display().to_string(),
                };
                let pinned = Pinned {
                    digest: item.root.desc.digest,
                    media_type: item.root.desc.media_type.clone(),
                    size: item.root.desc.size,
                    source,
                };
                lock.images.insert(name.clone(), pinned);
            }
        }
        lock
    }

    fn note(&mut self, failed: Vec<(String, Error)>) -> Result<()> {
        failed.into_iter().try_for_each(|(source, error)| {
            self.fail(Entry { error: Some(error.input_or(source.clone())), ..blank(source) })
        })
    }

    /// Notes a failure, or ends the run with it.
    fn fail(&mut self, entry: Entry) -> Result<()> {
        match &entry.error {
            Some(e) if !self.job.policy.keep_going || e.kind() == Kind::Interrupted => {
                Err(e.clone())
            }
            _ => {
                self.entries.push(entry);
                Ok(())
            }
        }
    }
}

/// A source that was emptied, or of which a part is not there, looks like one from which much was removed.
fn shrank(now: usize, before: usize) -> Error {
    let what = format!(
        "nothing is removed, since most would be: {now} images at the source, {before} at the destination"
    );
    Error::new(Kind::Policy, what).because(Cause::SourceShrank)
}

/// Roots with the names under which they are wanted, each digest once.
#[derive(Default)]
struct Chosen(Vec<(Root, Vec<Option<Reference>>)>, HashMap<Digest, usize>);

impl Chosen {
    fn add(&mut self, root: &Root, name: Option<Reference>) {
        let at = *self.1.entry(root.desc.digest).or_insert(self.0.len());
        if at == self.0.len() {
            self.0.push((root.clone(), Vec::new()));
        }
        let names = &mut self.0[at].1;
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// The platforms of images for which a list says them; `all` are those of the others. Names of the
    /// same image have theirs together.
    fn platforms(&self, selection: &Selection, all: &[Platform]) -> HashMap<Digest, Vec<Platform>> {
        let own = |name: &Option<Reference>| {
            let own = selection.platforms.get(&name.as_ref()?.to_string())?;
            Some(own.platforms.as_slice())
        };
        let mut found = HashMap::new();
        for (root, names) in &self.0 {
            let each: Vec<&[Platform]> = names.iter().map(|n| own(n).unwrap_or(all)).collect();
            // One name without any wants the whole image.
            if names.iter().any(|name| own(name).is_some()) && each.iter().all(|p| !p.is_empty()) {
                let mut platforms: Vec<Platform> = each.concat();
                platforms.sort();
                platforms.dedup();
                found.insert(root.desc.digest, platforms);
            }
        }
        found
    }
}

/// What an image is called in a report.
pub(super) fn title(root: &Root, name: Option<&Reference>) -> String {
    name.map_or_else(|| root.title(), ToString::to_string)
}

/// An entry about which nothing is known but that it failed.
pub(super) fn blank(source: String) -> Entry {
    Entry {
        source,
        destination: None,
        digest: None,
        status: Status::Failed,
        error: None,
        bytes: 0,
        companion: false,
        platforms: Vec::new(),
    }
}
