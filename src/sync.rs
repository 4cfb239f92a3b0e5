//! Many images from one place to another: selected, checked, renamed, copied once, reported.
//!
//! It knows no protocol and no flag: a [`SyncJob`] says what to copy, [`Ends`] are its places. [`prepare`] decides everything before a byte is sent, so that a plan can be shown and collisions
//! and refusals come first; [`Prepared::run`] is one call of the engine for everything that is missing.

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
