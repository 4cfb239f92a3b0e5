//! Every reader of JSON: no panic, and what is accepted survives being written and read again.
#![no_main]

use imgpack::config::Config;
use imgpack::descriptor::Descriptor;
use imgpack::layout::docker;
use imgpack::manifest::Document;
use imgpack::{json, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = json::parse(data) {
        let again = json::go_compact(&value);
        assert_eq!(json::parse(&again).unwrap(), value);
        if let Ok(desc) = Descriptor::from_value(&value) {
            assert_eq!(Descriptor::from_value(&desc.to_value()).unwrap(), desc);
        }
    }
    for claimed in [media_type::OCI_MANIFEST, media_type::OCI_INDEX, "", "application/x"] {
        if let Ok(document) = Document::parse(data, &claimed.into()) {
            assert!(document.children().len() <= 10_001);
        }
    }
    if let Ok(config) = Config::parse(data) {
        let _ = (config.platform(), config.created(), config.history(), config.label("a"));
        let _ = config.check_layers(1);
    }
    let _ = docker::table(data);
});
