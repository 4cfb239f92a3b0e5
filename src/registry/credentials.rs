//! Where credentials come from: files of docker and podman, the environment, helpers.
//!
//! It sends nothing. Order: `--creds`; then the file that `--authfile` names and no other, else
//! `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, podman's files (`containers-auth.json(5)`), docker's
//! `config.json`, `~/.dockercfg`. The first that knows the host answers. Within a file: `credHelpers` for
//! the host, else `credsStore`, then `auths`. A configured helper that cannot be run is an error; no other
//! source is used instead.
//!
//! What `login` writes is read by docker, podman, skopeo, buildah and crane alike: the file that
//! `--authfile` or `REGISTRY_AUTH_FILE` names, else docker's `config.json`, which all of them read; where
//! that one names a helper, the helper. podman's own file comes first when reading, so an existing entry
//! there is changed too; otherwise a stale one would be used.

pub mod file;
mod helper;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::progress::Event;
use crate::registry::address;
use crate::registry::settings::{Credential, Login, Secret, Settings};

use file::{AuthFile, credential};

/// The key of Docker Hub, in files and for helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// How long a helper's answer is good; some take a second, and tokens of theirs live twelve hours.
const KEPT: Duration = Duration::from_secs(3600);

/// Everything that may know a registry's credentials.
pub struct Keychain {
    settings: Settings,
    answers: Mutex<HashMap<(String, String), Answer>>,
    said: Mutex<HashSet<String>>,
}

/// What a helper said of a host, and when.
type Answer = (Instant, Option<(String, Secret)>);

impl std::fmt::Debug for Keychain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keychain")
    }
}

impl Keychain {
    /// The sources that `settings` speak of; nothing is read yet.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), answers: Mutex::default(), said: Mutex::default() }
    }

    /// The credentials for a repository of a host, `host` or `host:port`.
    ///
    /// # Errors
    /// `Denied` when a helper that is named cannot be asked, `Malformed` when a file cannot be understood,
    /// `Missing` when `--authfile` names one that is not there, `Io`.
    pub fn find(&self, host: &str, repository: &str, ctx: &Context) -> Result<Option<Credential>> {
        let of_host = self.settings.hosts.get(host).and_then(|h| h.login.as_ref());
        match of_host.or(self.settings.credentials.as_ref()) {
            Some(login) => Ok(Some(Credential::Basic(login.clone()))),
            None => self.find_stored(host, repository, ctx),
        }
    }

    /// The same without `--creds`, which are meant for the registry that was named: what a mirror may see.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_stored(
        &self,
        host: &str,
        repository: &str,
        ctx: &Context,
    ) -> Result<Option<Credential>> {
        for source in sources(&self.settings) {
            let Some(config) = source.read()? else { continue };
            if config.is_open_to_all() {
                let what = "is readable by every user of this machine; fix that with: chmod 600";
                self.once(&format!("{} {what} {0}", config.shown()), |text| ctx.warn(text));
            }
            if let Some(credential) = self.find_in(&config, host, repository, ctx)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    fn find_in(
        &self,
        config: &AuthFile,
        host: &str,
        repository: &str,
        ctx: &Context,
    ) -> Result<Option<Credential>> {
        let note = |from: &str| {
            let text = format!("credentials for {host}: {from}");
            self.once(&text, |text| ctx.progress.event(Event::Detail(text)));
        };
        if let Some(name) = config.helper(host) {
            let answer = self.ask(name, &server_key(host), config)?;
            if let Some((username, secret)) = answer {
                note(&format!("{}, named by {}", helper::program(name), config.shown()));
                return Ok(credential(username, secret));
            }
        }
        let Some((key, entry)) = config.entry(host, repository) else { return Ok(None) };
        let found = entry.credential().map_err(|e| e.at(format!("auths, {key}")))?;
        if found.is_some() {
            note(&config.shown());
        }
        Ok(found)
    }

    fn ask(&self, name: &str, key: &str, config: &AuthFile) -> Result<Option<(String, Secret)>> {
        let id = (name.to_owned(), key.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((at, answer)) = answers.get(&id)
            && at.elapsed() < KEPT
        {
            return Ok(answer.clone());
        }
        let answer = helper::get(&self.settings, name, key)
            .map_err(|e| e.note(format!("it is named by {}", config.shown())))?;
        answers.insert(id, (Instant::now(), answer.clone()));
        Ok(answer)
    }

    fn once(&self, text: &str, tell: impl FnOnce(&str)) {
        let mut said = self.said.lock().unwrap_or_else(|e| e.into_inner());
        if said.insert(text.to_owned()) {
            tell(text);
        }
    }
}

/// What a host is called in files and by helpers.
pub fn server_key(host: &str) -> String {
    if address::is_hub(host) { HUB_KEY.into() } else { host.into() }
}

/// One place that may hold entries.
enum Source {
    /// A file that need not be there.
    File(PathBuf),
    /// The file that the user named.
    Named(PathBuf),
    /// The old file, a map of entries and nothing else.
    Legacy(PathBuf),
    /// The value of `DOCKER_AUTH_CONFIG`.
    Text(String),
}

impl Source {
    fn read(&self) -> Result<Option<AuthFile>> {
        match self {
            Self::File(path) => AuthFile::read(path),
            Self::Legacy(path) => AuthFile::read_legacy(path),
            Self::Text(text) => {
                let config = AuthFile::parse("DOCKER_AUTH_CONFIG", text.as_bytes())?;
                Ok(Some(config.entries_only()))
            }
            Self::Named(path) => {
                AuthFile::read(path)?.map(Some).ok_or_else(|| Error::no_such_file(path))
            }
        }
    }
}

/// The places to read, in order.
fn sources(settings: &Settings) -> Vec<Source> {
    if let Some(path) = &settings.authfile {
        return vec![Source::Named(path.clone())];
    }
    let text = settings.variable("DOCKER_AUTH_CONFIG").map(|t| Source::Text(t.to_owned()));
    let home = settings.home();
    let legacy = home.map(|dir| Source::Legacy(dir.join(".dockercfg")));
    let files = files(settings).into_iter().map(Source::File);
    text.into_iter().chain(files).chain(legacy).collect()
}

/// The files that may be read and written, in the order of reading.
fn files(settings: &Settings) -> Vec<PathBuf> {
    let named = settings.variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let run = match settings.variable("XDG_RUNTIME_DIR") {
        Some(dir) => PathBuf::from(dir).join("containers"),
        None => settings.root.join(format!("run/containers/{}", settings.user_id)),
    };
    let config = settings.config_home().map(|dir| dir.join("containers"));
    let podman = std::iter::once(run).chain(config).map(|dir| dir.join("auth.json"));
    named.into_iter().chain(podman).chain(docker_config(settings)).collect()
}

fn docker_config(settings: &Settings) -> Option<PathBuf> {
    let set = settings.variable("DOCKER_CONFIG").map(PathBuf::from);
    Some(set.or_else(|| Some(settings.home()?.join(".docker")))?.join("config.json"))
}

/// Where `login` writes when nothing is there yet.
///
/// # Errors
/// `Usage` when neither a flag nor the environment says where.
fn target(settings: &Settings) -> Result<PathBuf> {
    let named = settings.variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
    settings.authfile.clone().or(named).or_else(|| docker_config(settings)).ok_or_else(|| {
        let what = "HOME is not set; name a file for the credentials with --authfile FILE";
        Error::new(Kind::Usage, what)
    })
}

/// Remembers a login for a registry, `host[:port]` or `host[:port]/namespace`, and says where. An identity
/// token takes the password's place.
///
/// # Errors
/// `Usage`, `Io`, `Malformed` when the file that is there cannot be understood, `Denied` when a helper
/// that it names fails.
pub fn store(
    settings: &Settings,
    registry: &str,
    login: &Login,
    token: Option<&Secret>,
    ctx: &Context,
) -> Result<String> {
    let target = target(settings)?;
    let key = server_key(registry);
    let helper = AuthFile::read(&target)?.and_then(|c| helper_for(&c, registry).map(str::to_owned));
    let whole = file::AuthEntry::login(login, token);
    if let Some(name) = &helper {
        let (user, secret) = match token {
            Some(token) => ("<token>", token),
            None => (login.username.as_str(), &login.password),
        };
        helper::store(settings, name, &key, user, secret)?;
        file::change(&target, ctx, |auths| auths.put(&key, file::AuthEntry::empty()))?;
    } else {
        file::change(&target, ctx, |auths| auths.put(&key, whole.clone()))?;
    }
    for path in stale(settings, &target) {
        if AuthFile::read(&path)?.is_some_and(|config| config.holds(&key)) {
            match helper {
                Some(_) => file::change(&path, ctx, |auths| auths.remove(&key))?,
                None => file::change(&path, ctx, |auths| auths.put(&key, whole.clone()))?,
            };
        }
    }
    Ok(match helper {
        Some(name) => helper::program(&name),
        None => target.display().to_string(),
    })
}

/// Forgets the login for a registry everywhere; whether there was one.
///
/// # Errors
/// As [`store`].
pub fn erase(settings: &Settings, registry: &str, ctx: &Context) -> Result<bool> {
    let key = server_key(registry);
    let paths = match &settings.authfile {
        Some(path) => vec![path.clone()],
        None => files(settings),
    };
    let mut found = false;
    for path in paths {
        let Some(config) = AuthFile::read(&path)? else { continue };
        if let Some(name) = helper_for(&config, registry)
            && (config.holds(&key) || helper::get(settings, name, &key)?.is_some())
        {
            helper::erase(settings, name, &key)?;
            found = true;
        }
        if config.holds(&key) {
            file::change(&path, ctx, |auths| auths.remove(&key))?;
            found = true;
        }
    }
    Ok(found)
}

/// The helper that keeps a registry's secrets; helpers know hosts and no namespaces.
fn helper_for<'a>(config: &'a AuthFile, registry: &str) -> Option<&'a str> {
    if registry.contains('/') { None } else { config.helper(registry) }
}

/// Files other than the one that is written, which would answer before it.
fn stale(settings: &Settings, target: &Path) -> Vec<PathBuf> {
    if settings.authfile.is_some() {
        return Vec::new();
    }
    files(settings).into_iter().take_while(|path| path != target).collect()
}
