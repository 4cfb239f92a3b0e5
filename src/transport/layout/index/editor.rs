//! An index that one process changes again and again: kept in memory, read anew only when another
//! process changed the file.
//!
//! It knows nothing of blobs, and decides nothing: whoever changes the index holds its lock from the
//! moment it looked until the change is written.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::{Change, Index, JOURNAL, SMALL_FOR_MANY};
use crate::error::{Error, Result};
use crate::io::dir::{Dir, DirLock};
use crate::layout::tables;

const ROOM: usize = 1 << 12;

/// Inode, size and times of a file; nothing when there is none.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// An index of a directory, ready to be changed.
pub struct Editor {
    root: Arc<Dir>,
    index: Index,
    seen: [Stamp; 2],
    /// With more places for entries than this, those of entries that are gone are dropped.
    room: usize,
    /// Whether nothing was changed since somebody looked.
    resting: bool,
    sync: bool,
    wait: u64,
}

impl Editor {
    /// Reads the index of a directory, which need not have one yet.
    ///
    /// # Errors
    /// `Malformed`, `Busy`, `Io`.
    pub fn open(root: Arc<Dir>, sync: bool, wait: u64) -> Result<Self> {
        let (index, seen) = (Index::default(), [None; 2]);
        let mut editor = Self { root, index, seen, room: ROOM, resting: false, sync, wait };
        // Which reads it, if there is one.
        let (_lock, _) = editor.lock()?;
        if editor.root.stat("oci-layout")?.is_none() {
            editor.root.replace("oci-layout", tables::MARKER, sync)?;
        }
        Ok(editor)
    }

    /// The index as it was last read or written.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether nobody else changed the index since.
    pub fn is_current(&self) -> bool {
        self.stamps().is_ok_and(|now| now == self.seen)
    }

    /// Takes the lock that changes are made under; true when another process changed the index, which
    /// was then read again.
    ///
    /// # Errors
    /// `Busy`, `Malformed`, `Io`.
    pub fn lock(&mut self) -> Result<(DirLock, bool)> {
        let lock = self.root.lock(true, self.wait)?;
        let changed = self.stamps()? != self.seen;
        if changed {
            self.read()?;
        }
        Ok((lock, changed))
    }

    /// Makes changes; they are on the medium when this returns.
    ///
    /// # Errors
    /// `Io`; nothing was changed then.
    pub fn write(&mut self, _: &DirLock, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.index.write(&self.root, changes, self.sync, SMALL_FOR_MANY) {
            // What lies there is the truth, whatever became of ours; the next lock reads it again.
            let _ = self.read();
            self.seen = [None; 2];
            return Err(e);
        }
        if self.index.entries.len() > self.room {
            self.index.compact();
            self.room = 2 * self.index.entries.len() + ROOM;
        }
        self.seen = self.stamps()?;
        self.resting = false;
        Ok(())
    }

    /// Writes the index anew once nothing was changed since this was called last, so that other tools,
    /// which know no journal, read the truth; at once when `now`.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn fold(&mut self, now: bool) -> Result<()> {
        if self.index.journal == 0 || !(std::mem::replace(&mut self.resting, true) || now) {
            return Ok(());
        }
        let (_lock, changed) = self.lock()?;
        if !changed {
            self.index.fold(&self.root, self.sync)?;
            self.seen = self.stamps()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        self.seen = [None; 2];
        self.index = Index::load(&self.root)?;
        self.room = 2 * self.index.entries.len() + ROOM;
        self.seen = self.stamps()?;
        Ok(())
    }

    fn stamps(&self) -> Result<[Stamp; 2]> {
        Ok([self.stamp("index.json")?, self.stamp(JOURNAL)?])
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        let Some((file, size)) = self.root.file(name)? else { return Ok(None) };
        let meta =
            file.metadata().map_err(|e| Error::io(&self.root.join(name), "looking at", &e))?;
        let (mtime, ctime) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Ok(Some((meta.ino(), size, mtime.0, mtime.1, ctime.0, ctime.1)))
    }
}

impl Index {
    /// Drops the places of entries that are gone.
    fn compact(&mut self) {
        let mut fresh = Self {
            rest: std::mem::take(&mut self.rest),
            bytes: self.bytes,
            journal: self.journal,
            ..Self::default()
        };
        self.entries.drain(..).flatten().for_each(|entry| fresh.push(entry));
        *self = fresh;
    }
}
