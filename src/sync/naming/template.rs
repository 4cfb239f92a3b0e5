//! Names made by a pattern: `{registry}/{repository}:{tag}`.
//!
//! It knows nothing of destinations. Fields: `{registry}`, `{repository}` (the whole path), `{name}`
//! (its last component), `{tag}`, `{digest}` (hexadecimal).

use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;

/// A pattern, known to hold known fields only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Registry,
    Repository,
    Name,
    Tag,
    Digest,
}

impl FromStr for NameTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::Usage, format!("invalid template: {why}"));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) =
                after.split_once('}').ok_or_else(|| bad("\"{\" is never closed".into()))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match field {
                "registry" => Part::Registry,
                "repository" => Part::Repository,
                "name" => Part::Name,
                "tag" => Part::Tag,
                "digest" => Part::Digest,
                other => {
                    let other = crate::text::escape(other);
                    let want = "expected registry, repository, name, tag or digest";
                    return Err(bad(format!("unknown field {other:?}, {want}")));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        if !parts.iter().any(|p| matches!(p, Part::Repository | Part::Name | Part::Digest)) {
            return Err(bad("every image would get the same repository".into()));
        }
        Ok(Self(parts))
    }
}

impl NameTemplate {
    /// The name of one image. Without a tag in the pattern the image keeps its own.
    ///
    /// # Errors
    /// `Usage` when the pattern wants a tag and the image has none.
    pub fn fill(&self, name: &Reference, digest: &Digest) -> Result<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Registry if out.is_empty() => out.push_str(name.domain()),
                Part::Registry => out.push_str(&host_component(name.domain())),
                Part::Repository => out.push_str(name.path()),
                Part::Name => out.push_str(name.path().rsplit('/').next().unwrap_or_default()),
                Part::Tag => out.push_str(name.tag().ok_or_else(|| {
                    let what = format!("{name} has no tag; use {{digest}} in the template");
                    Error::new(Kind::Usage, what)
                })?),
                Part::Digest => out.push_str(&digest.hex()),
            }
        }
        let own = out.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Ok(match name.tag() {
            _ if own => out,
            Some(tag) => format!("{out}:{tag}"),
            None => format!("{out}@{digest}"),
        })
    }
}

/// A host as a component of a path, where a port's colon and an address's brackets have no place.
pub(super) fn host_component(domain: &str) -> String {
    let plain = domain.replace([':', '[', ']'], "-");
    plain.trim_matches('-').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let digest = Digest::of(b"x");
        for (template, name, want) in [
            ("{registry}/{repository}:{tag}", "r:5/a/b:1", "r:5/a/b:1".to_owned()),
            ("m/{registry}/{name}", "r:5/a/b:1", "m/r-5/b:1".to_owned()),
            ("{name}", "nginx:1", "nginx:1".to_owned()),
            ("all:{name}-{tag}", "nginx:1", "all:nginx-1".to_owned()),
            ("x/{name}:{digest}", "nginx:1", format!("x/nginx:{}", digest.hex())),
        ] {
            let template: NameTemplate = template.parse().unwrap();
            assert_eq!(template.fill(&name.parse().unwrap(), &digest).unwrap(), want);
        }
        let by_digest = Reference::from_str("nginx").unwrap().with_digest(digest);
        let template: NameTemplate = "m/{name}".parse().unwrap();
        assert_eq!(template.fill(&by_digest, &digest).unwrap(), format!("m/nginx@{digest}"));
        let template: NameTemplate = "{name}:{tag}".parse().unwrap();
        assert!(template.fill(&by_digest, &digest).is_err());
        for bad in ["{x}", "{name", "all", "{registry}:{tag}"] {
            assert!(bad.parse::<NameTemplate>().is_err(), "{bad}");
        }
    }
}
