//! Variables in Compose files: `.env` files and what is filled in.
//!
//! It reads no environment: variables are given. Compose specification, "Interpolation" (`$VAR`,
//! `${VAR}`, `:-`, `-`, `:?`, `?`, `:+`, `+`, `$$`).

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Names and values.
pub type Variables = BTreeMap<String, String>;

/// Fills in variables.
///
/// # Errors
/// `Malformed` when the syntax is broken, `Missing` when a variable that must be set is not.
pub(super) fn fill(text: &str, variables: &Variables) -> Result<String> {
    interpolate(text, variables, 0)
}

/// `KEY=value` lines, with comments and quotes.
pub(super) fn dotenv(text: &str) -> Variables {
    let mut all = Variables::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("export ");
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.split_once(q)).map(|(v, _)| v);
        let plain = || value.split(" #").next().unwrap_or_default().trim_end();
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(plain);
        all.insert(key.trim().to_owned(), value.to_owned());
    }
    all
}

fn interpolate(text: &str, variables: &Variables, depth: usize) -> Result<String> {
    if depth > MAX_DEPTH {
        return Err(Error::malformed("defaults are nested too deep"));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let word =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| Error::malformed("\"${\" is never closed"))?;
            out.push_str(&braced(&inner[..end], variables, depth)?);
            rest = &inner[end + 1..];
        } else if word > 0 {
            out.push_str(value(&after[..word], variables)?);
            rest = &after[word..];
        } else {
            return Err(Error::malformed("\"$\" names no variable"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// What stands between braces: a name, an operator, a word.
fn braced(text: &str, variables: &Variables, depth: usize) -> Result<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(Error::malformed("\"${\" names no variable"));
    }
    let set = variables.get(name);
    let filled = set.filter(|v| !v.is_empty());
    let word = |word: &str| interpolate(word, variables, depth + 1);
    for (operator, found) in [(":", filled), ("", set)] {
        let Some(rest) = rest.strip_prefix(operator) else { continue };
        return match (rest.chars().next(), found) {
            (Some('-' | '?'), Some(value)) => Ok(value.clone()),
            (Some('-'), None) => word(&rest[1..]),
            (Some('?'), None) => {
                let why = crate::text::escape(&rest[1..]).into_owned();
                Err(Error::missing(format!("variable {name} is not set: {why}")))
            }
            (Some('+'), Some(_)) => word(&rest[1..]),
            (Some('+'), None) => Ok(String::new()),
            (None, _) if operator.is_empty() => value(name, variables).map(str::to_owned),
            _ => {
                let text = crate::text::escape(text).into_owned();
                Err(Error::malformed(format!("\"${{{text}}}\" is not a variable")))
            }
        };
    }
    value(name, variables).map(str::to_owned)
}

/// A variable that has no default. Compose takes an empty value and warns; of an image's name that
/// leaves another image, so it is told instead.
fn value<'v>(name: &str, variables: &'v Variables) -> Result<&'v str> {
    let missing = || Error::missing(format!("variable {name} is not set"));
    variables.get(name).map(String::as_str).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        [("TAG", "1.27"), ("EMPTY", ""), ("HOST", "r.local:5000")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_filled_in_as_compose_does() {
        for (text, want) in [
            ("nginx", "nginx"),
            ("nginx:$TAG", "nginx:1.27"),
            ("${HOST}/a:${TAG}-x", "r.local:5000/a:1.27-x"),
            ("a:${NO:-2}", "a:2"),
            ("a:${EMPTY:-2}", "a:2"),
            ("a:x${EMPTY-2}", "a:x"),
            ("a:${NO:-${TAG:-3}}", "a:1.27"),
            ("${NO:-a/b}:${TAG:+with}", "a/b:with"),
            ("a${NO+x}", "a"),
            ("a:${TAG:?must be set}", "a:1.27"),
            ("a$$b", "a$b"),
        ] {
            assert_eq!(interpolate(text, &variables(), 0).unwrap(), want, "{text}");
        }
        for bad in [
            "a:$NO",
            "a:${NO}",
            "a:${NO:?why}",
            "a:${EMPTY:?why}",
            "a:${TAG",
            "a:$",
            "a:${}",
            "a:${TAG!}",
        ] {
            assert!(interpolate(bad, &variables(), 0).is_err(), "{bad}");
        }
        let deep = format!("{}x{}", "${NO:-".repeat(40), "}".repeat(40));
        assert!(interpolate(&deep, &variables(), 0).is_err());
    }
}
