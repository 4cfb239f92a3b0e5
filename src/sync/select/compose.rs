//! Images that a Compose file names.
//!
//! It starts nothing and reads no environment: variables are given. Compose specification,
//! `services.*.image` and interpolation (`$VAR`, `${VAR}`, `:-`, `-`, `:?`, `?`, `:+`, `+`, `$$`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::sync::select::{self, Selection, Wanted};

/// Deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Names and values.
pub type Variables = BTreeMap<String, String>;

/// Reads a Compose file; a `.env` file beside it is read first, and `variables` go before it.
///
/// # Errors
/// `Missing`, `Io`, `Malformed`.
pub fn file(path: &Path, variables: &Variables) -> Result<Selection> {
    let text = select::read(path)?;
    let beside = path.with_file_name(".env");
    let mut all = if beside.is_file() { dotenv(&select::read(&beside)?) } else { Variables::new() };
    all.extend(variables.clone());
    let shown = path.display().to_string();
    let mut found = parse(&text, &all).map_err(|e| e.input_or(shown.clone()))?;
    for warning in &mut found.warnings {
        *warning = format!("{shown}: {warning}");
    }
    Ok(found)
}

/// Reads the text of a Compose file.
///
/// # Errors
/// `Malformed` when it is no YAML or has no services.
pub fn parse(text: &str, variables: &Variables) -> Result<Selection> {
    let doc = select::document(text)?;
    let mut selection = Selection::default();
    if !doc["include"].is_null() {
        selection.warn("files that it includes are not read; name them too");
    }
    let Value::Mapping(services) = &doc["services"] else {
        if doc["include"].is_null() {
            return Err(Error::malformed("has no services"));
        }
        return Ok(selection);
    };
    for (name, service) in services {
        let name = crate::text::escape(name.as_str().unwrap_or("?")).into_owned();
        self::service(&name, service, variables, &mut selection);
    }
    Ok(selection)
}

fn service(name: &str, service: &Value, variables: &Variables, selection: &mut Selection) {
    let built = !service["build"].is_null();
    let Some(image) = service["image"].as_str() else {
        if built {
            selection.warn(format!("service {name} is built here and names no image"));
        } else if !service["extends"].is_null() {
            selection.warn(format!("service {name} extends another; its image is not looked up"));
        } else {
            selection.warn(format!("service {name} names no image"));
        }
        return;
    };
    match interpolate(image, variables, 0) {
        Ok(image) => match image.parse::<Reference>() {
            Ok(image) => {
                if built {
                    let image = image.familiar();
                    selection.warn(format!("service {name} is built here; {image} is wanted too"));
                }
                selection.add(Wanted::Image(image.or_latest()));
            }
            Err(_) => {
                let image = crate::text::escape(&image);
                selection.warn(format!("service {name}: {image:?} is no reference"));
            }
        },
        Err(e) => selection.warn(format!("service {name}: {}", e.what())),
    }
}

/// `KEY=value` lines, with comments and quotes.
fn dotenv(text: &str) -> Variables {
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

/// Fills in variables.
///
/// # Errors
/// `Malformed` when the syntax is broken, `Missing` when a variable that must be set is not.
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
                Err(Error::malformed(format!("\"${{{text}}}\" is no variable")))
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

    #[test]
    fn services_that_are_built_are_told() {
        let text = "\
x-web: &web {image: 'nginx:${TAG}'}
services:
  web: {<<: *web, ports: ['80:80']}
  db: {image: postgres}
  own: {build: .}
  both: {build: ., image: r.local/own:1}
  open: {image: 'a:${NO}'}
";
        let found = parse(text, &variables()).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["docker.io/library/nginx:1.27", "docker.io/library/postgres:latest", "r.local/own:1"]
        );
        assert_eq!(
            found.warnings,
            [
                "service own is built here and names no image",
                "service both is built here; r.local/own:1 is wanted too",
                "service open: variable NO is not set",
            ]
        );
        assert!(parse("a: 1", &variables()).is_err());
    }

    #[test]
    fn a_file_beside_it_gives_defaults() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("compose.yaml");
        std::fs::write(&path, "services: {a: {image: 'a:$A'}, b: {image: 'b:$B'}}").unwrap();
        std::fs::write(temp.path().join(".env"), "# c\nA=1 # one\nexport B=\"2\"\n").unwrap();
        let given = [("A".to_owned(), "9".to_owned())].into();
        let found = file(&path, &given).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["docker.io/library/a:9", "docker.io/library/b:2"]);
    }
}
