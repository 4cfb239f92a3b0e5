//! `archive:` a tar of images in any shape, in; one union tar, out.
//!
//! It knows nothing of other transports. In: `members` finds what lies where, `layout` says what it
//! means. Out: `writer`.

mod members;
mod source;
mod writer;

pub use source::ArchiveSource;
pub use writer::{ArchiveSink, ArchiveTarget, Halves};
