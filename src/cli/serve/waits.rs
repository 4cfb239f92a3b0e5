//! Messages about places that must be unpacked, hashed or checked before they can be served.

use std::sync::Arc;

use imgpack::progress::{Event, Progress};
use imgpack::units;

/// Bytes from which on it takes more than a moment.
const LONG: u64 = 100_000_000;

/// Listens to places being opened, and passes messages about slow ones to `0`.
pub(super) struct Waits(pub(super) Arc<dyn Progress>);

impl Progress for Waits {
    fn event(&self, event: Event<'_>) {
        match said(&event) {
            Some(text) => self.0.event(Event::Warning(&text)),
            None => self.0.event(event),
        }
    }
}

fn said(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Unpacking(archive, size) if *size >= LONG => Some(format!(
            "{archive}: {} compressed as a whole are unpacked now and at every start; \
             a .tar that `imgpack copy` makes of it is served from where it lies",
            units::size(*size)
        )),
        Event::Hashing(archive, size) if *size >= LONG => Some(format!(
            "{archive}: {} are hashed once: nothing in it says the digests of its layers",
            units::size(*size)
        )),
        Event::Checking(place, size) if *size >= LONG => Some(format!(
            "{place}: {} of layers are unpacked once: only their diff ids tell whether they are whole",
            units::size(*size)
        )),
        _ => None,
    }
}
