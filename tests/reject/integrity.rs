//! Every byte counts: one bit flipped anywhere, and the end missing anywhere.

use std::fs;

use crate::common::image::{Docker, Image, Oci, gzip, layer, zstd};
use crate::hostile::{IMGPACK, Sandbox, command, scale};

fn code(sandbox: &Sandbox, place: &str) -> i32 {
    let mut command = command(IMGPACK, sandbox);
    command.args(["verify", "-q", place]).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null()).status().unwrap().code().unwrap_or(1000)
}

fn image() -> Image {
    let mut image = Image::plain(&[layer("one")]).packed("gzip", gzip);
    image.layers.truncate(1);
    image
}

/// In a layout every byte of every blob is covered by a digest; of the tables only names are free.
#[test]
fn every_flipped_byte_of_a_layout_is_found() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("in/layout");
    let layout = Oci::one(&image(), Some("docker.io/library/flip:1"));
    layout.write(&dir);
    let step = scale(3, 1);
    for (name, _) in &layout.blobs {
        let path = dir.join("blobs/sha256").join(name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            assert_eq!(code(&sandbox, dir.to_str().unwrap()), 3, "{name}, byte {at}");
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(code(&sandbox, dir.to_str().unwrap()), 0);
    // index.json: what a changed name or a changed annotation key says is another name, no damage.
    let path = dir.join("index.json");
    let good = fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let digest = text.find("sha256:").unwrap();
    let size = text.find("\"size\":").unwrap() + 7;
    let digits = text[size..].bytes().take_while(u8::is_ascii_digit).count();
    for at in (digest..digest + 71).chain(size..size + digits) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_eq!(code(&sandbox, dir.to_str().unwrap()), 3, "index.json, byte {at}");
    }
}

/// In a tar the bytes without meaning are: padding, names of members nobody refers to, and all of a
/// header that its checksum does not save (nothing: a flip there breaks the checksum).
#[test]
fn every_flipped_byte_of_an_archive_is_found() {
    let sandbox = Sandbox::new();
    let archive = Docker::foldered(&Image::plain(&[layer("one")]), "flip:1");
    let good = archive.tar();
    // Bodies are followed by padding up to the block; the end marker is two blocks.
    let mut padding = vec![false; good.len()];
    let mut at = 0;
    let mut tables = Vec::new();
    while at + 512 <= good.len() && good[at] != 0 {
        let size = std::str::from_utf8(&good[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let (body, end) = (at + 512, (at + 512 + size).next_multiple_of(512));
        padding[body + size..end].fill(true);
        // The last byte of the checksum field is a blank of its own.
        padding[at + 154..at + 156].fill(true);
        // Documents may have other text in them and be as good; layers may not.
        if good[at..].starts_with(b"manifest.json") || good[at..at + 100].ends_with(b".json") || {
            String::from_utf8_lossy(&good[at..at + 100]).trim_end_matches('\0').ends_with(".json")
        } {
            tables.push(body..body + size);
        }
        at = end;
    }
    let path = sandbox.path("in/x.tar");
    let mut missed = Vec::new();
    for i in (0..at).step_by(scale(5, 1)) {
        if padding[i] || tables.iter().any(|t| t.contains(&i)) {
            continue;
        }
        let mut bad = good.clone();
        bad[i] ^= 1 << (i % 7);
        fs::write(&path, bad).unwrap();
        if code(&sandbox, path.to_str().unwrap()) != 3 {
            missed.push(i);
        }
    }
    assert!(missed.is_empty(), "not found: bytes {missed:?} of {at}");
}

#[test]
fn every_cut_is_found() {
    let sandbox = Sandbox::new();
    let docker = Docker::foldered(&image(), "cut:1");
    let oci = Oci::one(&image(), Some("docker.io/library/cut:1"));
    let (docker, oci) = (docker.tar(), oci.tar());
    let wholes = [
        ("da", docker.len() - 1024, docker.clone()),
        ("oa", oci.len() - 1024, oci),
        ("da-gz", usize::MAX, gzip(&docker)),
        ("da-zst", usize::MAX, zstd(&docker)),
    ];
    let path = sandbox.path("in/x.tar");
    for (name, end, whole) in wholes {
        let step = scale(29, 1);
        let cuts =
            (0..whole.len()).step_by(step).chain(whole.len().saturating_sub(20)..whole.len());
        for cut in cuts {
            fs::write(&path, &whole[..cut]).unwrap();
            let got = code(&sandbox, path.to_str().unwrap());
            // What is cut off the end marker alone takes nothing away, unless a block is torn.
            let want = if cut >= end && (cut - end) % 512 == 0 { 0 } else { 3 };
            assert!(got == want || (cut >= end && got == 0), "{name} cut at {cut}: {got}");
        }
    }
}
