//! The content of a place, as a registry lists it: repositories, their tags, manifests and referrers.
//!
//! It reads only documents, each once, and answers from memory. It knows no request. The manifests of a
//! repository follow from its tags: the tagged ones, those they list, and their referrers.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;
use serde_json::Value;

use crate::companion::{self, Link, subject_of_tag};
use crate::context::Context;
use crate::copy::Failed;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{self, Error, Result};
use crate::json;
use crate::manifest::{Document, DocumentKind, MAX_DOCUMENT};
use crate::media_type::MediaType;
use crate::reference::is_tag;
use crate::serve::names::RepositoryName;
use crate::transport::{Blob, Root, Source};

/// The content of one place.
#[derive(Default)]
pub struct Holdings {
    /// Its repositories.
    pub repositories: BTreeMap<RepositoryName, ServedRepository>,
    /// Configs and layers that some manifest names, with their sizes in bytes.
    pub blobs: HashMap<Digest, u64>,
    /// Warnings.
    pub notes: Vec<String>,
    /// Why a document is lacking that a later look may find: the medium did not give it.
    pub unread: Option<Error>,
}

/// One repository.
#[derive(Default)]
pub struct ServedRepository {
    /// Tags and what they name.
    pub tags: BTreeMap<String, Digest>,
    /// Manifests and indexes.
    pub manifests: HashMap<Digest, ServedManifest>,
    /// What refers to a digest, as the referrers API describes it, in order of digest.
    pub referrers: HashMap<Digest, Vec<Descriptor>>,
}

/// A manifest or an index of a repository.
#[derive(Clone, Debug)]
pub struct ServedManifest {
    /// Its media type, on which the document and its descriptor agree.
    pub media_type: MediaType,
    /// Bytes.
    pub size: u64,
    /// Manifests and indexes it lists.
    pub documents: Box<[Digest]>,
    /// Configs and layers it names, each once.
    pub blobs: Box<[Digest]>,
}

/// A document, read once.
pub struct Parsed {
    /// What it is.
    pub media_type: MediaType,
    /// Manifests and indexes it lists.
    pub documents: Vec<Descriptor>,
    /// Configs and layers it names.
    pub blobs: Vec<Descriptor>,
    /// What it refers to, and how the referrers API describes it.
    pub referrer: Option<(Digest, Descriptor)>,
}

impl Parsed {
    /// Reads a document.
    ///
    /// # Errors
    /// `Malformed`, `Unsupported`.
    pub fn read(desc: &Descriptor, bytes: &[u8]) -> Result<Self> {
        let document = Document::parse(bytes, &desc.media_type)?;
        let referrer = document
            .subject
            .as_ref()
            .map(|subject| {
                Ok::<_, crate::Error>((subject.digest, referrer(desc, bytes, &document)?))
            })
            .transpose()?;
        let (documents, blobs) = match document.kind {
            DocumentKind::Index(entries) => (entries, Vec::new()),
            DocumentKind::Manifest { config, layers } => {
                (Vec::new(), config.into_iter().chain(layers).collect())
            }
        };
        Ok(Self { media_type: document.media_type, documents, blobs, referrer })
    }
}

/// A manifest as an answer of the referrers API lists it. OCI distribution-spec, "Listing Referrers".
fn referrer(desc: &Descriptor, bytes: &[u8], document: &Document) -> Result<Descriptor> {
    let body = json::object(bytes)?;
    let mut listed = Descriptor::new(document.media_type.clone(), desc.digest, bytes.len() as u64);
    let config = match &document.kind {
        DocumentKind::Manifest { config, .. } => {
            config.as_ref().map(|c| c.media_type.as_str().to_owned())
        }
        DocumentKind::Index(_) => None,
    };
    let artifact_type = document.artifact_type.clone().filter(|t| !t.is_empty()).or(config);
    if let Some(artifact_type) = artifact_type {
        listed.rest.insert("artifactType".into(), artifact_type.into());
    }
    if let Some(annotations @ Value::Object(_)) = body.get("annotations") {
        listed.rest.insert("annotations".into(), annotations.clone());
    }
    Ok(listed)
}

impl ServedRepository {
    /// Adds a manifest, and what it refers to.
    pub fn add(&mut self, desc: &Descriptor, parsed: Option<&Parsed>) {
        let media_type = parsed.map_or(&desc.media_type, |parsed| &parsed.media_type).clone();
        let documents = digests(parsed.map(|parsed| &parsed.documents));
        let blobs = digests(parsed.map(|parsed| &parsed.blobs));
        let manifest = ServedManifest { media_type, size: desc.size, documents, blobs };
        self.manifests.insert(desc.digest, manifest);
        let Some((subject, listed)) = parsed.and_then(|parsed| parsed.referrer.as_ref()) else {
            return;
        };
        let list = self.referrers.entry(*subject).or_default();
        if let Err(at) = list.binary_search_by_key(&listed.digest, |d| d.digest) {
            list.insert(at, listed.clone());
        }
    }

    /// Takes a manifest out, with the tags that name it.
    pub fn remove(&mut self, digest: &Digest) -> bool {
        self.tags.retain(|_, tagged| tagged != digest);
        for list in self.referrers.values_mut() {
            list.retain(|listed| listed.digest != *digest);
        }
        self.manifests.remove(digest).is_some()
    }

    /// A manifest of the repository as a descriptor.
    pub fn descriptor(&self, digest: &Digest) -> Option<Descriptor> {
        let manifest = self.manifests.get(digest)?;
        Some(Descriptor::new(manifest.media_type.clone(), *digest, manifest.size))
    }
}

/// Digests, each once.
fn digests(list: Option<&Vec<Descriptor>>) -> Box<[Digest]> {
    let mut all: Vec<Digest> = list.into_iter().flatten().map(|desc| desc.digest).collect();
    all.sort();
    all.dedup();
    all.into()
}

/// Reads everything a place holds, but for what is `wrong`. Images without any name go into `unnamed`.
///
/// # Errors
/// `Interrupted`, `Malformed` beyond what one reading follows. What else cannot be read is noted, and
/// hides nothing else.
pub fn gather(
    source: &dyn Source,
    wrong: &[Failed],
    unnamed: Option<&RepositoryName>,
    ctx: &Context,
) -> Result<Holdings> {
    let mut holdings = Holdings::default();
    holdings.notes.extend(source.warnings().iter().cloned());
    for failed in wrong {
        for error in &failed.errors {
            holdings.notes.push(format!("{} is not served: {error}", failed.title));
            if error.kind() == error::Kind::Io {
                holdings.unread.get_or_insert_with(|| error.clone());
            }
        }
    }
    let mut roots = source.roots().to_vec();
    roots.retain(|root| wrong.iter().all(|failed| failed.digest != root.desc.digest));
    let parsed = documents(source, &roots, ctx, &mut holdings)?;
    let mut whose: HashMap<Digest, Vec<RepositoryName>> = HashMap::new();
    // Where nobody says so in a name or an annotation, the document itself does.
    let is_about = |root: &&Root| {
        let about = || parsed.get(&root.desc.digest).is_some_and(|p| p.referrer.is_some());
        root.companion || (root.names.is_empty() && root.label.is_none() && about())
    };
    let (companions, images): (Vec<&Root>, Vec<&Root>) = roots.iter().partition(is_about);
    for root in images {
        for (name, tag) in names(root, unnamed, &mut holdings) {
            place(&mut holdings, &name, root, tag, &parsed, &mut whose);
        }
    }
    // Companions go where what they are about is, and where they have names of their own.
    let companions = spread(companions, &mut holdings, &parsed, &mut whose);
    for root in roots.iter().filter(|root| is_about(root)) {
        for (name, tag) in names(root, None, &mut holdings) {
            place(&mut holdings, &name, root, tag, &parsed, &mut whose);
        }
    }
    spread(companions, &mut holdings, &parsed, &mut whose);
    for document in parsed.values() {
        holdings.blobs.extend(document.blobs.iter().map(|blob| (blob.digest, blob.size)));
    }
    Ok(holdings)
}

/// Puts companions into the repositories of what they are about; those that are about nothing there.
fn spread<'r>(
    companions: Vec<&'r Root>,
    holdings: &mut Holdings,
    parsed: &HashMap<Digest, Parsed>,
    whose: &mut HashMap<Digest, Vec<RepositoryName>>,
) -> Vec<&'r Root> {
    let mut links = Vec::new();
    for &item in &companions {
        let (digest, about) = (item.desc.digest, subjects(item, parsed));
        links.extend(about.into_iter().map(|subject| Link { subject, digest, item }));
    }
    let there: Vec<Digest> = whose.keys().copied().collect();
    let mut placed = HashSet::new();
    for Link { subject, digest, item: root } in companion::closure(there, links) {
        placed.insert(digest);
        for name in whose.get(&subject).cloned().unwrap_or_default() {
            // A tag of a name is one of that repository, but for cosign's.
            let own = |tag: &&str| root.names.is_empty() || subject_of_tag(tag).is_some();
            let mut tags: Vec<Option<String>> =
                root.tags().filter(own).map(|tag| Some(tag.to_owned())).collect();
            tags.extend(tags.is_empty().then_some(None));
            for tag in tags {
                place(holdings, &name, root, tag, parsed, whose);
            }
        }
    }
    companions.into_iter().filter(|root| !placed.contains(&root.desc.digest)).collect()
}

/// The subject of a companion; its own `subject` comes first, since referrers are listed by it.
fn subjects(root: &Root, parsed: &HashMap<Digest, Parsed>) -> Vec<Digest> {
    match parsed.get(&root.desc.digest).and_then(|p| p.referrer.as_ref()) {
        Some((subject, _)) => vec![*subject],
        None => companion::subjects(&root.desc, root.tags()),
    }
}

/// The repositories and tags of a root.
fn names(
    root: &Root,
    unnamed: Option<&RepositoryName>,
    holdings: &mut Holdings,
) -> Vec<(RepositoryName, Option<String>)> {
    if !root.names.is_empty() {
        let one = |name: &crate::reference::Reference| {
            (RepositoryName::of(name), name.tag().map(str::to_owned))
        };
        return root.names.iter().map(one).collect();
    }
    let label = root.label.as_deref();
    let Some(unnamed) = unnamed else { return Vec::new() };
    let tag = label.filter(|label| is_tag(label)).map(str::to_owned);
    if tag.is_none() {
        let (title, name) = (root.title(), unnamed);
        holdings
            .notes
            .push(format!("{title} has no name; it is served as {name}@{}", root.desc.digest));
    }
    vec![(unnamed.clone(), tag)]
}

/// What is said of an image whose tag another has that comes before it (`transport::ambiguous`).
pub fn hidden(name: &RepositoryName, tag: &str, first: &Digest, other: &Digest) -> String {
    format!("{name}:{tag} is {first}, which comes first; the other is served as {name}@{other}")
}

/// Puts a root and what it lists into a repository.
fn place(
    holdings: &mut Holdings,
    name: &RepositoryName,
    root: &Root,
    tag: Option<String>,
    parsed: &HashMap<Digest, Parsed>,
    whose: &mut HashMap<Digest, Vec<RepositoryName>>,
) {
    let repository = holdings.repositories.entry(name.clone()).or_default();
    if let Some(tag) = tag {
        let first = *repository.tags.entry(tag.clone()).or_insert(root.desc.digest);
        if first != root.desc.digest {
            holdings.notes.push(hidden(name, &tag, &first, &root.desc.digest));
        }
    }
    let mut open = vec![&root.desc];
    let mut seen: HashSet<Digest> = HashSet::new();
    while let Some(desc) = open.pop() {
        // An index may list what did not come along.
        let Some(document) = parsed.get(&desc.digest) else { continue };
        if !seen.insert(desc.digest) {
            continue;
        }
        repository.add(desc, Some(document));
        let owners = whose.entry(desc.digest).or_default();
        if !owners.contains(name) {
            owners.push(name.clone());
        }
        open.extend(&document.documents);
    }
}

/// Every document beneath the roots that is there.
fn documents(
    source: &dyn Source,
    roots: &[Root],
    ctx: &Context,
    holdings: &mut Holdings,
) -> Result<HashMap<Digest, Parsed>> {
    let mut found: HashMap<Digest, Parsed> = HashMap::new();
    // Who gives a wrong size or type hides nothing from who gives the right ones.
    let mut asked: HashMap<Digest, HashSet<(u64, MediaType)>> = HashMap::new();
    let mut open: Vec<Descriptor> = roots.iter().map(|root| root.desc.clone()).collect();
    while !open.is_empty() {
        ctx.check()?;
        open.retain(|desc| {
            desc.media_type.role().may_be_parent()
                && !found.contains_key(&desc.digest)
                && first_asked(asked.entry(desc.digest).or_default(), desc)
        });
        let read: Vec<(Descriptor, Result<Option<Parsed>>)> = open
            .into_par_iter()
            .map(|desc| {
                let parsed = read(source, &desc, ctx);
                (desc, parsed)
            })
            .collect();
        open = Vec::new();
        for (desc, parsed) in read {
            match parsed {
                Ok(Some(parsed)) => {
                    ctx.count(parsed.documents.len() + parsed.blobs.len())?;
                    open.extend(parsed.documents.iter().cloned());
                    found.insert(desc.digest, parsed);
                }
                Ok(None) => {}
                Err(e) => {
                    holdings.notes.push(format!("{} is not served: {e}", desc.digest));
                    if e.kind() == error::Kind::Io {
                        holdings.unread.get_or_insert(e);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Whether a document was not asked for as this yet, nor in too many other ways.
fn first_asked(ways: &mut HashSet<(u64, MediaType)>, desc: &Descriptor) -> bool {
    const WAYS: usize = 4;
    ways.len() < WAYS && ways.insert((desc.size, desc.media_type.clone()))
}

fn read(source: &dyn Source, desc: &Descriptor, ctx: &Context) -> Result<Option<Parsed>> {
    if !source.has(desc)? {
        return Ok(None);
    }
    let bytes = Blob::new(source, desc.clone(), ctx).bytes(MAX_DOCUMENT)?;
    Parsed::read(desc, &bytes).map(Some)
}
