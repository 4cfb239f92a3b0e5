//! The shape of the source: who may know of whom, and what the library must not do.
//!
//! It reads `src/**/*.rs` as text, one rule a file. A failure says which line breaks the rule, to be moved, or
//! argued for in `docs/ARCHITECTURE.md` and in the rule's table of exceptions.

#[path = "floors/blobs.rs"]
mod blobs;
#[path = "floors/circles.rs"]
mod circles;
#[path = "floors/errors.rs"]
mod errors;
#[path = "floors/files.rs"]
mod files;
#[path = "floors/paths.rs"]
mod paths;
#[path = "floors/quiet.rs"]
mod quiet;
#[path = "floors/source.rs"]
mod source;
#[path = "floors/table.rs"]
mod table;
#[path = "floors/transports.rs"]
mod transports;
#[path = "floors/types.rs"]
mod types;
