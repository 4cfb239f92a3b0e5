//! A folder of OCI layouts as one source, each a repository named by its path.
//!
//! It knows no other storage; the roots of zot and olareg are such folders.

use std::path::Path;

use walkdir::WalkDir;

use crate::context::Context;
use crate::error::{Cause, Error, Result};
use crate::io::look;
use crate::layout::Reading;
use crate::transport::layout::LayoutSource;
use crate::transport::union::Union;
use crate::transport::{Root, Source};

/// Opens every layout beneath `path`.
///
/// # Errors
/// `Missing`, `Malformed`, `Io`.
pub fn open(path: &Path, reading: Reading, ctx: &Context) -> Result<Union> {
    let shown = path.display().to_string();
    let mut parts: Vec<(Box<dyn Source>, Vec<Root>)> = Vec::new();
    for entry in WalkDir::new(path).sort_by_file_name() {
        ctx.check()?;
        let entry = entry.map_err(|e| look::walking(path, &e))?;
        if entry.file_name() != "oci-layout" || !entry.file_type().is_file() {
            continue;
        }
        let Some(dir) = entry.path().parent() else { continue };
        match LayoutSource::open(dir, reading, ctx) {
            Ok(source) => {
                let below = dir.strip_prefix(path).unwrap_or(dir);
                let roots = named(source.roots(), &below.to_string_lossy());
                parts.push((Box::new(source), roots));
            }
            // An empty repository is no defect of the others.
            Err(e) if e.cause() == Cause::Empty => {}
            Err(e) => return Err(e),
        }
    }
    if parts.is_empty() {
        return Err(Error::empty().input(shown));
    }
    Ok(Union::new(shown, parts))
}

/// The roots of a layout, those with a bare tag under the name of the repository.
fn named(roots: &[Root], repository: &str) -> Vec<Root> {
    let name = |root: &Root| {
        let mut root = root.clone();
        // A tag beside a full name is that name's own.
        let bare = root.label.as_deref().filter(|_| root.names.is_empty());
        let tag = bare.filter(|label| crate::reference::is_tag(label));
        if let Some(name) = tag.and_then(|tag| format!("{repository}:{tag}").parse().ok()) {
            root.names.push(name);
        }
        root
    };
    roots.iter().map(name).collect()
}
