//! A directory as a source: one layout, or a folder of archives, layouts and skopeo's directories.
//!
//! It contacts no registry. What cannot be opened is reported and does not hide the rest. skopeo's
//! directories contain no names; `skopeo sync` puts them into the path (`registry/path:tag`), from which they
//! are read back.

use std::path::Path;

use walkdir::WalkDir;

use crate::error::{Error, Result};
use crate::io::look;
use crate::reference::Reference;
use crate::sync::opener::OpenedSource;
use crate::transport::table::{Directory, Env, Place, Scheme};
use crate::transport::union::Union;
use crate::transport::{Root, Source, tree};

/// Most archives, layouts and directories of one folder.
const MAX_PARTS: usize = 10_000;

/// Opens a directory.
///
/// # Errors
/// `Missing`, `Malformed` when it holds no images, `Io`.
pub fn open(path: &Path, env: &Env) -> Result<OpenedSource> {
    let shown = path.display().to_string();
    match look::at(path)? {
        None => return Err(Error::no_such_file(path)),
        Some(found) if !found.is_dir() => {
            return Err(Error::missing("is not a directory").input(shown));
        }
        Some(_) => {}
    }
    let mut folder = Folder { env, parts: Vec::new(), failed: Vec::new() };
    match Directory::of(path)? {
        Directory::Layout | Directory::Storage | Directory::Unpacked => {
            return Ok(OpenedSource { source: source(path, env)?, failed: Vec::new() });
        }
        Directory::Skopeo => {
            folder.skopeo(path, path.file_name().and_then(|n| n.to_str()).unwrap_or_default());
        }
        Directory::Folder => folder.walk(path)?,
    }
    if folder.parts.is_empty() {
        return Err(match folder.failed.into_iter().next() {
            Some((_, error)) => error,
            None => Error::empty().input(shown),
        });
    }
    let source = Box::new(Union::new(shown, folder.parts));
    Ok(OpenedSource { source, failed: folder.failed })
}

/// Opens a file or directory that is one place.
///
/// # Errors
/// Those of the place.
pub fn source(path: &Path, env: &Env) -> Result<Box<dyn Source>> {
    // Not parsed: a path may begin with what looks like a scheme.
    let place = Place { scheme: Scheme::Path, path: path.to_path_buf(), image: None };
    place.source(env, &|| env.scratch())
}

struct Folder<'a> {
    env: &'a Env,
    parts: Vec<(Box<dyn Source>, Vec<Root>)>,
    failed: Vec<(String, Error)>,
}

impl Folder<'_> {
    fn walk(&mut self, base: &Path) -> Result<()> {
        let mut layouts = false;
        let mut walk = WalkDir::new(base).min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            self.env.ctx.check()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if e.depth() == 0 => return Err(look::walking(base, &e)),
                // What else lies there is read all the same.
                Err(e) => {
                    self.fail(e.path().unwrap_or(base), look::walking(base, &e));
                    continue;
                }
            };
            let path = entry.path();
            let name = entry.file_name().to_string_lossy();
            if entry.file_type().is_dir() {
                if name.starts_with(".imgpack-") {
                    walk.skip_current_dir();
                    continue;
                }
                match look::is_file(&path.join("oci-layout")) {
                    Ok(true) => {
                        layouts = true;
                        walk.skip_current_dir();
                    }
                    Ok(false) if Directory::of(path)? == Directory::Skopeo => {
                        let below = path.strip_prefix(base).unwrap_or(path);
                        self.skopeo(path, below.to_str().unwrap_or_default());
                        walk.skip_current_dir();
                    }
                    Ok(false) => {}
                    Err(e) => {
                        self.fail(path, e);
                        walk.skip_current_dir();
                    }
                }
            } else if entry.file_type().is_file() && is_archive(&name) {
                let opened = source(path, self.env);
                self.add(path, opened.map(|source| (source.roots().to_vec(), source)));
            }
            if self.parts.len() > MAX_PARTS {
                let what = format!("holds more than {MAX_PARTS} archives and directories");
                return Err(Error::malformed(what).input(base.display().to_string()));
            }
        }
        if layouts {
            let tree = tree::open(base, self.env.reading, &self.env.ctx);
            self.add(base, tree.map(|tree| (tree.roots().to_vec(), Box::new(tree) as _)));
        }
        Ok(())
    }

    fn skopeo(&mut self, path: &Path, name: &str) {
        let name = name.parse::<Reference>().ok().map(Reference::or_latest);
        let opened = source(path, self.env).map(|source| {
            let mut roots = source.roots().to_vec();
            roots.iter_mut().for_each(|root| root.names.extend(name.clone()));
            (roots, source)
        });
        self.add(path, opened);
    }

    fn add(&mut self, path: &Path, opened: Result<(Vec<Root>, Box<dyn Source>)>) {
        match opened {
            Ok((roots, source)) => self.parts.push((source, roots)),
            Err(e) => self.fail(path, e),
        }
    }

    fn fail(&mut self, path: &Path, error: Error) {
        let shown = path.display().to_string();
        self.failed.push((shown.clone(), error.input_or(shown)));
    }
}

fn is_archive(name: &str) -> bool {
    const ENDINGS: [&str; 10] = [
        ".tar",
        ".tar.gz",
        ".tgz",
        ".tar.zst",
        ".tzst",
        ".tar.zstd",
        ".tar.xz",
        ".txz",
        ".tar.bz2",
        ".tbz2",
    ];
    !name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending))
}
