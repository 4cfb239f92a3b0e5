//! How fast layers are inflated and compressed, on generated data; MB are of uncompressed bytes.

use std::io::{self, Write};

use divan::Bencher;
use divan::counter::BytesCount;
use imgpack::layer::{Compression, Encoder, StreamLimits, decoder};

const SIZE: usize = 32 << 20;

fn main() {
    divan::main();
}

/// Text-like data that compresses about as well as a Linux root.
fn data() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<[u8; 8]> = (0..4096).map(|_| next().to_le_bytes()).collect();
    let mut data = Vec::with_capacity(SIZE + 16);
    while data.len() < SIZE {
        let pick = next();
        data.extend_from_slice(&words[(pick & 0xfff) as usize][..3 + (pick >> 61) as usize % 6]);
        if pick & 0x3000 == 0 {
            data.extend_from_slice(&pick.to_be_bytes()[..5]);
        }
    }
    data.truncate(SIZE);
    data
}

fn encoded(data: &[u8], compression: &str) -> Vec<u8> {
    let compression: Compression = compression.parse().expect("a valid compression");
    let mut encoder = Encoder::new(Vec::new(), compression).expect("an encoder");
    encoder.write_all(data).expect("compressed");
    encoder.finish().expect("compressed")
}

#[divan::bench(args = ["gzip:1", "gzip:4", "gzip:6", "zstd:3"], sample_count = 5)]
fn encode(bencher: Bencher<'_, '_>, compression: &str) {
    let data = data();
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| encoded(&data, compression));
}

#[divan::bench(args = ["gzip:4", "zstd:3"], sample_count = 5)]
fn decode(bencher: Bencher<'_, '_>, compression: &str) {
    let data = data();
    let encoded = encoded(&data, compression);
    let encoding = compression.parse::<Compression>().expect("a valid compression").encoding;
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| {
        let mut reader =
            decoder(encoding, &encoded[..], &StreamLimits::default()).expect("a decoder");
        io::copy(&mut reader, &mut io::sink()).expect("decoded")
    });
}
