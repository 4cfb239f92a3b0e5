//! The client side of the registry protocol.
//!
//! It knows nothing of sources and sinks. OCI distribution-spec 1.1; where registries differ from it, a
//! comment says which.
//!
//! - Who and where: `settings` (plain data, gathered by the binary), `address` (hosts as written),
//!   `rules` (registries.conf, docker's daemon.json, mirrors: which hosts serve a name), `proxy`,
//!   `credentials`, `tls` (certificates on disk, whether a server is trusted).
//! - One request: `hosted` is a repository at one host; `host` adds scheme, authorization, redirects and
//!   second tries around `http`, which is one exchange; `retry` says what is worth trying again, and
//!   when; `rate` is `--limit-rate`.
//! - `auth`: reads a challenge, asks for a token, and decides whom a password may be shown.
//! - Documents: `documents` (manifests and indexes), `fetch` (small answers whole), `list` (tags,
//!   catalog), `referrers`, `search`.
//! - Blobs: `blobs` picks the host; `download` is a reader that goes on after a cut; `upload` is a
//!   session, remembered over runs.

pub mod address;
mod auth;
mod blobs;
pub mod credentials;
mod documents;
pub mod download;
mod fetch;
mod host;
mod hosted;
pub mod http;
mod list;
pub mod proxy;
pub mod rate;
mod referrers;
pub mod retry;
pub mod rules;
mod search;
pub mod settings;
pub mod tls;
pub mod upload;

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::locks::lock;
use crate::reference::Reference;
use crate::registry::credentials::Keychain;
pub use crate::registry::documents::Lacking;
use crate::registry::documents::Put;
use crate::registry::host::Host;
use crate::registry::hosted::HostedRepository;
pub use crate::registry::hosted::TagOrDigest;
use crate::registry::http::client::Client;
pub use crate::registry::referrers::Unlisted;
use crate::registry::rules::{Endpoint, Only, Rules};
pub use crate::registry::search::Found;
use crate::registry::settings::{Login, Secret, Settings};

/// How many subjects may have their referrers' index read or written at once.
const SUBJECTS: usize = 32;

/// What the tags of subjects list that stand in for the referrers API, by repository and subject.
type Listings = HashMap<(String, Digest), HashSet<Digest>>;

/// The error for an image that a registry does not know.
pub fn no_image(name: &Reference) -> Error {
    let error = Error::missing("no such image in the registry").because(Cause::NotInRegistry);
    error.input(name.familiar())
}

/// The error for a repository that a registry does not know.
pub fn no_repository(name: &Reference) -> Error {
    let error = Error::missing("no such repository in the registry");
    error.because(Cause::NoSuchRepository).input(name.familiar_repository())
}

/// The registries of one side of a run: their connections, tokens and limits.
pub struct Registries {
    client: Arc<Client>,
    keychain: Arc<Keychain>,
    /// The same without the user's `--creds`, which are meant for the registry itself.
    mirrors: Arc<Keychain>,
    rules: Rules,
    hosts: Mutex<HashMap<Endpoint, Arc<Host>>>,
    /// Mirrors that could not be reached; they are not asked again.
    dead: Mutex<HashSet<String>>,
    /// What uploads found out about each host.
    learned: Mutex<HashMap<String, Arc<upload::HostCapabilities>>>,
    /// Whether a host that says it keeps track of subjects has the API for asking.
    tracks: Mutex<HashMap<String, bool>>,
    /// What subjects' tags list, each part held while one of them is read or written.
    listings: [Mutex<Listings>; SUBJECTS],
}

/// One repository of a registry.
#[derive(Clone)]
pub struct Repository {
    registries: Arc<Registries>,
    name: Reference,
    direct: bool,
    /// Who had the last manifest that was asked for.
    giver: Arc<Mutex<Option<Endpoint>>>,
}

fn remember<K: Eq + Hash + Clone, V: Clone>(
    map: &Mutex<HashMap<K, V>>,
    key: &K,
    make: impl FnOnce() -> V,
) -> V {
    lock(map).entry(key.clone()).or_insert_with(make).clone()
}

impl Registries {
    /// The registries as `settings` let them be reached.
    ///
    /// # Errors
    /// `Malformed`, `Io` when the machine's rules cannot be read.
    pub fn new(settings: Settings, ctx: &Context) -> Result<Arc<Self>> {
        let keychain = Arc::new(Keychain::new(&settings));
        let files = Settings { credentials: None, ..settings.clone() };
        let mirrors = Arc::new(Keychain::new(&files));
        let rules = Rules::load(&settings)?;
        Ok(Arc::new(Self {
            client: Arc::new(Client::new(settings, ctx)),
            keychain,
            mirrors,
            rules,
            hosts: Mutex::default(),
            dead: Mutex::default(),
            learned: Mutex::default(),
            tracks: Mutex::default(),
            listings: std::array::from_fn(|_| Mutex::default()),
        }))
    }

    /// The repository of a name; its tag and digest do not matter.
    ///
    /// # Errors
    /// `Denied` when the registry is blocked on this machine.
    pub fn repository(self: &Arc<Self>, name: &Reference) -> Result<Repository> {
        self.rules.push(name)?;
        let name = name.repository().parse()?;
        let (registries, giver) = (Arc::clone(self), Arc::default());
        Ok(Repository { registries, name, direct: false, giver })
    }

    /// The paths of all repositories that a registry lists, sorted.
    ///
    /// # Errors
    /// `Unsupported` when it lists none to us, `Unreachable`.
    pub fn catalog(&self, domain: &str) -> Result<Vec<String>> {
        let host = self.registry(domain)?;
        list::catalog(&host, domain)
    }

    /// Repositories that match a term, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::catalog`].
    pub fn search(&self, domain: &str, term: &str, limit: usize) -> Result<Vec<Found>> {
        if !address::is_hub(domain) {
            return Ok(search::among(self.catalog(domain)?, term, limit));
        }
        let endpoint = Endpoint { host: search::HUB.into(), ..self.rules.registry(domain)? };
        search::hub(&self.host(&endpoint), term, limit)
    }

    /// Tries a user's credentials; the identity token when the registry gave one for them.
    ///
    /// # Errors
    /// `Denied` when they are wrong, `Unreachable`, `Malformed` when it is no registry.
    pub fn login(&self, domain: &str, login: &Login) -> Result<Option<Secret>> {
        self.registry(domain)?.login(login)
    }

    /// Whether a registry that was spoken to speaks plain http.
    pub fn speaks_http(&self, domain: &str) -> bool {
        self.registry(domain).is_ok_and(|host| host.speaks_http())
    }

    /// Whether layers that lie elsewhere are fetched.
    pub fn fetch_foreign(&self) -> bool {
        self.client.settings.fetch_foreign
    }

    /// Opens a foreign layer at the URLs of its descriptor, at `offset`.
    ///
    /// # Errors
    /// `Missing` when it names none, and as [`Repository::blob`].
    pub fn foreign(&self, desc: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let urls = download::urls(desc);
        let url = urls.first().and_then(|url| http::url::Url::parse(url));
        let url = url.ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?;
        let host = self.registry(&url.authority())?;
        let (settings, ctx) = (&self.client.settings, &self.client.ctx);
        download::foreign(host, desc, offset, settings, ctx).map_err(|e| e.input_or(url.shown()))
    }

    fn registry(&self, domain: &str) -> Result<Arc<Host>> {
        Ok(self.host(&self.rules.registry(domain)?))
    }

    fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        let key = Endpoint { path: String::new(), only: Only::Anything, ..endpoint.clone() };
        remember(&self.hosts, &key, || {
            let keychain = if key.mirror { &self.mirrors } else { &self.keychain };
            let keychain = Arc::clone(keychain);
            Arc::new(Host::new(Arc::clone(&self.client), key.clone(), keychain, None))
        })
    }

    fn place(&self, endpoint: &Endpoint, name: &Reference, pushes: bool) -> HostedRepository {
        let host = self.host(endpoint);
        let (path, mirror) = (endpoint.path.clone(), endpoint.mirror);
        HostedRepository { host, path, pushes, name: name.repository(), mirror }
    }

    fn referrers(
        &self,
        place: &HostedRepository,
        subject: &Digest,
        tags: Option<&[String]>,
    ) -> Result<Vec<Descriptor>> {
        let host = place.host.name();
        let known = lock(&self.tracks).get(host).copied();
        if known != Some(false) {
            let found = referrers::from_api(place, subject)?;
            lock(&self.tracks).insert(host.to_owned(), found.is_some());
            if let Some(found) = found {
                return Ok(found);
            }
        }
        let tag = referrers::fallback_tag(subject);
        if tags.is_some_and(|tags| !tags.contains(&tag)) {
            return Ok(Vec::new());
        }
        referrers::tagged(place, subject)
    }

    fn listings(&self, subject: &Digest) -> MutexGuard<'_, Listings> {
        let sum = subject.hex().bytes().fold(0, |sum, byte| sum + usize::from(byte));
        lock(&self.listings[sum % SUBJECTS])
    }

    /// Whether a host has the referrers API, found out once.
    fn tracks(&self, place: &HostedRepository, subject: &Digest) -> bool {
        let host = place.host.name().to_owned();
        if let Some(known) = lock(&self.tracks).get(&host) {
            return *known;
        }
        // A failure says nothing about the API, and the host did say that it keeps track.
        let Ok(found) = referrers::from_api(place, subject) else { return true };
        remember(&self.tracks, &host, || found.is_some())
    }
}

impl Repository {
    /// Registry host and port as the user wrote them: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        self.name.domain()
    }

    /// Path within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        self.name.path()
    }

    /// Both: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        self.name.repository()
    }

    /// The same repository, asked at the registry itself and never at a mirror: for whoever pushes.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// What a tag or digest names, without its bytes; `None` when there is none. One request where the
    /// registry tells enough.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`; `Malformed`, `Corrupt` when it has to be fetched and is not right.
    pub fn head(&self, wanted: TagOrDigest<'_>) -> Result<Option<Descriptor>> {
        self.first(Some(wanted), |place| place.head(wanted))
    }

    /// A manifest or index with its bytes, of which the digest is computed here; `None` when there is
    /// none.
    ///
    /// # Errors
    /// `Corrupt` when other bytes came than the digest says, `Malformed` when no manifest came or one
    /// larger than the settings allow, `Denied`, `Unreachable`.
    pub fn manifest(&self, wanted: TagOrDigest<'_>) -> Result<Option<(Descriptor, Vec<u8>)>> {
        let found = self.first(Some(wanted), |place| place.manifest(wanted))?;
        Ok(found.map(|found| (found.descriptor, found.bytes)))
    }

    /// Pushes a manifest and sees to it that it is there. Where the registry keeps no track of its subject
    /// the answer is what [`Self::list_referrers`] is to be given. `lacking` is asked for blobs that the registry said to
    /// have and does not.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, `Unsupported` when it is too large or of a kind that is not taken,
    /// `Corrupt` when the registry stored something else.
    pub fn put_manifest(
        &self,
        wanted: TagOrDigest<'_>,
        media_type: &str,
        bytes: &[u8],
        digest: &Digest,
        lacking: &Lacking<'_>,
    ) -> Result<Option<Unlisted>> {
        let place = self.own()?;
        let put = place.put_manifest(wanted, media_type, bytes, digest, None, lacking)?;
        let Some(unlisted) = referrers::entry(media_type, bytes, digest) else { return Ok(None) };
        let tracked = put == Put::Stored { tracked: true };
        // Docker Hub says that it keeps track and has no API.
        let tracked = tracked && self.registries.tracks(&place, &unlisted.subject);
        Ok((!tracked).then_some(unlisted))
    }

    /// Lists manifests under the tag of their subject, with one look and one write.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`; `Busy` when others change the tag all the time.
    pub fn list_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<()> {
        let mut listings = self.registries.listings(subject);
        let listed = referrers::maintain(&self.own()?, subject, entries)?;
        listings.insert((self.name(), *subject), listed);
        Ok(())
    }

    /// Whether a manifest of the repository refers to `subject` and is not listed as its referrer. A
    /// registry that keeps track itself lists everything; elsewhere one look serves all of a subject.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, `Malformed`.
    pub fn is_unlisted(&self, referrer: &Digest, subject: &Digest) -> Result<bool> {
        let place = self.own()?;
        if self.registries.tracks(&place, subject) {
            return Ok(false);
        }
        let mut listings = self.registries.listings(subject);
        let listed = match listings.entry((self.name(), *subject)) {
            Occupied(known) => known.into_mut(),
            Vacant(unknown) => {
                let listed = referrers::tagged(&place, subject)?;
                unknown.insert(listed.into_iter().map(|entry| entry.digest).collect())
            }
        };
        if listed.contains(referrer) {
            return Ok(false);
        }
        drop(listings);
        // An annotation may say what the manifest itself does not.
        let Some(found) = place.manifest(TagOrDigest::Digest(referrer))? else { return Ok(false) };
        let entry = referrers::entry(found.descriptor.media_type.as_str(), &found.bytes, referrer);
        Ok(entry.is_some_and(|entry| entry.subject == *subject))
    }

    /// Deletes a manifest with all its tags, or one tag.
    ///
    /// # Errors
    /// `Missing`, `Denied`, `Unreachable`; `Unsupported` when the registry does not delete, or no tags.
    pub fn delete(&self, wanted: TagOrDigest<'_>) -> Result<()> {
        self.own()?.delete(wanted)
    }

    /// All tags, sorted; `None` when there is no such repository. Who gave an image of it is asked, else
    /// mirrors and the registry in their order.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, `Malformed`.
    pub fn tags(&self) -> Result<Option<Vec<String>>> {
        self.at_giver(None, list::tags)
    }

    /// What refers to a digest: signatures, attestations and the like. With `tags`, all of the
    /// repository's, a tag that stands in for the API is asked for only when it is among them.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`.
    pub fn referrers(&self, subject: &Digest, tags: Option<&[String]>) -> Result<Vec<Descriptor>> {
        let found = self.at_giver(Some(TagOrDigest::Digest(subject)), |place| {
            let found = self.registries.referrers(place, subject, tags)?;
            Ok(Some(found).filter(|found| !found.is_empty()))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Whether the registry can be asked what refers to a digest.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`.
    pub fn lists_referrers(&self, subject: &Digest) -> Result<bool> {
        let ask = |place: &HostedRepository| Ok(Some(self.registries.tracks(place, subject)));
        Ok(self.at_giver(Some(TagOrDigest::Digest(subject)), ask)?.unwrap_or(false))
    }

    /// Asks whoever gave an image of the repository: a registry behind a mirror may be out of reach. As
    /// [`Self::first`] where none did.
    fn at_giver<T>(
        &self,
        wanted: Option<TagOrDigest<'_>>,
        ask: impl Fn(&HostedRepository) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let giver = lock(&self.giver).clone();
        match giver {
            Some(giver) => ask(&self.registries.place(&giver, &self.name, false)),
            None => self.first(wanted, ask),
        }
    }

    /// The repository at the registry itself.
    pub(crate) fn own(&self) -> Result<HostedRepository> {
        let endpoint = self.registries.rules.push(&self.name)?;
        Ok(self.registries.place(&endpoint, &self.name, true))
    }

    /// What the first host has that has it: mirrors in their order, then the registry itself. A mirror
    /// that fails is no more than one that does not have it. `wanted` is the manifest asked for; blobs are
    /// asked for everywhere.
    pub(crate) fn first<T>(
        &self,
        wanted: Option<TagOrDigest<'_>>,
        ask: impl Fn(&HostedRepository) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if self.direct {
            return ask(&self.own()?);
        }
        // Rules may send tags and digests to different mirrors.
        let name = match wanted {
            Some(TagOrDigest::Tag(tag)) => self.name.with_tag(tag)?,
            Some(TagOrDigest::Digest(digest)) => self.name.with_digest(*digest),
            None => self.name.clone(),
        };
        let mut found = Ok(None);
        for endpoint in self.registries.rules.pull(&name)? {
            let place = self.registries.place(&endpoint, &self.name, false);
            if place.mirror && lock(&self.registries.dead).contains(place.host.name()) {
                continue;
            }
            found = ask(&place);
            match &found {
                Ok(None) => {}
                Err(e) if place.mirror && e.kind() != Kind::Interrupted => self.missed(&place, e),
                Ok(Some(_)) if wanted.is_some() => {
                    *lock(&self.giver) = Some(endpoint);
                    break;
                }
                _ => break,
            }
        }
        found
    }

    fn missed(&self, place: &HostedRepository, e: &Error) {
        let host = place.host.name();
        if e.kind() == Kind::Unreachable {
            lock(&self.registries.dead).insert(host.to_owned());
        }
        self.registries.client.detail(&format!("mirror {host}: {}; asking the next", e.what()));
    }
}
