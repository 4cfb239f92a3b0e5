//! Images whose bytes no compression shrinks, the same in every run.

use std::path::Path;
use std::sync::OnceLock;

use crate::common::image::{Image, Oci};
use crate::common::tarball::Tar;
use crate::common::{list, sha256, string};

/// The tag of every image made here.
pub const TAG: &str = "v1";

/// Bytes that look like chance (xorshift64*), from a seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1 << 40;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(size);
    out
}

/// An image whose layers hold so many bytes each, tagged `v1`; different for every seed.
pub fn image(seed: u64, layers: &[usize]) -> Oci {
    let layer = |(at, size): (usize, &usize)| {
        let bytes = noise(seed * 1000 + at as u64, *size);
        Tar::new().dir("data/").file(format!("data/{seed}-{at}"), &bytes).end()
    };
    let image = Image::of(layers.iter().enumerate().map(layer).collect());
    Oci::one(&image, Some(&format!("docker.io/library/noise:{TAG}")))
}

/// The image of the fault matrix: one layer of 20 MB and a small one. The matrix was measured with ten
/// times as much; offsets here are a tenth of what it says.
pub fn big() -> &'static Oci {
    static BIG: OnceLock<Oci> = OnceLock::new();
    BIG.get_or_init(|| image(1, &[20_000_000, 500_000]))
}

/// A few kilobytes.
pub fn small() -> &'static Oci {
    static SMALL: OnceLock<Oci> = OnceLock::new();
    SMALL.get_or_init(|| image(2, &[30_000, 5_000]))
}

/// The digest of the one manifest that a layout's index names.
pub fn digest(oci: &Oci) -> String {
    string(&oci.entries[0]["digest"])
}

/// Bytes of all layers and configs.
pub fn weight(oci: &Oci) -> u64 {
    let root = digest(oci);
    let blobs = oci.blobs.iter().filter(|(hex, _)| !root.ends_with(hex.as_str()));
    blobs.map(|(_, bytes)| bytes.len() as u64).sum()
}

/// The digest of the one image of a layout directory, every blob beneath it hashed.
#[track_caller]
pub fn check(dir: &Path) -> String {
    let read =
        |path: &Path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let index: serde_json::Value =
        serde_json::from_slice(&read(&dir.join("index.json"))).expect("JSON");
    let entries = list(&index["manifests"]);
    assert_eq!(entries.len(), 1, "{index}");
    let root = string(&entries[0]["digest"]);
    let blob = |digest: &str| {
        let bytes = read(&dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:")));
        assert_eq!(sha256(&bytes), digest);
        bytes
    };
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&root)).expect("JSON");
    for desc in list(&manifest["layers"]).iter().chain(manifest.get("config")) {
        blob(&string(&desc["digest"]));
    }
    root
}
