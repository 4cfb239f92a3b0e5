//! The results of recompressing layers for a registry, remembered between runs.
//!
//! It knows no request. A push of an image whose layers were compressed before asks the registry for
//! the result instead of compressing again. One line each: diff id, compression, digest, size. A wrong line
//! causes a wrong reuse only if the registry has exactly that blob; it is the user's own file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::digest::{DiffId, Digest};
use crate::layer::Compression;
use crate::locks::lock;
use crate::transport::registry::memory::Lines;

const NAME: &str = "recoded";

type Key = (DiffId, String);

/// The memory of recoded layers.
pub struct Recoded {
    lines: Lines,
    known: Mutex<HashMap<Key, (Digest, u64)>>,
}

impl Recoded {
    /// The memory in a directory; one without a directory forgets.
    pub fn open(directory: Option<PathBuf>) -> Self {
        let (lines, text) = Lines::open(directory, NAME);
        let known = text.lines().filter_map(entry).collect();
        Self { lines, known: Mutex::new(known) }
    }

    /// What a layer became.
    pub fn find(&self, diff_id: DiffId, target: Compression) -> Option<(Digest, u64)> {
        let known = lock(&self.known);
        known.get(&(diff_id, spelled(target))).copied()
    }

    /// Notes what a layer became.
    pub fn note(&self, diff_id: DiffId, target: Compression, digest: Digest, size: u64) {
        let key = (diff_id, spelled(target));
        let line = format!("{diff_id} {} {digest} {size}", key.1);
        let mut known = lock(&self.known);
        if known.insert(key, (digest, size)) != Some((digest, size)) {
            self.lines.push(line);
        }
    }

    /// Writes what is new; a failure costs only time in the next run.
    pub fn save(&self) {
        self.lines.save();
    }
}

/// The format with the level that is really used.
fn spelled(target: Compression) -> String {
    let level = target.level.or(target.default_level()).unwrap_or_default();
    format!("{}:{level}", target.encoding.name())
}

fn entry(line: &str) -> Option<(Key, (Digest, u64))> {
    let mut words = line.split(' ');
    let key = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let value = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((key, value))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_layer_became_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("state");
        let digest = |byte: &str| format!("sha256:{}", byte.repeat(32)).parse::<Digest>().unwrap();
        let (diff_id, gzip) = (DiffId(digest("ab")), "gzip".parse::<Compression>().unwrap());
        let first = Recoded::open(Some(at.clone()));
        assert_eq!(first.find(diff_id, gzip), None);
        first.note(diff_id, gzip, digest("cd"), 7);
        first.save();
        std::fs::OpenOptions::new()
            .append(true)
            .open(at.join(NAME))
            .unwrap()
            .write_all(b"half a li")
            .unwrap();
        let second = Recoded::open(Some(at));
        assert_eq!(second.find(diff_id, gzip), Some((digest("cd"), 7)));
        assert_eq!(second.find(diff_id, "gzip:4".parse().unwrap()), Some((digest("cd"), 7)));
        assert_eq!(second.find(diff_id, "gzip:9".parse().unwrap()), None);
    }
}
