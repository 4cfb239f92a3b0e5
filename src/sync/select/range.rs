//! Ranges of versions: `>=1.2 <2`, `^1.4`, `~1.2 || 1.0.x`, `1.2 - 1.4`.
//!
//! It knows no repository. Syntax and meaning are those of the library that skopeo's
//! `images-by-semver` uses (Masterminds semver 3); versions are ordered as semver.org has it. A tag
//! need not be a full version: `v1.2` is 1.2.0.

use std::fmt;
use std::str::FromStr;

use semver::{BuildMetadata, Prerelease, Version};

use crate::error::{Error, Kind, Result};

/// Any of several alternatives, each of which is met when all its bounds are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    text: String,
    alternatives: Vec<Vec<Bound>>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    op: Op,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    AtLeast,
    More,
    Is,
    IsNot,
}

impl Range {
    /// Whether a tag is a version within the range. What is no version never is; a pre-release is
    /// only where a bound of the same alternative names one.
    pub fn contains(&self, tag: &str) -> bool {
        let Some((version, _)) = version(tag) else { return false };
        self.alternatives.iter().any(|bounds| {
            let allowed =
                version.pre.is_empty() || bounds.iter().any(|b| !b.version.pre.is_empty());
            allowed && bounds.iter().all(|b| b.holds(&version))
        })
    }
}

impl Bound {
    fn holds(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.op {
            Op::Less => order.is_lt(),
            Op::AtMost => order.is_le(),
            Op::AtLeast => order.is_ge(),
            Op::More => order.is_gt(),
            Op::Is => order.is_eq(),
            Op::IsNot => order.is_ne(),
        }
    }
}

/// A version and how many of its three numbers were written; `x`, `X` and `*` count as not written.
fn version(text: &str) -> Option<(Version, usize)> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, BuildMetadata::new(build).ok()?),
        None => (text, BuildMetadata::EMPTY),
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((rest, pre)) => (rest, Prerelease::new(pre).ok()?),
        None => (text, Prerelease::EMPTY),
    };
    let mut found = [0; 3];
    let mut written = 0;
    let mut open = false;
    for (at, part) in numbers.split('.').enumerate() {
        if matches!(part, "x" | "X" | "*") && at < 3 {
            open = true;
            continue;
        }
        // A number after a placeholder means nothing.
        if at >= 3 || open || part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        found[at] = part.parse().ok()?;
        written = at + 1;
    }
    let [major, minor, patch] = found;
    Some((Version { major, minor, patch, pre, build }, written))
}

/// The first version after all that begin with the first `written` numbers of `version`.
fn after(version: &Version, written: usize) -> Version {
    match written {
        0 => Version::new(u64::MAX, 0, 0),
        1 => Version::new(version.major.saturating_add(1), 0, 0),
        2 => Version::new(version.major, version.minor.saturating_add(1), 0),
        _ => Version::new(version.major, version.minor, version.patch.saturating_add(1)),
    }
}

/// The bounds of one comparison.
fn bounds(op: &str, text: &str) -> Option<Vec<Bound>> {
    let (version, written) = version(text)?;
    let one = |op, version: &Version| Bound { op, version: version.clone() };
    let within = |end: Version| vec![one(Op::AtLeast, &version), one(Op::Less, &end)];
    Some(match op {
        "" | "=" | "==" if written == 3 => vec![one(Op::Is, &version)],
        "" | "=" | "==" if written == 0 => vec![one(Op::AtLeast, &version)],
        "" | "=" | "==" => within(after(&version, written)),
        "!=" if written == 3 => vec![one(Op::IsNot, &version)],
        ">=" | "=>" => vec![one(Op::AtLeast, &version)],
        ">" if written == 3 => vec![one(Op::More, &version)],
        ">" => vec![one(Op::AtLeast, &after(&version, written))],
        "<" => vec![one(Op::Less, &version)],
        "<=" | "=<" if written == 3 => vec![one(Op::AtMost, &version)],
        "<=" | "=<" => vec![one(Op::Less, &after(&version, written))],
        "~" | "~>" => within(after(&version, written.min(2))),
        // The leftmost number that is not zero stays.
        "^" => within(match (version.major, version.minor, written) {
            (0, 0, 3) => after(&version, 3),
            (0, minor, 2 | 3) if minor > 0 || written == 2 => after(&version, 2),
            _ => after(&version, written.min(1)),
        }),
        _ => return None,
    })
}

fn alternative(text: &str) -> Option<Vec<Bound>> {
    if let Some((low, high)) = text.split_once(" - ") {
        let mut both = bounds(">=", low.trim())?;
        both.extend(bounds("<=", high.trim())?);
        return Some(both);
    }
    let mut all = Vec::new();
    let mut rest = text.trim_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c| !"<>=!~^".contains(c)).unwrap_or(rest.len());
        let (op, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find([' ', ',', '<', '>', '=', '!', '~', '^']).unwrap_or(after.len());
        let (version, after) = after.split_at(end);
        all.extend(bounds(op, version)?);
        rest = after.trim_start_matches([' ', ',']);
    }
    (!all.is_empty()).then_some(all)
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let alternatives: Option<Vec<_>> =
            text.split("||").map(|a| alternative(a.trim())).collect();
        let alternatives = alternatives.ok_or_else(|| {
            let what = format!("invalid range of versions {:?}", crate::text::escape(text));
            Error::new(Kind::Usage, what)
        })?;
        Ok(Self { text: text.trim().to_owned(), alternatives })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_what_it_says() {
        for (range, within, without) in [
            (">=1.2 <2", "1.2 1.2.0 v1.9.9 1.10", "1.1.9 2 2.0.0 latest 1.5.0-rc1 1.2.0.1"),
            (">= 3.12.0", "3.12.0 3.12 4.0.0 3.12.1+b7", "3.11.9 edge 3.13.0-rc.1 20230101-x"),
            ("^1.4", "1.4.0 1.99", "2.0.0 1.3.9"),
            ("^0.2.3", "0.2.3 0.2.9", "0.3.0 1.0.0 0.2.2"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("^0.0", "0.0.1 0.0.9", "0.1.0"),
            ("^0", "0.0.1 0.9", "1.0.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
            ("~1", "1.0.0 1.9.0", "2.0.0"),
            ("1.2.x", "1.2.0 1.2.9", "1.3.0"),
            ("1.2", "1.2.7", "1.3"),
            ("*", "0.0.1 7", "latest 1-rc1"),
            ("1.2 - 1.4", "1.2.0 1.4.9", "1.5.0 1.1.0"),
            ("=1.2.3", "1.2.3 v1.2.3", "1.2.4"),
            ("!=1.2.3, >1.2", "1.3.0", "1.2.3 1.2.9"),
            ("~1.0 || ~1.2", "1.0.5 1.2.5", "1.1.0"),
            (">=1.5.0-rc1", "1.5.0-rc1 1.5.0-rc2 1.5.0", "1.4.0 1.5.0-alpha"),
            ("<=1.2", "1.2.9 1.0", "1.3.0"),
            (">=1.2,<1.4", "1.3", "1.4.0"),
        ] {
            let parsed: Range = range.parse().unwrap();
            for tag in within.split(' ') {
                assert!(parsed.contains(tag), "{tag} is in {range}");
            }
            for tag in without.split(' ') {
                assert!(!parsed.contains(tag), "{tag} is not in {range}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", "latest", ">=", ">=1.2 <", "1.2.3.4", "1..2", ">>1", "|| 1", "1.x.2"] {
            assert!(bad.parse::<Range>().is_err(), "{bad:?}");
        }
    }
}
