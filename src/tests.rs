//! What unit tests share: a place in memory, and a clock that others do not slow down.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::io::parts::Extent;
use crate::media_type::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::transport::{Checked, Origin, Root, Source};

/// A place in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: HashMap<Digest, Vec<u8>>,
    pub(crate) roots: Vec<Root>,
}

impl Source for Memory {
    fn place(&self) -> String {
        "memory".into()
    }

    fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.get(&desc.digest).ok_or_else(|| Error::missing("not there"))?;
        Ok(Box::new(bytes.as_slice()))
    }

    fn extent(&self, _: &Descriptor) -> Option<Extent> {
        None
    }

    fn has(&self, desc: &Descriptor) -> Result<bool> {
        Ok(self.blobs.contains_key(&desc.digest))
    }
}

impl Memory {
    /// Adds a blob.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let desc = Descriptor::of(media_type, bytes);
        self.blobs.insert(desc.digest, bytes.to_vec());
        desc
    }

    /// Adds a document.
    pub(crate) fn document(&mut self, media_type: &str, value: &Value) -> Descriptor {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// Adds an image of layers that are named by their content; `more` goes into its manifest.
    pub(crate) fn image(&mut self, config: &Value, layers: &[&str], more: &Value) -> Descriptor {
        let layers: Vec<Value> =
            layers.iter().map(|l| self.blob(OCI_LAYER, l.as_bytes()).to_value()).collect();
        let config = self.document(OCI_CONFIG, config).to_value();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": config, "layers": layers});
        for (key, value) in more.as_object().into_iter().flatten() {
            manifest[key] = value.clone();
        }
        self.document(OCI_MANIFEST, &manifest)
    }

    /// Makes a root of what was added.
    pub(crate) fn name(&mut self, desc: &Descriptor, names: &[&str]) -> &mut Root {
        self.roots.push(Root {
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            label: None,
            desc: desc.clone(),
            origin: Origin::Recorded,
            companion: false,
        });
        self.roots.last_mut().unwrap()
    }
}

/// What a piece of work takes of a processor on this thread: the best of several runs.
pub(crate) fn cpu_time(mut work: impl FnMut()) -> Duration {
    let now = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
        text.split(' ').next().and_then(|spent| spent.parse().ok()).expect("nanoseconds")
    };
    let mut once = || {
        let start = now();
        work();
        Duration::from_nanos(now() - start)
    };
    (0..4).map(|_| once()).min().expect("runs")
}
