//! Many images from one place to another: selected, checked, renamed, copied once, reported.
//!
//! It knows no protocol and no flag: places are reached through an [`Opener`], and a [`SyncJob`] says what to
//! copy. [`prepare`] decides everything before a byte is sent, so that a plan can be shown and collisions
//! and refusals come first; [`Prepared::run`] is one call of the engine for everything that is missing.

pub mod emit;
pub mod folder;
pub mod job;
mod kept;
pub mod local;
pub mod lock;
pub mod naming;
pub mod opener;
pub mod plan;
pub mod policy;
mod prepare;
pub mod registries;
pub mod report;
pub mod resolve;
mod run;
pub mod select;
pub mod signature;
#[cfg(test)]
mod tests;

pub use job::{End, SyncJob};
pub use opener::{OpenedSource, Opener};
pub use prepare::{Prepared, prepare};
pub use report::SyncReport;
pub use run::run;
