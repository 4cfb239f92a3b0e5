//! Lists of images in files: one reference on a line, hauler's manifest, skopeo's sync YAML.
//!
//! It reads text and opens nothing. The plain form is that of k3s' and RKE2's `images.txt` and of
//! hauler's and Rancher's image lists: `#` begins a comment, blank lines mean nothing.

use std::path::Path;

use crate::error::Result;
use crate::sync::select::{self, Bare, Selection, hauler, yaml};

/// Reads a list in whichever of the forms it is.
///
/// # Errors
/// `Missing`, `Io`, `Usage` or `Malformed` naming the file and the line.
pub fn file(path: &Path, bare: &Bare) -> Result<Selection> {
    let text = select::read(path)?;
    let shown = path.display().to_string();
    let found = if is_yaml(&text) {
        if hauler::is(&text) { hauler::parse(&text, bare) } else { yaml::parse(&text) }
    } else {
        plain(&text, bare)
    };
    let mut found = found.map_err(|e| e.input_or(shown.clone()))?;
    for warning in &mut found.warnings {
        *warning = format!("{shown}: {warning}");
    }
    Ok(found)
}

/// One reference on a line.
///
/// # Errors
/// `Usage` naming the line.
pub fn plain(text: &str, bare: &Bare) -> Result<Selection> {
    let mut selection = Selection::default();
    for (at, line) in text.lines().enumerate() {
        let line = uncommented(line);
        if !line.is_empty() {
            let wanted = select::item(line, bare).map_err(|e| e.at(format!("line {}", at + 1)))?;
            selection.add(wanted);
        }
    }
    Ok(selection)
}

/// A line without its comment, which begins the line or follows a blank.
fn uncommented(line: &str) -> &str {
    let end = line
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])))
        .map_or(line.len(), |(at, _)| at);
    line[..end].trim()
}

/// Whether the first line that says anything is YAML's: no reference ends in a colon or has a blank
/// behind one.
fn is_yaml(text: &str) -> bool {
    let first = text.lines().map(uncommented).find(|l| !l.is_empty()).unwrap_or_default();
    first == "---" || first.ends_with(':') || first.contains(": ") || first.starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_mean_nothing() {
        let text =
            "# k3s\r\ndocker.io/rancher/klipper-helm:v0.8.2\r\n\n  nginx:1.27 # web\nbusybox\n";
        let found = plain(text, &Bare::Latest).unwrap();
        let shown: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "docker.io/rancher/klipper-helm:v0.8.2",
                "docker.io/library/nginx:1.27",
                "docker.io/library/busybox:latest"
            ]
        );
        let error = plain("nginx\nNginx\n", &Bare::Latest).unwrap_err();
        assert_eq!(error.place(), Some("line 2"));
    }

    #[test]
    fn the_form_of_a_list_is_seen_in_its_first_line() {
        for (text, want) in [
            ("nginx:1\n", false),
            ("# c\nr.local:5000/a:1.* \n", false),
            ("nginx:>=1 <2", false),
            ("apiVersion: v1\n", true),
            ("---\nkind: x", true),
            ("# c\nquay.io:\n  images:\n", true),
            ("\"r.local:5000\":\n", true),
        ] {
            assert_eq!(is_yaml(text), want, "{text:?}");
        }
    }
}
