//! The conformance suite at work: `imgpack serve` must pass all of it, and Debian's docker-registry 2.8.2
//! must fail it exactly where it is known to be wrong, or the suite proves nothing.

mod common;
#[path = "conformance/mod.rs"]
mod conformance;
mod net;

use std::path::{Path, PathBuf};

use common::{Sandbox, list, string};
use conformance::{Flags, Held, Report, Target};
use net::registry::Registry;
use net::serve::Imgpack;
use net::{image, raw, skip};

/// The control's version, whose defects are listed.
const CONTROL: &str = "2.8.2";

/// Whether the control can be run here.
fn control() -> bool {
    let version = Registry::version();
    let right = Registry::installed() && version.contains(CONTROL);
    if !right {
        skip(&format!("the control's defects are those of {CONTROL}, not of {version:?}"));
    }
    right
}

/// Fails unless exactly these checks failed, and none was passed over.
#[track_caller]
fn fails_in(report: &Report, defects: &[&str]) {
    println!("{report}");
    let failed = report.failed();
    let found_none: Vec<_> = defects.iter().filter(|name| !failed.contains(name)).collect();
    let unknown: Vec<_> = failed.iter().filter(|name| !defects.contains(name)).collect();
    assert!(found_none.is_empty(), "known defects that were not found: {found_none:#?}");
    assert!(unknown.is_empty(), "failed, and no known defect: {unknown:#?}");
    assert_eq!(report.skipped(), Vec::<&str>::new());
    assert!(report.passed().len() > 10, "{report}");
}

/// The one image of a layout directory, as a registry holds it in a repository.
fn held(layout: &Path, repository: &str) -> Held {
    let digest = image::check(layout);
    let read = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        std::fs::read(layout.join("blobs/sha256").join(hex)).expect("a blob")
    };
    let manifest = read(&digest);
    let json: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let leaves = list(&json["layers"]).iter().chain(json.get("config"));
    let blobs = leaves.map(|leaf| string(&leaf["digest"])).map(|d| (d.clone(), read(&d))).collect();
    Held {
        repository: repository.to_owned(),
        tag: image::TAG.to_owned(),
        digest,
        media_type: string(&json["mediaType"]),
        manifest,
        blobs,
        referrers: Vec::new(),
    }
}

/// A sandbox with the small image of the rig as a layout.
fn small() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let layout = sandbox.path("layout");
    image::small().write(&layout);
    (sandbox, layout)
}

fn writable(base: &str) -> Target {
    let flags = Flags { delete: true, ..Flags::default() };
    Target { base: base.to_owned(), flags, held: Vec::new() }
}

fn read_only(base: &str, held: Held) -> Target {
    let flags = Flags { readonly: true, ..Flags::default() };
    Target { base: base.to_owned(), flags, held: vec![held] }
}

#[test]
fn the_control_fails_where_it_is_known_to_be_wrong() {
    if !control() {
        return;
    }
    let registry = Registry::bare().expect("docker-registry");
    let report = conformance::run(&writable(&registry.address()));
    fails_in(&report, conformance::control::DEFECTS);
}

#[test]
fn the_control_fails_where_it_is_known_to_be_wrong_when_it_only_gives() {
    if !control() {
        return;
    }
    let registry = Registry::plain().expect("docker-registry");
    raw::push(&registry.address(), "library/noise", image::small());
    let (_sandbox, layout) = small();
    let frozen = Registry::read_only_over(&registry).expect("docker-registry");
    let report = conformance::run(&read_only(&frozen.address(), held(&layout, "library/noise")));
    fails_in(&report, conformance::control::READ_ONLY_DEFECTS);
}

#[test]
fn a_writable_server_passes_everything() {
    let server = Imgpack::writable();
    passes(&conformance::run(&writable(server.address())));
}

/// Serves a place, and holds it to the image of a layout.
#[track_caller]
fn gives(sandbox: Sandbox, place: &str, layout: &Path) {
    let held = held(layout, "noise");
    let server = Imgpack::read_only(sandbox, &[place]);
    passes(&conformance::run(&read_only(server.address(), held)));
}

#[test]
fn a_server_over_a_layout_passes_everything() {
    let (sandbox, layout) = small();
    gives(sandbox, layout.to_str().expect("a path"), &layout);
}

#[test]
fn a_server_over_a_union_archive_passes_everything() {
    let (sandbox, layout) = small();
    let archive = sandbox.text("union.tar");
    sandbox.run(&["copy", &format!("oci:{}", layout.display()), &archive]).ok();
    gives(sandbox, &archive, &layout);
}

#[test]
fn a_server_over_a_docker_archive_passes_everything() {
    let (sandbox, layout) = small();
    let archive = sandbox.text("docker.tar");
    let place = format!("docker-archive:{archive}");
    sandbox.run(&["copy", "--format", "docker", &format!("oci:{}", layout.display()), &place]).ok();
    // The manifest that the archive lacks is the one that a copy of it has.
    let again = sandbox.path("again");
    sandbox.run(&["copy", &place, &format!("oci:{}", again.display())]).ok();
    assert_ne!(image::check(&again), image::check(&layout), "its manifest is made");
    gives(sandbox, &archive, &again);
}

/// Nothing failed and nothing was passed over.
#[track_caller]
fn passes(report: &Report) {
    println!("{report}");
    assert_eq!(report.failed(), Vec::<&str>::new(), "{report}");
    assert_eq!(report.skipped(), Vec::<&str>::new(), "{report}");
    assert!(report.passed().len() > 10, "{report}");
}
