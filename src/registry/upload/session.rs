//! Upload sessions that outlive the run: one small file per host, repository and digest.
//!
//! It sends nothing. A file that is read back is not trusted: it can only refer to a session of the same
//! repository on the same host, and the registry is asked for its offset. A kernel lock on the file is
//! held while its session is in use.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW,
};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::dir::{Dir, os};
use crate::json;
use crate::registry::upload::location;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 32 << 10;
/// Registries drop sessions after a day or a week; so do we, after this many seconds.
const STALE: i64 = 7 * 24 * 3600;
/// Most files examined in one sweep.
const SWEPT: usize = 10_000;
/// How the files are called, behind 64 hex digits.
const SUFFIX: &str = ".session";

/// A session as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// Path and query on the registry's own host.
    pub(super) location: String,
    /// Bytes per request, where the registry wanted them smaller.
    pub(super) unit: Option<u64>,
}

/// The right to one blob's session file, until dropped.
pub(super) struct Claim {
    dir: Dir,
    name: String,
    /// Open on the file of that name, and locked.
    file: File,
    key: [String; 3],
    last: Option<Remembered>,
}

impl Claim {
    /// Claims the session file of a blob; `None` while another process or thread has it. Removes what
    /// others left behind long ago.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn take(
        state: &Path,
        host: &str,
        path: &str,
        digest: &Digest,
    ) -> Result<Option<Self>> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
        made.map_err(|e| Error::io(state, "creating the directory", &e))?;
        let dir = Dir::open(state)?;
        let key = [host.to_owned(), path.to_owned(), digest.to_string()];
        let name = format!("{}{SUFFIX}", Digest::of(key.join("\n").as_bytes()).hex());
        for _ in 0..16 {
            let file = open(&dir, &name, OFlags::empty())?;
            if !lock(&file) {
                return Ok(None);
            }
            // Whoever had it may have replaced or removed it before we had the lock.
            if !dir.holds(&name, &file)? {
                continue;
            }
            let mut claim = Self { dir, name, file, key, last: None };
            let now = claim.touch()?;
            claim.last = now.1.then(|| claim.read()).flatten();
            claim.sweep(now.0);
            return Ok(Some(claim));
        }
        Ok(None)
    }

    /// What was remembered.
    pub(super) fn known(&self) -> Option<&Remembered> {
        self.last.as_ref()
    }

    /// Remembers the latest state of the session.
    ///
    /// # Errors
    /// `Io`; what was remembered before is then still there.
    pub(super) fn save(&mut self, state: &Remembered) -> Result<()> {
        if self.last.as_ref() == Some(state) {
            return Ok(());
        }
        let mut map = Map::new();
        map.insert("version".into(), 1.into());
        for (field, value) in FIELDS.iter().zip(&self.key) {
            map.insert((*field).into(), value.as_str().into());
        }
        map.insert("location".into(), state.location.as_str().into());
        if let Some(unit) = state.unit {
            map.insert("unit".into(), unit.into());
        }
        // Ours alone while we hold the lock; what a killed run left is written over.
        let temporary = format!("{}.new", self.name);
        self.dir.remove_file(&temporary)?;
        let mut file = open(&self.dir, &temporary, OFlags::EXCL)?;
        let path = self.dir.join(&self.name);
        let text = format!("{}\n", Value::Object(map));
        file.write_all(text.as_bytes()).map_err(|e| Error::io(&path, "writing", &e))?;
        // The lock goes along to the new file before anybody can find it.
        lock(&file);
        self.dir.rename(&temporary, &self.dir, &self.name)?;
        self.file = file;
        self.last = Some(state.clone());
        Ok(())
    }

    /// Nothing of this session is worth remembering.
    pub(super) fn forget(&mut self) {
        self.last = None;
        let _ = self.dir.remove_file(&self.name);
    }

    /// What the file holds, when it is a session that may be used.
    fn read(&self) -> Option<Remembered> {
        let bytes = self.dir.read(&self.name, LARGEST).ok()??;
        let map = json::object(&bytes).ok()?;
        let text = |field: &str| map.get(field).and_then(Value::as_str);
        let same = FIELDS.iter().zip(&self.key).all(|(field, value)| text(field) == Some(value));
        let location = text("location")?;
        if map.get("version") != Some(&1.into()) || !same {
            return None;
        }
        let unit = map.get("unit").and_then(Value::as_u64).filter(|unit| *unit > 0);
        location::is_session(location, &self.key[1])
            .then(|| Remembered { location: location.into(), unit })
    }

    /// The time now, as the file system's own clock has it, and whether the file was not stale.
    fn touch(&self) -> Result<(i64, bool)> {
        let fail = |e| os(&self.dir.join(&self.name), "looking at", e);
        let before = rustix::fs::fstat(&self.file).map_err(fail)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let both = Timestamps { last_access: now, last_modification: now };
        rustix::fs::futimens(&self.file, &both).map_err(fail)?;
        let after = self.file.metadata();
        let after = after.map_err(|e| Error::io(&self.dir.join(&self.name), "looking at", &e))?;
        Ok((after.mtime(), after.mtime() - before.st_mtime < STALE))
    }

    /// Removes session files that nobody holds and that are too old for any registry.
    fn sweep(&self, now: i64) {
        for name in self.dir.names().unwrap_or_default().into_iter().take(SWEPT) {
            let Ok(name) = String::from_utf8(name) else { continue };
            let stem = name.strip_suffix(".new").unwrap_or(&name);
            let ours = stem.strip_suffix(SUFFIX).is_some_and(|hex| Digest::from_hex(hex).is_ok());
            if !ours || stem == self.name {
                continue;
            }
            let stat = rustix::fs::statat(self.dir.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !plain || now - stat.st_mtime < STALE {
                continue;
            }
            let Ok(Some((file, _))) = self.dir.file(&name) else { continue };
            if lock(&file) && self.dir.holds(&name, &file).unwrap_or(false) {
                let _ = self.dir.remove_file(&name);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.last.is_none() {
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

/// What a session belongs to.
const FIELDS: [&str; 3] = ["host", "repository", "digest"];

/// Opens a regular file, made for its owner alone when absent.
fn open(dir: &Dir, name: &str, more: OFlags) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::from_raw_mode(0o600);
    let fail = |e| os(&dir.join(name), "opening", e);
    let fd = rustix::fs::openat(dir.as_fd(), name, flags | OFlags::CLOEXEC | more, mode);
    let fd = fd.map_err(fail)?;
    let stat = rustix::fs::fstat(&fd).map_err(fail)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let path = dir.join(name).display().to_string();
        return Err(Error::malformed("not a regular file").input(path));
    }
    Ok(File::from(fd))
}

/// Whether the file could be locked. The lock ends with the process.
fn lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HOST: &str = "reg.example:5000";
    const PATH: &str = "team/app";

    fn claim(state: &Path) -> Option<Claim> {
        Claim::take(state, HOST, PATH, &Digest::of(b"x")).unwrap()
    }

    fn state(number: u32) -> Remembered {
        let location = format!("/v2/{PATH}/blobs/uploads/{number}?_state=a%2F");
        Remembered { location, unit: (number > 1).then_some(1 << 20) }
    }

    fn only_file(dir: &Path) -> std::path::PathBuf {
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    #[test]
    fn the_latest_state_is_read_back_and_forgotten_on_success() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        let mut first = claim(&below).unwrap();
        assert_eq!(first.known(), None);
        for number in [1, 2, 3, 3] {
            first.save(&state(number)).unwrap();
        }
        let file = only_file(&below);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        let mut second = claim(&below).unwrap();
        assert_eq!(second.known(), Some(&state(3)));
        second.forget();
        drop(second);
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0);
    }

    #[test]
    fn a_claim_without_a_session_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_at_once_do_not_share_a_session() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = claim(dir.path()).unwrap();
        assert!(claim(dir.path()).is_none());
        first.save(&state(1)).unwrap();
        assert!(claim(dir.path()).is_none(), "the lock must go along with the new file");
        first.save(&state(2)).unwrap();
        assert!(claim(dir.path()).is_none());
        let other = Claim::take(dir.path(), HOST, PATH, &Digest::of(b"y")).unwrap();
        assert!(other.is_some(), "another blob is another file");
        drop((first, other));
        assert_eq!(claim(dir.path()).unwrap().known(), Some(&state(2)));
    }

    #[test]
    fn what_others_wrote_into_the_file_is_not_trusted() {
        let digest = Digest::of(b"x");
        let fields = |location: &str| {
            format!(
                r#"{{"version":1,"host":"{HOST}","repository":"{PATH}","digest":"{digest}","location":"{location}"}}"#
            )
        };
        let good = fields("/v2/team/app/blobs/uploads/1");
        for (text, want) in [
            (good.clone(), true),
            (good.replace("\"version\":1", "\"version\":2"), false),
            (good.replace(HOST, "evil.example"), false),
            (good.replace("\"team/app\"", "\"team/other\""), false),
            (good.replace(&digest.hex(), &Digest::of(b"z").hex()), false),
            (good[..good.len() - 3].into(), false),
            (fields("https://evil.example/v2/team/app/blobs/uploads/1"), false),
            (fields("//evil.example/v2/team/app/blobs/uploads/1"), false),
            (fields("/v2/team/other/blobs/uploads/1"), false),
            (fields("/v2/team/app/blobs/uploads/../../../x"), false),
            (fields("/v2/team/app/blobs/uploads/1 HTTP/1.1"), false),
            (fields(&format!("/v2/team/app/blobs/uploads/{}", "1".repeat(40_000))), false),
            (String::new(), false),
            ("[]".into(), false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut first = claim(dir.path()).unwrap();
            first.save(&state(1)).unwrap();
            drop(first);
            std::fs::write(only_file(dir.path()), &text).unwrap();
            assert_eq!(claim(dir.path()).unwrap().known().is_some(), want, "{text}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = claim(dir.path()).unwrap();
        first.save(&state(1)).unwrap();
        drop(first);
        let file = only_file(dir.path());
        let target = dir.path().join("target");
        std::fs::rename(&file, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        assert!(Claim::take(dir.path(), HOST, PATH, &Digest::of(b"x")).is_err());
    }

    #[test]
    fn what_is_older_than_a_week_is_swept_unless_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let blob = |number: u8| Digest::of(&[number]);
        let take = |number| Claim::take(dir.path(), HOST, PATH, &blob(number)).unwrap().unwrap();
        let age = |claim: &Claim| {
            let old = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600);
            claim.file.set_modified(old).unwrap();
        };
        for number in 0..2 {
            let mut old = take(number);
            old.save(&state(1)).unwrap();
            age(&old);
        }
        let mut held = take(2);
        held.save(&state(1)).unwrap();
        age(&held);
        take(3).save(&state(1)).unwrap();
        let foreign = dir.path().join("notes.session");
        std::fs::write(&foreign, "mine").unwrap();
        File::open(&foreign).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        // Its own was forgotten by the registry long ago as well.
        assert_eq!(take(0).known(), None);
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3, "the held one, the young one, and what is not ours");
        drop(held);
    }
}
