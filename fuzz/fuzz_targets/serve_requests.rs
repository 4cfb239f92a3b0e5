//! What strangers send to `serve`: no path, query, range or name makes it panic, and none leads
//! anywhere but into a repository.
#![no_main]

use imgpack::serve::names::Naming;
use imgpack::serve::range::{self, Stretch};
use imgpack::serve::route::{self, Route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let name = match route::read(path) {
        Ok(Route::Tags(name) | Route::Uploads(name)) => Some(name),
        Ok(Route::Manifest(name, _) | Route::Blob(name, _) | Route::Referrers(name, _)) => Some(name),
        Ok(Route::Upload(name, id)) => {
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            Some(name)
        }
        _ => None,
    };
    let ns = route::query(Some(query), "ns");
    for key in ["digest", "mount", "from", "n", "last", "artifactType"] {
        route::queries(Some(query), key).for_each(drop);
    }
    let naming = Naming::default();
    if let Some(name) = &name {
        assert!(name.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
        for found in naming.candidates(name, ns.as_deref()) {
            let shown = naming.shown(&found);
            // Capitals and IPv6 cannot stand in a path; such a registry is reached by `ns=` alone.
            let odd = |c: char| c == '[' || c.is_ascii_uppercase();
            assert!(found.domain().contains(odd) || naming.candidates(&shown, None).contains(&found), "{found} is shown as {shown}");
        }
        if let Some(target) = naming.target(name, None) {
            assert!(naming.candidates(name, None).contains(&target));
        }
    }
    for size in [0, 1, 5_000, u64::MAX] {
        if let Stretch::Part(start, length) = range::stretch(text, size) {
            assert!(length > 0 && start < size && length <= size - start);
        }
    }
    if let Some((first, last)) = range::chunk(text) {
        assert!(first <= last);
    }
});
