//! Many images from one place to another.

pub mod select;
