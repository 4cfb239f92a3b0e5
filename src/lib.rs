//! imgpack: container image archives for offline environments.

pub mod diff_files;
pub mod error;
pub mod flatten;
pub mod import;
pub mod io;

pub use error::{Error, Kind, Result};
