//! Names and digests: what is parsed prints as something that parses to the same, and no digest or
//! clean member name can lead anywhere.
#![no_main]

use imgpack::digest::Digest;
use imgpack::layout::clean;
use imgpack::platform::Platform;
use imgpack::reference::Reference;
use imgpack::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(name) = clean(data) {
        assert!(!name.starts_with('/') && !name.split('/').any(|p| p == ".." || p == "."));
        assert_eq!(clean(name.as_bytes()).unwrap(), name);
    }
    let shown = text::escape_bytes(data);
    assert!(!shown.chars().any(char::is_control));
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(!text::escape(text).chars().any(char::is_control));
    if let Ok(reference) = text.parse::<Reference>() {
        let printed = reference.to_string();
        assert_eq!(printed.parse::<Reference>().unwrap(), reference, "{text:?} {printed:?}");
        let familiar = reference.familiar();
        assert_eq!(familiar.parse::<Reference>().unwrap(), reference, "{text:?} {familiar:?}");
        assert!(!printed.starts_with('-') && !printed.chars().any(char::is_control));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let hex = digest.hex();
        assert!(hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform, "{text:?}");
    }
});
