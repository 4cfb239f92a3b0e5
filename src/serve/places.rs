//! The places that are served: opened, watched, and read again when they change.
//!
//! It knows no request. The state of a place is its stamp: files with their sizes and times, without blobs,
//! since these are named by their digests.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::context::Context;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::reference::{DEFAULT_DOMAIN, Reference};
use crate::serve::Registry;
use crate::serve::catalogue::Part;
use crate::serve::holdings;
use crate::serve::names::RepositoryName;
use crate::sync::folder;
use crate::transport::Source;
use crate::transport::table::{Env, Place, Scheme};

/// The places of a server.
pub struct Places {
    places: Vec<Served>,
    env: Env,
}

struct Served {
    place: Place,
    stamp: Option<Digest>,
    part: Option<Arc<Part>>,
    /// When it is looked at again although it did not change: something could not be read.
    again: Option<Instant>,
}

/// How long what could not be read is left alone.
const PAUSE: Duration = Duration::from_secs(30);

impl Places {
    /// Opens places, and says what is odd about them.
    ///
    /// # Errors
    /// Those of the first place that cannot be opened.
    pub fn open(places: Vec<Place>, env: Env) -> Result<Self> {
        let mut opened = Self { places: Vec::new(), env };
        for place in places {
            let (stamp, part) = (stamp(&place, &opened.env), opened.read(&place)?);
            let again = again(&part);
            opened.places.push(Served { place, stamp, part: Some(part), again });
        }
        Ok(opened)
    }

    /// The same, read again in another context.
    #[must_use]
    pub fn under(mut self, ctx: &Context) -> Self {
        self.env.ctx = ctx.clone();
        self
    }

    /// Puts what is there into the catalogue.
    pub fn publish(&self, registry: &Registry) {
        let first = registry.writable().map(|writable| writable.part());
        let parts = self.places.iter().filter_map(|served| served.part.clone());
        registry.catalogue().replace(first.into_iter().chain(parts).collect());
    }

    /// Reads places again that changed since. True when one did.
    pub fn refresh(&mut self) -> bool {
        let ctx = self.env.ctx.clone();
        let mut any = false;
        for at in 0..self.places.len() {
            let Some(served) = self.places.get(at) else { break };
            let now = stamp(&served.place, &self.env);
            let due = served.again.is_some_and(|again| again <= Instant::now());
            let same = now == served.stamp && served.part.as_ref().is_some_and(|p| !p.is_stale());
            if same && !due {
                continue;
            }
            // What cannot be read now (half copied, pulled out) is tried again the next time.
            let read = self.read(&served.place.clone());
            let Some(served) = self.places.get_mut(at) else { break };
            match read {
                Ok(part) => {
                    any = true;
                    if !same {
                        ctx.warn(&format!("{} changed and was read again", part.place()));
                    }
                    served.again = again(&part);
                    (served.stamp, served.part) = (now, Some(part));
                }
                // That says nothing about the place.
                Err(e) if is_shortage(&e) => {}
                Err(e) if served.part.is_some() => {
                    any = true;
                    ctx.warn(&format!("no longer served: {e}"));
                    (served.stamp, served.part) = (now, None);
                }
                Err(_) => {}
            }
        }
        any
    }

    fn read(&self, place: &Place) -> Result<Arc<Part>> {
        let env = Env { ctx: self.env.ctx.afresh(), ..self.env.clone() };
        let (source, incomplete) = opened(place, &env)?;
        let unnamed = stem(&place.path);
        let mut held = holdings::gather(&*source, unnamed.as_ref(), &env.ctx)?;
        held.incomplete |= incomplete;
        for note in &held.notes {
            self.env.ctx.warn(&format!("{}: {note}", source.place()));
        }
        Ok(Arc::new(Part::new(source, held).remembered(self.env.ctx.digests.clone())))
    }
}

/// A place, and whether some of it could not be read now.
fn opened(place: &Place, env: &Env) -> Result<(Box<dyn Source>, bool)> {
    if place.scheme == Scheme::Path && place.path.is_dir() {
        let opened = folder::open(&place.path, env)?;
        for (_, error) in &opened.failed {
            env.ctx.warn(&format!("not served: {error}"));
        }
        let unread = opened.failed.iter().any(|(_, error)| error.kind() == Kind::Io);
        return Ok((opened.source, unread));
    }
    Ok((place.source(env, &|| env.scratch())?, false))
}

fn again(part: &Part) -> Option<Instant> {
    part.holdings(|held| held.incomplete).then(|| Instant::now() + PAUSE)
}

/// Whether this process lacks something.
fn is_shortage(error: &Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|errno| Some(errno.raw_os_error()));
    short.contains(&error.os_error())
}

/// The repository of images without a name: what the file is called, without its endings.
fn stem(path: &Path) -> Option<RepositoryName> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = name.split(".tar").next().unwrap_or(&name);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    let name = format!("{DEFAULT_DOMAIN}/library/{name}");
    name.parse::<Reference>().ok().as_ref().map(RepositoryName::of)
}

/// What a place looks like; nothing when it cannot be looked at.
fn stamp(place: &Place, env: &Env) -> Option<Digest> {
    use std::os::unix::fs::MetadataExt;
    let path = if place.scheme == Scheme::Store { &env.store } else { &place.path };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let not_blobs = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let blobs = ["blobs", "_layers", "_uploads"].contains(&name.as_ref());
        entry.depth() == 0 || (!blobs && !name.starts_with(".imgpack-"))
    };
    // A tag of a registry's storage lies some way down.
    let walk = WalkDir::new(path).max_depth(16).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(not_blobs) {
        let entry = entry.ok()?;
        let meta = match entry.depth() {
            // What was named may be a link.
            0 => path.metadata().ok()?,
            _ => entry.metadata().ok()?,
        };
        if meta.is_dir() {
            hasher.update(entry.path().as_os_str().as_encoded_bytes());
            continue;
        }
        hasher.update(entry.path().as_os_str().as_encoded_bytes());
        let facts = [meta.ino(), meta.size(), meta.mtime() as u64, meta.mtime_nsec() as u64];
        facts.iter().for_each(|fact| hasher.update(&fact.to_le_bytes()));
    }
    Some(hasher.finish())
}

/// Looks at the places every `seconds`, and at once when a handler asks for it, until cancelled.
pub fn watch(mut places: Places, registry: &Registry, seconds: u64, ctx: &Context) {
    const STEP: std::time::Duration = std::time::Duration::from_millis(200);
    let steps = (seconds * 5).max(1);
    let mut passed = 0;
    // Here, so that nobody who asks waits for it, and who only looks at places writes nothing.
    let digests = places.env.ctx.digests.clone();
    digests.save();
    while ctx.check().is_ok() {
        std::thread::sleep(STEP);
        passed += 1;
        if passed < steps && !registry.asked_again() {
            continue;
        }
        passed = 0;
        if places.refresh() {
            places.publish(registry);
        }
        digests.save();
    }
}
