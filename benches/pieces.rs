//! The pieces that every copy is made of: hashing, headers, documents.

use std::io::Read;

use divan::Bencher;
use divan::counter::BytesCount;
use imgpack::digest::{Algorithm, Hasher};
use imgpack::io::tar::TarReader;
use imgpack::manifest::Document;
use imgpack::media_type::OCI_INDEX;

fn main() {
    divan::main();
}

#[divan::bench]
fn sha256_of_16_mib(bencher: Bencher<'_, '_>) {
    let data = vec![7_u8; 16 << 20];
    bencher.counter(BytesCount::of_slice(&data)).bench(|| {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        data.chunks(256 << 10).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    });
}

/// A tar of 10 000 empty files.
#[divan::bench]
fn headers_of_10_000_members(bencher: Bencher<'_, '_>) {
    let mut builder = tar::Builder::new(Vec::new());
    for i in 0..10_000 {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        let name = format!("directory/file-{i}");
        builder.append_data(&mut header, name, std::io::empty()).expect("a vector takes all");
    }
    let bytes = builder.into_inner().expect("a vector takes all");
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let mut tar = TarReader::new(bytes.as_slice());
        let mut count = 0;
        while let Some(entry) = tar.next().expect("a sound archive") {
            count += entry.name.len();
        }
        count
    });
}

/// An index of 1 000 manifests, parsed strictly.
#[divan::bench]
fn an_index_of_1_000_entries(bencher: Bencher<'_, '_>) {
    let entries: Vec<_> = (0..1_000)
        .map(|i| {
            let content = i.to_string();
            imgpack::descriptor::Descriptor::of(
                imgpack::media_type::OCI_MANIFEST,
                content.as_bytes(),
            )
        })
        .collect();
    let bytes = imgpack::manifest::index(&entries);
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench(|| Document::parse(&bytes, &OCI_INDEX.into()).expect("a sound index"));
}

/// One chunk through the pump: what reading ahead costs.
#[divan::bench]
fn pump_of_16_mib(bencher: Bencher<'_, '_>) {
    let data = vec![7_u8; 16 << 20];
    bencher.counter(BytesCount::of_slice(&data)).bench(|| {
        let mut from = data.as_slice().take(data.len() as u64);
        imgpack::io::pump::copy(&mut from, &mut std::io::sink()).expect("memory does not fail")
    });
}
