//! Floors: a module may use those of its own floor and below, and of two modules of one floor one at most
//! knows the other.

use std::collections::BTreeSet;

use crate::source::{library, sources};
use crate::transports::BETWEEN_TRANSPORTS;

/// The floor of each module; the longest matching entry counts.
const FLOORS: &[(&str, u32)] = &[
    // 0 ground
    ("error", 0),
    ("locks", 0),
    ("progress", 0),
    ("text", 0),
    ("units", 0),
    // 1 words: no I/O
    ("digest", 1),
    ("encoding", 1),
    ("json", 1),
    ("media_type", 1),
    ("platform", 1),
    ("reference", 1),
    ("descriptor", 1),
    ("manifest", 1),
    ("config", 1),
    // 2 bytes: no names of images
    ("io", 2),
    ("layer", 2),
    ("context", 2),
    ("verify", 2),
    ("flatten", 2),
    ("import", 2),
    ("diff_files", 2),
    // 3 the pair
    ("transport", 3),
    ("companion", 3),
    // 4 places
    ("blobs", 4),
    ("layout", 4),
    ("partial", 4),
    ("registry", 4),
    ("transport::archive", 4),
    ("transport::daemon", 4),
    ("transport::discard", 4),
    ("transport::distribution", 4),
    ("transport::folder", 4),
    ("transport::foreign", 4),
    ("transport::union", 4),
    ("transport::layout", 4),
    ("transport::registry", 4),
    ("transport::rootfs", 4),
    ("transport::skopeo_dir", 4),
    ("transport::store", 4),
    ("transport::table", 4),
    // 5 the engine
    ("copy", 5),
    // 6 jobs
    ("find", 6),
    ("images", 6),
    ("inspect", 6),
    ("serve", 6),
    ("sync", 6),
    ("transfer", 6),
    // 7 the command line, a crate of its own
    ("cli", 7),
    ("main", 7),
];

/// The entry of the table that a path of modules falls under.
pub(crate) fn entry(path: &str) -> Option<(&'static str, u32)> {
    FLOORS
        .iter()
        .filter(|(name, _)| path == *name || path.starts_with(&format!("{name}::")))
        .max_by_key(|(name, _)| name.len())
        .copied()
}

#[test]
fn every_module_has_a_floor() {
    for source in sources() {
        if source.module != "lib" {
            let module = &source.module;
            assert!(entry(module).is_some(), "{module} is in no floor; add it to the table");
        }
    }
}

#[test]
fn modules_look_down_only() {
    let mut wrong = Vec::new();
    for source in library() {
        let (own, floor) = entry(&source.module).unwrap();
        for path in source.mentions() {
            let Some((other, above)) = entry(&path) else { continue };
            if above > floor {
                wrong.push(format!(
                    "{own} (floor {floor}) must not know of {other} (floor {above})"
                ));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_of_one_floor_do_not_know_one_another_both_ways() {
    let mut uses = BTreeSet::new();
    for source in library() {
        let (own, _) = entry(&source.module).unwrap();
        for path in source.mentions() {
            if let Some((other, _)) = entry(&path).filter(|(other, _)| *other != own) {
                uses.insert((own, other));
            }
        }
    }
    let declared =
        |a: &str, b: &str| BETWEEN_TRANSPORTS.iter().any(|(from, to, _)| (*from, *to) == (a, b));
    let both: Vec<String> = uses
        .iter()
        .filter(|(a, b)| a < b && uses.contains(&(*b, *a)) && !declared(a, b))
        .map(|(a, b)| format!("{a} and {b} know one another"))
        .collect();
    assert!(both.is_empty(), "{}", both.join("\n"));
}

#[test]
fn the_longest_entry_counts() {
    assert_eq!(entry("transport::layout::index"), Some(("transport::layout", 4)));
    assert_eq!(entry("transport::Blob"), Some(("transport", 3)));
    assert_eq!(entry("layouts"), None);
}
