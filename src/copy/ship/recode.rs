//! Layers that are delivered in another encoding: decoded, encoded and hashed in one pass.

use std::io::Write;

use crate::copy::ship::Run;
use crate::copy::ship::arrivals::Parcel;
use crate::copy::ship::outcome::LeafOutcome;
use crate::descriptor::{Descriptor, Rest};
use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::io::dir;
use crate::io::output::Named;
use crate::io::pump;
use crate::layer::{self, Compression, Encoder};
use crate::locks::lock;
use crate::transport::Blob;
use crate::verify::wrong_diff_id;

impl Run<'_> {
    /// Delivers a layer in another encoding: straight into the sink where that is possible, else by
    /// way of a scratch file.
    pub(super) fn recode(
        &self,
        parcel: &Parcel<'_>,
        target: Compression,
    ) -> Result<(LeafOutcome, bool)> {
        let leaf = parcel.leaf;
        let outcome = |now: &Descriptor, diff_id: DiffId| {
            LeafOutcome::new(self.from, &leaf.desc, now, Some(diff_id))
        };
        if let [claimed, ..] = leaf.claimed[..]
            && leaf.claimed.iter().all(|c| *c == claimed)
            && let Some(network) = self.to.network()
            && let Some(now) = network.recoded(&leaf.desc, claimed, target)
            && self.to.reuse(&now)?.is_some()
        {
            return Ok((outcome(&now, claimed), false));
        }
        if self.ordered && self.turn.comes_soon(leaf.at) {
            let mut diff_id = None;
            let streamed = self.to.stream(&mut |to: &mut dyn Write| {
                let (now, found) = self.make(parcel, target, to)?;
                diff_id = Some(found);
                Ok(now)
            })?;
            if let (Some(now), Some(diff_id)) = (streamed, diff_id) {
                return Ok((outcome(&now, diff_id), true));
            }
        }
        let scratch = self.to.scratch()?;
        let (file, name) = scratch.file()?;
        let path = scratch.path(&name);
        let mut to = Named { file, path };
        let made = self.make_in_turn(parcel, target, &mut to);
        let made = made.and_then(|made| dir::close(to.file, &to.path).map(|()| made));
        let (now, diff_id) = match made {
            Ok(made) => made,
            Err(e) => {
                let _ = scratch.dir().remove_file(&name);
                return Err(e);
            }
        };
        if let Some(network) = self.to.network() {
            network.note_recoded(&leaf.desc, diff_id, target, &now);
        }
        self.turn.wait(leaf.at, self.ordered);
        let stored = self.to.reuse(&now)?.is_none();
        if stored {
            let blob = Blob::prepared(scratch.clone(), name.clone(), now.clone(), self.ctx);
            self.to.put(&blob)?;
        }
        if !stored || self.ordered {
            let _ = scratch.dir().remove_file(&name);
        }
        Ok((outcome(&now, diff_id), stored))
    }

    /// Makes a layer once it has a slot: were all made at once, all would be done at the end, and no
    /// sink could take one while the next is made.
    fn make_in_turn(
        &self,
        parcel: &Parcel<'_>,
        target: Compression,
        to: &mut dyn Write,
    ) -> Result<(Descriptor, DiffId)> {
        let _slot = self.slots.take(parcel.leaf.at);
        if let Some(error) = lock(&self.stop).clone() {
            return Err(error);
        }
        self.make(parcel, target, to)
    }

    /// Decodes and encodes a layer; its diff id and its new digest are found on the way. Reading and
    /// decoding run ahead on another thread.
    fn make(
        &self,
        parcel: &Parcel<'_>,
        target: Compression,
        to: &mut dyn Write,
    ) -> Result<(Descriptor, DiffId)> {
        let Parcel { leaf, encoding, local } = *parcel;
        let media_type = leaf.desc.media_type.with_encoding(target.encoding).ok_or_else(|| {
            Error::unsupported(format!("no media type for a layer in {}", target.encoding))
        })?;
        let blob = self.blob(leaf, local);
        let mut verified = blob.open()?;
        // What is uncompressed on one side is hashed there already.
        let sha256 = leaf.desc.digest.algorithm() == Algorithm::Sha256;
        let plain_in = encoding == Encoding::Plain && sha256;
        let plain_out = target.encoding == Encoding::Plain;
        let mut tee =
            Hashed::new(Encoder::new(Hashed::new(to, true), target)?, !plain_in && !plain_out);
        // Reading and checking, decoding, and what follows run beside one another.
        pump::reading_ahead(&mut verified, |input| {
            let mut decoded = layer::decoder(encoding, input, &self.ctx.limits.stream)?;
            pump::copy(&mut decoded, &mut tee)
        })?;
        // The decoder may stop before the last byte; the promise is at the end of the blob.
        std::io::copy(&mut verified, &mut std::io::sink())?;
        let (unpacked, encoder) = tee.finish();
        let (written, _) = encoder.finish()?.finish();
        let written = written.ok_or_else(|| Error::corrupt("layer ended early"))?;
        let diff_id = match unpacked {
            Some((digest, _)) => DiffId(digest),
            None if plain_in => DiffId(leaf.desc.digest),
            None => DiffId(written.0),
        };
        if leaf.check && !leaf.claimed.is_empty() && !leaf.claimed.contains(&diff_id) {
            return Err(wrong_diff_id(&leaf.desc.digest, &leaf.claimed, diff_id));
        }
        let mut now = Descriptor::new(media_type, written.0, written.1);
        now.rest = kept_fields(&leaf.desc);
        Ok((now, diff_id))
    }
}

/// Annotations about the old bytes (a table of contents within them) do not survive recoding.
fn kept_fields(desc: &Descriptor) -> Rest {
    let mut kept = desc.clone();
    kept.rest.shift_remove("data");
    let about_bytes = |key: &str| {
        key.starts_with("io.github.containers.zstd-chunked")
            || key.starts_with("containerd.io/snapshot/stargz")
            || key.starts_with("io.containers.estargz")
    };
    let keys: Vec<String> = match kept.rest.get("annotations") {
        Some(serde_json::Value::Object(map)) => {
            map.keys().filter(|k| about_bytes(k)).cloned().collect()
        }
        _ => Vec::new(),
    };
    for key in keys {
        kept.unannotate(&key);
    }
    kept.rest
}

/// Hashes and counts what goes by, when asked to.
struct Hashed<W> {
    hasher: Option<Hasher>,
    size: u64,
    inner: W,
}

impl<W> Hashed<W> {
    fn new(inner: W, hash: bool) -> Self {
        Self { hasher: hash.then(|| Hasher::new(Algorithm::Sha256)), size: 0, inner }
    }

    fn finish(self) -> (Option<(Digest, u64)>, W) {
        (self.hasher.map(|h| (h.finish(), self.size)), self.inner)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
