//! Many images from one place to another.

pub mod emit;
pub mod lock;
pub mod naming;
pub mod policy;
pub mod report;
pub mod select;
pub mod signature;
