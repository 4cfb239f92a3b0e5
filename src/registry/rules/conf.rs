//! `registries.conf`, version 2, and the parts of version 1 that block or allow something.
//!
//! It knows no reference: a rule is found for text `host[:port]/path`. The user's file comes before the
//! system's; files of `registries.conf.d` are read after either, and the last rule for a prefix counts.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::io::look;
use crate::registry::settings::Settings;

use super::file::text_of;

/// A rule for names that begin with a prefix.
#[derive(Debug)]
pub(super) struct RegistryRule {
    prefix: String,
    /// What stands in the prefix's place; absent for a wildcard that changes nothing.
    pub(super) location: Option<String>,
    /// Whether http and any certificate are good.
    pub(super) insecure: bool,
    /// Whether nothing may be fetched.
    pub(super) blocked: bool,
    /// What is asked before it.
    pub(super) mirrors: Vec<Mirror>,
}

/// What a mirror may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Only {
    /// Anything.
    #[default]
    Anything,
    /// What is named by digest.
    Digests,
    /// What is named by tag, and what was found that way.
    Tags,
}

/// A mirror of what a rule is for.
#[derive(Debug)]
pub(super) struct Mirror {
    /// What stands in the prefix's place.
    pub(super) location: String,
    /// Whether http and any certificate are good.
    pub(super) insecure: bool,
    /// What it may be asked for.
    pub(super) only: Only,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<RawRegistry>,
    registries: Option<Old>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRegistry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

/// Version 1.
#[derive(Deserialize)]
struct Old {
    insecure: Option<OldList>,
    block: Option<OldList>,
}

#[derive(Deserialize)]
struct OldList {
    #[serde(default)]
    registries: Vec<String>,
}

/// Reads all files.
///
/// # Errors
/// `Io`, `Malformed`, `Missing` when a variable names a file that is not there.
pub(super) fn load(settings: &Settings) -> Result<Vec<RegistryRule>> {
    let mut rules: Vec<RegistryRule> = Vec::new();
    for (path, named) in files(settings)? {
        let Some(text) = text_of(&path)? else {
            if named {
                return Err(Error::no_such_file(&path));
            }
            continue;
        };
        let read = parse(&text).map_err(|e| e.input(path.display().to_string()))?;
        rules.retain(|old| !read.iter().any(|new| new.prefix == old.prefix));
        rules.extend(read);
    }
    Ok(rules)
}

/// The files in the order of reading, and whether a variable names them.
fn files(settings: &Settings) -> Result<Vec<(PathBuf, bool)>> {
    let user = settings.home().map(|dir| dir.join(".config/containers"));
    let system = settings.root.join("etc/containers");
    let variables = ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"];
    let named = variables.iter().find_map(|name| settings.variable(name)).map(PathBuf::from);
    let own = user.as_ref().map(|dir| dir.join("registries.conf"));
    let main = match (named, own) {
        (Some(path), _) => (path, true),
        (None, Some(path)) if look::is_file(&path)? => (path, false),
        _ => (system.join("registries.conf"), false),
    };
    let mut files = vec![main];
    for dir in [Some(system), user].into_iter().flatten() {
        let dir = dir.join("registries.conf.d");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if look::is_absence(&e) => continue,
            Err(e) => return Err(Error::io(&dir, "reading", &e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Error::io(&dir, "reading", &e))?.path();
            if path.extension().is_some_and(|e| e == "conf") {
                paths.push(path);
            }
        }
        paths.sort();
        files.extend(paths.into_iter().map(|path| (path, false)));
    }
    Ok(files)
}

/// Understands one file.
fn parse(text: &str) -> Result<Vec<RegistryRule>> {
    let file: File = toml::from_str(text).map_err(|e| {
        let error = Error::malformed(crate::text::escape(e.message()));
        match e.span() {
            Some(span) => {
                error.at(format!("line {}", text[..span.start].matches('\n').count() + 1))
            }
            None => error,
        }
    })?;
    let mut rules = Vec::new();
    for raw in file.registry {
        rules.push(rule(raw)?);
    }
    if let Some(old) = file.registries {
        let names = |list: Option<OldList>| list.map(|l| l.registries).unwrap_or_default();
        let (insecure, block) = (names(old.insecure), names(old.block));
        for prefix in insecure.iter().chain(block.iter().filter(|name| !insecure.contains(name))) {
            rules.push(RegistryRule {
                prefix: prefix.clone(),
                location: Some(prefix.clone()),
                insecure: insecure.contains(prefix),
                blocked: block.contains(prefix),
                mirrors: Vec::new(),
            });
        }
    }
    Ok(rules)
}

fn rule(raw: RawRegistry) -> Result<RegistryRule> {
    let bad = |what: String| Err(Error::malformed(what));
    let tidy = |text: &str| text.trim_end_matches('/').to_owned();
    let (prefix, location) = match (tidy(&raw.prefix), tidy(&raw.location)) {
        (prefix, location) if prefix.is_empty() && location.is_empty() => {
            return bad("a registry has neither prefix nor location".into());
        }
        (prefix, location) if prefix.is_empty() => (location.clone(), Some(location)),
        (prefix, location) if !location.is_empty() => (prefix, Some(location)),
        (prefix, _) if prefix.starts_with("*.") => (prefix, None),
        (prefix, _) => (prefix.clone(), Some(prefix)),
    };
    let shown = crate::text::escape(&prefix).into_owned();
    for text in [Some(&prefix), location.as_ref()].into_iter().flatten() {
        if text.contains("://") {
            return bad(format!(
                "registry {shown}: a prefix or location has no https:// before it"
            ));
        }
    }
    if prefix.strip_prefix("*.").unwrap_or(&prefix).contains('*') {
        return bad(format!("registry {shown}: a wildcard is *. at the beginning only"));
    }
    let mut mirrors = Vec::new();
    for mirror in raw.mirror {
        let only = match mirror.pull_from_mirror.as_str() {
            _ if raw.mirror_by_digest_only => Only::Digests,
            "" | "all" => Only::Anything,
            "digest-only" => Only::Digests,
            "tag-only" => Only::Tags,
            other => {
                let other = crate::text::escape(other);
                return bad(format!("registry {shown}: pull-from-mirror is {other:?}"));
            }
        };
        let location = tidy(&mirror.location);
        if location.is_empty() || location.contains("://") {
            return bad(format!("registry {shown}: a mirror's location is host[:port][/path]"));
        }
        mirrors.push(Mirror { location, insecure: mirror.insecure, only });
    }
    let (insecure, blocked) = (raw.insecure, raw.blocked);
    Ok(RegistryRule { prefix, location, insecure, blocked, mirrors })
}

/// The rule with the longest prefix for `host[:port][/path]`, and how much of the name its prefix covers.
pub(super) fn find<'a>(rules: &'a [RegistryRule], name: &str) -> Option<(&'a RegistryRule, usize)> {
    let covered = |rule: &'a RegistryRule| Some((rule, covers(&rule.prefix, name)?));
    rules.iter().filter_map(covered).max_by_key(|(rule, _)| rule.prefix.len())
}

/// How many bytes of a name a prefix matches.
fn covers(prefix: &str, name: &str) -> Option<usize> {
    let length = match prefix.strip_prefix("*.") {
        None => name.starts_with(prefix).then_some(prefix.len())?,
        Some(rest) => {
            let host = name.split('/').next().unwrap_or_default();
            // The wildcard stands for whole labels, so the match begins behind a dot of the host.
            let dots = host.match_indices('.').map(|(at, _)| at + 1);
            let mut begins = dots.filter(|&at| at > 1 && name[at..].starts_with(rest));
            let matched = |at: usize| ends(name, at + rest.len()).then_some(at + rest.len());
            begins.find_map(matched)?
        }
    };
    ends(name, length).then_some(length)
}

/// Whether a component of the name ends at `at`. Of a host its port may follow.
fn ends(name: &str, at: usize) -> bool {
    matches!(name.as_bytes().get(at), None | Some(b'/' | b':'))
}
