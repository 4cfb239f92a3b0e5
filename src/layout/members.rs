//! What a place has by name, how to read its tables, and what comes of it.
//!
//! It must not know a table.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::transport::Root;

/// Named content of a directory or an archive. Names are clean: no `.`, no `..`, no leading `/`.
pub trait Members: Sync {
    /// A whole small member; `None` when there is none of that name.
    ///
    /// # Errors
    /// `Malformed` when it is larger than `limit`, is no regular file or occurs twice with
    /// different bytes; `Io`.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// Size in bytes.
    ///
    /// # Errors
    /// As [`Members::read`].
    fn size(&self, name: &str) -> Result<Option<u64>>;

    /// The first bytes.
    ///
    /// # Errors
    /// As [`Members::read`].
    fn head(&self, name: &str, most: usize) -> Result<Vec<u8>>;

    /// The digest; may read the whole member.
    ///
    /// # Errors
    /// As [`Members::read`].
    fn digest(&self, name: &str) -> Result<Digest>;

    /// Whether two members have the same bytes; may read both.
    ///
    /// # Errors
    /// As [`Members::read`].
    fn same(&self, a: &str, b: &str) -> Result<bool> {
        Ok(self.size(a)? == self.size(b)? && self.digest(a)? == self.digest(b)?)
    }

    /// Names of all members, for formats that have no table.
    fn names(&self) -> Vec<String>;
}

/// How to read tables that disagree or break a rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Which table to believe when manifest.json and index.json disagree.
    pub prefer: Option<Prefer>,
    /// Keep an image whose tag breaks the grammar, untagged.
    pub ignore_bad_tags: bool,
}

/// One of the two tables of a hybrid archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// manifest.json.
    Docker,
    /// index.json.
    Oci,
}

/// A place understood.
#[derive(Debug, Default)]
pub struct Layout {
    /// The images.
    pub roots: Vec<Root>,
    /// What is odd, and no error.
    pub warnings: Vec<String>,
    /// Documents made here.
    pub documents: HashMap<Digest, Vec<u8>>,
    /// Blobs that lie under another name than a layout would give them.
    pub members: HashMap<Digest, String>,
}

/// Cleans a name from a table or a tar header: one leading `/` and `./` are dropped.
///
/// # Errors
/// `Malformed` for `..`, NUL, an empty name and more than 4096 bytes.
pub fn clean(name: &[u8]) -> Result<String> {
    let shown = || crate::text::escape_bytes(name);
    if name.len() > 4096 {
        return Err(Error::malformed("member name longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(name)
        .map_err(|_| Error::malformed(format!("member name is not UTF-8: {}", shown())))?;
    if text.contains('\0') {
        return Err(Error::malformed(format!("member name with NUL: {}", shown())));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Error::malformed(format!("member name leads upwards: {}", shown())));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
