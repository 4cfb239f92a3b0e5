//! What indexes list, and what they become when only some platforms are kept, remembered between runs.
//!
//! It knows no request. It avoids fetching an index just to find that nothing changed. One line
//! each: digest, `*` or platforms, digests. What an index lists follows from its digest. A wrong line could
//! make one other image count as up to date; it is the user's own file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::locks::lock;
use crate::platform::Platform;
use crate::transport::registry::memory::Lines;

const NAME: &str = "indexes";
/// Stands for all platforms.
const ALL: &str = "*";

type Key = (Digest, String);

/// The index that results when some platforms are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedIndex {
    /// The manifest or index that it became.
    pub target: Digest,
    /// Every manifest and index that came along as it was, in order.
    pub documents: Vec<Digest>,
}

/// The memory of indexes.
pub struct Indexes {
    lines: Lines,
    known: Mutex<HashMap<Key, Vec<Digest>>>,
}

impl Indexes {
    /// The memory in a directory; one without a directory forgets.
    pub fn open(directory: Option<PathBuf>) -> Self {
        let (lines, text) = Lines::open(directory, NAME);
        let known = text.lines().filter_map(entry).collect();
        Self { lines, known: Mutex::new(known) }
    }

    /// What an index lists.
    pub fn listed(&self, index: &Digest) -> Option<Vec<Digest>> {
        self.find(index, ALL.into())
    }

    /// Notes what an index lists.
    pub fn note_listed(&self, index: &Digest, listed: Vec<Digest>) {
        self.note(index, ALL.into(), listed);
    }

    /// What an index became when these platforms were kept.
    pub fn kept(&self, index: &Digest, platforms: &[Platform]) -> Option<PrunedIndex> {
        let mut all = self.find(index, spelled(platforms))?;
        let target = (!all.is_empty()).then(|| all.remove(0))?;
        Some(PrunedIndex { target, documents: all })
    }

    /// Notes what an index became.
    pub fn note_kept(&self, index: &Digest, platforms: &[Platform], kept: &PrunedIndex) {
        let mut all = vec![kept.target];
        all.extend(&kept.documents);
        self.note(index, spelled(platforms), all);
    }

    /// Writes what is new; a failure costs only time in the next run.
    pub fn save(&self) {
        self.lines.save();
    }

    fn find(&self, index: &Digest, what: String) -> Option<Vec<Digest>> {
        let known = lock(&self.known);
        known.get(&(*index, what)).cloned()
    }

    fn note(&self, index: &Digest, what: String, digests: Vec<Digest>) {
        let shown: Vec<String> = digests.iter().map(ToString::to_string).collect();
        let line = format!("{index} {what} {}", shown.join(","));
        let mut known = lock(&self.known);
        if known.insert((*index, what), digests.clone()).as_ref() != Some(&digests) {
            self.lines.push(line);
        }
    }
}

/// Platforms as a word: the same ones in another order are the same.
fn spelled(platforms: &[Platform]) -> String {
    let mut all: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    all.sort();
    all.dedup();
    all.join(",")
}

fn entry(line: &str) -> Option<(Key, Vec<Digest>)> {
    let mut words = line.split(' ');
    let key = (words.next()?.parse().ok()?, words.next()?.to_owned());
    let digests = words.next()?.split(',').filter(|word| !word.is_empty());
    let digests = digests.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    words.next().is_none().then_some((key, digests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_lists_and_became_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("state");
        let digest = |text: &str| Digest::of(text.as_bytes());
        let platforms =
            |all: &[&str]| -> Vec<Platform> { all.iter().map(|p| p.parse().unwrap()).collect() };
        let both = platforms(&["linux/arm64", "linux/amd64"]);
        let kept = PrunedIndex { target: digest("t"), documents: vec![digest("a"), digest("b")] };
        let first = Indexes::open(Some(at.clone()));
        first.note_listed(&digest("i"), vec![digest("a"), digest("b"), digest("c")]);
        first.note_listed(&digest("empty"), Vec::new());
        first.note_kept(&digest("i"), &both, &kept);
        first.save();
        let text = std::fs::read_to_string(at.join(NAME)).unwrap();
        std::fs::write(at.join(NAME), text + "half a li").unwrap();
        let second = Indexes::open(Some(at));
        assert_eq!(second.listed(&digest("i")).unwrap().len(), 3);
        assert_eq!(second.listed(&digest("empty")), Some(Vec::new()));
        assert_eq!(second.listed(&digest("x")), None);
        let turned = platforms(&["linux/amd64", "linux/arm64"]);
        assert_eq!(second.kept(&digest("i"), &turned), Some(kept));
        assert_eq!(second.kept(&digest("i"), &turned[..1]), None);
    }
}
