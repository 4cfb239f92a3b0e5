//! The decoders: no panic, bounded output, and the same result however small the pieces are.
#![no_main]

use std::io::Read;

use imgpack::encoding::{Encoding, SNIFF_LEN};
use imgpack::layer::{Limits, decoder};
use libfuzzer_sys::fuzz_target;

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(1);
        self.0.read(&mut buf[..n])
    }
}

fn decode(encoding: Encoding, from: impl Read + Send) -> Option<Vec<u8>> {
    let limits = Limits { max_output: 1 << 20, max_window: 1 << 20 };
    let mut out = Vec::new();
    let mut reader = decoder(encoding, from, &limits).ok()?;
    let done = reader.read_to_end(&mut out);
    assert!(out.len() <= 1 << 20);
    done.ok().map(|_| out)
}

fuzz_target!(|data: &[u8]| {
    let encoding = Encoding::sniff(&data[..data.len().min(SNIFF_LEN)]);
    assert_eq!(decode(encoding, data), decode(encoding, Drip(data)));
});
