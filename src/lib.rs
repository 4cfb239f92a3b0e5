//! imgpack: container image archives for offline environments.
//!
//! A place opened for reading is a [`transport::Source`], a place opened for writing a
//! [`transport::Sink`]; [`copy::copy`] is all that stands between them. Start with `transport`, then
//! `copy`, then `layout`.

pub mod blobs;
pub mod companion;
pub mod config;
pub mod context;
pub mod copy;
pub mod descriptor;
pub mod diff_files;
pub mod digest;
pub mod encoding;
pub mod error;
pub mod find;
pub mod flatten;
pub mod images;
pub mod import;
pub mod inspect;
pub mod io;
pub mod json;
pub mod layer;
pub mod layout;
pub mod locks;
pub mod manifest;
pub mod media_type;
pub mod partial;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod serve;
pub mod sync;
pub mod text;
pub mod transfer;
pub mod transport;
pub mod units;
pub mod verify;

#[cfg(test)]
mod tests;

pub use context::Context;
pub use error::{Cause, Error, Kind, Result};
