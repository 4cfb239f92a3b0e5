//! Digests and diff ids of ranges of files, remembered between runs, so that each range is hashed and
//! unpacked only once.
//!
//! It knows no archive and no clock. A range is identified by its file's device, inode, size and times, so
//! that any write to the file invalidates it. The cache may be lost: a damaged file counts as empty, and
//! one that cannot be written costs only time in the next run. No digest in it is trusted either: whoever
//! sends the bytes hashes them again, and removes an entry that proves wrong. A diff id belongs to the
//! digest beside it.
//!
//! The file: the digest of everything after it, then one line per range, the last used at the end.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::{DiffId, Digest};
use crate::error::Result;
use crate::io::dir::Dir;
use crate::io::parts::{Extent, Stamp};
use crate::locks::lock;

const NAME: &str = "digests";
/// Most ranges that are remembered.
const MOST: usize = 20_000;
/// Largest file that is read, in bytes.
const MAX: u64 = 8 << 20;
/// How long a file must have been left alone, so that any later change shows in its time: FAT counts in
/// steps of two seconds. It may be half copied, too.
const SETTLED: Duration = Duration::from_secs(2);
/// Seconds to wait for another server that writes.
const WAIT: u64 = 2;

/// The cache; the default one remembers nothing.
#[derive(Default)]
pub struct DigestCache {
    home: Option<CacheLocation>,
    known: Mutex<Known>,
}

/// Where the cache is stored, and its clock.
struct CacheLocation {
    directory: PathBuf,
    now: fn() -> SystemTime,
}

/// A range of a file in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileRange {
    stamp: Stamp,
    offset: u64,
    size: u64,
}

/// What bytes are, and what they unpack to where that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    digest: Digest,
    diff_id: Option<DiffId>,
}

/// A stretch before it is read; nothing where it will not be remembered.
pub struct Before(Option<FileRange>);

#[derive(Default)]
struct Known {
    /// What stretches hold, and when they were asked for: the larger, the later.
    digests: HashMap<FileRange, (Content, u64)>,
    uses: u64,
    forgotten: HashSet<FileRange>,
    /// Whether there is something to write.
    changed: bool,
}

impl DigestCache {
    /// The memory in a directory, which need not exist.
    pub fn open(directory: PathBuf, now: fn() -> SystemTime) -> Self {
        let mut known = Known::default();
        for (stretch, content) in Dir::open(&directory).map(|dir| read(&dir)).unwrap_or_default() {
            known.put(stretch, content);
        }
        Self { home: Some(CacheLocation { directory, now }), known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// The digest of a range; `hash` computes it when it is not known.
    ///
    /// # Errors
    /// Those of `hash`.
    pub fn digest(&self, extent: &Extent, hash: impl FnOnce() -> Result<Digest>) -> Result<Digest> {
        if let Some(content) = self.find(extent) {
            return Ok(content.digest);
        }
        let before = self.before(extent);
        let digest = hash()?;
        self.note(before, extent, Content { digest, diff_id: None });
        Ok(digest)
    }

    /// What a stretch with this digest is known to unpack to.
    pub fn diff_id(&self, extent: &Extent, digest: &Digest) -> Option<DiffId> {
        self.find(extent).filter(|content| content.digest == *digest)?.diff_id
    }

    /// To be asked before a stretch is unpacked, for [`DigestCache::unpacked`].
    pub fn before(&self, extent: &Extent) -> Before {
        let settled =
            |home: &CacheLocation| FileRange::of(extent).filter(|s| s.settled((home.now)()));
        Before(self.home.as_ref().and_then(settled))
    }

    /// Remembers what a stretch with this digest unpacked to, unless it changed meanwhile.
    pub fn unpacked(&self, before: Before, extent: &Extent, digest: Digest, diff_id: DiffId) {
        self.note(before, extent, Content { digest, diff_id: Some(diff_id) });
    }

    fn find(&self, extent: &Extent) -> Option<Content> {
        self.home.as_ref()?;
        self.known().find(&FileRange::of(extent)?)
    }

    fn note(&self, before: Before, extent: &Extent, content: Content) {
        if let Some(stretch) = before.0
            && FileRange::of(extent) == Some(stretch)
        {
            self.known().note(stretch, content);
        }
    }

    /// Forgets what proved wrong. True when it was remembered.
    pub fn forget(&self, extent: &Extent) -> bool {
        let Some(stretch) = FileRange::of(extent) else { return false };
        let mut known = self.known();
        let was = known.digests.remove(&stretch).is_some();
        if was {
            known.forgotten.insert(stretch);
            known.changed = true;
        }
        was
    }

    /// Writes what is new, beside what another server remembered meanwhile.
    pub fn save(&self) {
        let mut known = self.known();
        let Some(home) = self.home.as_ref().filter(|_| known.changed) else { return };
        let Ok(dir) = Dir::create(&home.directory) else { return };
        let Ok(_alone) = dir.lock(true, WAIT) else { return };
        let mut all = read(&dir);
        all.retain(|(stretch, _)| known.leaves(stretch));
        let mut own: Vec<_> = known.digests.iter().collect();
        own.sort_by_key(|(_, (_, used))| *used);
        all.extend(own.into_iter().map(|(stretch, (content, _))| (*stretch, *content)));
        let lines = all[all.len().saturating_sub(MOST)..].iter().map(|(s, c)| s.line(c));
        let lines: String = lines.collect();
        let text = format!("{}\n{lines}", Digest::of(lines.as_bytes()));
        // Not flushed: what a crash leaves of it is seen by its first line.
        if dir.replace(NAME, text.as_bytes(), false).is_ok() {
            known.changed = false;
        }
    }
}

impl Known {
    fn put(&mut self, stretch: FileRange, content: Content) {
        self.uses += 1;
        self.digests.insert(stretch, (content, self.uses));
    }

    fn find(&mut self, stretch: &FileRange) -> Option<Content> {
        self.uses += 1;
        let (content, used) = self.digests.get_mut(stretch)?;
        *used = self.uses;
        Some(*content)
    }

    /// Adds what was read; what the file was before, and the oldest of too many, goes.
    fn note(&mut self, stretch: FileRange, content: Content) {
        self.digests.retain(|other, _| !stretch.replaces(other));
        self.put(stretch, content);
        if self.digests.len() > MOST {
            let oldest = self.digests.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(stretch, _)| *stretch) {
                self.digests.remove(&oldest);
            }
        }
        self.changed = true;
    }

    /// Whether something that lies in the file, and is not known here, stays there.
    fn leaves(&self, stretch: &FileRange) -> bool {
        !self.digests.contains_key(stretch)
            && !self.forgotten.contains(stretch)
            && !self.digests.keys().any(|known| known.replaces(stretch))
    }
}

impl FileRange {
    /// Nothing when the file cannot be examined.
    fn of(extent: &Extent) -> Option<Self> {
        let stamp = extent.stamp().ok()?;
        Some(Self { stamp, offset: extent.offset, size: extent.size })
    }

    /// Whether its file is the same, and no longer what it was.
    fn replaces(&self, other: &Self) -> bool {
        self.stamp.file == other.stamp.file && self.stamp != other.stamp
    }

    fn settled(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.stamp.modified;
        let Ok(now) = now.duration_since(UNIX_EPOCH) else { return false };
        let now = (now.as_secs(), now.subsec_nanos());
        // What is not from after 1970 is old enough.
        let Ok(seconds) = u64::try_from(seconds) else { return true };
        (seconds + SETTLED.as_secs(), u32::try_from(nanos).unwrap_or_default()) <= now
    }

    fn line(&self, Content { digest, diff_id }: &Content) -> String {
        let Stamp { file: (device, inode), size, modified: (m, m_nanos), changed: (c, c_nanos) } =
            self.stamp;
        let (offset, length) = (self.offset, self.size);
        let diff_id = diff_id.map(|diff_id| format!(" {diff_id}")).unwrap_or_default();
        format!(
            "{device} {inode} {size} {m} {m_nanos} {c} {c_nanos} {offset} {length} {digest}{diff_id}\n"
        )
    }
}

/// What a directory remembers; nothing when that is damaged.
fn read(dir: &Dir) -> Vec<(FileRange, Content)> {
    let bytes = dir.read(NAME, MAX).ok().flatten().unwrap_or_default();
    parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default()
}

fn parse(text: &str) -> Option<Vec<(FileRange, Content)>> {
    let (first, lines) = text.split_once('\n')?;
    let whole = first.parse::<Digest>().ok()? == Digest::of(lines.as_bytes());
    lines.lines().filter(|_| whole).map(entry).collect()
}

fn entry(line: &str) -> Option<(FileRange, Content)> {
    let words: Vec<&str> = line.split(' ').collect();
    let (words, diff_id) = words.split_at_checked(10)?;
    let [device, inode, size, m, m_nanos, c, c_nanos, offset, length, digest] = words[..] else {
        return None;
    };
    let diff_id = match diff_id {
        [] => None,
        [diff_id] => Some(diff_id.parse().ok()?),
        _ => return None,
    };
    let stamp = Stamp {
        file: (device.parse().ok()?, inode.parse().ok()?),
        size: size.parse().ok()?,
        modified: (m.parse().ok()?, m_nanos.parse().ok()?),
        changed: (c.parse().ok()?, c_nanos.parse().ok()?),
    };
    let stretch = FileRange { stamp, offset: offset.parse().ok()?, size: length.parse().ok()? };
    Some((stretch, Content { digest: digest.parse().ok()?, diff_id }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A file that was left alone for long.
    fn file(path: &Path, bytes: &[u8]) -> Extent {
        std::fs::write(path, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        let file = std::fs::File::open(path).unwrap();
        Extent::whole(file, path, bytes.len() as u64)
    }

    /// What a memory says, and whether it had to be hashed.
    fn ask(digests: &DigestCache, extent: &Extent) -> (Digest, bool) {
        let mut hashed = false;
        let hash = || {
            hashed = true;
            Ok(Digest::of(&extent.head(1 << 20).unwrap()))
        };
        let found = digests.digest(extent, hash).unwrap();
        (found, hashed)
    }

    fn opened(at: &Path) -> DigestCache {
        DigestCache::open(at.to_path_buf(), SystemTime::now)
    }

    #[test]
    fn what_was_hashed_is_known_to_the_next_run_until_the_file_changes() {
        let temp = tempfile::tempdir().unwrap();
        let (at, path) = (temp.path().join("new/state"), temp.path().join("a.tar"));
        let whole = file(&path, b"0123456789");
        let part = Extent { offset: 2, size: 3, ..whole.clone() };
        let first = opened(&at);
        for extent in [&whole, &part] {
            assert!(ask(&first, extent).1);
            assert!(!ask(&first, extent).1);
        }
        first.save();
        let second = opened(&at);
        assert_eq!(ask(&second, &whole), (Digest::of(b"0123456789"), false));
        assert_eq!(ask(&second, &part), (Digest::of(b"234"), false));
        for other in [
            Extent { offset: 3, ..part.clone() },
            Extent { size: 2, ..part.clone() },
            file(&temp.path().join("b.tar"), b"0123456789"),
        ] {
            assert!(ask(&second, &other).1, "{other:?}");
        }
        // As large as before, and with its time set back: the other time tells.
        std::thread::sleep(Duration::from_millis(20));
        let changed = file(&path, b"9876543210");
        assert_eq!(ask(&second, &changed), (Digest::of(b"9876543210"), true));
        second.save();
        let text = std::fs::read_to_string(at.join(NAME)).unwrap();
        assert!(!text.contains(&Digest::of(b"234").to_string()), "the file before is forgotten");
        assert!(!ask(&opened(&at), &changed).1);
    }

    #[test]
    fn what_was_unpacked_is_known_with_its_digest_until_the_file_changes() {
        let temp = tempfile::tempdir().unwrap();
        let (at, path) = (temp.path().join("state"), temp.path().join("a"));
        let extent = file(&path, b"packed");
        let (digest, diff_id) = (Digest::of(b"packed"), DiffId(Digest::of(b"unpacked")));
        let first = opened(&at);
        assert!(ask(&first, &extent).1);
        assert_eq!(first.diff_id(&extent, &digest), None);
        first.unpacked(first.before(&extent), &extent, digest, diff_id);
        first.save();
        let second = opened(&at);
        assert_eq!(ask(&second, &extent), (digest, false));
        assert_eq!(second.diff_id(&extent, &digest), Some(diff_id));
        assert_eq!(second.diff_id(&extent, &Digest::of(b"other")), None);
        // What changes while it is unpacked is not remembered.
        let before = second.before(&extent);
        std::thread::sleep(Duration::from_millis(20));
        let extent = file(&path, b"PACKED");
        second.unpacked(before, &extent, digest, diff_id);
        assert_eq!(second.diff_id(&extent, &digest), None);
        let none = DigestCache::default();
        none.unpacked(none.before(&extent), &extent, digest, diff_id);
        assert_eq!(none.diff_id(&extent, &digest), None);
    }

    #[test]
    fn what_is_damaged_is_thrown_away() {
        let temp = tempfile::tempdir().unwrap();
        let (at, extent) = (temp.path().join("state"), file(&temp.path().join("a"), b"a"));
        let first = opened(&at);
        ask(&first, &extent);
        first.save();
        let good = std::fs::read_to_string(at.join(NAME)).unwrap();
        assert!(!ask(&opened(&at), &extent).1);
        let (head, lines) = good.split_once('\n').unwrap();
        let sealed = |lines: &str| format!("{}\n{lines}", Digest::of(lines.as_bytes()));
        for bad in [
            String::new(),
            head.to_owned(),
            lines.to_owned(),
            good[..good.len() - 1].to_owned(),
            good.replace("sha256:", "sha265:"),
            format!("{good}{lines}"),
            sealed("half a li"),
            sealed(&lines.replace(' ', "  ")),
            sealed(&format!("-1{lines}")),
            "\0".repeat(good.len()),
        ] {
            std::fs::write(at.join(NAME), &bad).unwrap();
            let next = opened(&at);
            assert_eq!(ask(&next, &extent), (Digest::of(b"a"), true), "{bad}");
            next.save();
            assert_eq!(std::fs::read_to_string(at.join(NAME)).unwrap(), good, "{bad}");
        }
    }

    #[test]
    fn what_proved_wrong_is_forgotten_for_good() {
        let temp = tempfile::tempdir().unwrap();
        let (at, extent) = (temp.path().join("state"), file(&temp.path().join("a"), b"a"));
        let first = opened(&at);
        assert!(!first.forget(&extent));
        let wrong = Digest::of(b"b");
        assert_eq!(first.digest(&extent, || Ok(wrong)).unwrap(), wrong);
        first.save();
        let second = opened(&at);
        assert_eq!(ask(&second, &extent), (wrong, false));
        assert!(second.forget(&extent));
        second.save();
        assert_eq!(ask(&opened(&at), &extent), (Digest::of(b"a"), true));
        assert_eq!(ask(&second, &extent), (Digest::of(b"a"), true));
    }

    #[test]
    fn a_file_that_may_still_be_written_is_not_remembered() {
        let temp = tempfile::tempdir().unwrap();
        let (at, extent) = (temp.path().join("state"), file(&temp.path().join("a"), b"a"));
        let written = 1_000_000_000;
        fn at_once() -> SystemTime {
            UNIX_EPOCH + Duration::from_millis(1_000_000_001_999)
        }
        fn later() -> SystemTime {
            UNIX_EPOCH + Duration::from_millis(1_000_000_002_000)
        }
        fn before() -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(5)
        }
        assert_eq!(extent.stamp().unwrap().modified.0, written);
        for (now, kept) in [(at_once as fn() -> _, false), (before, false), (later, true)] {
            let digests = DigestCache::open(at.clone(), now);
            assert!(ask(&digests, &extent).1);
            assert_eq!(ask(&digests, &extent).1, !kept);
            digests.save();
            assert_eq!(at.exists(), kept);
        }
        // Nor one that changes while it is hashed.
        let digests = opened(&at);
        let path = temp.path().join("b");
        let extent = file(&path, b"b");
        let hash = || {
            std::thread::sleep(Duration::from_millis(20));
            file(&path, b"c");
            Ok(Digest::of(b"b"))
        };
        digests.digest(&extent, hash).unwrap();
        assert_eq!(ask(&digests, &extent), (Digest::of(b"c"), true));
        // And the default memory has none.
        let none = DigestCache::default();
        assert!(ask(&none, &extent).1 && ask(&none, &extent).1);
    }

    #[test]
    fn only_so_many_are_remembered_and_the_oldest_go() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path().join("state");
        let whole = file(&temp.path().join("a"), &vec![1; MOST + 3]);
        let nth = |n: usize| Extent { offset: n as u64, size: 1, ..whole.clone() };
        let digest = Digest::of(b"x");
        let first = opened(&at);
        for n in 0..MOST {
            let content = Content { digest, diff_id: Some(DiffId(digest)) };
            first.known().put(FileRange::of(&nth(n)).unwrap(), content);
        }
        // The very first is used once more, so that it is not the oldest.
        assert!(!ask(&first, &nth(0)).1);
        assert!(ask(&first, &nth(MOST)).1);
        assert_eq!(first.known().digests.len(), MOST);
        first.save();
        assert!(std::fs::metadata(at.join(NAME)).unwrap().len() < MAX);
        let second = opened(&at);
        assert_eq!([0, 2, MOST, 1].map(|n| ask(&second, &nth(n)).1), [false, false, false, true]);
        // Another server, which knew less, takes nothing away but the oldest.
        let third = DigestCache::open(at.join("none"), SystemTime::now);
        assert!(ask(&third, &nth(MOST + 1)).1);
        let third = DigestCache { home: first.home, ..third };
        third.save();
        let fourth = opened(&at);
        assert_eq!(fourth.known().digests.len(), MOST);
        assert_eq!([3, MOST + 1, 2].map(|n| ask(&fourth, &nth(n)).1), [false, false, true]);
    }

    #[test]
    fn where_nothing_can_be_written_it_lasts_as_long_as_the_run() {
        let temp = tempfile::tempdir().unwrap();
        let extent = file(&temp.path().join("a"), b"a");
        let at = temp.path().join("a/state");
        let digests = opened(&at);
        assert!(ask(&digests, &extent).1);
        digests.save();
        assert!(!ask(&digests, &extent).1);
        assert!(!at.exists());
    }
}
