//! Source, Sink, Blob, Root: the pair through which every image goes. Read this file first.
//!
//! It knows no format. A source is a place opened for reading, a sink a place opened for writing;
//! the engine in `copy` is all that stands between them. A sink never sees a byte that was not
//! checked: only [`Blob`] can open a source.

use std::io::Read;
use std::sync::Arc;

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::encoding::Encoding;
use crate::error::{Error, Kind, Result};
use crate::io::parts::Extent;
use crate::io::scratch::Scratch;
use crate::layer::Compression;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::verify::{Unpacked, Verified};

pub mod ambiguous;
pub mod archive;
pub mod daemon;
pub mod discard;
pub mod distribution;
pub mod folder;
pub mod foreign;
pub mod layout;
pub mod registry;
pub mod rootfs;
pub mod skopeo_dir;
pub mod store;
pub mod table;
pub mod union;

/// A named entry into the graph of blobs.
#[derive(Clone, Debug)]
pub struct Root {
    /// Full names, in a stable order: tags, and repositories with the digest of the root. None for an
    /// image that is known by its digest alone.
    pub names: Vec<Reference>,
    /// A recorded name that is no full reference: a bare tag, or any string skopeo was given.
    pub label: Option<String>,
    /// The manifest or index.
    pub desc: Descriptor,
    /// Whether the manifest was found or made here.
    pub origin: Origin,
    /// What it refers to, when it is a signature, an attestation or another companion.
    pub companion: bool,
}

/// Where a manifest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It lies in the source.
    Recorded,
    /// The source had none; it was made here, the same way each time.
    Synthesised,
}

impl Origin {
    /// `recorded` or `synthesised`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Synthesised => "synthesised",
        }
    }

    /// Whether the diff ids of the layers must be checked, whatever a user wishes: the digests in a
    /// manifest that was made here are those of whatever came.
    pub fn is_unproven(self) -> bool {
        self == Self::Synthesised
    }
}

impl Root {
    /// A short name for messages.
    pub fn title(&self) -> String {
        match (self.names.first(), &self.label) {
            (Some(name), _) => name.familiar(),
            (None, Some(label)) => crate::text::escape(label).into_owned(),
            (None, None) => self.desc.digest.to_string(),
        }
    }

    /// Everything that it is called, for messages.
    pub fn titles(&self) -> Vec<String> {
        match self.names.as_slice() {
            [] => vec![self.title()],
            names => names.iter().map(Reference::familiar).collect(),
        }
    }

    /// Its tags: those of its names, and the one that its label is or ends with.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let label = self.label.as_deref().filter(|label| !label.contains('@'));
        let last = label.and_then(|label| label.rsplit(['/', ':']).next());
        let tags = self.names.iter().filter_map(|name| name.tag());
        tags.chain(last.filter(|tag| crate::reference::is_tag(tag)))
    }
}

/// Proof that a reader is opened by [`Blob`], which verifies it; nobody else can make one.
pub struct Checked(());

/// Somewhere images can be read from: any descriptor, any thread, any number of times.
pub trait Source: Send + Sync {
    /// How the place is called in messages.
    fn place(&self) -> String;

    /// The images the place was opened on, in a stable order, companions included.
    fn roots(&self) -> &[Root];

    /// Raw bytes behind a descriptor.
    ///
    /// # Errors
    /// `Missing` when the place lacks the blob, `Malformed`, `Io`.
    fn open(&self, desc: &Descriptor, _: &Checked) -> Result<Box<dyn Read + Send + '_>>;

    /// The same from the byte at `offset` on; a place that can skip does.
    ///
    /// # Errors
    /// As [`Source::open`].
    fn open_at(
        &self,
        desc: &Descriptor,
        offset: u64,
        checked: &Checked,
    ) -> Result<Box<dyn Read + Send + '_>> {
        let mut reader = self.open(desc, checked)?;
        std::io::copy(&mut reader.by_ref().take(offset), &mut std::io::sink())?;
        Ok(reader)
    }

    /// Whether the bytes come over a network: they are fetched whole before anything waits for them,
    /// and what was fetched survives the run.
    fn remote(&self) -> bool {
        false
    }

    /// Which repositories hold a blob, each as `registry/path`, for a sink on the same registry.
    fn holders(&self, _: &Descriptor) -> Vec<String> {
        Vec::new()
    }

    /// What an index lists, where reading it would cost a request; nothing where it is not known.
    fn listed(&self, _: &Descriptor) -> Option<Vec<Digest>> {
        None
    }

    /// Where those bytes lie in a local file, when they do.
    fn extent(&self, desc: &Descriptor) -> Option<Extent>;

    /// Whether the blob is there, without reading it.
    ///
    /// # Errors
    /// `Malformed` when something lies there that is no content, `Io`.
    fn has(&self, desc: &Descriptor) -> Result<bool>;

    /// Where the blob lies, for messages: a path, or a member and its offset.
    fn whereabouts(&self, desc: &Descriptor) -> String {
        desc.digest.to_string()
    }

    /// A private file holding just this blob, already verified, which may be renamed away.
    fn spare(&self, _: &Descriptor) -> Option<(Arc<Scratch>, String)> {
        None
    }

    /// The diff id of a layer that was unpacked and checked earlier.
    fn diff_id(&self, _: &Descriptor) -> Option<DiffId> {
        None
    }

    /// What is odd about the place, and no error.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// Parts of the place that could not be opened, and why. Who reads all of a place fails with them or
    /// names them.
    fn unreadable(&self) -> &[(String, Error)] {
        &[]
    }
}

/// Writes a blob and says what it wrote.
pub type Maker<'a> = dyn FnMut(&mut dyn std::io::Write) -> Result<Descriptor> + 'a;

/// Gives a blob of the source once more, if it has it.
pub type Reopen<'a> = dyn Fn(&Descriptor) -> Option<Blob<'a>> + Sync + 'a;

/// What a sink can take.
#[derive(Clone, Copy, Debug)]
pub struct Accepts {
    /// Indexes, or single manifests only.
    pub indexes: bool,
    /// How many blobs may be put at once; 1 means in plan order.
    pub writers: usize,
    /// What becomes of bytes that come over a network.
    pub arrival: Arrival,
}

impl Accepts {
    /// What a place on disk takes: everything, through so many writers.
    pub fn staged(writers: usize) -> Self {
        Self { indexes: true, writers, arrival: Arrival::Staged }
    }
}

/// How bytes that come over a network reach a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As they come.
    Streamed,
    /// Into a file of the sink's own staging, which survives the run.
    Staged,
    /// Whole: they are fetched into a file beside the sink's scratch directory first.
    Fetched,
}

/// What a root will need at a sink.
#[derive(Clone, Debug)]
pub struct Need {
    /// The blob.
    pub desc: Descriptor,
    /// Repositories that hold it, as [`Source::holders`] has them.
    pub holders: Vec<String>,
}

/// A blob that a sink has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reused {
    /// What a layer was found to unpack to when it came in.
    pub diff_id: Option<DiffId>,
}

/// An image that could not be named after all.
#[derive(Debug)]
pub struct Refused {
    /// The image.
    pub root: Root,
    /// Why.
    pub error: Error,
}

/// An image whose whole graph is at the sink.
#[derive(Debug)]
pub struct Sealed {
    /// Its names and its descriptor at the sink.
    pub root: Root,
    /// The image manifests beneath it that are present, in index order.
    pub images: Vec<Image>,
    /// Every blob of the graph that is present, each once.
    pub blobs: Vec<Descriptor>,
}

impl Sealed {
    /// The image that an engine on this machine would run; the first when none fits.
    pub fn own_image(&self) -> Option<&Image> {
        let images = self.images.iter().filter(|image| !image.manifest.is_attestation());
        Platform::for_host(images, |image| image.platform.as_ref())
    }

    /// The same, where all its layers are present: a foreign one may lie elsewhere.
    pub fn whole_image(&self) -> Option<&Image> {
        let present = |layer: &Descriptor| self.blobs.iter().any(|b| b.digest == layer.digest);
        self.own_image().filter(|image| image.layers.iter().all(present))
    }
}

/// One image manifest, opened up.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Descriptor,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Diff ids of the layers; empty for what is no image.
    pub diff_ids: Vec<DiffId>,
    /// Which of the layers were found to unpack to them.
    pub proven: Vec<bool>,
    /// Where it runs, from the index or the config.
    pub platform: Option<Platform>,
}

/// Somewhere images can be written to. Nothing shows before `finish`.
pub trait Sink: Send + Sync {
    /// How the place is called in messages.
    fn place(&self) -> String;

    /// What it can take.
    fn accepts(&self) -> Accepts;

    /// A directory on the sink's own file system for blobs in the making.
    ///
    /// # Errors
    /// `Io`.
    fn scratch(&self) -> Result<Arc<Scratch>>;

    /// What lies there, whole, under every name of a root. Nothing when it is absent, or differs
    /// from name to name.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, `Malformed`, `Io`.
    fn standing(&self, _: &Root) -> Result<Option<Descriptor>> {
        Ok(None)
    }

    /// What it does besides when it is reached over a network, where asking costs a request.
    fn network(&self) -> Option<&dyn NetworkSink> {
        None
    }

    /// Make the blob present without receiving its bytes, if you can. Nothing when it is not.
    ///
    /// # Errors
    /// `Io`.
    fn reuse(&self, desc: &Descriptor) -> Result<Option<Reused>>;

    /// Store the bytes. Nothing is kept unless the reader reached its end.
    ///
    /// # Errors
    /// Those of the reader, and `Io`.
    fn put(&self, blob: &Blob<'_>) -> Result<()>;

    /// Store bytes whose digest is known only once they are written: `make` writes them and says what
    /// they are. Nothing is kept when it fails. `None` when the sink cannot do that, or not now; then
    /// `make` was not called.
    ///
    /// # Errors
    /// Those of `make`, and `Io`.
    fn stream(&self, _make: &mut Maker<'_>) -> Result<Option<Descriptor>> {
        Ok(None)
    }

    /// Bytes that still fit, where the bytes of blobs are what will be written.
    fn free(&self) -> Option<u64> {
        None
    }

    /// Name a root whose whole graph is now present.
    ///
    /// # Errors
    /// `Unsupported` when the place cannot hold it, `Conflict`.
    fn publish(&self, sealed: Sealed) -> Result<()>;

    /// Complete the place; says which images could not be named after all. Dropped without this,
    /// nothing half-made is left behind.
    ///
    /// # Errors
    /// `Io`, `Busy`, `Conflict`.
    fn finish(self: Box<Self>) -> Result<Vec<Refused>>;
}

/// What a sink that is reached over a network does besides.
pub trait NetworkSink: Sync {
    /// Config digests of the images beneath what stands there under the names of a root.
    ///
    /// # Errors
    /// As [`Sink::standing`].
    fn configs(&self, root: &Root) -> Result<Vec<Digest>>;

    /// Hear what a root will need, before any blob is put.
    fn expect(&self, root: &Root, needs: Vec<Need>);

    /// What a layer with this diff id became when it was recoded earlier.
    fn recoded(&self, was: &Descriptor, diff_id: DiffId, to: Compression) -> Option<Descriptor>;

    /// Hear what a layer with this diff id became.
    fn note_recoded(&self, was: &Descriptor, diff_id: DiffId, to: Compression, now: &Descriptor);

    /// Store what parents need, while blobs can still be opened: `open` gives one of the source, if it
    /// has it.
    ///
    /// # Errors
    /// As [`Sink::finish`].
    fn settle(&self, open: &Reopen<'_>) -> Result<()>;
}

/// The only thing a sink is given: can be opened again, always verified, always counted.
pub struct Blob<'a> {
    from: Content<'a>,
    desc: Descriptor,
    unpack: Option<(Option<Encoding>, Arc<Unpacked>)>,
    claims: Vec<DiffId>,
    ctx: &'a Context,
}

/// Where the bytes of a blob are.
enum Content<'a> {
    Source(&'a dyn Source),
    Memory(&'a [u8]),
    Scratch(Arc<Scratch>, String),
    Fetched(Extent),
}

impl<'a> Blob<'a> {
    /// A blob of a source.
    pub fn new(source: &'a dyn Source, desc: Descriptor, ctx: &'a Context) -> Self {
        Self { from: Content::Source(source), desc, unpack: None, claims: Vec::new(), ctx }
    }

    /// A small document held in memory.
    pub fn memory(bytes: &'a [u8], desc: Descriptor, ctx: &'a Context) -> Self {
        Self { from: Content::Memory(bytes), desc, unpack: None, claims: Vec::new(), ctx }
    }

    /// A file of our own in a scratch directory, hashed while it was written.
    pub fn prepared(
        scratch: Arc<Scratch>,
        name: String,
        desc: Descriptor,
        ctx: &'a Context,
    ) -> Self {
        Self { from: Content::Scratch(scratch, name), desc, unpack: None, claims: Vec::new(), ctx }
    }

    /// A file of our own that was fetched, and verified as it came.
    pub fn fetched(extent: Extent, desc: Descriptor, ctx: &'a Context) -> Self {
        Self { from: Content::Fetched(extent), desc, unpack: None, claims: Vec::new(), ctx }
    }

    /// The same blob, unpacked beside every reading; the diff id is left in `unpacked`. Without an
    /// encoding its first bytes tell.
    #[must_use]
    pub fn unpacking(mut self, encoding: Option<Encoding>, unpacked: Arc<Unpacked>) -> Self {
        self.unpack = Some((encoding, unpacked));
        self
    }

    /// The same blob; reading it to its end fails unless it unpacks to one of `claims`.
    #[must_use]
    pub fn claiming(mut self, claims: Vec<DiffId>) -> Self {
        self.claims = claims;
        self
    }

    /// What it is.
    pub fn descriptor(&self) -> &Descriptor {
        &self.desc
    }

    /// Opens it; the last read fails unless size and digest match.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `Io`.
    pub fn open(&self) -> Result<Verified<'_>> {
        self.open_behind(None)
    }

    /// Opens it behind the bytes of a file that is its beginning, perhaps: those are verified with
    /// the rest, and only what follows them is asked of the source.
    ///
    /// # Errors
    /// As [`Blob::open`].
    pub fn open_after(&self, beginning: &Extent) -> Result<Verified<'_>> {
        self.open_behind(Some(beginning))
    }

    fn open_behind(&self, beginning: Option<&Extent>) -> Result<Verified<'_>> {
        let verified = self.verified(beginning)?;
        Ok(match &self.unpack {
            // What comes over a network is not asked for twice.
            Some((encoding, unpacked)) if self.remote() || rayon::current_num_threads() > 1 => {
                verified.unpacking(*encoding, unpacked.clone(), self.claims.clone())
            }
            Some((encoding, unpacked)) => verified.unpacking_after(
                *encoding,
                unpacked.clone(),
                self.claims.clone(),
                Box::new(move || Ok(self.verified(None)?.quiet())),
            ),
            None => verified,
        })
    }

    fn verified(&self, beginning: Option<&Extent>) -> Result<Verified<'_>> {
        let (inner, place): (Box<dyn Read + Send>, String) = match &self.from {
            Content::Source(source) => {
                let place = source.whereabouts(&self.desc);
                let inner: Box<dyn Read + Send> = match beginning {
                    None => open_source(*source, &self.desc, 0)?,
                    Some(extent) => Box::new(extent.reader().chain(Rest {
                        source: *source,
                        desc: &self.desc,
                        offset: extent.size,
                        open: None,
                    })),
                };
                (inner, place)
            }
            Content::Memory(bytes) => (Box::new(*bytes), self.desc.digest.to_string()),
            Content::Fetched(extent) => (Box::new(extent.reader()), self.desc.digest.to_string()),
            Content::Scratch(scratch, name) => {
                let (file, size) = scratch.dir().file(name)?.ok_or_else(|| {
                    Error::missing("scratch file is gone").at(self.desc.digest.to_string())
                })?;
                let extent = Extent::whole(file, &scratch.path(name), size);
                (Box::new(extent.reader()), self.desc.digest.to_string())
            }
        };
        Ok(match &self.from {
            // Our own file, hashed while it was written.
            Content::Scratch(..) | Content::Fetched(_) => {
                Verified::known(inner, &self.desc, place, self.ctx)
            }
            _ => Verified::new(inner, &self.desc, place, self.ctx),
        })
    }

    /// Opens a blob of a source into a reader that outlives this value.
    ///
    /// # Errors
    /// As [`Blob::open`].
    pub fn into_reader(self) -> Result<Verified<'a>> {
        let Content::Source(source) = self.from else {
            return Err(Error::unsupported("only a source's blob outlives its description"));
        };
        let place = source.whereabouts(&self.desc);
        let inner = open_source(source, &self.desc, 0)?;
        Ok(Verified::new(inner, &self.desc, place, self.ctx))
    }

    /// Whether its bytes come over a network.
    pub fn remote(&self) -> bool {
        matches!(self.from, Content::Source(source) if source.remote())
    }

    /// The whole of a small document: a manifest, an index, a config.
    ///
    /// # Errors
    /// `Malformed` when its descriptor says more than `limit` bytes, and as [`Blob::open`].
    pub fn bytes(&self, limit: u64) -> Result<Vec<u8>> {
        let size = self.desc.size;
        if size > limit {
            let what =
                format!("{} is {size} bytes, more than the limit of {limit}", self.desc.digest);
            return Err(Error::malformed(what));
        }
        let read = || -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            self.open()?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            // What a network changed on its way may come right the next time.
            Err(e) if e.kind() == Kind::Corrupt && self.remote() => {
                self.ctx.warn(&format!(
                    "{}: {}; fetching it once more",
                    self.desc.digest,
                    e.what()
                ));
                read()
            }
            other => other,
        }
    }

    /// A file that already holds just these verified bytes and may be renamed into place. Not given
    /// while an unpack check is still to be made.
    pub fn spare(&self) -> Option<(Arc<Scratch>, String)> {
        if self.unpack.is_some() {
            return None;
        }
        match &self.from {
            Content::Source(source) => source.spare(&self.desc),
            Content::Memory(_) | Content::Fetched(_) => None,
            Content::Scratch(scratch, name) => Some((scratch.clone(), name.clone())),
        }
    }

    /// The context it is read in.
    pub fn context(&self) -> &Context {
        self.ctx
    }
}

fn open_source<'a>(
    source: &'a dyn Source,
    desc: &Descriptor,
    offset: u64,
) -> Result<Box<dyn Read + Send + 'a>> {
    let checked = Checked(());
    let opened = match offset {
        0 => source.open(desc, &checked),
        _ => source.open_at(desc, offset, &checked),
    };
    opened.map_err(|e| e.input_or(source.place()).at(source.whereabouts(desc)))
}

/// What follows the beginning of a blob; asked for once the beginning was read.
struct Rest<'a> {
    source: &'a dyn Source,
    desc: &'a Descriptor,
    offset: u64,
    open: Option<Box<dyn Read + Send + 'a>>,
}

impl Read for Rest<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.offset >= self.desc.size {
            return Ok(0);
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open_source(self.source, self.desc, self.offset)?),
        };
        open.read(buf)
    }
}
