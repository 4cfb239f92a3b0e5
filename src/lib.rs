//! imgpack: container image archives for offline environments.

pub mod error;
pub mod flatten;
pub mod io;

pub use error::{Error, Kind, Result};
