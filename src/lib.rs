//! imgpack: container image archives for offline environments.

pub mod error;

pub use error::{Error, Kind, Result};
