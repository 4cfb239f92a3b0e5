//! No transport knows another; the table alone knows them all.

use crate::source::sources;
use crate::table::entry;

/// What one transport knows of another, with the reason.
pub(crate) const BETWEEN_TRANSPORTS: &[(&str, &str, &str)] = &[
    ("transport::daemon", "transport::archive", "engines give and take archives"),
    ("transport::folder", "transport::distribution", "what the storage of a registry looks like"),
    ("transport::folder", "transport::union", "several places as one source"),
    ("transport::store", "transport::layout", "the store is a layout with a memory"),
];

#[test]
fn transports_do_not_know_one_another() {
    let mut wrong = Vec::new();
    let mut used = vec![false; BETWEEN_TRANSPORTS.len()];
    for source in sources().iter().filter(|s| s.module.starts_with("transport::")) {
        let (own, _) = entry(&source.module).unwrap();
        if own == "transport::table" {
            continue;
        }
        for path in source.mentions() {
            let Some((other, _)) = entry(&path).filter(|(o, _)| o.starts_with("transport::"))
            else {
                continue;
            };
            let rule = BETWEEN_TRANSPORTS.iter().position(|(f, t, _)| *f == own && *t == other);
            match rule {
                _ if other == own => {}
                Some(at) => used[at] = true,
                None => wrong.push(format!("{} must not know of {other}", source.module)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for ((from, to, _), used) in BETWEEN_TRANSPORTS.iter().zip(used) {
        assert!(used, "{from} no longer uses {to}; take the exception out");
    }
}
