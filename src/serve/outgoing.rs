//! A blob being sent: a range of a file, read in pieces, watched for changes.
//!
//! It knows no socket. A medium can be pulled out, or a file replaced, while it is being served:
//! the file is checked before every piece, and the first time a blob is sent whole, it is hashed on the
//! way. Its last piece is held back until the digest is right, so a wrong blob is never complete.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::io::digests::DigestCache;
use crate::io::parts::{Extent, Stamp};
use crate::locks::lock;

/// Bytes in one piece where many are being sent: 256 of them take 32 MiB.
pub const PIECE: usize = 128 << 10;
/// Bytes in one piece where few are.
pub const LARGE_PIECE: usize = 512 << 10;

/// What is known of the files of one place.
#[derive(Default)]
pub struct Watch {
    /// What a file was like when it was first served.
    files: Mutex<HashMap<(u64, u64), Stamp>>,
    /// Where blobs lay that were hashed on their way out, and were right.
    proved: Mutex<HashMap<Digest, (Stamp, u64)>>,
    /// A file is not what it was when it was first served.
    stale: AtomicBool,
    /// Files come and go, and are named by their digests; one that is taken away is sent to its end.
    written: bool,
    /// What was remembered of the files of the place.
    digests: Arc<DigestCache>,
}

impl Watch {
    /// For a place that was read with a memory, which must forget what proves wrong.
    pub fn remembered(digests: Arc<DigestCache>) -> Self {
        Self { digests, ..Self::default() }
    }

    /// For a place that is written to.
    pub fn written() -> Self {
        Self { written: true, ..Self::default() }
    }

    /// Whether a file changed, if only in its times; then the place must be read again.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// A blob, or `length` bytes of it from `start` on.
    ///
    /// # Errors
    /// `Corrupt` when the file is not what it was, `Io`.
    pub fn outgoing(
        self: &Arc<Self>,
        extent: Extent,
        digest: &Digest,
        start: u64,
        length: u64,
    ) -> Result<Outgoing> {
        let stamp = stamp(&extent, self.written)?;
        let known =
            || *lock(&self.files).entry(stamp.file).or_insert(extent.indexed.unwrap_or(stamp));
        if !self.written && known() != stamp {
            self.stale.store(true, Relaxed);
            return Err(changed(&extent));
        }
        let whole = start == 0 && length == extent.size;
        let here = (stamp, extent.offset);
        let proved = lock(&self.proved).get(digest) == Some(&here);
        let proof = (whole && !proved).then(|| {
            let hasher = Hasher::new(digest.algorithm());
            Box::new(Proof { hasher, digest: *digest, here })
        });
        let (watch, buffer) = (self.clone(), Bytes::new());
        Ok(Outgoing { extent, stamp, watch, at: start, left: length, proof, buffer })
    }
}

fn stamp(extent: &Extent, written: bool) -> Result<Stamp> {
    let stamp = extent.stamp()?;
    // Losing its name changes this time, and nothing else.
    Ok(if written { Stamp { changed: (0, 0), ..stamp } } else { stamp })
}

fn changed(extent: &Extent) -> Error {
    Error::corrupt("changed while it was served").input(extent.path.display().to_string())
}

struct Proof {
    hasher: Hasher,
    digest: Digest,
    here: (Stamp, u64),
}

/// A blob, or a part of one, that is being sent.
pub struct Outgoing {
    extent: Extent,
    stamp: Stamp,
    watch: Arc<Watch>,
    /// The next byte within the blob.
    at: u64,
    left: u64,
    proof: Option<Box<Proof>>,
    /// The piece sent last; its memory is used again once it is gone.
    buffer: Bytes,
}

impl Outgoing {
    /// How many bytes are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all of it was read.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next piece, of at most `most` bytes, when it can be had without waiting for a medium or a long calculation: the system
    /// holds it in memory. Else nothing was read, and [`Outgoing::next_piece`] does it.
    ///
    /// # Errors
    /// `Corrupt` when the file changed.
    pub fn piece_at_hand(&mut self, most: usize) -> Result<Option<Bytes>> {
        if self.left == 0 || self.proof.is_some() {
            return Ok(None);
        }
        let mut piece = self.room(most);
        let at = self.extent.offset + self.at;
        let slices = &mut [IoSliceMut::new(&mut piece)];
        let read = preadv2(&*self.extent.file, slices, at, ReadWriteFlags::NOWAIT);
        if read != Ok(piece.len()) {
            self.buffer = piece.freeze();
            return Ok(None);
        }
        self.came(piece).map(Some)
    }

    /// The next piece, of at most `most` bytes; nothing at the end.
    ///
    /// # Errors
    /// `Corrupt` when the file changed or is not what its digest says, `Io`.
    pub fn next_piece(&mut self, most: usize) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = self.room(most);
        let at = self.extent.offset + self.at;
        let read = self.extent.file.read_exact_at(&mut piece, at);
        read.map_err(|e| Error::unreadable(&self.extent.path, &e))?;
        self.came(piece).map(Some)
    }

    /// Memory for the next piece.
    fn room(&mut self, most: usize) -> BytesMut {
        let want = usize::try_from(self.left).map_or(most, |left| left.min(most));
        let mut piece = match std::mem::take(&mut self.buffer).try_into_mut() {
            Ok(buffer) if buffer.len() >= want && buffer.capacity() <= most => buffer,
            _ => BytesMut::zeroed(want),
        };
        piece.truncate(want);
        piece
    }

    /// A piece that was read: it goes out when the file is still what it was.
    fn came(&mut self, piece: BytesMut) -> Result<Bytes> {
        if stamp(&self.extent, self.watch.written)? != self.stamp {
            return Err(changed(&self.extent));
        }
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        if let Some(proof) = &mut self.proof {
            proof.hasher.update(&piece);
        }
        if self.left == 0
            && let Some(proof) = self.proof.take()
        {
            let found = proof.hasher.finish();
            if found != proof.digest {
                // What is remembered wrongly is read again, and then right.
                if self.watch.digests.forget(&self.extent) {
                    self.watch.stale.store(true, Relaxed);
                }
                let what = format!("expected {}, found {found}", proof.digest);
                return Err(Error::corrupt(what).input(self.extent.path.display().to_string()));
            }
            lock(&self.watch.proved).insert(proof.digest, proof.here);
        }
        let piece = piece.freeze();
        self.buffer = piece.clone();
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn extent(path: &Path) -> Extent {
        let file = std::fs::File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        Extent::whole(file, path, size)
    }

    fn all(mut outgoing: Outgoing) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = outgoing.next_piece(LARGE_PIECE)? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    #[test]
    fn what_is_whole_goes_out_and_what_is_not_is_cut_before_its_end() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("blob");
        let content: Vec<u8> = (0..3 * LARGE_PIECE + 7).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        let watch = Arc::new(Watch::default());
        for _ in 0..2 {
            let outgoing = watch.outgoing(extent(&path), &digest, 0, size).unwrap();
            assert_eq!(all(outgoing).unwrap(), content);
        }
        let part = watch.outgoing(extent(&path), &digest, 5, 10).unwrap();
        assert_eq!(all(part).unwrap(), content[5..15]);

        let other = Digest::of(b"other");
        let mut wrong =
            Arc::new(Watch::default()).outgoing(extent(&path), &other, 0, size).unwrap();
        let mut sent = 0;
        let error = loop {
            match wrong.next_piece(LARGE_PIECE) {
                Ok(piece) => sent += piece.unwrap().len(),
                Err(e) => break e,
            }
        };
        assert_eq!((error.kind(), sent), (crate::Kind::Corrupt, 3 * LARGE_PIECE));
    }

    #[test]
    fn a_file_that_changes_is_not_served_on() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("blob");
        let content = vec![1; 2 * LARGE_PIECE];
        std::fs::write(&path, &content).unwrap();
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        let watch = Arc::new(Watch::default());
        let mut outgoing = watch.outgoing(extent(&path), &digest, 0, size).unwrap();
        assert!(outgoing.next_piece(LARGE_PIECE).unwrap().is_some());
        std::fs::write(&path, vec![2; 2 * LARGE_PIECE]).unwrap();
        assert!(outgoing.next_piece(LARGE_PIECE).is_err());
        assert!(!watch.is_stale());
        assert!(watch.outgoing(extent(&path), &digest, 0, 1).is_err());
        assert!(watch.is_stale());
        std::fs::write(&path, b"short").unwrap();
        let fresh = Arc::new(Watch::default()).outgoing(extent(&path), &digest, 0, 5).unwrap();
        assert!(all(fresh).is_err());
    }

    #[test]
    fn what_changed_since_it_was_indexed_gives_nothing_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("archive");
        std::fs::write(&path, b"header and layer").unwrap();
        let layer = Extent { offset: 11, size: 5, ..extent(&path).indexed().unwrap() };
        let digest = Digest::of(b"layer");
        let part = |watch: Watch| Arc::new(watch).outgoing(layer.clone(), &digest, 1, 3);
        assert_eq!(all(part(Watch::default()).unwrap()).unwrap(), b"aye");
        std::fs::write(&path, b"another, and as long").unwrap();
        assert_eq!(part(Watch::default()).map(|_| ()).unwrap_err().kind(), crate::Kind::Corrupt);
    }
}
