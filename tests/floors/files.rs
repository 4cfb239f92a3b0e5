//! Every file has a head, and a long one has a reason.

use crate::source::{architecture, files, sources};

#[test]
fn every_file_says_what_it_is() {
    for source in files() {
        let first = source.text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{} has no header", source.path.display());
    }
}

#[test]
fn long_files_are_argued_for() {
    let docs = architecture();
    for source in sources() {
        let lines = source.text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        let below = source.path.display();
        let argued = docs.contains(&format!("src/{below}"));
        assert!(lines <= 600 || argued, "src/{below} has {lines} lines without its tests");
    }
}
