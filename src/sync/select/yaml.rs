//! skopeo's sync YAML, unchanged: registries with images, regular expressions, version ranges.
//!
//! It reads text and contacts no registry. skopeo-sync(1); as there, an entry that cannot be used is
//! reported and skipped, and a repository with an empty list means all its tags.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::registry::settings::{Login, Secret};
use crate::sync::select::{self, RegistryAccess, Selection, TagFilter, WantedImages};

/// Tags are read as text: `1.10` without quotes is no number here, as it is none to skopeo.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    images: Option<BTreeMap<String, Option<Vec<String>>>>,
    images_by_tag_regex: Option<BTreeMap<String, String>>,
    images_by_semver: Option<BTreeMap<String, String>>,
    credentials: Option<Credentials>,
    tls_verify: Option<bool>,
    cert_dir: Option<String>,
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

const KEYS: [&str; 6] =
    ["images", "images-by-tag-regex", "images-by-semver", "credentials", "tls-verify", "cert-dir"];

/// Reads a sync file.
///
/// # Errors
/// `Malformed` when it is no YAML or no map of registries.
pub fn parse(text: &str) -> Result<Selection> {
    let mut selection = Selection::default();
    for (host, keys) in read::<BTreeMap<String, Option<BTreeMap<String, IgnoredAny>>>>(text)? {
        for key in keys.unwrap_or_default().keys().filter(|k| !KEYS.contains(&k.as_str())) {
            let (host, key) = (crate::text::escape(&host), crate::text::escape(key));
            let warning = format!("{host}: unknown key {key:?}");
            selection.warn(warning);
        }
    }
    for (host, registry) in read::<BTreeMap<String, Option<Registry>>>(text)? {
        let domain = select::domain_of(&host).map_err(|e| e.kind_as(Kind::Malformed))?;
        add(&domain, registry.unwrap_or_default(), &mut selection);
    }
    Ok(selection)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_yaml_ng::from_str(text).map_err(|e| {
        let what = crate::text::escape(&e.to_string()).into_owned();
        Error::malformed(format!("not a sync file: {what}"))
    })
}

fn add(domain: &str, registry: Registry, selection: &mut Selection) {
    let before = selection.wanted.len();
    images(domain, registry.images.unwrap_or_default(), selection);
    filtered(domain, registry.images_by_tag_regex, TagFilter::regex, selection);
    filtered(domain, registry.images_by_semver, TagFilter::semver, selection);
    if selection.wanted.len() == before {
        selection.warn(format!("{domain}: no images"));
    }
    let login = registry
        .credentials
        .map(|c| Login { username: c.username, password: Secret::new(c.password) });
    let cert_dir = registry.cert_dir.map(Into::into);
    let access = RegistryAccess { login, tls_verify: registry.tls_verify, cert_dir };
    if access != RegistryAccess::default() {
        selection.access.insert(domain.to_owned(), access);
    }
}

/// A repository of a registry; an invalid name is reported and skipped.
fn named(domain: &str, name: &str, selection: &mut Selection) -> Option<Reference> {
    let found = select::repository(&format!("{domain}/{name}"));
    found.map_err(|e| selection.warn(format!("{} is skipped", e.what()))).ok()
}

fn images(domain: &str, images: BTreeMap<String, Option<Vec<String>>>, selection: &mut Selection) {
    for (name, tags) in images {
        let Some(name) = named(domain, &name, selection) else { continue };
        let tags = tags.unwrap_or_default();
        if tags.is_empty() {
            selection.add(WantedImages::Repository { name: name.clone(), tags: TagFilter::All });
        }
        for tag in tags {
            let image = match tag.parse::<Digest>() {
                Ok(digest) => Ok(name.with_digest(digest)),
                Err(_) => name.with_tag(&tag),
            };
            match image {
                Ok(image) => selection.add(WantedImages::Image(image)),
                Err(_) => {
                    let (name, tag) = (name.repository(), crate::text::escape(&tag));
                    selection.warn(format!("{name}: {tag:?} is neither a tag nor a digest"));
                }
            }
        }
    }
}

fn filtered(
    domain: &str,
    filters: Option<BTreeMap<String, String>>,
    make: fn(&str) -> Result<TagFilter>,
    selection: &mut Selection,
) {
    for (name, text) in filters.unwrap_or_default() {
        let Some(name) = named(domain, &name, selection) else { continue };
        match make(&text) {
            Ok(tags) => selection.add(WantedImages::Repository { name, tags }),
            Err(e) => selection.warn(format!("{}: {}", name.repository(), e.what())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of skopeo's manual.
    const MANUAL: &str = r#"
registry.example.com:
    images:
        busybox: []
        redis:
            - "1.0"
            - "2.0"
            - "sha256:0000000000000000000000000000000011111111111111111111111111111111"
    images-by-tag-regex:
        nginx: ^1\.13\.[12]-alpine-perl$
    images-by-semver:
        alpine: ">= 3.12.0"
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
"#;

    #[test]
    fn the_example_of_the_manual_is_read_unchanged() {
        let found = parse(MANUAL).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "quay.io/coreos/etcd:latest",
                "registry.example.com/busybox:*",
                "registry.example.com/redis:1.0",
                "registry.example.com/redis:2.0",
                "registry.example.com/redis@sha256:0000000000000000000000000000000011111111111111111111111111111111",
                r"registry.example.com/nginx:/^1\.13\.[12]-alpine-perl$/",
                "registry.example.com/alpine:>= 3.12.0",
            ]
        );
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
        let access = &found.access["registry.example.com"];
        let login = access.login.as_ref().unwrap();
        assert_eq!((login.username.as_str(), access.tls_verify), ("john", Some(true)));
        assert_eq!(login.password.reveal(), "this is a secret");
        assert_eq!(access.cert_dir.as_deref(), Some("/home/john/certs".as_ref()));
        assert_eq!(found.access["quay.io"].tls_verify, Some(false));
    }

    #[test]
    fn entries_that_cannot_be_used_do_not_hide_the_others() {
        let text = "r.local:5000:\n  images:\n    Bad: []\n    a: [1.10, '-']\n  images-by-semver:\n    b: nonsense\n  odd: 1\nq.io: {}\n";
        let found = parse(text).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["r.local:5000/a:1.10"]);
        assert_eq!(found.warnings.len(), 5, "{:?}", found.warnings);
        for bad in ["[]", "a: b: c", "quay.io: 1", "quay.io: {credentials: {username: u}}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
