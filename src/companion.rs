//! Companions: signatures, attestations, SBOMs and whatever else refers to an image.
//!
//! It says what a companion refers to, which companions go with which images, and what they are called
//! beside them. It knows no place and no verb, and reads only indexes and what says nothing of itself.
//! OCI image-spec `manifest.md` (`subject`), cosign `SIGNATURE_SPEC.md` (tags).

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use crate::context::Context;
use crate::descriptor::{ANNOTATION_SUBJECT, Descriptor};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::reference::Reference;
use crate::transport::{Blob, Root, Source};

/// How long a chain is followed: what is about an image or one of its platforms, what is about that,
/// and so on.
pub const GENERATIONS: usize = 5;
/// Most companions of one image.
pub const MAX: usize = 10_000;
/// Deepest nesting of indexes.
const MAX_NESTING: usize = 8;

/// The image that a cosign tag (`sha256-<hex>.sig`), or the tag that stands in for the referrers API, is
/// about. The tag may stand at the end of a name.
pub fn subject_of_tag(tag: &str) -> Option<Digest> {
    let stem = tag.rsplit(['/', ':']).next()?.strip_prefix("sha256-")?;
    Digest::from_hex(stem.get(..64)?).ok()
}

/// What an index entry under these tags says that it refers to: what its annotation says, else what its
/// cosign tags are about, which are several when the same signature was made of several images.
pub fn subjects<'t>(entry: &Descriptor, tags: impl Iterator<Item = &'t str>) -> Vec<Digest> {
    let said = entry.annotation(ANNOTATION_SUBJECT).and_then(|text| text.parse().ok());
    let mut all: Vec<Digest> = match said {
        Some(subject) => vec![subject],
        None => tags.filter_map(subject_of_tag).collect(),
    };
    all.sort();
    all.dedup();
    all
}

/// Whether an index entry says that it refers to another.
pub fn is_companion(entry: &Descriptor, label: Option<&str>) -> bool {
    entry.annotation(ANNOTATION_SUBJECT).is_some()
        || label.is_some_and(|label| subject_of_tag(label).is_some())
}

/// What a root of a source refers to; its document is read when nothing else says it.
pub fn subjects_of(source: &dyn Source, root: &Root, ctx: &Context) -> Vec<Digest> {
    let said = subjects(&root.desc, root.tags());
    if !said.is_empty() {
        return said;
    }
    let document = document(source, &root.desc, ctx);
    document.and_then(|document| document.subject).map(|s| s.digest).into_iter().collect()
}

/// A companion and what it refers to.
#[derive(Clone, Debug)]
pub struct Link<T> {
    /// What it refers to.
    pub subject: Digest,
    /// Its own digest.
    pub digest: Digest,
    /// The companion.
    pub item: T,
}

/// What refers to `subjects`, then what refers to that, and so on: nearest first. `ask` is told some
/// digests, none of them twice, and says what refers to them.
///
/// # Errors
/// Those of `ask`.
pub fn follow<T, E>(
    subjects: impl IntoIterator<Item = Digest>,
    mut ask: impl FnMut(&[Digest]) -> Result<Vec<Link<T>>, E>,
) -> Result<Vec<Link<T>>, E> {
    let mut known = HashSet::new();
    let mut next: Vec<Digest> = subjects.into_iter().filter(|d| known.insert(*d)).collect();
    let mut found = Vec::new();
    for _ in 0..GENERATIONS {
        if next.is_empty() {
            break;
        }
        let links = ask(&next)?;
        next = links.iter().map(|link| link.digest).filter(|d| known.insert(*d)).collect();
        found.extend(links);
    }
    Ok(found)
}

/// The same among companions that are at hand, which keep their order within a generation.
pub fn closure<T>(
    subjects: impl IntoIterator<Item = Digest>,
    all: impl IntoIterator<Item = Link<T>>,
) -> Vec<Link<T>> {
    let mut about: HashMap<Digest, Vec<(usize, Link<T>)>> = HashMap::new();
    for (at, link) in all.into_iter().enumerate() {
        about.entry(link.subject).or_default().push((at, link));
    }
    let Ok(found) = follow::<T, Infallible>(subjects, |some| {
        let links = some.iter().filter_map(|subject| about.remove(subject));
        let mut found: Vec<_> = links.flatten().collect();
        found.sort_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, link)| link).collect())
    });
    found
}

/// The companions among the roots of a source that go with `images`: those about one of them, about
/// what it lists, or about another companion that goes; nearest first.
///
/// # Errors
/// `Malformed` when one image has too many.
pub fn of(source: &dyn Source, images: &[Root], ctx: &Context) -> Result<Vec<Root>> {
    let chosen: HashSet<Digest> = images.iter().map(|root| root.desc.digest).collect();
    let candidates: Vec<&Root> = source
        .roots()
        .iter()
        .filter(|root| root.companion && !chosen.contains(&root.desc.digest))
        .collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let subjects = images.iter().flat_map(|root| beneath(source, &root.desc, ctx));
    let found = closure(subjects, links(source, candidates.iter().copied(), ctx));
    let mut counts: HashMap<Digest, usize> = HashMap::new();
    for subject in found.iter().map(|link| link.subject) {
        let count = counts.entry(subject).or_default();
        *count += 1;
        if *count > MAX {
            let what = format!("more referrers of {subject} than the limit of {MAX}");
            return Err(Error::malformed(what));
        }
    }
    let mut seen = HashSet::new();
    let once = found.into_iter().map(|link| link.item).filter(|at| seen.insert(*at));
    Ok(once.map(|at| candidates[at].clone()).collect())
}

/// Names companions beside the images they refer to: a tag stays that tag in the repository of the
/// image, others go by digest where `by_digest` says that the place wants a name for everything. Those
/// of no image are dropped; one about another comes after it.
pub fn beside(
    source: &dyn Source,
    images: &[Root],
    companions: &[Root],
    by_digest: bool,
    ctx: &Context,
) -> Vec<Root> {
    if companions.is_empty() {
        return Vec::new();
    }
    // The repositories that a digest goes to, each as one of the names there.
    let mut homes: HashMap<Digest, Vec<Reference>> = HashMap::new();
    let mut taken: HashMap<Reference, Digest> = HashMap::new();
    for image in images {
        for digest in beneath(source, &image.desc, ctx) {
            add_homes(homes.entry(digest).or_default(), &image.names);
        }
        taken.extend(image.names.iter().map(|name| (name.clone(), image.desc.digest)));
    }
    let mut at: HashMap<Digest, usize> = HashMap::new();
    let mut named: Vec<Root> = Vec::new();
    let subjects: Vec<Digest> = homes.keys().copied().collect();
    for link in closure(subjects, links(source, companions, ctx)) {
        let root = &companions[link.item];
        let near = homes.get(&link.subject).cloned().unwrap_or_default();
        let mut names: Vec<Reference> = Vec::new();
        for home in &near {
            let tagged = root.tags().filter_map(|tag| home.with_tag(tag).ok());
            // Two images may each have an SBOM that is tagged `sbom`.
            let free =
                |name: &Reference| *taken.entry(name.clone()).or_insert(link.digest) == link.digest;
            let before = names.len();
            names.extend(tagged.filter(free));
            if names.len() == before && by_digest {
                names.push(home.with_digest(link.digest));
            }
        }
        if names.is_empty() && by_digest {
            continue;
        }
        add_homes(homes.entry(link.digest).or_default(), &near);
        let known = *at.entry(link.digest).or_insert(named.len());
        if known == named.len() {
            let label = root.label.clone().filter(|_| names.is_empty());
            named.push(Root { names: Vec::new(), label, ..root.clone() });
        }
        let all = &mut named[known].names;
        for name in names {
            if !all.contains(&name) {
                all.push(name);
            }
        }
    }
    named
}

/// Names the companions among `roots` as a registry wants them, beside the images among them.
pub fn named(source: &dyn Source, roots: Vec<Root>, ctx: &Context) -> Vec<Root> {
    let (companions, mut images): (Vec<Root>, Vec<Root>) =
        roots.into_iter().partition(|root| root.companion);
    images.extend(beside(source, &images, &companions, true, ctx));
    images
}

/// Adds the repositories of names that are not among `homes`.
fn add_homes(homes: &mut Vec<Reference>, names: &[Reference]) {
    for name in names {
        let same = |home: &Reference| (home.domain(), home.path()) == (name.domain(), name.path());
        if !homes.iter().any(same) {
            homes.push(name.clone());
        }
    }
}

/// What roots refer to; the item is a root's position.
fn links<'r>(
    source: &dyn Source,
    roots: impl IntoIterator<Item = &'r Root>,
    ctx: &Context,
) -> Vec<Link<usize>> {
    let mut links = Vec::new();
    for (item, root) in roots.into_iter().enumerate() {
        let digest = root.desc.digest;
        let about = subjects_of(source, root, ctx);
        links.extend(about.into_iter().map(|subject| Link { subject, digest, item }));
    }
    links
}

/// An image and everything that it lists, indexes within indexes too.
fn beneath(source: &dyn Source, desc: &Descriptor, ctx: &Context) -> Vec<Digest> {
    let Ok(all) = manifests::<Infallible>(desc, |index| {
        Ok(match source.listed(index) {
            Some(listed) => listed.into_iter().map(|d| Descriptor::new("", d, 0)).collect(),
            None => document(source, index, ctx).map_or(Vec::new(), Document::into_entries),
        })
    });
    all
}

/// A manifest or index and every manifest and index beneath it. `listed` says what an index lists.
///
/// # Errors
/// Those of `listed`.
pub fn manifests<E>(
    desc: &Descriptor,
    mut listed: impl FnMut(&Descriptor) -> Result<Vec<Descriptor>, E>,
) -> Result<Vec<Digest>, E> {
    let mut seen = HashSet::from([desc.digest]);
    let mut all = vec![desc.digest];
    let mut open = vec![(desc.clone(), 0)];
    while let Some((desc, depth)) = open.pop() {
        if desc.media_type.role() != Role::Index || depth > MAX_NESTING {
            continue;
        }
        for child in listed(&desc)? {
            if seen.insert(child.digest) {
                all.push(child.digest);
                open.push((child, depth + 1));
            }
        }
    }
    Ok(all)
}

fn document(source: &dyn Source, desc: &Descriptor, ctx: &Context) -> Option<Document> {
    let bytes = Blob::new(source, desc.clone(), ctx).bytes(MAX_DOCUMENT).ok()?;
    Document::parse(&bytes, &desc.media_type).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn link(subject: &str, own: &str) -> Link<String> {
        Link { subject: digest(subject), digest: digest(own), item: own.into() }
    }

    #[test]
    fn what_is_nearest_comes_first_and_a_ring_ends() {
        let all = ["sig>sbom", "sbom>image", "other>else", "a>b", "b>a", "a>image"]
            .map(|pair| pair.split_once('>').unwrap())
            .map(|(own, subject)| link(subject, own));
        let found: Vec<String> =
            closure([digest("image")], all).into_iter().map(|link| link.item).collect();
        assert_eq!(found, ["sbom", "a", "sig", "b", "a"]);
    }

    #[test]
    fn each_digest_is_asked_for_once_and_a_chain_is_bounded() {
        let name = |i: usize| format!("companion {i}");
        let mut asked = Vec::new();
        let found = follow::<_, Infallible>([digest("image"); 3], |subjects| {
            asked.extend_from_slice(subjects);
            // Every one of 2 000 is about each that is asked for.
            let of = |subject: &Digest| {
                let subject = *subject;
                (0..2_000).map(move |i| Link { subject, digest: digest(&name(i)), item: () })
            };
            Ok(subjects.iter().take(2).flat_map(of).collect())
        });
        let Ok(found) = found;
        assert_eq!((asked.len(), found.len()), (2_001, 6_000));
        let chain = (0..100).map(|i| link(&name(i), &name(i + 1)));
        assert_eq!(closure([digest(&name(0))], chain).len(), GENERATIONS);
    }
}
