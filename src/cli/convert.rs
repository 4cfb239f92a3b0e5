//! What several verbs share: choosing roots, saying what a copy did, checking for an engine.

use std::path::Path;

use imgpack::copy::{Policy, Report};
use imgpack::encoding::Encoding;
use imgpack::layer::Compression;
use imgpack::reference::Reference;
use imgpack::transport::archive::Halves;
use imgpack::transport::daemon::{self, Engine, Version};
use imgpack::transport::table::{Env, Place, Scheme};
use imgpack::transport::{Root, Sink, Source, select};
use imgpack::{Context, Error, Kind, Result};

use super::args::Consumer;
use super::exit::Outcome;
use super::out;
use super::run::Run;

/// The roots of a source that a user meant; without a name all of them.
///
/// # Errors
/// `Missing`, `Malformed`.
pub(crate) fn roots_of(
    source: &dyn Source,
    image: Option<&str>,
    ctx: &Context,
) -> Result<Vec<Root>> {
    match image {
        None => Ok(source.roots().to_vec()),
        Some(image) => {
            let chosen = match select(source.roots(), image) {
                Ok(found) => found.into_iter().map(|r| named_only(r, image)).collect(),
                Err(e) if e.kind() == Kind::Missing => {
                    imgpack::images::find(source, image, ctx).map_err(|_| e)?
                }
                Err(e) => return Err(e),
            };
            with_companions(source, chosen, ctx)
        }
    }
}

/// A root chosen by one of its names goes under that name alone.
fn named_only(root: &Root, image: &str) -> Root {
    let mut root = root.clone();
    if let Ok(name) = image.parse::<Reference>().map(Reference::or_latest)
        && root.names.contains(&name)
    {
        root.names = vec![name];
    }
    root
}

/// Adds the signatures and attestations that refer to the chosen roots.
///
/// # Errors
/// `Malformed` when there are too many.
pub(crate) fn with_companions(
    source: &dyn Source,
    mut roots: Vec<Root>,
    ctx: &Context,
) -> Result<Vec<Root>> {
    roots.extend(imgpack::images::companions(source, &roots, ctx)?);
    Ok(roots)
}

/// Says what changed on the way: layers that were recoded, roots with a new digest.
pub(crate) fn say_changes(report: &Report) {
    for changed in &report.changed {
        out::error_line(&format!(
            "layer {} became {} ({})",
            changed.from.digest, changed.to.digest, changed.to.media_type
        ));
    }
    for image in &report.published {
        if !image.unchanged && image.target.digest != image.root.desc.digest {
            let (old, new) = (image.root.desc.digest, image.target.digest);
            out::error_line(&format!("{}: {old} became {new}", image.root.title()));
        }
    }
}

/// Writes the digests of what was published, one a line.
///
/// # Errors
/// `Io`.
pub(crate) fn write_digests(path: Option<&Path>, report: &Report) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let images = report.published.iter().filter(|i| !i.root.companion);
    let digests: Vec<String> = images.map(|i| i.target.digest.to_string()).collect();
    std::fs::write(path, digests.join("\n")).map_err(|e| Error::io(path, "writing", &e))
}

/// Opens both sides of a copy, and says what is odd about the source. The target first: what must be
/// unpacked goes beside what will be written.
///
/// # Errors
/// Those of either place.
pub(crate) fn open(
    from: &Place,
    to: &Place,
    halves: Option<Halves>,
    env: &Env,
) -> Result<(Box<dyn Source>, Box<dyn Sink>)> {
    // Nothing is made for what is not there.
    if from.is_file() && !from.path.exists() {
        return Err(Error::no_such_file(&from.path));
    }
    let sink = to.sink(env, halves)?;
    let source = from.source(env, &|| sink.scratch())?;
    source.warnings().iter().for_each(|warning| env.ctx.warn(warning));
    Ok((source, sink))
}

/// What a registry is sent: layers that lie uncompressed in a Docker archive become gzip, as docker
/// does it, unless the user has other wishes.
pub(crate) fn pack(policy: &mut Policy, preserve_digests: bool) {
    if policy.compress.is_none() && !preserve_digests {
        policy.pack = Some(Compression::new(Encoding::Gzip));
    }
}

/// Lists the images that failed.
pub(crate) fn failures(report: &Report, run: &Run) -> Outcome {
    for failed in &report.failed {
        for error in &failed.errors {
            let line = format!("imgpack: {}", failed.line(error));
            out::error_line(&imgpack::text::escape_long(&line));
            run.log(&line);
        }
    }
    match report.failed.is_empty() {
        true => Outcome::Done,
        false => Outcome::Failed(Kind::Partial),
    }
}

/// Checks that the engine of a place will load the images, and adapts what may be adapted.
///
/// # Errors
/// Those of [`adapt`], and of asking the engine for its version.
pub(crate) fn adapt_to(
    to: &Place,
    source: &dyn Source,
    roots: &mut Vec<Root>,
    policy: &mut Policy,
    env: &Env,
) -> Result<()> {
    let Scheme::Engine(engine) = to.scheme else { return Ok(()) };
    let consumer = match (engine, daemon::version(engine, &env.engines, &env.ctx)?) {
        (Engine::Docker, Version::Old) => Consumer::Docker20,
        (Engine::Docker, Version::Current) => Consumer::Docker,
        (Engine::Podman, _) => Consumer::Podman,
        (Engine::Containerd, _) => Consumer::Containerd,
    };
    adapt(consumer, source, roots, policy, &env.ctx)
}

/// Checks that an engine will load the images, and adapts what may be adapted.
///
/// # Errors
/// `Policy` with the reason.
pub(crate) fn adapt(
    consumer: Consumer,
    source: &dyn Source,
    roots: &mut Vec<Root>,
    policy: &mut Policy,
    ctx: &Context,
) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::Policy, what));
    if matches!(consumer, Consumer::Containerd | Consumer::K3s)
        && let Some(unnamed) = roots.iter().find(|r| r.names.is_empty() && !r.companion)
    {
        let title = unnamed.title();
        return refuse(format!(
            "{title} has no name, and containerd makes no image without one; give it one with `imgpack tag`"
        ));
    }
    if !matches!(consumer, Consumer::Docker20 | Consumer::Docker) {
        policy.complete = true;
    }
    roots.retain(|r| !r.companion || matches!(consumer, Consumer::Docker | Consumer::Containerd));
    for root in roots.iter().filter(|r| !r.companion) {
        let tree = imgpack::copy::walk(source, root, ctx)?;
        for manifest in tree.node.manifests() {
            if manifest.config_bytes.is_none() {
                if !manifest.desc.is_attestation() {
                    let title = root.title();
                    return refuse(format!("{title} is no image, and engines load only images"));
                }
                continue;
            }
            for layer in &manifest.layers {
                let Some(extent) = source.extent(layer) else { continue };
                let head = extent.head(imgpack::encoding::SNIFF_LEN)?;
                let encoding = Encoding::sniff(&head);
                let fine = match encoding {
                    Encoding::Plain | Encoding::Gzip => true,
                    Encoding::Zstd => consumer != Consumer::Docker20,
                    Encoding::Xz | Encoding::Bzip2 => {
                        matches!(consumer, Consumer::Docker20 | Consumer::Podman)
                    }
                };
                if fine || policy.compress.is_some_and(|c| c.encoding != encoding) {
                    continue;
                }
                ctx.warn(&format!(
                    "{}: {encoding} layers are not loaded by that engine and become gzip",
                    root.title()
                ));
                policy.compress = Some(Compression::new(Encoding::Gzip));
            }
        }
    }
    if let Some(compress) = policy.compress
        && compress.encoding == Encoding::Zstd
        && consumer == Consumer::Docker20
    {
        return refuse("docker 20.10 cannot load zstd layers; use --compress gzip".into());
    }
    Ok(())
}

/// The names under which images enter the store.
///
/// # Errors
/// `Usage` when `tag` is given and there is more than one image.
pub(crate) fn rename(roots: &mut [Root], prefix: Option<&str>, tag: Option<&str>) -> Result<()> {
    if let Some(tag) = tag {
        let mut images: Vec<&mut Root> = roots.iter_mut().filter(|r| !r.companion).collect();
        if images.len() != 1 {
            let what = format!("--tag names one image, the archive holds {}", images.len());
            return Err(Error::new(Kind::Usage, what));
        }
        let name: Reference =
            imgpack::images::typed_name(tag).map_err(|e| e.kind_as(Kind::Usage))?;
        images[0].names = vec![name];
    }
    if let Some(prefix) = prefix {
        for root in roots {
            let names = root.names.iter().map(|n| imgpack::images::prefixed(n, prefix));
            root.names = names.collect::<Result<_>>().map_err(|e| e.kind_as(Kind::Usage))?;
        }
    }
    Ok(())
}
