//! What must be gone when the process ends: scratch directories, unfinished files, directories that were
//! made for nothing.
//!
//! Each is removed by whoever made it. [`remove_all`] is for a process that ends while its threads wait
//! for a medium that does not answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::locks::lock;

static ALL: Mutex<Vec<Temporary>> = Mutex::new(Vec::new());

struct Temporary {
    path: PathBuf,
    /// Whether what lies in it goes too.
    filled: bool,
}

/// Notes a file, or a directory with the files in it.
pub fn note(path: PathBuf) {
    lock(&ALL).push(Temporary { path, filled: true });
}

/// Notes a directory that goes only when it is empty.
pub fn note_empty(path: PathBuf) {
    lock(&ALL).push(Temporary { path, filled: false });
}

/// Forgets what is gone, or has become what it was to be.
pub fn forget(path: &Path) {
    lock(&ALL).retain(|temporary| temporary.path != path);
}

/// Removes everything that was noted, the last first.
pub fn remove_all() {
    for Temporary { path, filled } in lock(&ALL).drain(..).rev() {
        if filled && fs::remove_file(&path).is_err() {
            for file in fs::read_dir(&path).into_iter().flatten().flatten() {
                let _ = fs::remove_file(file.path());
            }
        }
        let _ = fs::remove_dir(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["made", "made/scratch", "full"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["made/scratch/1", "file", "done", "full/other"] {
            fs::write(at(name), "x").unwrap();
        }
        note_empty(at("made"));
        note_empty(at("full"));
        for name in ["made/scratch", "file", "done"] {
            note(at(name));
        }
        forget(&at("done"));
        remove_all();
        let left = |name: &str| at(name).exists();
        assert_eq!(["made", "full/other", "file", "done"].map(left), [false, true, false, true]);
    }
}
