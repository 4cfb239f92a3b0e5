//! What happens during a copy, as events; and the one-method trait that listens.
//!
//! It knows no terminal. Bytes are counted in exactly one place, the verifying reader.

/// One thing that happened. Sizes are bytes as they lie in the source.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The plan is known: this many unique blobs of this many bytes will be read.
    Planned {
        /// Unique blobs.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A blob is being read.
    Began(&'a str),
    /// So many more bytes of a blob were read.
    Bytes(u64),
    /// The destination already had a blob of so many bytes.
    Reused(&'a str, u64),
    /// A blob of so many bytes is stored.
    Stored(&'a str, u64),
    /// An image is complete at its destination.
    Published(&'a str),
    /// An archive of so many bytes is unpacked before anything in it can be read: all of it is compressed.
    Unpacking(&'a str, u64),
    /// The layers of an archive of so many bytes are hashed: nothing in it says their digests.
    Hashing(&'a str, u64),
    /// Layers of so many bytes of a place are unpacked: only their diff ids tell whether they are whole.
    Checking(&'a str, u64),
    /// Something the user should know, and no error.
    Warning(&'a str),
    /// Something only `-v` shows.
    Detail(&'a str),
}

/// Listens to events, from any thread.
pub trait Progress: Send + Sync {
    /// Takes note of one event.
    fn event(&self, event: Event<'_>);
}

/// Records nothing.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
