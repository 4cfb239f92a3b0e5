//! Which images there are, their sizes, and what they share: computed from memory.
//!
//! It reads no document and writes no markup. An image of the list is a tag, or a manifest that neither
//! a tag nor another document refers to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use crate::companion::subject_of_tag;
use crate::digest::Digest;
use crate::serve::catalogue::Catalogue;
use crate::serve::holdings::{Holdings, ServedRepository};
use crate::serve::names::{NameResolver, RepositoryName};

/// An image of the list.
#[derive(Clone, Debug)]
pub(super) struct ImageEntry {
    /// Its repository.
    pub name: RepositoryName,
    /// Its tag, if it has one.
    pub tag: Option<String>,
    /// Its manifest or index.
    pub digest: Digest,
}

impl ImageEntry {
    /// `:1.27` or `@sha256:…`.
    pub(super) fn suffix(&self) -> String {
        match &self.tag {
            Some(tag) => format!(":{tag}"),
            None => format!("@{}", self.digest),
        }
    }

    /// What it is called in requests: `nginx:1.27`.
    pub(super) fn reference(&self, naming: &NameResolver) -> String {
        naming.shown(&self.name) + &self.suffix()
    }

    /// Whether its name or digest contains all of these words; `text` is room to write in.
    pub(super) fn matches(&self, words: &[String], text: &mut String) -> bool {
        text.clear();
        let tag = self.tag.as_deref().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{}:{tag}@{}", self.name, self.digest);
        text.make_ascii_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    }
}

/// Every image, by name. Companions (`sha256-….sig`) are shown with the image they refer to.
pub(super) fn entries(catalogue: &Catalogue) -> Vec<ImageEntry> {
    let mut all: BTreeMap<(RepositoryName, Option<String>, Option<Digest>), Digest> =
        BTreeMap::new();
    for part in catalogue.parts() {
        part.holdings(|holdings| {
            for (name, repository) in &holdings.repositories {
                for (tag, digest) in &repository.tags {
                    if subject_of_tag(tag).is_none() {
                        all.entry((name.clone(), Some(tag.clone()), None)).or_insert(*digest);
                    }
                }
                for digest in nameless(repository) {
                    all.insert((name.clone(), None, Some(digest)), digest);
                }
            }
        });
    }
    let entry = |((name, tag, _), digest)| ImageEntry { name, tag, digest };
    all.into_iter().map(entry).collect()
}

/// Manifests that are neither tagged, nor listed by an index, nor about another.
fn nameless(repository: &ServedRepository) -> Vec<Digest> {
    let mut named: HashSet<&Digest> = repository.tags.values().collect();
    named.extend(repository.manifests.values().flat_map(|m| m.documents.iter()));
    named.extend(repository.referrers.values().flatten().map(|listed| &listed.digest));
    repository.manifests.keys().filter(|digest| !named.contains(digest)).copied().collect()
}

/// Tags of a repository that are companions of a digest: signatures, attestations, SBOMs of cosign.
pub(super) fn tagged_companions(
    catalogue: &Catalogue,
    name: &RepositoryName,
    of: &Digest,
) -> Vec<(String, Digest)> {
    let mut found = BTreeMap::new();
    let begin = format!("sha256-{}", of.hex());
    for part in catalogue.parts() {
        part.holdings(|holdings| {
            let tags = holdings.repositories.get(name).into_iter();
            let tags = tags.flat_map(|r| r.tags.range(begin.clone()..));
            let tags = tags.take_while(|(tag, _)| tag.starts_with(&begin));
            for (tag, digest) in tags.filter(|(tag, _)| subject_of_tag(tag) == Some(*of)) {
                found.entry(tag.clone()).or_insert(*digest);
            }
        });
    }
    found.into_iter().collect()
}

/// Documents and blobs with their bytes, each once.
#[derive(Default)]
pub(super) struct Weight(HashMap<Digest, u64>);

impl Weight {
    /// What lies beneath a manifest of a repository, itself among it.
    pub(super) fn of(catalogue: &Catalogue, name: &RepositoryName, digest: &Digest) -> Self {
        let mut weight = Self::default();
        for part in catalogue.parts() {
            if part.holdings(|holdings| weight.add(holdings, name, digest)) {
                break;
            }
        }
        weight
    }

    fn add(&mut self, holdings: &Holdings, name: &RepositoryName, digest: &Digest) -> bool {
        let Some(repository) = holdings.repositories.get(name) else { return false };
        let mut open = vec![*digest];
        while let Some(digest) = open.pop() {
            // An index may list what did not come along.
            let Some(manifest) = repository.manifests.get(&digest) else { continue };
            if self.0.insert(digest, manifest.size).is_none() {
                open.extend(manifest.documents.iter());
                let size = |blob: &Digest| Some((*blob, *holdings.blobs.get(blob)?));
                self.0.extend(manifest.blobs.iter().filter_map(size));
            }
        }
        !self.0.is_empty()
    }

    /// Bytes, each thing once.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Bytes of those that more than one image uses.
    pub(super) fn shared(&self, uses: &HashMap<Digest, usize>) -> u64 {
        let shared = |digest: &Digest| uses.get(digest).is_some_and(|uses| *uses > 1);
        let sizes = self.0.iter().filter(|(digest, _)| shared(digest)).map(|(_, size)| size);
        sizes.fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Whether it holds this.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}

impl IntoIterator for Weight {
    type Item = (Digest, u64);
    type IntoIter = std::collections::hash_map::IntoIter<Digest, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// How many images use each of these blobs. An image is a manifest: one for each platform, whatever
/// it is called.
pub(super) fn uses(
    catalogue: &Catalogue,
    wanted: impl Fn(&Digest) -> bool,
) -> HashMap<Digest, usize> {
    let (mut counts, mut seen) = (HashMap::new(), HashSet::new());
    for part in catalogue.parts() {
        part.holdings(|holdings| {
            let manifests = holdings.repositories.values().flat_map(|r| &r.manifests);
            for (digest, manifest) in manifests {
                if manifest.blobs.is_empty() || !seen.insert(*digest) {
                    continue;
                }
                for blob in manifest.blobs.iter().filter(|blob| wanted(blob)) {
                    *counts.entry(*blob).or_default() += 1;
                }
            }
        });
    }
    counts
}
