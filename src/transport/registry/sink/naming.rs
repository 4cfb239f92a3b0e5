//! The end of a push: manifests bottom-up, then names; and blobs that turn out to be missing.
//!
//! It uploads only blobs that the registry reports missing.

use std::collections::BTreeMap;

use super::table::{At, Presence};
use super::{RegistrySink, lock};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::io::lanes;
use crate::manifest::Document;
use crate::progress::Event;
use crate::reference::Reference;
use crate::registry::{TagOrDigest, Unlisted};
use crate::transport::{Refused, Reopen, Root, Sealed};

impl RegistrySink {
    /// Sends blobs of a manifest that the repository said to have, or to have mounted, and does not;
    /// those it names, or all when it names none. Whether there were any.
    ///
    /// # Errors
    /// `Policy` for an index whose platforms are not all here: the registry takes it only whole.
    fn resend(
        &self,
        manifest: &(Descriptor, Vec<u8>),
        named: &[Digest],
        at: At,
        open: &Reopen<'_>,
    ) -> Result<bool> {
        let to = self.opened(at);
        let document = Document::parse(&manifest.1, &manifest.0.media_type)?;
        let (documents, leaves): (Vec<_>, Vec<_>) = document
            .children()
            .into_iter()
            .filter(|desc| named.is_empty() || named.contains(&desc.digest))
            .partition(|desc| desc.media_type.role().is_document());
        let written = |desc: &&Descriptor| lock(&self.documents).contains_key(&desc.digest);
        if let Some(absent) = documents.into_iter().find(|desc| !written(desc)) {
            let what = match absent.platform() {
                Some(platform) => format!("{platform} is listed but not present"),
                None => format!("{} is listed but not present", absent.digest),
            };
            let what = format!("{what}, and the registry takes an index only whole");
            return Err(Error::new(Kind::Policy, what).because(Cause::NotAllPlatforms));
        }
        let mut any = false;
        for desc in leaves {
            if self.table().presence(&desc.digest, at) == Presence::Sent {
                continue;
            }
            let Some(blob) = open(desc) else { continue };
            let text = format!("{} lacks {} after all; sending it", to.name(), desc.digest);
            self.ctx.progress.event(Event::Detail(&text));
            to.upload(desc, None, &|| Ok(Box::new(blob.open()?)))?;
            self.table().mark(&desc.digest, at, Presence::Sent);
            any = true;
        }
        Ok(any)
    }

    /// Gives one image its manifests and then its names; those it could not be given, with the reasons.
    pub(super) fn name(&self, sealed: &Sealed, open: &Reopen<'_>) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for name in &sealed.root.names {
            match self.name_as(sealed, name, open) {
                Ok(()) => {}
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(error) => {
                    let root = Root { names: vec![name.clone()], ..sealed.root.clone() };
                    refused.push(Refused { root, error });
                }
            }
        }
        Ok(refused)
    }

    fn name_as(&self, sealed: &Sealed, name: &Reference, open: &Reopen<'_>) -> Result<()> {
        let document = |digest: &Digest| lock(&self.documents).get(digest).cloned();
        let target = sealed.root.desc.digest;
        let at = self.at(name)?;
        let to = self.opened(at);
        let put = |wanted: TagOrDigest<'_>, written: &(Descriptor, Vec<u8>)| -> Result<()> {
            let (desc, bytes) = written;
            let lacking = |named: &[Digest]| self.resend(written, named, at, open);
            let unlisted =
                to.put_manifest(wanted, desc.media_type.as_str(), bytes, &desc.digest, &lacking);
            let unlisted = unlisted.map_err(|e| e.input(name.familiar()))?;
            let root = || Root { names: vec![name.clone()], ..sealed.root.clone() };
            lock(&self.unlisted).extend(unlisted.map(|unlisted| (root(), unlisted)));
            Ok(())
        };
        for blob in &sealed.blobs {
            if let Some(error) = self.table().trouble(&blob.digest, at) {
                return Err(error.input(name.familiar()));
            }
            if blob.digest == target {
                continue;
            }
            if let Some(child) = document(&blob.digest) {
                put(TagOrDigest::Digest(&child.0.digest), &child)?;
            }
        }
        let root = document(&target)
            .ok_or_else(|| Error::missing(format!("{target} was never written")))?;
        let wanted = match name.tag() {
            Some(tag) => TagOrDigest::Tag(tag),
            None => TagOrDigest::Digest(&target),
        };
        put(wanted, &root)
    }

    /// Lists what was named as referrers, where registries keep no track: one look and one write for each
    /// subject of a repository. What cannot be listed is refused.
    pub(super) fn list_referrers(&self) -> Result<()> {
        let mut subjects: BTreeMap<(String, Digest), Vec<(Root, Descriptor)>> = BTreeMap::new();
        for (root, Unlisted { subject, entry }) in std::mem::take(&mut *lock(&self.unlisted)) {
            let repositories = root.names.first().map(Reference::repository);
            let key = (repositories.unwrap_or_default(), subject);
            subjects.entry(key).or_default().push((root, entry));
        }
        let subjects: Vec<_> = subjects.into_iter().collect();
        let listed = lanes::each(&subjects, self.ctx.jobs, |((repository, subject), of)| {
            let entries: Vec<Descriptor> = of.iter().map(|(_, entry)| entry.clone()).collect();
            self.repository(&repository.parse()?)?.list_referrers(subject, &entries)
        });
        for ((_, of), listed) in subjects.into_iter().zip(listed) {
            match listed {
                Ok(()) => {}
                Err(e) if e.kind() == Kind::Interrupted => return Err(e),
                Err(error) => lock(&self.refused).extend(of.into_iter().map(|(root, _)| {
                    let error = error.clone().input_or(root.title());
                    Refused { root, error }
                })),
            }
        }
        Ok(())
    }
}
