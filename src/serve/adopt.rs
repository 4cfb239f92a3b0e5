//! Copies blobs of read-only places into the writable store.
//!
//! It knows no request. A client that finds a layer on a stick does not push it; but the manifest that it
//! pushes must not depend on the stick.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::serve::catalogue::{BlobContent, FoundRepository};
use crate::serve::names::RepositoryName;
use crate::serve::outgoing::{LARGE_PIECE, Outgoing};
use crate::serve::uploads::Stop;
use crate::serve::writable::Writable;

/// Takes over a blob that the repository `from` has elsewhere into the repository `name`. False when it has
/// none.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn blob(
    from: &FoundRepository<'_>,
    writable: &Writable,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<bool> {
    if writable.blob(name, digest)?.is_some() {
        return Ok(false);
    }
    let Some(stored) = from.blob(digest)? else { return Ok(false) };
    let size = stored.descriptor().size;
    let mut body = match from.outgoing(&stored, 0, size)? {
        BlobContent::Memory(bytes) => Pieces { outgoing: None, piece: bytes },
        BlobContent::File(outgoing) => Pieces { outgoing: Some(outgoing), piece: Bytes::new() },
    };
    let session = writable.uploads().begin(name, digest.algorithm())?;
    let mut claimed = session.claim().map_err(failed)?;
    if let Err(stop) = claimed.append(None, Some(size), &mut body) {
        let _ = writable.uploads().cancel(claimed);
        return Err(failed(stop));
    }
    writable.commit(name, claimed, digest).map_err(failed)?;
    Ok(true)
}

fn failed(stop: Stop) -> Error {
    match stop {
        Stop::Failed(error) => error,
        Stop::Mismatch(found) => Error::corrupt(format!("it was {found} when it was copied")),
        _ => Error::new(Kind::Corrupt, "it could not be read to its end"),
    }
}

/// A blob on its way, as something to read from.
struct Pieces {
    outgoing: Option<Outgoing>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty()
            && let Some(outgoing) = &mut self.outgoing
            && let Some(piece) = outgoing.next_piece(LARGE_PIECE)?
        {
            self.piece = piece;
        }
        let n = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
