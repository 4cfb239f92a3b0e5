//! Docker's `--filter` of image lists and of `prune`.
//!
//! It must not know images: it parses filters and answers questions about text. Names, meanings and errors
//! are docker's (`docker images --filter`, `docker image prune --filter`). Filters of one name are
//! alternatives for `reference`; all labels must match.

use imgpack::{Error, Kind, Result};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

/// Parsed filters; the default lets everything pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filters {
    /// Only untagged images, or only tagged ones.
    pub(crate) dangling: Option<bool>,
    /// Images older than each of these.
    pub(crate) before: Vec<String>,
    /// Images newer than each of these.
    pub(crate) since: Vec<String>,
    labels: Vec<Label>,
    references: Vec<Glob>,
    until: Option<String>,
}

/// `key`, `key=value`, or with `label!=` their opposite.
#[derive(Clone, Debug, PartialEq)]
struct Label {
    key: String,
    value: Option<String>,
    wanted: bool,
}

impl Filters {
    /// Reads `name=value` arguments.
    ///
    /// # Errors
    /// `Usage` for an unknown name, a value that is no value of its kind, or a contradiction.
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let mut filters = Self::default();
        for arg in args {
            let (name, value) = arg.split_once('=').ok_or_else(|| {
                usage(format!("bad format of filter {arg:?} (expected name=value)"))
            })?;
            let value = value.trim();
            filters.add(&name.trim().to_lowercase(), value)?;
        }
        Ok(filters)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<()> {
        let invalid = || usage(format!("invalid filter '{name}={value}'"));
        match name {
            "dangling" => {
                let value = match value.to_lowercase().as_str() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(invalid()),
                };
                if self.dangling.is_some_and(|other| other != value) {
                    return Err(usage("filter 'dangling' is both true and false"));
                }
                self.dangling = Some(value);
            }
            "label" | "label!" => {
                let (key, value) = match value.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_string())),
                    None => (value, None),
                };
                self.labels.push(Label { key: key.to_string(), value, wanted: name == "label" });
            }
            "before" | "since" if value.is_empty() => return Err(invalid()),
            "before" => self.before.push(value.to_string()),
            "since" => self.since.push(value.to_string()),
            "reference" => self.references.push(Glob::parse(value)?),
            "until" if self.until.is_some() => return Err(usage("more than one 'until' filter")),
            "until" => {
                // The moment depends on the clock, whether it is one does not.
                moment(value, 0)?;
                self.until = Some(value.to_string());
            }
            _ => return Err(usage(format!("invalid filter '{name}'"))),
        }
        Ok(())
    }

    /// Whether an image with these labels passes; `get` gives the value of a label.
    pub(crate) fn labels<'l>(&self, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.labels.iter().all(|label| {
            let found = match (get(&label.key), &label.value) {
                (Some(found), Some(value)) => found == value,
                (found, _) => found.is_some(),
            };
            found == label.wanted
        })
    }

    /// Whether there is any `reference` filter; without one, untagged images pass too.
    pub(crate) fn by_reference(&self) -> bool {
        !self.references.is_empty()
    }

    /// Whether a name passes: a familiar repository (`busybox`, `ghcr.io/a/b`) and its tag. A pattern meets
    /// `repository:tag` or the repository alone.
    pub(crate) fn reference(&self, repository: &str, tag: Option<&str>) -> bool {
        let full = tag.map(|tag| format!("{repository}:{tag}"));
        self.references.is_empty()
            || self.references.iter().any(|glob| {
                glob.matches(repository) || full.as_ref().is_some_and(|full| glob.matches(full))
            })
    }

    /// The moment of `until` in seconds since 1970, with `now` in the same; images made before it pass.
    ///
    /// # Errors
    /// None for filters that were parsed.
    pub(crate) fn until(&self, now: i64) -> Result<Option<i64>> {
        self.until.as_deref().map(|text| moment(text, now)).transpose()
    }
}

fn usage(what: impl Into<String>) -> Error {
    Error::new(Kind::Usage, what)
}

/// A moment as docker takes it: seconds since 1970, a date with or without time, or how long ago.
/// Times without a zone are UTC, where docker takes the zone of the client.
fn moment(text: &str, now: i64) -> Result<i64> {
    let day = format_description!("[year]-[month]-[day]");
    let minute = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let second = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    if let Some(ago) = go_duration(text) {
        return Ok(now.saturating_sub(ago));
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.unix_timestamp());
    }
    let local = text.strip_suffix('Z').unwrap_or(text);
    let local = PrimitiveDateTime::parse(local, &second)
        .or_else(|_| PrimitiveDateTime::parse(local, &minute))
        .or_else(|_| Date::parse(local, &day).map(Date::midnight));
    if let Ok(time) = local {
        return Ok(time.assume_utc().unix_timestamp());
    }
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    match seconds.parse() {
        Ok(seconds) if !nanos.is_empty() && nanos.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(seconds)
        }
        _ => Err(usage(format!("invalid time {text:?} (expected 24h, 2006-01-02 or RFC 3339)"))),
    }
}

/// Go's `time.ParseDuration` in whole seconds: `1h30m`, `1.5h`, `-2s`. A bare number is not one.
fn go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * scale;
        rest = after;
    }
    // Go holds durations in 64 bits of nanoseconds; what it cannot hold is no duration here either.
    (seconds < 9.2e9).then_some((sign * seconds) as i64)
}

/// A pattern with the meaning of Go's `path.Match`: `*` and `?` stop at `/`, `[a-z]` and `[^a]` are classes,
/// `\` takes the next character as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Glob(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Star,
    /// Ranges with both ends, and whether they are the allowed ones.
    Class(Vec<(char, char)>, bool),
}

impl Glob {
    /// # Errors
    /// `Usage` for a pattern that is none.
    pub(crate) fn parse(pattern: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        let bad = || usage(format!("syntax error in pattern {pattern:?}"));
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Star,
                '?' => Piece::Any,
                '\\' => Piece::Char(chars.next().ok_or_else(bad)?),
                '[' => class(&mut chars).ok_or_else(bad)?,
                c => Piece::Char(c),
            });
        }
        Ok(Self(pieces))
    }

    /// Whether the whole name matches. As in Go only the last star is ever widened, so the cost is at most
    /// the product of both lengths.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut piece, mut at) = (0, 0);
        // The piece after the last star, and how far that star reaches.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.0.get(piece), name.get(at)) {
                (None, None) => return true,
                (Some(Piece::Star), _) => {
                    piece += 1;
                    star = Some((piece, at));
                    continue;
                }
                (Some(Piece::Char(want)), Some(c)) => want == c,
                (Some(Piece::Any), Some(c)) => *c != '/',
                (Some(Piece::Class(ranges, allowed)), Some(c)) => {
                    ranges.iter().any(|(low, high)| (low..=high).contains(&c)) == *allowed
                }
                _ => false,
            };
            if fits {
                (piece, at) = (piece + 1, at + 1);
                continue;
            }
            match star {
                Some((after, reach)) if name.get(reach).is_some_and(|c| *c != '/') => {
                    star = Some((after, reach + 1));
                    (piece, at) = (after, reach + 1);
                }
                _ => return false,
            }
        }
    }
}

/// The rest of a class, its closing bracket included.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let allowed = chars.next_if_eq(&'^').is_none();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Piece::Class(ranges, allowed));
        }
        let low = class_char(chars)?;
        let high = match chars.next_if_eq(&'-') {
            Some(_) => class_char(chars)?,
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, name: &str) -> Result<bool> {
        Ok(Glob::parse(pattern)?.matches(name))
    }

    fn parse(args: &[&str]) -> Result<Filters> {
        Filters::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn filters_are_read_as_docker_reads_them() {
        let filters = parse(&[
            "dangling=true",
            "before=a:1",
            "since=b",
            " Dangling = 1 ",
            "since=c",
            "until=24h",
        ])
        .expect("valid");
        assert_eq!(filters.dangling, Some(true));
        assert_eq!(filters.before, ["a:1"]);
        assert_eq!(filters.since, ["b", "c"]);
        assert_eq!(filters.until(100_000).expect("valid"), Some(100_000 - 86_400));
        assert_eq!(parse(&[]).expect("valid"), Filters::default());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (args, what) in [
            (&["dangling"][..], "bad format of filter \"dangling\" (expected name=value)"),
            (&["dangling=maybe"], "invalid filter 'dangling=maybe'"),
            (&["dangling=true", "dangling=false"], "filter 'dangling' is both true and false"),
            (&["colour=red"], "invalid filter 'colour'"),
            (&["before="], "invalid filter 'before='"),
            (&["reference=[a"], "syntax error in pattern \"[a\""),
            (&["until=soon"], "invalid time \"soon\" (expected 24h, 2006-01-02 or RFC 3339)"),
            (&["until=1h", "until=2h"], "more than one 'until' filter"),
        ] {
            let err = parse(args).expect_err(what);
            assert_eq!((err.what(), err.kind()), (what, Kind::Usage));
        }
    }

    #[test]
    fn every_label_must_match() {
        let get = |key: &str| match key {
            "a" => Some("1"),
            "empty" => Some(""),
            _ => None,
        };
        for (args, passes) in [
            (&["label=a"][..], true),
            (&["label=a=1"], true),
            (&["label=a=2"], false),
            (&["label=a="], false),
            (&["label=empty="], true),
            (&["label=a", "label=b"], false),
            (&["label!=b"], true),
            (&["label!=a=1"], false),
            (&["label!=a=2"], true),
            (&[], true),
        ] {
            assert_eq!(parse(args).expect("valid").labels(get), passes, "{args:?}");
        }
    }

    #[test]
    fn a_reference_pattern_meets_the_repository_or_the_name_with_its_tag() {
        for (args, repository, tag, passes) in [
            (&["reference=busybox"][..], "busybox", Some("1"), true),
            (&["reference=busybox:1"], "busybox", Some("1"), true),
            (&["reference=busy*:*ibc"], "busybox", Some("glibc"), true),
            (&["reference=busy*:*ibc"], "busybox", Some("1"), false),
            (&["reference=*"], "ghcr.io/a/b", Some("1"), false),
            (&["reference=*/*/*"], "ghcr.io/a/b", Some("1"), true),
            (&["reference=x", "reference=b*"], "busybox", None, true),
            (&["reference=b*:*"], "busybox", None, false),
            (&[], "busybox", None, true),
        ] {
            let filters = parse(args).expect("valid");
            assert_eq!(filters.reference(repository, tag), passes, "{args:?} {repository}");
            assert_eq!(filters.by_reference(), !args.is_empty());
        }
    }

    /// The table of Go's own tests of `path.Match`.
    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, matches) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^b-d]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("a[^a][^a][^a]b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "x", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[\\-x]", "a", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "x", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("a[", "x", None),
            ("a/b[", "x", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
            ("", "a", Some(false)),
        ] {
            assert_eq!(glob(pattern, name).ok(), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert_eq!(glob(&pattern, &"a".repeat(5000)).ok(), Some(false));
    }

    #[test]
    fn moments_are_durations_dates_or_seconds() {
        for (text, seconds) in [
            ("10m", Some(999_400)),
            ("1h30m", Some(994_600)),
            ("1.5h", Some(994_600)),
            ("1970-01-02", Some(86_400)),
            ("1970-01-02T00:01", Some(86_460)),
            ("1970-01-02T00:00:05", Some(86_405)),
            ("1970-01-02T00:00:05Z", Some(86_405)),
            ("1970-01-02T01:00:05+01:00", Some(86_405)),
            ("1136073600", Some(1_136_073_600)),
            ("1136073600.000000001", Some(1_136_073_600)),
            ("", None),
            ("h", None),
            ("10", Some(10)),
            ("10d", None),
            ("1e9h", None),
            ("99999999999h", None),
        ] {
            assert_eq!(moment(text, 1_000_000).ok(), seconds, "{text}");
        }
    }
}
