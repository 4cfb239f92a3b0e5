//! A registry for tests, in memory: it keeps its upload sessions when a connection breaks, and has the
//! habits of others as switches ([`super::profiles`]).
//!
//! It knows no file and no real registry. It checks what a client does more strictly than most: digests,
//! offsets, that what a manifest names is there, that an upload's query came back unchanged.
//! distribution-spec 1.1.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::profiles::{Profile, Referrers};
use super::server::{self, Listener, Reply, Request, Service};
use super::wire::Head;
use crate::common::image::Oci;
use crate::common::{list, string};

mod auth;
mod documents;
mod uploads;

/// One repository.
#[derive(Default)]
pub struct Repository {
    blobs: BTreeMap<String, Arc<Vec<u8>>>,
    /// Media type and bytes, by digest.
    manifests: BTreeMap<String, (String, Arc<Vec<u8>>)>,
    tags: BTreeMap<String, String>,
}

/// What all connections share.
struct State {
    profile: Profile,
    repositories: Mutex<BTreeMap<String, Repository>>,
    sessions: Mutex<BTreeMap<String, Arc<uploads::Session>>>,
    tokens: auth::Tokens,
    next: AtomicU64,
    patch_404: AtomicUsize,
    /// Where blobs are redirected to.
    storage: Mutex<Option<Listener>>,
    complaints: Mutex<Vec<String>>,
    edit: Edit,
}

/// The last word on an answer, for habits that are in no profile.
type Edit = Box<dyn Fn(&Head, &mut Reply) + Send + Sync>;

/// The registry.
pub struct Mock {
    listener: Listener,
    state: Arc<State>,
}

impl Mock {
    /// Starts one.
    pub fn start(profile: Profile) -> Self {
        Self::edited(profile, |_, _| {})
    }

    /// Starts one whose every answer is edited before it is sent.
    pub fn edited(
        profile: Profile,
        edit: impl Fn(&Head, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State {
            patch_404: AtomicUsize::new(profile.patch_404),
            profile,
            repositories: Mutex::default(),
            sessions: Mutex::default(),
            tokens: auth::Tokens::default(),
            next: AtomicU64::new(1),
            storage: Mutex::default(),
            complaints: Mutex::default(),
            edit: Box::new(edit),
        });
        if state.profile.redirects || state.profile.referrers == Referrers::Html {
            let storage = server::start(Arc::new(Storage(Arc::downgrade(&state))));
            *state.storage.lock().expect("a lock") = Some(storage);
        }
        let service: Arc<dyn Service> = Arc::clone(&state) as Arc<dyn Service>;
        Self { listener: server::start(service), state }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listener.port())
    }

    /// Makes an empty repository.
    pub fn create(&self, name: &str) {
        self.state.repositories().entry(name.to_owned()).or_default();
    }

    /// Puts a layout's blobs and tags into a repository, past every rule.
    pub fn fill(&self, name: &str, oci: &Oci) {
        let mut repositories = self.state.repositories();
        let repository = repositories.entry(name.to_owned()).or_default();
        for (hex, bytes) in &oci.blobs {
            let (digest, bytes) = (format!("sha256:{hex}"), Arc::new(bytes.clone()));
            let kind = serde_json::from_slice::<serde_json::Value>(&bytes)
                .map(|json| string(&json["mediaType"]))
                .unwrap_or_default();
            if kind.is_empty() {
                repository.blobs.insert(digest, bytes);
            } else {
                repository.manifests.insert(digest, (kind, bytes));
            }
        }
        for entry in &oci.entries {
            let tag = string(&entry["annotations"]["org.opencontainers.image.ref.name"]);
            repository.tags.insert(tag, string(&entry["digest"]));
        }
    }

    /// Another tag for what a tag stands for.
    pub fn tag(&self, name: &str, from: &str, to: &str) {
        let mut repositories = self.state.repositories();
        let tags = &mut repositories.get_mut(name).expect("a repository").tags;
        let digest = tags[from].clone();
        tags.insert(to.to_owned(), digest);
    }

    /// The digest that a tag stands for, when everything beneath it is there.
    pub fn complete(&self, name: &str, tag: &str) -> Option<String> {
        let repositories = self.state.repositories();
        let repository = repositories.get(name)?;
        let digest = repository.tags.get(tag)?;
        repository.whole(digest).then(|| digest.clone())
    }

    /// Digests of all blobs of a repository.
    pub fn blobs(&self, name: &str) -> Vec<String> {
        let repositories = self.state.repositories();
        repositories.get(name).map(|r| r.blobs.keys().cloned().collect()).unwrap_or_default()
    }

    /// The bytes of a manifest.
    pub fn manifest(&self, name: &str, tag: &str) -> Option<Vec<u8>> {
        let repositories = self.state.repositories();
        let repository = repositories.get(name)?;
        let digest = repository.tags.get(tag).map_or(tag, String::as_str);
        repository.manifests.get(digest).map(|(_, bytes)| bytes.to_vec())
    }

    /// Tags of a repository.
    pub fn tags(&self, name: &str) -> Vec<String> {
        let repositories = self.state.repositories();
        repositories.get(name).map(|r| r.tags.keys().cloned().collect()).unwrap_or_default()
    }

    /// Every name, `repository:tag`, sorted.
    pub fn names(&self) -> Vec<String> {
        let repositories = self.state.repositories();
        let tags = |(name, r): (&String, &Repository)| -> Vec<String> {
            r.tags.keys().map(|tag| format!("{name}:{tag}")).collect()
        };
        repositories.iter().flat_map(tags).collect()
    }

    /// Everything it keeps, as files would be called: `repository/blobs/digest` and so on.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for (name, repository) in self.state.repositories().iter() {
            let mut add = |part: &str, key: &str, bytes: &[u8]| {
                all.insert(PathBuf::from(format!("{name}/{part}/{key}")), bytes.to_vec());
            };
            repository.blobs.iter().for_each(|(digest, bytes)| add("blobs", digest, bytes));
            repository.manifests.iter().for_each(|(digest, (_, b))| add("manifests", digest, b));
            repository.tags.iter().for_each(|(tag, digest)| add("tags", tag, digest.as_bytes()));
        }
        all
    }

    /// Changes one byte of a blob wherever it is; whether it is anywhere.
    pub fn damage(&self, digest: &str) -> bool {
        let mut found = false;
        for repository in self.state.repositories().values_mut() {
            if let Some(bytes) = repository.blobs.get_mut(digest) {
                let bytes = Arc::make_mut(bytes);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                found = true;
            }
        }
        found
    }

    /// How many upload sessions are open.
    pub fn sessions(&self) -> usize {
        self.state.sessions.lock().expect("a lock").len()
    }

    /// What a client did that no registry should have to bear.
    pub fn complaints(&self) -> Vec<String> {
        self.state.complaints.lock().expect("a lock").clone()
    }

    /// Takes no token any more that was given so far.
    pub fn forget_tokens(&self) {
        self.state.tokens.forget();
    }
}

impl Repository {
    /// Whether a manifest and everything beneath it is there.
    fn whole(&self, digest: &str) -> bool {
        let Some((_, bytes)) = self.manifests.get(digest) else { return false };
        let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        let leaves = list(&json["layers"]).iter().chain(json.get("config"));
        let mut leaves = leaves.map(|d| string(&d["digest"]));
        let mut children = list(&json["manifests"]).iter().map(|d| string(&d["digest"]));
        leaves.all(|d| self.blobs.contains_key(&d)) && children.all(|d| self.whole(&d))
    }
}

impl State {
    fn repositories(&self) -> MutexGuard<'_, BTreeMap<String, Repository>> {
        self.repositories.lock().expect("a lock")
    }

    fn complain(&self, words: String) {
        self.complaints.lock().expect("a lock").push(words);
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// `http://host:port` of the other port.
    fn elsewhere(&self) -> String {
        let storage = self.storage.lock().expect("a lock");
        format!("http://127.0.0.1:{}", storage.as_ref().map_or(0, Listener::port))
    }

    /// A path, as this registry writes it into `Location`.
    fn location(&self, request: &Request<'_>, path: &str) -> String {
        match request.head.get("host") {
            Some(host) if self.profile.absolute => format!("http://{host}{path}"),
            _ => path.to_owned(),
        }
    }

    fn route(&self, request: &mut Request<'_>) -> Reply {
        let path = request.head.path().to_owned();
        if path == "/token" {
            return self.issue(request);
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Reply::of(404, "text/plain", "404 page not found\n");
        };
        let limit = self.profile.body_max.unwrap_or(u64::MAX);
        if request.head.length().is_some_and(|length| length > limit) {
            return Reply::of(413, "text/html", "<html>413 Request Entity Too Large</html>");
        }
        let place = place(rest);
        if let Some(reply) = self.refuse(request, &place) {
            return reply;
        }
        let method = request.head.method().to_owned();
        if let Some(reply) = self.forbid(&method, &place) {
            return reply;
        }
        match (method.as_str(), &place) {
            ("GET" | "HEAD", Place::Ping) => Reply::of(200, "application/json", "{}")
                .with("Docker-Distribution-Api-Version", "registry/2.0"),
            ("GET", Place::Catalog) => self.catalog(request),
            ("GET", Place::Tags(name)) => self.tags(request, name),
            ("GET", Place::Referrers(name, digest)) => self.referrers(request, name, digest),
            ("GET" | "HEAD", Place::Blob(name, digest)) => self.blob(request, name, digest),
            ("DELETE", Place::Blob(name, digest)) => self.delete_blob(name, digest),
            ("GET" | "HEAD", Place::Manifest(name, tag)) => self.manifest(name, tag),
            ("PUT", Place::Manifest(name, tag)) => self.put_manifest(request, name, tag),
            ("DELETE", Place::Manifest(name, tag)) => self.delete_manifest(name, tag),
            ("POST", Place::Uploads(name)) => self.begin(request, name),
            (_, Place::Upload(name, id)) => self.upload(request, name, id),
            _ => Reply::error(405, "UNSUPPORTED", "the operation is unsupported"),
        }
    }

    /// What this registry's habits forbid before it looks any further.
    fn forbid(&self, method: &str, place: &Place) -> Option<Reply> {
        let name = place.name()?;
        let changes = !matches!(method, "GET" | "HEAD");
        let deep = self.profile.max_depth.is_some_and(|most| name.split('/').count() > most);
        if deep && changes {
            return Some(Reply::error(403, "DENIED", "requested access to the resource is denied"));
        }
        let missing = self.profile.must_exist && !self.repositories().contains_key(name);
        if missing {
            let words = format!("the repository with name '{name}' does not exist in the registry");
            return Some(Reply::error(404, "NAME_UNKNOWN", &words));
        }
        if method == "DELETE" && !self.profile.deletes && !matches!(place, Place::Upload(..)) {
            return Some(Reply::error(405, "UNSUPPORTED", "the operation is unsupported"));
        }
        None
    }
}

impl Service for State {
    fn serve(&self, request: &mut Request<'_>) -> Reply {
        if self.profile.cookie
            && request.head.get("cookie").is_some()
            && request.head.method() != "GET"
        {
            return Reply::error(403, "FORBIDDEN", "CSRF token invalid");
        }
        let mut reply = self.route(request);
        if self.profile.cookie {
            reply = reply.with("Set-Cookie", "sid=1; Path=/; HttpOnly");
        }
        if self.profile.rate_headers {
            reply = reply
                .with("RateLimit-Limit", "100;w=21600")
                .with("RateLimit-Remaining", "76;w=21600");
        }
        (self.edit)(&request.head, &mut reply);
        reply
    }
}

/// What a path means.
#[derive(Debug)]
enum Place {
    Ping,
    Catalog,
    Tags(String),
    Referrers(String, String),
    Blob(String, String),
    Manifest(String, String),
    Uploads(String),
    Upload(String, String),
    Nothing,
}

impl Place {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Ping | Self::Catalog | Self::Nothing => None,
            Self::Tags(n) | Self::Uploads(n) | Self::Referrers(n, _) => Some(n),
            Self::Blob(n, _) | Self::Manifest(n, _) | Self::Upload(n, _) => Some(n),
        }
    }
}

/// Reads a path from its end: names may contain the words that divide it.
fn place(rest: &str) -> Place {
    let cut = |word: &str| rest.rsplit_once(word).map(|(n, last)| (n.to_owned(), last.to_owned()));
    if rest.is_empty() {
        Place::Ping
    } else if rest == "_catalog" {
        Place::Catalog
    } else if let Some(name) = rest.strip_suffix("/tags/list") {
        Place::Tags(name.to_owned())
    } else if let Some((name, id)) = cut("/blobs/uploads/") {
        if id.is_empty() { Place::Uploads(name) } else { Place::Upload(name, id) }
    } else if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        Place::Uploads(name.to_owned())
    } else if let Some((name, digest)) = cut("/blobs/").filter(|(_, d)| d.contains(':')) {
        Place::Blob(name, digest)
    } else if let Some((name, digest)) = cut("/referrers/").filter(|(_, d)| d.contains(':')) {
        Place::Referrers(name, digest)
    } else if let Some((name, tag)) = cut("/manifests/").filter(|(_, t)| !t.contains('/')) {
        Place::Manifest(name, tag)
    } else {
        Place::Nothing
    }
}

/// The other port: blobs by signed URL, and a web site.
struct Storage(std::sync::Weak<State>);

impl Service for Storage {
    fn serve(&self, request: &mut Request<'_>) -> Reply {
        let Some(state) = self.0.upgrade() else { return Reply::status(503) };
        if request.head.path() == "/site" {
            return Reply::of(200, "text/html", "<!DOCTYPE html><html>Packages</html>");
        }
        if request.head.get("authorization").is_some() {
            state
                .complain(format!("Authorization sent to another port: {}", request.head.target()));
            let words = "Authentication information is not given in the correct format.";
            return Reply::of(400, "application/xml", format!("<Error>{words}</Error>"));
        }
        if request.head.query("sig").as_deref() != Some("a/b+c=") {
            return Reply::of(403, "application/xml", "<Error>SignatureDoesNotMatch</Error>");
        }
        let digest = request.head.path().trim_start_matches("/storage/").to_owned();
        let repositories = state.repositories();
        let found = repositories.values().find_map(|r| r.blobs.get(&digest)).cloned();
        drop(repositories);
        found.map_or(Reply::status(404), |bytes| documents::ranged(request, bytes))
    }
}
