//! The wire protocol of registries: what a client may ask of one, and how.
//!
//! It knows nothing of sources and sinks. OCI distribution-spec 1.1; where registries differ from it,
//! the place says which.

pub mod address;
pub mod credentials;
pub mod http;
pub mod proxy;
pub mod rules;
pub mod settings;
pub mod tls;
