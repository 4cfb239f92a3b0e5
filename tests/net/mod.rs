//! The rig of the registry tests: real registries, a registry of our own, and a network that breaks.
//!
//! Everything listens on loopback only and ends with the value that started it. Nothing in it uses the
//! library, so that what the tests expect does not come from what they test.
#![allow(dead_code, unreachable_pub, missing_docs)] // every test crate uses a part of it

pub mod image;
pub mod issuer;
pub mod mock;
pub mod profiles;
pub mod proxy;
pub mod raw;
pub mod registry;
pub mod rules;
pub mod run;
pub mod serve;
pub mod server;
pub mod tunnel;
pub mod wire;

use std::net::{Ipv4Addr, TcpListener};

pub use crate::common::{have, skip};

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
