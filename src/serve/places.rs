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
use crate::error::{Cause, Error, Kind, Result};
use crate::reference::{DEFAULT_DOMAIN, Reference};
use crate::serve::Registry;
use crate::serve::catalogue::Part;
use crate::serve::holdings;
use crate::serve::names::RepositoryName;
use crate::serve::unproven::unproven;
use crate::transport::table::{Env, Place, Scheme};

/// The places of a server.
pub struct Places {
    places: Vec<Served>,
    /// What was said of images that others hide.
    hidden: Vec<(String, String)>,
    env: Env,
}

struct Served {
    place: Place,
    stamp: Option<Digest>,
    part: Option<Arc<Part>>,
    /// Why it, or some of it, cannot be read now.
    unread: Vec<Error>,
    /// When to read it again although it did not change, because something could not be read.
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
        let mut opened = Self { places: Vec::new(), hidden: Vec::new(), env };
        for place in places {
            let (stamp, (part, unread)) = (stamp(&place, &opened.env), opened.read(&place)?);
            let again = again(&part, &unread);
            opened.places.push(Served { place, stamp, part: Some(part), unread, again });
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
    pub fn publish(&mut self, registry: &Registry) {
        let first = registry.writable().map(|writable| writable.part());
        let parts = self.places.iter().filter_map(|served| served.part.clone());
        let unread = self.places.iter().flat_map(|served| served.unread.clone());
        registry.catalogue().replace(first.into_iter().chain(parts).collect(), unread.collect());
        let hidden = registry.catalogue().hidden();
        for note in hidden.iter().filter(|note| !self.hidden.contains(note)) {
            self.env.ctx.warn(&format!("{}: {}", note.0, note.1));
        }
        self.hidden = hidden;
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
                Ok((part, unread)) => {
                    any = true;
                    if !same {
                        ctx.warn(&format!("{} changed and was read again", part.place()));
                    }
                    served.again = again(&part, &unread);
                    (served.stamp, served.part, served.unread) = (now, Some(part), unread);
                }
                // That says nothing about the place.
                Err(e) if is_shortage(&e) => {}
                Err(e) => {
                    // Another failure than the last time is another answer.
                    any |= served.part.is_some() || !served.says(&e);
                    if served.part.take().is_some() {
                        ctx.warn(&format!("no longer served: {e}"));
                    }
                    served.stamp = now;
                    // That it holds nothing was read.
                    served.unread = if e.cause() == Cause::Empty { Vec::new() } else { vec![e] };
                }
            }
        }
        any
    }

    /// What a place holds, and why some of it cannot be read now.
    fn read(&self, place: &Place) -> Result<(Arc<Part>, Vec<Error>)> {
        let env = Env { ctx: self.env.ctx.afresh(), ..self.env.clone() };
        let mut source = place.named_source(&env)?;
        let unnamed = stem(&place.path);
        let mut wrong = unproven(&*source, &env.temporary, &env.ctx.afresh())?;
        if wrong.cached {
            source = place.named_source(&env)?;
            wrong = unproven(&*source, &env.temporary, &env.ctx.afresh())?;
        }
        let held = holdings::gather(&*source, &wrong.failed, unnamed.as_ref(), &env.ctx)?;
        for note in &held.notes {
            self.env.ctx.warn(&format!("{}: {note}", source.place()));
        }
        for (_, error) in source.unreadable() {
            self.env.ctx.warn(&format!("not served: {error}"));
        }
        let errors = source.unreadable().iter().map(|(_, error)| error);
        let unread = errors.filter(|e| e.kind() == Kind::Io).cloned().collect();
        let part = Part::new(source, held).remembered(self.env.ctx.digests.clone());
        Ok((Arc::new(part), unread))
    }
}

impl Served {
    /// Whether it is known that it cannot be read, and why.
    fn says(&self, error: &Error) -> bool {
        let known = |e: &Error| (e.kind(), e.os_error()) == (error.kind(), error.os_error());
        error.cause() == Cause::Empty && self.unread.is_empty() || self.unread.iter().any(known)
    }
}

fn again(part: &Part, unread: &[Error]) -> Option<Instant> {
    let lacking = !unread.is_empty() || part.holdings(|held| held.unread.is_some());
    lacking.then(|| Instant::now() + PAUSE)
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

/// The stamp of a place; nothing when it cannot be read.
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
