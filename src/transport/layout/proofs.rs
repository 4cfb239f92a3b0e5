//! `diff-ids`: layers of a layout whose diff id was checked, so that nobody unpacks them for it again.
//!
//! It knows no index. One line for each, `<layer digest> <diff id>`, appended; a line that is lost costs only
//! a check (docs/FORMATS.md).

use std::collections::{HashMap, HashSet};
use std::io::Write;

use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::io::dir::Dir;

/// The file.
pub(crate) const FILE: &str = "diff-ids";
const MAX_SIZE: u64 = 64 << 20;

/// Notes layers whose diff id was checked, one line each; a lost line costs only a check.
pub(crate) fn remember(root: &Dir, proved: &HashMap<Digest, DiffId>) -> Result<()> {
    if proved.is_empty() {
        return Ok(());
    }
    let known = read(root)?;
    let mut new: Vec<_> =
        proved.iter().filter(|(layer, id)| known.get(layer) != Some(id)).collect();
    new.sort_unstable();
    let text: String = new.iter().map(|(layer, diff_id)| format!("{layer} {diff_id}\n")).collect();
    let path = root.join(FILE);
    root.append_file(FILE)?.write_all(text.as_bytes()).map_err(|e| Error::io(&path, "writing", &e))
}

/// Layers whose diff id was checked.
pub(crate) fn read(root: &Dir) -> Result<HashMap<Digest, DiffId>> {
    let bytes = root.read(FILE, MAX_SIZE)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| {
        let (layer, diff_id) = line.split_once(' ')?;
        Some((layer.parse().ok()?, diff_id.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Drops layers that are no longer there.
pub(crate) fn forget(root: &Dir, live: &HashSet<Digest>, sync: bool) -> Result<()> {
    let mut kept: Vec<(Digest, DiffId)> =
        read(root)?.into_iter().filter(|(layer, _)| live.contains(layer)).collect();
    kept.sort_unstable();
    let text: String = kept.iter().map(|(layer, diff_id)| format!("{layer} {diff_id}\n")).collect();
    if root.stat(FILE)?.is_some() {
        root.replace(FILE, text.as_bytes(), sync)?;
    }
    Ok(())
}
