//! Many images from one place to another: selected, checked, renamed, copied once, reported.
//!
//! It knows no protocol and no flag. A [`SyncJob`] says what to copy; [`Ends`] are its places, chosen
//! once: a `source` (of `registries`, or any place) and a `destination` (`files`: a layout or an archive;
//! `registries`).
//!
//! - `select` reads lists of images, `resolve` finds what they name, `naming` renames, `kept` finds
//!   what remains under `--platform`, `policy` and `signature` decide about admission. [`prepare`] does
//!   all that before a byte is sent, so that collisions and refusals come first.
//! - `plan` shows what would be done; [`Prepared::run`] does it, with one call of the engine for
//!   everything that is missing.
//! - `lock` and `report` are files; `emit` writes the configuration for nodes.

pub mod destination;
pub mod emit;
pub mod ends;
pub mod files;
pub mod job;
mod kept;
pub mod lock;
pub mod naming;

pub mod plan;
pub mod policy;
mod prepare;
pub mod registries;
pub mod report;
pub mod resolve;
mod run;
pub mod select;
pub mod signature;
pub mod source;
#[cfg(test)]
mod tests;

pub use ends::Ends;
pub use job::SyncJob;
pub use prepare::{Prepared, prepare};
pub use report::SyncReport;
pub use run::run;
