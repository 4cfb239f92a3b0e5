//! Several sources as one: their roots together, each blob from whichever has it.
//!
//! It knows no format. An image that lies in several sources is one root with all its names.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Kind, Result};
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::locks::lock;
use crate::transport::{Checked, Root, Source};

/// A source over several.
pub struct Union {
    place: String,
    parts: Vec<Box<dyn Source>>,
    roots: Vec<Root>,
    /// What is odd about the parts, and no error.
    pub warnings: Vec<String>,
    /// Parts that could not be opened, and why.
    pub unreadable: Vec<(String, Error)>,
    /// Which part has a blob; asked once.
    owner: Mutex<HashMap<Digest, usize>>,
    /// The part that had the last one: it has the next, most likely.
    last: AtomicUsize,
}

/// One of several sources, with its roots as they are to be called.
pub struct UnionPart {
    /// It.
    pub source: Box<dyn Source>,
    /// Its roots.
    pub roots: Vec<Root>,
}

impl UnionPart {
    /// A source under its own names.
    pub fn whole(source: Box<dyn Source>) -> Self {
        Self { roots: source.roots().to_vec(), source }
    }
}

impl Union {
    /// Puts parts together.
    pub fn new(place: String, parts: Vec<UnionPart>) -> Self {
        let mut union = Self {
            place,
            parts: Vec::new(),
            roots: Vec::new(),
            warnings: Vec::new(),
            unreadable: Vec::new(),
            owner: Mutex::default(),
            last: AtomicUsize::new(0),
        };
        let mut at: HashMap<Digest, usize> = HashMap::new();
        for UnionPart { source, roots } in parts {
            for root in roots {
                match at.get(&root.desc.digest) {
                    Some(&known) => {
                        let known = &mut union.roots[known];
                        for name in root.names {
                            if !known.names.contains(&name) {
                                known.names.push(name);
                            }
                        }
                        known.label = known.label.take().or(root.label);
                    }
                    None => {
                        at.insert(root.desc.digest, union.roots.len());
                        union.roots.push(root);
                    }
                }
            }
            let place = source.place();
            union.unreadable.extend_from_slice(source.unreadable());
            union.warnings.extend(source.warnings().iter().map(|w| format!("{place}: {w}")));
            union.parts.push(source);
        }
        union
    }

    fn part(&self, desc: &Descriptor) -> Option<&dyn Source> {
        let mut owner = lock(&self.owner);
        let at = match owner.get(&desc.digest) {
            Some(at) => *at,
            // What is in none now may only not be readable now.
            None => {
                let has = |at: &usize| self.parts[*at].has(desc).unwrap_or_default();
                let last = self.last.load(Ordering::Relaxed);
                let at = std::iter::once(last).chain(0..self.parts.len()).find(has)?;
                owner.insert(desc.digest, at);
                self.last.store(at, Ordering::Relaxed);
                at
            }
        };
        self.parts.get(at).map(AsRef::as_ref)
    }
}

impl Source for Union {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, checked: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        self.part(desc)
            .ok_or_else(|| Error::absent(desc.digest).kind_as(Kind::Missing))?
            .open(desc, checked)
    }

    fn extent(&self, desc: &Descriptor) -> Option<Extent> {
        self.part(desc)?.extent(desc)
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.part(desc).is_some())
    }

    fn whereabouts(&self, desc: &Descriptor) -> String {
        match self.part(desc) {
            Some(part) => format!("{}: {}", part.place(), part.whereabouts(desc)),
            None => desc.digest.to_string(),
        }
    }

    fn spare(&self, desc: &Descriptor) -> Option<(Arc<Scratch>, String)> {
        self.part(desc)?.spare(desc)
    }

    fn diff_id(&self, layer: &Descriptor) -> Option<DiffId> {
        self.part(layer)?.diff_id(layer)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn unreadable(&self) -> &[(String, Error)] {
        &self.unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::layout::Reading;
    use crate::manifest;
    use crate::transport::Blob;
    use crate::transport::layout::LayoutSource;

    /// A layout whose index names `content` (as a blob of no known type).
    fn layout(content: &str, name: &str) -> (tempfile::TempDir, Box<dyn Source>) {
        let temp = tempfile::tempdir().unwrap();
        let mut desc = Descriptor::of("application/x-test", content.as_bytes());
        let path = temp.path().join(desc.digest.blob_path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        desc.annotate(crate::descriptor::ANNOTATION_NAME, name);
        std::fs::write(temp.path().join("index.json"), manifest::index(&[desc])).unwrap();
        std::fs::write(temp.path().join("oci-layout"), crate::layout::tables::MARKER).unwrap();
        let source = LayoutSource::open(temp.path(), Reading::default(), &Context::default());
        (temp, Box::new(source.unwrap()))
    }

    #[test]
    fn a_blob_comes_from_the_part_that_has_it() {
        let parts = [("one", "a:1"), ("two", "b:1"), ("one", "c:1")].map(|(c, n)| layout(c, n));
        let (temps, sources): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let union = Union::new("all".into(), sources.into_iter().map(UnionPart::whole).collect());
        let names: Vec<Vec<String>> = union
            .roots()
            .iter()
            .map(|root| root.names.iter().map(|name| name.familiar()).collect())
            .collect();
        assert_eq!(names, [vec!["a:1", "c:1"], vec!["b:1"]]);
        let ctx = Context::default();
        for (root, want) in union.roots().iter().zip(["one", "two"]) {
            let bytes = Blob::new(&union, root.desc.clone(), &ctx).bytes(10).unwrap();
            assert_eq!(bytes, want.as_bytes());
        }
        let gone = Descriptor::of("application/x-test", b"gone");
        assert!(!union.has(&gone).unwrap());
        assert!(Blob::new(&union, gone, &ctx).bytes(10).is_err());
        drop(temps);
    }
}
