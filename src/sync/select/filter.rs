//! Filters of tags: all, a glob, a range of versions, a regular expression.
//!
//! It contacts no registry: it filters a given list of tags. Written after the repository and a colon:
//! `*`, `1.*`, `>=1.2 <2`, `/^1\.[0-9]+$/`.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Kind, Result};
use crate::sync::select::range::Range;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// A choice among tags.
#[derive(Clone, Debug)]
pub enum TagFilter {
    /// Every tag.
    All,
    /// Those that fit a glob.
    Glob(glob::Pattern),
    /// Those that are versions in a range.
    Semver(Range),
    /// Those in which a regular expression is found, as skopeo has it: not anchored.
    Regex(Regex),
}

impl TagFilter {
    /// A glob.
    ///
    /// # Errors
    /// `Usage` when it is none.
    pub fn glob(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self::All);
        }
        glob::Pattern::new(text).map(Self::Glob).map_err(|e| bad("glob", text, e.msg))
    }

    /// A range of versions.
    ///
    /// # Errors
    /// `Usage` when it is none.
    pub fn semver(text: &str) -> Result<Self> {
        text.parse().map(Self::Semver)
    }

    /// A regular expression.
    ///
    /// # Errors
    /// `Usage` when it is none, or a very large one.
    pub fn regex(text: &str) -> Result<Self> {
        let built = RegexBuilder::new(text).size_limit(MAX_REGEX).build();
        built.map(Self::Regex).map_err(|e| {
            let why = e.to_string();
            bad("regular expression", text, why.lines().last().unwrap_or_default().trim())
        })
    }

    /// A filter as it stands behind the colon of a repository; `None` when it is a plain tag.
    ///
    /// # Errors
    /// `Usage` when it is neither.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if crate::reference::is_tag(text) {
            return Ok(None);
        }
        if let Some(inner) = text.strip_prefix('/').and_then(|t| t.strip_suffix('/')) {
            return Self::regex(inner).map(Some);
        }
        if text.contains(['<', '>', '=', '~', '^', '|', ' ']) {
            return Self::semver(text).map(Some);
        }
        if text.contains(['*', '?', '[']) {
            return Self::glob(text).map(Some);
        }
        Err(bad("tag", text, "neither a tag nor a filter of tags"))
    }

    /// Whether a tag is wanted.
    pub fn takes(&self, tag: &str) -> bool {
        match self {
            Self::All => true,
            Self::Glob(pattern) => pattern.matches(tag),
            Self::Semver(range) => range.contains(tag),
            Self::Regex(regex) => regex.is_match(tag),
        }
    }

    /// The wanted ones among `tags`, sorted, each once. What breaks the grammar of tags is left out
    /// (some registries list digests as tags), and so are signatures under the tag of a digest:
    /// they follow their image.
    pub fn pick(&self, tags: &[String]) -> Vec<String> {
        let image = |tag: &&String| {
            crate::reference::is_tag(tag) && crate::companion::subject_of_tag(tag).is_none()
        };
        let mut found: Vec<String> =
            tags.iter().filter(image).filter(|t| self.takes(t)).cloned().collect();
        found.sort();
        found.dedup();
        found
    }
}

impl fmt::Display for TagFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Glob(pattern) => f.write_str(pattern.as_str()),
            // A range of one bare version would read as a tag.
            Self::Semver(range) if crate::reference::is_tag(&range.to_string()) => {
                write!(f, "={range}")
            }
            Self::Semver(range) => write!(f, "{range}"),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

fn bad(kind: &str, text: &str, why: &str) -> Error {
    let text = crate::text::escape(text);
    Error::new(Kind::Usage, format!("invalid {kind} {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_told_from_tags_by_how_they_are_written() {
        let tags: Vec<String> =
            "latest 1.0 1.27 1.27-alpine 2.0 1.10 1.10".split(' ').map(str::to_owned).collect();
        for (text, want) in [
            ("*", "1.0 1.10 1.27 1.27-alpine 2.0 latest"),
            ("1.*", "1.0 1.10 1.27 1.27-alpine"),
            ("1.[0-2]", "1.0"),
            (">=1.2 <2", "1.10 1.27"),
            ("^1", "1.0 1.10 1.27"),
            ("/^1\\.[0-9]+$/", "1.0 1.10 1.27"),
            ("/alpine/", "1.27-alpine"),
            ("9.*", ""),
        ] {
            let filter = TagFilter::parse(text).unwrap().unwrap();
            assert_eq!(filter.pick(&tags).join(" "), want, "{text}");
            let again = TagFilter::parse(&filter.to_string()).unwrap().unwrap();
            assert_eq!(again.to_string(), filter.to_string());
        }
        assert!(TagFilter::parse("1.27-alpine").unwrap().is_none());
        for bad in ["", "a b", "/(/", "1.[", "-x", "a:b", "a/b"] {
            assert!(TagFilter::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_image_tag_is_passed_over() {
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        let tags = ["sha256:12".to_owned(), signature, "1".to_owned(), "bad tag".to_owned()];
        assert_eq!(TagFilter::All.pick(&tags), ["1"]);
    }
}
