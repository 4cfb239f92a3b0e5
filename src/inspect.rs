//! What is in a place, as data: one row for each image manifest.
//!
//! It prints nothing and reads no layer beyond its first bytes. The JSON shape is stable: scripts
//! depend on it.

use std::collections::HashSet;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::encoding::{Encoding, SNIFF_LEN};
use crate::error::{Error, Kind, Result};
use crate::layout::MAX_NESTING;
use crate::manifest::{self, Document, MAX_DOCUMENT};
use crate::media_type::Role;
use crate::platform::Platform;
use crate::transport::{Blob, Root, Source};

/// One image manifest of a place.
#[derive(Debug)]
pub struct Row {
    /// The root it belongs to.
    pub root: Root,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Config digest.
    pub image_id: Option<Digest>,
    /// The parsed config, when it is an image's and present.
    pub config: Option<Config>,
    /// Where it runs.
    pub platform: Option<Platform>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Debug)]
pub struct Layer {
    /// The blob.
    pub desc: Descriptor,
    /// How its bytes are compressed; `None` when they are missing, or in a registry.
    pub encoding: Option<Encoding>,
    /// What the config says it unpacks to.
    pub diff_id: Option<DiffId>,
}

/// Something that refers to an image: a signature, an attestation, an SBOM.
#[derive(Debug)]
pub struct Referrer {
    /// It.
    pub desc: Descriptor,
    /// What kind of artifact it is.
    pub artifact_type: Option<String>,
    /// The image or index that it refers to, if recorded.
    pub subject: Option<String>,
}

/// Everything in a place.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Images.
    pub rows: Vec<Row>,
    /// Companions of images.
    pub referrers: Vec<Referrer>,
    /// What is odd or absent.
    pub warnings: Vec<String>,
}

/// Looks at the roots of a source.
///
/// # Errors
/// `Corrupt` and `Malformed` for a manifest that is present and wrong; absent ones are warnings.
pub fn inventory(source: &dyn Source, roots: &[Root], ctx: &Context) -> Result<Inventory> {
    let looks: Result<Vec<Inventory>> = roots
        .par_iter()
        .map(|root| {
            let (inventory, seen) = (Inventory::default(), HashSet::new());
            let mut look = Inspector { source, ctx, inventory, seen };
            look.node(root, &root.desc, 0, root.companion)
                .map_err(|e| e.input_or(source.place()))?;
            Ok(look.inventory)
        })
        .collect();
    let mut all = Inventory { warnings: source.warnings().to_vec(), ..Inventory::default() };
    // One companion may be met under several roots, and so may what is absent.
    let (mut listed, mut warned) = (HashSet::new(), HashSet::new());
    for found in looks? {
        all.rows.extend(found.rows);
        all.referrers.extend(found.referrers.into_iter().filter(|r| listed.insert(r.desc.digest)));
        all.warnings.extend(found.warnings.into_iter().filter(|w| warned.insert(w.clone())));
    }
    Ok(all)
}

struct Inspector<'a> {
    source: &'a dyn Source,
    ctx: &'a Context,
    inventory: Inventory,
    /// Manifests already listed under a root.
    seen: HashSet<(Digest, Digest)>,
}

impl Inspector<'_> {
    fn read(&mut self, desc: &Descriptor, what: &str) -> Result<Option<Vec<u8>>> {
        if desc.size > MAX_DOCUMENT && what == "blob" {
            return Ok(None);
        }
        match Blob::new(self.source, desc.clone(), self.ctx).bytes(MAX_DOCUMENT) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == Kind::Missing => {
                let platform = desc.platform().map(|p| format!(" for {p}")).unwrap_or_default();
                self.warn(format!("{what} {}{platform} is missing", desc.digest));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// A config, also one whose descriptor has its size wrong; `None` when it is absent or damaged.
    fn config(&mut self, desc: &Descriptor) -> Result<Option<Vec<u8>>> {
        match self.read(desc, "config") {
            Err(e) if e.kind() == Kind::Corrupt => {
                self.warn(format!("config: {}", e.what()));
                let size = self.source.extent(desc).map_or(desc.size, |extent| extent.size);
                Ok(self.read(&Descriptor { size, ..desc.clone() }, "config").unwrap_or_default())
            }
            other => other,
        }
    }

    fn warn(&mut self, text: String) {
        if !self.inventory.warnings.contains(&text) {
            self.inventory.warnings.push(text);
        }
    }

    fn node(
        &mut self,
        root: &Root,
        desc: &Descriptor,
        depth: usize,
        companion: bool,
    ) -> Result<()> {
        if depth > MAX_NESTING {
            return Err(Error::malformed(format!("indexes nested deeper than {MAX_NESTING}")));
        }
        self.ctx.check()?;
        if !self.seen.insert((root.desc.digest, desc.digest)) {
            return Ok(());
        }
        let what = match desc.media_type.role() {
            Role::Index => "index",
            Role::Manifest | Role::Schema1 => "manifest",
            _ => "blob",
        };
        let Some(bytes) = self.read(desc, what)? else { return Ok(()) };
        let doc = match Document::parse(&bytes, &desc.media_type) {
            Ok(doc) => doc,
            Err(_) if what == "blob" => return Ok(()),
            Err(e) => return Err(e.within(desc.digest.to_string())),
        };
        self.ctx.count(doc.children().len())?;
        let companion = companion || doc.subject.is_some() || desc.is_attestation();
        match doc.kind {
            manifest::DocumentKind::Index(ref entries) => {
                if companion && depth == 0 {
                    self.refer(desc, &doc);
                }
                for entry in entries {
                    self.node(root, entry, depth + 1, companion)?;
                }
            }
            manifest::DocumentKind::Manifest { .. } if companion => self.refer(desc, &doc),
            manifest::DocumentKind::Manifest { ref config, ref layers } => {
                let image = doc.is_image();
                self.image(root, desc, &doc, config.as_ref(), layers, image)?;
            }
        }
        Ok(())
    }

    fn refer(&mut self, desc: &Descriptor, doc: &Document) {
        let subject = doc
            .subject
            .as_ref()
            .map(|s| s.digest.to_string())
            .or_else(|| desc.annotation("vnd.docker.reference.digest").map(str::to_owned))
            .or_else(|| desc.annotation(crate::descriptor::ANNOTATION_SUBJECT).map(str::to_owned));
        let config_type = doc.children().first().map(|c| c.media_type.as_str().to_owned());
        let artifact_type = doc.artifact_type.clone().or(config_type);
        self.inventory.referrers.push(Referrer { desc: desc.clone(), artifact_type, subject });
    }

    fn image(
        &mut self,
        root: &Root,
        desc: &Descriptor,
        doc: &Document,
        config: Option<&Descriptor>,
        layers: &[Descriptor],
        image: bool,
    ) -> Result<()> {
        let mut parsed = None;
        // Layers of unknown types do not make the config less an image's.
        if let Some(config) = config.filter(|c| image || c.media_type.role() == Role::Config) {
            if let Some(bytes) = self.config(config)? {
                match Config::parse(&bytes) {
                    Ok(config) => parsed = Some(config),
                    Err(e) if image && !doc.is_untyped() => {
                        return Err(e.within(config.digest.to_string()));
                    }
                    Err(_) => {}
                }
            }
        } else if let Some(config) = config
            && !self.source.has(config)?
        {
            self.warn(format!("config {} is missing", config.digest));
        }
        let diff_ids = parsed.as_ref().and_then(|c| c.diff_ids.clone()).unwrap_or_default();
        let artifact = parsed.as_ref().is_some_and(Config::is_only_platform);
        if image && parsed.is_some() && !artifact && diff_ids.len() != layers.len() {
            let (have, say) = (layers.len(), diff_ids.len());
            self.warn(format!(
                "{}: {have} layers, but the config lists {say} diff ids",
                desc.digest
            ));
        }
        let mut rows = Vec::new();
        for (i, layer) in layers.iter().enumerate() {
            let encoding = match self.source.extent(layer) {
                Some(extent) => Some(Encoding::sniff(&extent.head(SNIFF_LEN)?)),
                // Far away: what it is packed with is not known before it is fetched.
                None if self.source.remote() && self.source.has(layer)? => None,
                // No layer is fetched for its first bytes.
                None if self.source.remote() => None,
                None => {
                    self.warn(format!("layer {} is missing", layer.digest));
                    None
                }
            };
            rows.push(Layer { desc: layer.clone(), encoding, diff_id: diff_ids.get(i).copied() });
        }
        let platform = parsed.as_ref().and_then(Config::platform).or_else(|| desc.platform());
        let mut manifest = desc.clone();
        manifest.media_type = doc.media_type.clone();
        self.inventory.rows.push(Row {
            root: root.clone(),
            manifest,
            image_id: config.map(|c| c.digest),
            config: parsed,
            platform,
            layers: rows,
        });
        Ok(())
    }
}

impl Inventory {
    /// The stable JSON form.
    pub fn to_value(&self) -> Value {
        let images: Vec<Value> = self.rows.iter().map(Row::to_value).collect();
        let referrers: Vec<Value> = self
            .referrers
            .iter()
            .map(|r| {
                json!({
                    "digest": r.desc.digest.to_string(),
                    "size": r.desc.size,
                    "media_type": r.desc.media_type.as_str(),
                    "artifact_type": r.artifact_type,
                    "subject": r.subject,
                })
            })
            .collect();
        json!({"images": images, "referrers": referrers, "warnings": self.warnings})
    }
}

impl Row {
    /// One row of the stable JSON form.
    pub fn to_value(&self) -> Value {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|l| {
                json!({
                    "digest": l.desc.digest.to_string(),
                    "size": l.desc.size,
                    "media_type": l.desc.media_type.as_str(),
                    "compression": l.encoding.map(Encoding::name),
                    "diff_id": l.diff_id.map(|d| d.to_string()),
                })
            })
            .collect();
        let names: Vec<String> = self.root.names.iter().map(ToString::to_string).collect();
        let mut row = Map::new();
        row.insert("names".into(), json!(names));
        row.insert("target".into(), self.root.desc.digest.to_string().into());
        row.insert("manifest".into(), self.manifest.digest.to_string().into());
        row.insert("image_id".into(), json!(self.image_id.map(|d| d.to_string())));
        row.insert("platform".into(), json!(self.platform.as_ref().map(ToString::to_string)));
        row.insert("media_type".into(), self.manifest.media_type.as_str().into());
        row.insert("layers".into(), layers.into());
        row.insert("origin".into(), self.root.origin.name().into());
        Value::Object(row)
    }
}
