//! Many images from one place to another.

pub mod emit;
pub mod folder;
pub mod job;
pub mod local;
pub mod lock;
pub mod naming;
pub mod opener;
pub mod policy;
pub mod report;
pub mod resolve;
pub mod select;
pub mod signature;
pub mod union;
