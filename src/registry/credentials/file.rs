//! Files of credentials as docker, podman and others share them, read and written.
//!
//! It runs no helper and knows no order of files. Keys are `host[:port]`, with podman also
//! `host[:port]/namespace`, and formerly URLs such as `https://host/v1/`. Writing keeps every unknown
//! field in its place.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as PADDED};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::io::dir::Dir;
use crate::registry::address;
use crate::registry::settings::{Credential, Login, Secret};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// User name of Azure's refresh tokens.
const AZURE: &str = "00000000-0000-0000-0000-000000000000";

/// What a user and a secret mean: some names say that the secret is a refresh token.
pub(super) fn credential(username: String, secret: Secret) -> Option<Credential> {
    if username == "<token>" {
        return Some(Credential::Identity { username: String::new(), token: secret });
    }
    if username == AZURE {
        return Some(Credential::Identity { username, token: secret });
    }
    if username.is_empty() && secret.reveal().is_empty() {
        return None;
    }
    Some(Credential::Basic(Login { username, password: secret }))
}

/// What one file says.
pub(super) struct AuthFile {
    shown: String,
    open: bool,
    auths: Map<String, Value>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

impl AuthFile {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// `Io`, `Malformed`.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some((bytes, mode)) = read(path)? else { return Ok(None) };
        let mut config = Self::parse(&path.display().to_string(), &bytes)?;
        config.open = mode & 0o004 != 0;
        Ok(Some(config))
    }

    /// Reads a file of the old form: entries and nothing around them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn read_legacy(path: &Path) -> Result<Option<Self>> {
        let Some((bytes, mode)) = read(path)? else { return Ok(None) };
        let shown = path.display().to_string();
        let auths = object(&shown, &bytes)?;
        let (helpers, store) = (BTreeMap::new(), None);
        Ok(Some(Self { shown, open: mode & 0o004 != 0, auths, helpers, store }))
    }

    /// Understands the text of a file; `shown` names it in messages.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn parse(shown: &str, bytes: &[u8]) -> Result<Self> {
        let mut all = object(shown, bytes)?;
        let auths = match all.remove("auths") {
            Some(Value::Object(auths)) => auths,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err(malformed(shown, "its auths are not an object")),
        };
        let helpers = match all.get("credHelpers") {
            Some(Value::Object(map)) => {
                map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
            }
            _ => BTreeMap::new(),
        };
        let store = all.get("credsStore").and_then(Value::as_str).filter(|s| !s.is_empty());
        let store = store.map(str::to_owned);
        Ok(Self { shown: shown.to_owned(), open: false, auths, helpers, store })
    }

    /// What to call it in messages.
    pub(super) fn shown(&self) -> String {
        self.shown.clone()
    }

    /// Whether it holds secrets and every user may read them.
    pub(super) fn is_open_to_all(&self) -> bool {
        let secret = |entry: &Value| {
            ["auth", "password", "identitytoken", "registrytoken"]
                .iter()
                .any(|key| entry[key].as_str().is_some_and(|s| !s.is_empty()))
        };
        self.open && self.auths.values().any(secret)
    }

    /// The same without what names helpers.
    pub(super) fn entries_only(self) -> Self {
        Self { helpers: BTreeMap::new(), store: None, ..self }
    }

    /// The helper to ask for a host: its own, else the one for all. One without a name is none.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let own = self.helpers.iter().find(|(key, _)| AuthKey::read(key).is_host(host));
        let name = own.map(|(_, name)| name).or(self.store.as_ref())?;
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// The entry for a repository: of those for its host the one with the longest namespace, of several
    /// spellings one that holds something, and rather the plain one. Gives its key too.
    pub(super) fn entry(&self, host: &str, repository: &str) -> Option<(String, AuthEntry)> {
        self.auths
            .iter()
            .map(|(text, value)| (text, AuthKey::read(text), value))
            .filter(|(_, key, _)| key.covers(host, repository))
            .max_by_key(|(text, key, value)| {
                let filled = value.as_object().is_some_and(|entry| !entry.is_empty());
                (key.namespace.len(), filled, text.as_str() == host, !key.url)
            })
            .map(|(text, _, value)| {
                (crate::text::escape(text).into_owned(), AuthEntry(value.clone()))
            })
    }

    /// Whether it has an entry under a key, in any spelling.
    pub(super) fn holds(&self, key: &str) -> bool {
        let key = AuthKey::read(key);
        self.auths.keys().any(|other| AuthKey::read(other).equals(&key))
    }
}

/// A key of `auths`, understood.
struct AuthKey<'a> {
    host: &'a str,
    namespace: &'a str,
    url: bool,
}

impl<'a> AuthKey<'a> {
    fn read(text: &'a str) -> Self {
        let bare = address::without_scheme(text);
        let url = bare.len() < text.len();
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = path.trim_end_matches('/');
        // The path of a URL, and the version of a protocol, are no namespace.
        let namespace = if url || path == "v1" || path == "v2" { "" } else { path };
        Self { host, namespace, url }
    }

    fn is_host(&self, host: &str) -> bool {
        self.namespace.is_empty() && address::same(self.host, host)
    }

    fn covers(&self, host: &str, repository: &str) -> bool {
        let rest = repository.strip_prefix(self.namespace);
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        address::same(self.host, host) && (self.namespace.is_empty() || below)
    }

    fn equals(&self, other: &Self) -> bool {
        address::same(self.host, other.host) && self.namespace == other.namespace
    }
}

/// One entry of `auths`.
#[derive(Clone)]
pub(super) struct AuthEntry(Value);

impl AuthEntry {
    /// One that says: ask the helper.
    pub(super) fn empty() -> Self {
        Self(json!({}))
    }

    /// One for a login; with an identity token the password is left out, as docker does.
    pub(super) fn login(login: &Login, token: Option<&Secret>) -> Self {
        let password = if token.is_some() { "" } else { login.password.reveal() };
        let mut entry = json!({"auth": PADDED.encode(format!("{}:{password}", login.username))});
        if let Some(token) = token {
            entry["identitytoken"] = token.reveal().into();
        }
        Self(entry)
    }

    /// What it holds; `None` when it is empty.
    ///
    /// # Errors
    /// `Malformed` when its `auth` is no base64 of a user and a password.
    pub(super) fn credential(&self) -> Result<Option<Credential>> {
        let text = |key: &str| self.0[key].as_str().unwrap_or_default();
        if !text("registrytoken").is_empty() {
            return Ok(Some(Credential::Bearer(Secret::new(text("registrytoken")))));
        }
        let (username, password) = match text("auth") {
            "" => (text("username").to_owned(), text("password").to_owned()),
            auth => decode(auth)?,
        };
        if !text("identitytoken").is_empty() {
            let token = Secret::new(text("identitytoken"));
            return Ok(Some(Credential::Identity { username, token }));
        }
        Ok(credential(username, Secret::new(password)))
    }
}

/// `auth` is base64 of user, colon, password. The user has no colon, the password may; old versions of
/// docker put NUL bytes behind it.
fn decode(auth: &str) -> Result<(String, String)> {
    let bad = |what| Error::malformed(format!("auth {what}"));
    let bytes = LENIENT.decode(auth.trim()).map_err(|_| bad("is not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("is not text"))?;
    let (user, password) = text.split_once(':').ok_or_else(|| bad("has no colon"))?;
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// The entries of a file, to be changed.
pub(super) struct Auths<'a>(&'a mut Map<String, Value>);

impl Auths<'_> {
    /// Sets the entry of a key; other spellings of the same go.
    pub(super) fn put(&mut self, key: &str, entry: AuthEntry) {
        let known = AuthKey::read(key);
        self.0.retain(|other, _| other == key || !AuthKey::read(other).equals(&known));
        self.0.insert(key.to_owned(), entry.0);
    }

    /// Removes the entry of a key in all its spellings.
    pub(super) fn remove(&mut self, key: &str) {
        let key = AuthKey::read(key);
        self.0.retain(|other, _| !AuthKey::read(other).equals(&key));
    }
}

/// Changes the entries of a file, which is made when absent: readable by its owner only, replaced whole.
///
/// # Errors
/// `Io`, `Busy` when another run keeps its directory locked, `Malformed` when what is there cannot be
/// understood; the old file is then unchanged.
pub(super) fn change(path: &Path, ctx: &Context, edit: impl FnOnce(&mut Auths<'_>)) -> Result<()> {
    // A link, as those who keep their dotfiles elsewhere have, stays one.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(|e| Error::io(parent, "creating", &e))?;
    let dir = Dir::open(parent)?;
    let _lock = dir.lock(true, ctx.wait)?;
    let shown = path.display().to_string();
    let mut all = match read(&path)? {
        Some((bytes, _)) => object(&shown, &bytes)?,
        None => Map::new(),
    };
    let auths = all.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    let map =
        auths.as_object_mut().ok_or_else(|| malformed(&shown, "its auths are not an object"))?;
    edit(&mut Auths(map));
    replace(&path, &render(&all)?, ctx.sync)?;
    if ctx.sync { dir.sync() } else { Ok(()) }
}

/// JSON as docker writes it: tabs.
fn render(all: &Map<String, Value>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut out = serde_json::Serializer::with_formatter(&mut bytes, tabs);
    serde::Serialize::serialize(all, &mut out).map_err(|e| Error::malformed(e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn replace(path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.imgpack-{}", std::process::id()));
    let result = (|| {
        // What a killed run of the same number left; nobody else writes while the lock is ours.
        match std::fs::remove_file(&beside) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        // The umask may have taken more away than it should.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(&beside, path)
    })();
    if result.is_err() {
        // The error of the writing is what counts.
        let _ = std::fs::remove_file(&beside);
    }
    result.map_err(|e| Error::io(path, "writing", &e))
}

/// The bytes of a file and its mode; `None` when it is not there.
fn read(path: &Path) -> Result<Option<(Vec<u8>, u32)>> {
    use std::io::Read;
    let failed = |e: &std::io::Error| Error::io(path, "reading", e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(failed(&e)),
    };
    let meta = file.metadata().map_err(|e| failed(&e))?;
    if meta.len() > MAX_FILE {
        return Err(malformed(&path.display().to_string(), "too large for a file of credentials"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some((bytes, meta.permissions().mode())))
}

/// A JSON object; an empty file is an empty one. Messages show nothing of what is in it.
fn object(shown: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(malformed(shown, "is not a JSON object")),
        Err(e) => {
            let at = format!("line {}, column {}", e.line(), e.column());
            Err(malformed(shown, "is not valid JSON").at(at))
        }
    }
}

fn malformed(shown: &str, what: &str) -> Error {
    Error::malformed(what).input(shown)
}
