//! Image names: registry, repository, tag, digest; Docker's short forms.
//!
//! It knows nothing of where an image lies. Grammar: the distribution project's `reference`
//! package; `nginx` means `docker.io/library/nginx`, and a name always prints in one full form.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Cause, Error, Result};

/// The registry of a name that names none.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// A full image name, with a tag, a digest, both or neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Registry host and port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository path within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Repository with its registry: `docker.io/library/nginx`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Repository as docker prints it: `nginx`, `localhost:5000/app`.
    pub fn familiar_repository(&self) -> String {
        // A first component that looks like a host would be read as one without docker.io before it.
        let hides_host = self.path.split_once('/').is_some_and(|(first, _)| looks_like_host(first));
        if self.domain == DEFAULT_DOMAIN && !hides_host {
            match self.path.strip_prefix("library/") {
                Some(rest) if !rest.contains('/') && !is_image_id(rest) => rest.to_string(),
                _ => self.path.clone(),
            }
        } else {
            self.repository()
        }
    }

    /// The whole name as docker prints it: `nginx:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_repository(), self.suffix())
    }

    /// Whether both name the same repository, whatever their tags and digests.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    /// The tag, when one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same name, with `:latest` when it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same repository with another tag.
    ///
    /// # Errors
    /// `Malformed` when `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(bad(tag, "invalid tag"));
        }
        let (domain, path) = (self.domain.clone(), self.path.clone());
        Ok(Self { domain, path, tag: Some(tag.into()), digest: None })
    }

    /// A label `repository@digest`, which is a name by digest where it is the digest of what is labelled.
    pub fn by_digest(label: &str, digest: &Digest) -> Option<Self> {
        let name = label.parse::<Self>().ok()?;
        (name.tag.is_none() && name.digest.as_ref() == Some(digest)).then_some(name)
    }

    /// The same repository without a tag and with `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        let (domain, path) = (self.domain.clone(), self.path.clone());
        Self { domain, path, tag: None, digest: Some(digest) }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|d| format!("@{d}")).unwrap_or_default();
        tag + &digest
    }
}

/// Whether `tag` is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    (1..=128).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

/// Whether `path` is the path of a repository: components joined by slashes.
pub fn is_path(path: &str) -> bool {
    path.len() <= 255 && path.split('/').all(is_component)
}

/// One path component: runs of `[a-z0-9]` joined by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes
        .split(|&b| alnum(b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|&b| b == b'-'))
}

/// A registry host: labels, an IPv4 address or a bracketed IPv6 address, perhaps with a port.
pub fn is_domain(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, after)) = rest.split_once(']') else { return false };
        if inside.is_empty() || !inside.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return false;
        }
        ("", after.strip_prefix(':').or(if after.is_empty() { None } else { Some("bad") }))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    port_ok && (text.starts_with('[') || host.split('.').all(label))
}

/// A bare name of 64 hexadecimal digits would be an image ID.
fn is_image_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// As docker: the first part of a name is a host when it could not be a repository of the hub.
pub fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase()
}

/// The error for a text that is no reference; what stands where URLs have user and password is not
/// repeated.
fn bad(text: &str, why: &str) -> Error {
    if let Some((_, rest)) = text.rsplit_once('@').filter(|(_, rest)| !rest.starts_with("sha")) {
        let shown = crate::text::escape(rest);
        let what = format!("\"***@{shown}\": it must not contain a user or a password");
        return invalid(&what);
    }
    invalid(&format!("{:?}: {why}", crate::text::escape(text)))
}

fn invalid(what: &str) -> Error {
    Error::malformed(format!("invalid reference {what}")).because(Cause::BadName)
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| bad(text, "its digest is not valid"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad(text, "its tag is not valid"));
        }
        if name.is_empty() {
            return Err(bad(text, "it has no repository"));
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (first, rest.to_string()),
            _ => (DEFAULT_DOMAIN, name.to_string()),
        };
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("library/{path}")
        } else {
            path
        };
        if !is_domain(domain) {
            return Err(bad(text, "its registry is not valid"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad(text, "repository name must be lowercase"));
        }
        if !path.split('/').all(is_component) {
            return Err(bad(text, "its repository is not valid"));
        }
        if is_image_id(name) {
            return Err(bad(text, "it looks like an image ID"));
        }
        if path.len() > 255 {
            return Err(bad(text, "its repository is longer than 255 characters"));
        }
        Ok(Self { domain: domain.into(), path, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_have_one_full_form() {
        for (short, full, familiar) in [
            ("nginx", "docker.io/library/nginx", "nginx"),
            ("nginx:1", "docker.io/library/nginx:1", "nginx:1"),
            ("index.docker.io/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
            ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
            ("me/app", "docker.io/me/app", "me/app"),
            ("docker.io/a.b/c:1", "docker.io/a.b/c:1", "docker.io/a.b/c:1"),
            ("localhost/app:v", "localhost/app:v", "localhost/app:v"),
            ("localhost:5000/t/app", "localhost:5000/t/app", "localhost:5000/t/app"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            (
                "quay.io/a__b/c-d--e:X_1.2-3",
                "quay.io/a__b/c-d--e:X_1.2-3",
                "quay.io/a__b/c-d--e:X_1.2-3",
            ),
        ] {
            let parsed: Reference = short.parse().unwrap();
            assert_eq!(parsed.to_string(), full, "{short}");
            assert_eq!(parsed.familiar(), familiar, "{short}");
            assert_eq!(full.parse::<Reference>().unwrap(), parsed);
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":",
            "<none>:<none>",
            "Nginx",
            "a/B:1",
            "a:",
            "a:-x",
            "a b",
            "-a",
            "a//b",
            "a/",
            "/a",
            "a:b:c",
            "a@sha256:12",
            "a\x1b",
            "a\n",
            "..",
            "../x",
            "a/../b",
            "a:..",
            "a___b",
            &long,
            "a.-/x:@",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
