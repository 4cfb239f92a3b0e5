//! Names of images at the destination.
//!
//! It opens no place. Rules apply in this order: `--map`, `--strip`, then the style, then `--prefix`,
//! all beneath the destination's own registry and path; a template replaces them all. Two images
//! under one name are found here, before a byte is sent.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Cause, Error, Kind, Result};
use crate::reference::Reference;

pub mod template;

pub use template::NameTemplate;
use template::host_component;

/// Which part of a source's name is kept beneath a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The repository's whole path without its registry: `library/nginx`. What a mirror needs.
    #[default]
    Path,
    /// The last component alone: `nginx`, as `skopeo sync` has it.
    Last,
    /// Registry and path: `docker.io/library/nginx`, as `skopeo sync --scoped` has it.
    Scoped,
}

/// What is taken from the front of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strip {
    /// So many components; the last one always stays.
    Components(usize),
    /// These components, where a name begins with them, with or without its registry.
    Prefix(String),
}

impl FromStr for Strip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Components(count));
        }
        let text = text.trim_matches('/');
        if text.is_empty() {
            return Err(Error::new(Kind::Usage, "nothing to strip"));
        }
        Ok(Self::Prefix(text.to_owned()))
    }
}

/// One name for another: a registry, or a registry and the beginning of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRule {
    from: String,
    to: String,
}

impl FromStr for MapRule {
    type Err = Error;

    /// `FROM=TO`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let text = crate::text::escape(text);
            Error::new(Kind::Usage, format!("invalid map {text:?}: expected FROM=TO"))
        };
        let (from, to) = text.split_once('=').ok_or_else(bad)?;
        let (from, to) = (from.trim_matches('/'), to.trim_matches('/'));
        if from.is_empty() || to.is_empty() {
            return Err(bad());
        }
        // A name without a registry is the hub's, in every place that takes names.
        let from = if has_host(from) { from.to_owned() } else { format!("docker.io/{from}") };
        Ok(Self { from, to: to.to_owned() })
    }
}

/// A registry, and optionally a path in it, under which all images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `host` or `host:port`.
    pub domain: String,
    /// Path components without slashes at either end; may be empty.
    pub path: String,
}

impl FromStr for Base {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bare = text.strip_prefix("docker://").unwrap_or(text).trim_end_matches('/');
        let bad = |why: &str| {
            let text = crate::text::escape(text);
            Error::new(Kind::Usage, format!("{text:?} is not a registry to write to: {why}"))
        };
        let (domain, path) = bare.split_once('/').unwrap_or((bare, ""));
        if !has_host(&format!("{domain}/x")) {
            return Err(bad("say its host, like registry.local:5000 or docker.io/NAME"));
        }
        let probe: Reference =
            join(&[domain, path, "x"]).parse().map_err(|_| bad("want HOST[:PORT][/PATH]"))?;
        if probe.tag().is_some() || probe.digest().is_some() {
            return Err(bad("want HOST[:PORT][/PATH]"));
        }
        Ok(Self { domain: probe.domain().to_owned(), path: path.to_owned() })
    }
}

/// All rules of one run. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub struct RenameRules {
    /// The destination registry; without one names keep their own.
    pub base: Option<Base>,
    /// Which part of a name is kept beneath the base.
    pub style: Style,
    /// Replacements; the longest that fits counts.
    pub maps: Vec<MapRule>,
    /// What is taken away, in order.
    pub strip: Vec<Strip>,
    /// What is put before the path.
    pub prefix: Option<String>,
    /// What is put behind the tag.
    pub suffix: Option<String>,
    /// A pattern instead of the rules above.
    pub template: Option<NameTemplate>,
}

impl RenameRules {
    /// The name at the destination.
    ///
    /// # Errors
    /// `Usage` when the rules make no name of it.
    pub fn apply(&self, name: &Reference, digest: &Digest) -> Result<Reference> {
        let found = match &self.template {
            Some(template) => self.beneath(&template.fill(name, digest)?),
            None => self.beneath_rules(name) + &self.ending(name, digest),
        };
        found.parse().map_err(|e: Error| {
            let name = name.familiar();
            Error::new(Kind::Usage, format!("{name} cannot be named so: {}", e.what()))
        })
    }

    /// The new repository, with its registry.
    fn beneath_rules(&self, name: &Reference) -> String {
        let (mut domain, mut path) = (name.domain().to_owned(), name.path().to_owned());
        if let Some(mapped) = self.mapped(&name.repository()) {
            if !has_host(&mapped) {
                // A path of the destination: complete but for its registry.
                let domain = self.base.is_none().then_some(domain.as_str());
                return self.beneath(&join(&[domain.unwrap_or_default(), &mapped]));
            }
            let (host, rest) = mapped.split_once('/').unwrap_or((&mapped, ""));
            if self.base.as_ref().is_some_and(|b| b.domain == host) {
                return mapped;
            }
            (domain, path) = (host.to_owned(), rest.to_owned());
        }
        for strip in &self.strip {
            path = stripped(strip, &domain, &path);
        }
        let prefix = self.prefix.as_deref().unwrap_or_default().trim_matches('/');
        let Some(base) = &self.base else {
            let host = if has_host(&format!("{prefix}/x")) { "" } else { &domain };
            return join(&[host, prefix, &path]);
        };
        let kept = match self.style {
            Style::Path => path,
            Style::Last => path.rsplit('/').next().unwrap_or_default().to_owned(),
            Style::Scoped => join(&[&host_component(&domain), &path]),
        };
        join(&[&base.domain, &base.path, prefix, &kept])
    }

    /// A name as it stands, beneath the destination unless it is complete.
    fn beneath(&self, name: &str) -> String {
        match &self.base {
            Some(base) if !name.starts_with(&format!("{}/", base.domain)) => {
                join(&[&base.domain, &base.path, name])
            }
            _ => name.to_owned(),
        }
    }

    fn ending(&self, name: &Reference, digest: &Digest) -> String {
        let suffix = self.suffix.as_deref().unwrap_or_default();
        match name.tag() {
            Some(tag) => format!(":{tag}{suffix}"),
            None => format!("@{digest}"),
        }
    }

    /// The name after the longest map that fits at a border of components.
    fn mapped(&self, repository: &str) -> Option<String> {
        let fits = |map: &&MapRule| below(repository, &map.from).is_some();
        let map = self.maps.iter().filter(fits).max_by_key(|map| map.from.len())?;
        Some(join(&[&map.to, below(repository, &map.from)?]))
    }
}

/// Source names and digests by the name they would get; what occurs under one name with one digest
/// counts once.
///
/// # Errors
/// `Conflict` listing both when one name would go to two different images.
pub fn collisions<'a>(
    names: impl Iterator<Item = (&'a Reference, &'a str, &'a Digest)>,
) -> Result<()> {
    let mut taken: BTreeMap<&Reference, (&str, &Digest)> = BTreeMap::new();
    for (target, source, digest) in names {
        match taken.insert(target, (source, digest)) {
            Some((other, earlier)) if earlier != digest => {
                let what = format!(
                    "two images would be called {}: {other} ({earlier}) and {source} ({digest})",
                    target.familiar()
                );
                return Err(Error::new(Kind::Conflict, what).because(Cause::SameName));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a name begins with a registry, as docker decides it.
fn has_host(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase()
}

/// What stands beneath a prefix of whole components.
fn below<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let rest = name.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

fn stripped(strip: &Strip, domain: &str, path: &str) -> String {
    match strip {
        Strip::Components(count) => {
            let parts: Vec<&str> = path.split('/').collect();
            let from = (*count).min(parts.len() - 1);
            parts[from..].join("/")
        }
        Strip::Prefix(prefix) => {
            let rest = below(path, prefix)
                .or_else(|| below(path, below(prefix, domain)?))
                .filter(|rest| !rest.is_empty());
            rest.unwrap_or(path).to_owned()
        }
    }
}

/// Parts with one slash between those that are not empty.
fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> =
        parts.iter().map(|p| p.trim_matches('/')).filter(|p| !p.is_empty()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(b"x")
    }

    fn named(naming: &RenameRules, name: &str) -> String {
        naming.apply(&name.parse().unwrap(), &digest()).unwrap().to_string()
    }

    fn to(base: &str) -> RenameRules {
        RenameRules { base: Some(base.parse().unwrap()), ..RenameRules::default() }
    }

    #[test]
    fn styles_keep_their_part_of_a_name() {
        for (style, name, want) in [
            (Style::Path, "nginx:1", "r.local:5000/library/nginx:1"),
            (Style::Path, "quay.io/a/b/c:2", "r.local:5000/a/b/c:2"),
            (Style::Last, "quay.io/a/b/c:2", "r.local:5000/c:2"),
            (Style::Scoped, "nginx:1", "r.local:5000/docker.io/library/nginx:1"),
            (Style::Scoped, "r:9/a:1", "r.local:5000/r-9/a:1"),
        ] {
            let naming = RenameRules { style, ..to("r.local:5000") };
            assert_eq!(named(&naming, name), want);
        }
        let name = format!("quay.io/a@{}", digest());
        assert_eq!(named(&to("docker://r.local/x/"), &name), format!("r.local/x/a@{}", digest()));
        assert_eq!(named(&RenameRules::default(), "quay.io/a:1"), "quay.io/a:1");
    }

    #[test]
    fn rules_apply_in_order() {
        let maps = |all: &[&str]| all.iter().map(|m| m.parse().unwrap()).collect::<Vec<MapRule>>();
        let strip = |all: &[&str]| all.iter().map(|m| m.parse().unwrap()).collect::<Vec<Strip>>();
        for (maps, strip, prefix, name, want) in [
            (maps(&[]), strip(&["1"]), None, "quay.io/a/b/c:1", "r.local/b/c:1"),
            (maps(&[]), strip(&["9"]), None, "quay.io/a/b/c:1", "r.local/c:1"),
            (maps(&[]), strip(&["a"]), None, "quay.io/a/b/c:1", "r.local/b/c:1"),
            (maps(&[]), strip(&["quay.io/a/b"]), None, "quay.io/a/b/c:1", "r.local/c:1"),
            (maps(&[]), strip(&["quay.io/a/b"]), None, "gcr.io/a/b/c:1", "r.local/a/b/c:1"),
            (maps(&[]), strip(&["lib"]), None, "nginx:1", "r.local/library/nginx:1"),
            (maps(&[]), strip(&["library"]), Some("m/x"), "nginx:1", "r.local/m/x/nginx:1"),
            (maps(&["quay.io=q"]), strip(&[]), None, "quay.io/a:1", "r.local/q/a:1"),
            (maps(&["quay.io=r.local/q"]), strip(&[]), Some("p"), "quay.io/a:1", "r.local/q/a:1"),
            (
                maps(&["quay.io=q", "quay.io/a=z"]),
                strip(&[]),
                None,
                "quay.io/a/b:1",
                "r.local/z/b:1",
            ),
            (maps(&["quay.io/a=z"]), strip(&[]), None, "quay.io/ab:1", "r.local/ab:1"),
            (maps(&["library/nginx=web"]), strip(&[]), None, "nginx:1", "r.local/web:1"),
            (maps(&["quay.io=gcr.io/x"]), strip(&["1"]), None, "quay.io/a:1", "r.local/a:1"),
        ] {
            let prefix = prefix.map(str::to_owned);
            let naming = RenameRules { maps, strip, prefix, ..to("r.local") };
            assert_eq!(named(&naming, name), want, "{naming:?}");
        }
        let naming =
            RenameRules { maps: maps(&["docker.io=m.local:5000"]), ..RenameRules::default() };
        assert_eq!(named(&naming, "nginx:1"), "m.local:5000/library/nginx:1");
        let naming = RenameRules { prefix: Some("m.local/x".into()), ..RenameRules::default() };
        assert_eq!(named(&naming, "quay.io/a:1"), "m.local/x/a:1");
        let naming = RenameRules { suffix: Some("-m".into()), ..to("r.local") };
        assert_eq!(named(&naming, "quay.io/a:1"), "r.local/a:1-m");
    }

    #[test]
    fn a_destination_without_a_host_is_refused() {
        for bad in ["registry", "me/x", "", "r.local/A", "r.local/x:1", "r.local/a@b", "a b.c"] {
            assert!(bad.parse::<Base>().is_err(), "{bad}");
        }
        for good in ["localhost", "docker.io/me", "[::1]:5000/x", "docker://r:5000"] {
            assert!(good.parse::<Base>().is_ok(), "{good}");
        }
        assert!("a=".parse::<MapRule>().is_err() && "a".parse::<MapRule>().is_err());
    }

    #[test]
    fn two_images_under_one_name_are_found() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let name: Reference = "r.local/a:1".parse().unwrap();
        assert!(collisions([(&name, "x/a:1", &a), (&name, "y/a:1", &a)].into_iter()).is_ok());
        let error = collisions([(&name, "x/a:1", &a), (&name, "y/a:1", &b)].into_iter());
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        for part in ["r.local/a:1", "x/a:1", "y/a:1", &a.to_string(), &b.to_string()] {
            assert!(error.what().contains(part), "{error}");
        }
    }
}
