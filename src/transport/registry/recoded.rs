//! What layers became when they were recoded for a registry, remembered over runs.
//!
//! It knows no request. A push of an image whose layers were compressed before asks the registry for
//! the result instead of compressing again. One line each: diff id, compression, digest, size. A line
//! that lies costs a wrong reuse only where the registry has just that blob; it is the user's own file.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::digest::{DiffId, Digest};
use crate::io::dir::Dir;
use crate::layer::Compression;

const NAME: &str = "recoded";
/// Largest file that is read, in bytes: some 300 000 layers.
const MAX: u64 = 64 << 20;

type Key = (DiffId, String);

/// The memory of recoded layers.
pub struct Recoded {
    directory: Option<PathBuf>,
    known: Mutex<HashMap<Key, (Digest, u64)>>,
    fresh: Mutex<Vec<String>>,
}

impl Recoded {
    /// The memory in a directory; one without a directory forgets. A file that cannot be read is
    /// taken for empty.
    pub fn open(directory: Option<PathBuf>) -> Self {
        let read = |path: &PathBuf| Dir::open(path).ok()?.read(NAME, MAX).ok()?;
        let bytes = directory.as_ref().and_then(read).unwrap_or_default();
        let known = String::from_utf8_lossy(&bytes).lines().filter_map(entry).collect();
        Self { directory, known: Mutex::new(known), fresh: Mutex::default() }
    }

    /// What a layer became.
    pub fn find(&self, diff_id: DiffId, target: Compression) -> Option<(Digest, u64)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(diff_id, spelled(target))).copied()
    }

    /// Notes what a layer became.
    pub fn note(&self, diff_id: DiffId, target: Compression, digest: Digest, size: u64) {
        let key = (diff_id, spelled(target));
        let line = format!("{diff_id} {} {digest} {size}\n", key.1);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(key, (digest, size)) != Some((digest, size)) {
            self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    /// Writes what is new; a failure costs only time in the next run.
    pub fn save(&self) {
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(directory) = self.directory.as_ref().filter(|_| !fresh.is_empty()) else { return };
        let written = Dir::create(directory).and_then(|dir| dir.append_file(NAME));
        if let Ok(mut file) = written {
            // One write: lines of two runs do not mix.
            let _ = file.write_all(fresh.concat().as_bytes());
        }
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
