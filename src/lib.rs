//! imgpack: container image archives for offline environments.

pub mod error;
pub mod layer;

pub use error::{Error, Kind, Result};
