//! What to copy: references, repositories with a filter of tags, whole registries; and the formats of
//! such lists.
//!
//! It opens no place and asks no registry. Readers turn text into a [`Selection`]; what it means at
//! a source is decided in `sync::resolve`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::settings::Login;

pub mod compose;
pub mod filter;
pub mod hauler;
pub mod kubernetes;
pub mod list;
pub mod range;
pub mod yaml;

pub use filter::TagFilter;

/// Largest file that names images, in bytes.
pub const MAX_FILE: u64 = 64 << 20;

/// One entry of a list: an image, a repository or a registry.
#[derive(Clone, Debug)]
pub enum WantedImages {
    /// An image, by tag, by digest or by both.
    Image(Reference),
    /// Tags of a repository.
    Repository {
        /// The repository; it has neither tag nor digest.
        name: Reference,
        /// Which of its tags.
        tags: TagFilter,
    },
    /// Every repository of a registry: `host` or `host:port`.
    Catalog(String),
}

impl fmt::Display for WantedImages {
    /// As a list has it, so that it can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) => write!(f, "{name}"),
            Self::Repository { name, tags } => write!(f, "{}:{tags}", name.repository()),
            Self::Catalog(domain) => write!(f, "{domain}/*"),
        }
    }
}

/// How to reach a registry, as set in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// User and password.
    pub login: Option<Login>,
    /// Whether certificates are verified, where it says so.
    pub tls_verify: Option<bool>,
    /// A directory of certificates.
    pub cert_dir: Option<PathBuf>,
}

/// Everything to be copied, in the order given, each entry once.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The list.
    pub wanted: Vec<WantedImages>,
    /// The platforms of images that have their own, by what is wanted.
    pub platforms: BTreeMap<String, OwnPlatforms>,
    /// How registries are reached, by host, where a list says so.
    pub access: BTreeMap<String, RegistryAccess>,
    /// Images that are wanted and cannot be named, with the place in their list, and why.
    pub failed: Vec<(String, Error)>,
    /// What looks like an image where other things stand too, and the place in its list.
    pub guesses: Vec<(Reference, String)>,
    /// What could not be used, and why.
    pub warnings: Vec<String>,
    seen: HashSet<String>,
}

/// The platforms that a list wants of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlatforms {
    /// At least one.
    pub platforms: Vec<Platform>,
    /// Whether they are the list's for all images, which others that are given go before.
    pub by_default: bool,
}

/// The meaning of a repository without a tag.
#[derive(Clone, Debug, Default)]
pub enum Bare {
    /// Its tag `latest`, as docker has it.
    #[default]
    Latest,
    /// Tags that pass a filter.
    Tags(TagFilter),
}

impl Selection {
    /// Wants one more thing.
    pub fn add(&mut self, wanted: WantedImages) {
        if self.seen.insert(wanted.to_string()) {
            self.wanted.push(wanted);
        }
    }

    /// Wants one more thing, and of it these platforms; all, when there are none.
    pub fn add_for(&mut self, wanted: WantedImages, platforms: Vec<Platform>, by_default: bool) {
        let key = wanted.to_string();
        self.add(wanted);
        if platforms.is_empty() {
            return;
        }
        let own = self.platforms.entry(key).or_default();
        own.by_default = by_default;
        own.platforms.extend(platforms);
    }

    /// Wants all that another list wants.
    pub fn extend(&mut self, other: Self) {
        other.wanted.into_iter().for_each(|wanted| self.add(wanted));
        self.platforms.extend(other.platforms);
        self.access.extend(other.access);
        self.failed.extend(other.failed);
        self.guesses.extend(other.guesses);
        self.warnings.extend(other.warnings);
    }

    /// Decides about what looks like an image and is named nowhere else: it is wanted too, or there is a
    /// warning.
    pub fn guess(&mut self, wanted: bool) {
        for (name, place) in std::mem::take(&mut self.guesses) {
            let guessed = WantedImages::Image(name.clone());
            if wanted {
                self.add(guessed);
            } else if self.seen.insert(guessed.to_string()) {
                let name = name.familiar();
                self.warn(format!(
                    "{place}: {name} looks like an image and is not copied (--guess)"
                ));
            }
        }
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.failed.is_empty()
    }

    pub(super) fn fail(&mut self, place: String, error: Error) {
        self.failed.push((place, error));
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

/// Reads one item of a list: `nginx:1.27`, `nginx@sha256:…`, `nginx:1.*`, `nginx:>=1.2 <2`,
/// `nginx:/^1\./`, `registry.local:5000/*`.
///
/// # Errors
/// `Usage` when it is none of these.
pub fn item(text: &str, bare: &Bare) -> Result<WantedImages> {
    let text = text.trim();
    let text = text.strip_prefix("docker://").unwrap_or(text);
    if let Some(domain) = text.strip_suffix("/*").filter(|d| !d.contains('/')) {
        // A name that has no host would otherwise be a namespace of the hub.
        return domain_of(domain).map(WantedImages::Catalog);
    }
    let usage = |e: Error| e.kind_as(Kind::Usage);
    if let Some((name, filter)) = split_filter(text)
        && let Some(tags) = TagFilter::parse(filter)?
    {
        return Ok(WantedImages::Repository { name: repository(name)?, tags });
    }
    let name: Reference = text.parse().map_err(usage)?;
    Ok(match bare {
        Bare::Tags(tags) if name.tag().is_none() && name.digest().is_none() => {
            WantedImages::Repository { name, tags: tags.clone() }
        }
        _ => WantedImages::Image(name.or_latest()),
    })
}

/// A repository, without tag and digest.
///
/// # Errors
/// `Usage`.
pub fn repository(text: &str) -> Result<Reference> {
    let name: Reference = text.parse().map_err(|e: Error| e.kind_as(Kind::Usage))?;
    if name.tag().is_some() || name.digest().is_some() {
        let what = format!("{:?} names an image, not a repository", crate::text::escape(text));
        return Err(Error::new(Kind::Usage, what));
    }
    Ok(name)
}

/// A registry: `host` or `host:port`.
///
/// # Errors
/// `Usage`.
pub fn domain_of(text: &str) -> Result<String> {
    let text = text.trim_end_matches('/');
    let probe = format!("{text}/x").parse::<Reference>();
    match probe {
        Ok(name) if name.domain() == text && name.path() == "x" => Ok(text.to_owned()),
        Ok(name) if text == "index.docker.io" || text == "docker.io" => {
            Ok(name.domain().to_owned())
        }
        _ => {
            let what = format!("{:?} is not a registry host", crate::text::escape(text));
            Err(Error::new(Kind::Usage, what))
        }
    }
}

/// The repository and what stands behind its colon, unless that is a digest or a port.
fn split_filter(text: &str) -> Option<(&str, &str)> {
    if text.contains('@') {
        return None;
    }
    // A regular expression may hold anything; a port is never followed by a slash at once.
    if let Some(at) = text.find(":/") {
        return Some((&text[..at], &text[at + 1..]));
    }
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let colon = text[slash..].find(':')? + slash;
    Some((&text[..colon], &text[colon + 1..]))
}

/// Reads a file that names images.
///
/// # Errors
/// `Missing`, `Io`, `Malformed` when it is larger than 64 MiB or no text.
pub fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::no_such_file(path),
        _ => Error::io(path, "opening", &e),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, "reading", &e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::malformed(format!("is larger than {MAX_FILE} bytes")).input(shown));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Error::malformed("is not UTF-8 text").input(shown))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Documents of a YAML stream with the number of the line each begins on, so that one that cannot
/// be read does not hide the others.
pub(crate) fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    let mut current = (1, String::new());
    for (at, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") || line.starts_with("---\t") {
            all.push(std::mem::take(&mut current));
            current = (at + 1, line[3..].to_owned());
            // What stands behind the mark may be a comment or the document itself.
            current.1.push('\n');
            continue;
        }
        if line == "..." {
            continue;
        }
        current.1.push_str(line);
        current.1.push('\n');
    }
    all.push(current);
    all.retain(|(_, doc)| doc.lines().any(|l| !l.trim().is_empty() && !l.trim().starts_with('#')));
    all
}

/// One YAML document with its merge keys (`<<`) applied.
pub(crate) fn document(text: &str) -> Result<serde_yaml_ng::Value> {
    let bad = |e: serde_yaml_ng::Error| {
        let what = crate::text::escape(&e.to_string()).into_owned();
        Error::malformed(format!("invalid YAML: {what}"))
    };
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(bad)?;
    value.apply_merge().map_err(bad)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_list_say_what_they_want() {
        for (text, want) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("docker://nginx:1.27", "docker.io/library/nginx:1.27"),
            ("nginx:1.*", "docker.io/library/nginx:1.*"),
            ("nginx:>=1.2 <2", "docker.io/library/nginx:>=1.2 <2"),
            ("r.local:5000/a/b:^1", "r.local:5000/a/b:^1"),
            ("r.local:5000/a/b:/^v[0-9]+/x$/", "r.local:5000/a/b:/^v[0-9]+/x$/"),
            ("r.local:5000/a/b", "r.local:5000/a/b:latest"),
            ("r.local:5000/*", "r.local:5000/*"),
            ("docker.io/*", "docker.io/*"),
        ] {
            let wanted = item(text, &Bare::Latest).unwrap();
            assert_eq!(wanted.to_string(), want, "{text}");
            assert_eq!(item(want, &Bare::Latest).unwrap().to_string(), want);
        }
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        assert!(matches!(item(&digest, &Bare::Latest).unwrap(), WantedImages::Image(_)));
        let all = Bare::Tags(TagFilter::All);
        assert_eq!(item("nginx", &all).unwrap().to_string(), "docker.io/library/nginx:*");
        assert_eq!(item("nginx:1", &all).unwrap().to_string(), "docker.io/library/nginx:1");
        for bad in ["", "Nginx", "library/*", "a b", "nginx:", "/*", "nginx:1:2", "nginx@x"] {
            let error = item(bad, &Bare::Latest).expect_err(bad);
            assert_eq!(error.kind(), Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn documents_are_told_apart_with_their_lines() {
        let text = "# nothing\n---\na: 1\n---\n# only a comment\n--- # x\nb: |\n  text\n...\n";
        let found = documents(text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 6]);
        assert_eq!(document(&found[1].1).unwrap()["b"].as_str(), Some("text\n"));
    }

    #[test]
    fn nothing_is_wanted_twice() {
        let mut selection = Selection::default();
        for text in ["nginx", "docker.io/library/nginx:latest", "nginx:1"] {
            selection.add(item(text, &Bare::Latest).unwrap());
        }
        assert_eq!(selection.wanted.len(), 2);
    }
}
