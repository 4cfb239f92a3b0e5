//! What a directory is, and a folder of images as one source: archives, layouts, skopeo's directories and
//! storages of registries, at any depth.
//!
//! It opens none of them itself. What cannot be opened is told beside the source and does not hide the rest.
//! A layout in a folder is a repository called like its path, as in the roots of zot and olareg; a directory
//! of skopeo, which contains no names, is called as `skopeo sync` spells them into the path.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use walkdir::WalkDir;

use crate::context::Context;
use crate::encoding::Encoding;
use crate::error::{Cause, Error, Result};
use crate::io::look;
use crate::reference::Reference;
use crate::text;
use crate::transport::distribution::storage_of;
use crate::transport::union::{Union, UnionPart};
use crate::transport::{Root, Source};

/// Most archives and directories of one folder.
const MAX_PARTS: usize = 100_000;

/// Most names in one warning.
const MAX_TOLD: usize = 5;

/// The kind of a directory, by its content (docs/FORMATS.md, "Recognising").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// An OCI layout.
    Layout,
    /// skopeo's `dir:`.
    Skopeo,
    /// The storage of docker-registry.
    Storage,
    /// A Docker archive, unpacked.
    Unpacked,
    /// None of these; layouts and archives may lie in it.
    Folder,
}

impl Directory {
    /// Looks at a directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn of(path: &Path) -> Result<Self> {
        let has = |name: &str| Ok::<_, Error>(look::itself(&path.join(name))?.is_some());
        Ok(if has("index.json")? || has("oci-layout")? {
            Self::Layout
        } else if has("version")? && has("manifest.json")? {
            Self::Skopeo
        } else if storage_of(path)?.is_some() {
            Self::Storage
        } else if has("manifest.json")? || has("repositories")? {
            Self::Unpacked
        } else {
            Self::Folder
        })
    }

    /// The same of a directory within a folder, where index.json and manifest.json may be anybody's.
    fn within(path: &Path) -> Result<Self> {
        Ok(match Self::of(path)? {
            Self::Layout if !look::is_file(&path.join("oci-layout"))? => Self::Folder,
            Self::Unpacked => Self::Folder,
            kind => kind,
        })
    }
}

/// Opens a file or directory that is one place.
type Opener<'a> = dyn Fn(&Path) -> Result<Box<dyn Source>> + 'a;

/// Opens everything beneath a folder.
///
/// # Errors
/// `Empty` when it holds no images, the first failure when nothing in it can be opened; `Io`.
pub fn open(base: &Path, ctx: &Context, open: &Opener<'_>) -> Result<Union> {
    let mut folder = Folder::new(base, open);
    folder.walk(ctx)?;
    folder.finish()
}

/// Opens one directory of skopeo under the name that its own is.
///
/// # Errors
/// Those of `open`.
pub fn skopeo(path: &Path, open: &Opener<'_>) -> Result<Union> {
    let mut folder = Folder::new(path.parent().unwrap_or(path), open);
    folder.add(path, Directory::Skopeo);
    folder.finish()
}

struct Folder<'a> {
    base: &'a Path,
    open: &'a Opener<'a>,
    parts: Vec<UnionPart>,
    failed: Vec<(String, Error)>,
    /// Files that seem to be archives and are not called so.
    passed: Vec<String>,
}

impl<'a> Folder<'a> {
    fn new(base: &'a Path, open: &'a Opener<'a>) -> Self {
        Self { base, open, parts: Vec::new(), failed: Vec::new(), passed: Vec::new() }
    }

    fn walk(&mut self, ctx: &Context) -> Result<()> {
        let mut walk = WalkDir::new(self.base).min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            ctx.check()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if e.depth() == 0 => return Err(look::walking(self.base, &e)),
                // What else lies there is read all the same.
                Err(e) => {
                    self.fail(e.path().unwrap_or(self.base), look::walking(self.base, &e));
                    continue;
                }
            };
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy());
            if entry.file_type().is_dir() {
                let kind = match name.starts_with(".imgpack-") {
                    true => None,
                    false => Directory::within(path).map_err(|e| self.fail(path, e)).ok(),
                };
                if kind != Some(Directory::Folder) {
                    walk.skip_current_dir();
                }
                kind.into_iter().for_each(|kind| self.add(path, kind));
            } else if entry.file_type().is_file() && !name.starts_with('.') {
                if is_archive(&name) {
                    self.take(path, (self.open)(path).map(UnionPart::whole));
                } else if seems_archive(path) {
                    self.passed.push(path.display().to_string());
                }
            }
            if self.parts.len() > MAX_PARTS {
                let what = format!("holds more than {MAX_PARTS} archives and directories");
                return Err(Error::malformed(what).input(self.base.display().to_string()));
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, kind: Directory) {
        let below = path.strip_prefix(self.base).unwrap_or(path).to_string_lossy();
        let opened = || (self.open)(path);
        let part = match kind {
            Directory::Folder => return,
            Directory::Layout => opened().map(|source| {
                let roots = tagged(source.roots(), &below);
                UnionPart { source, roots }
            }),
            Directory::Skopeo => opened().map(|source| {
                let name = below.parse::<Reference>().ok().map(Reference::or_latest);
                let mut roots = source.roots().to_vec();
                roots.iter_mut().for_each(|root| root.names.extend(name.clone()));
                UnionPart { source, roots }
            }),
            Directory::Storage | Directory::Unpacked => opened().map(UnionPart::whole),
        };
        match part {
            // An empty repository is no defect of the others.
            Err(e) if kind == Directory::Layout && e.cause() == Cause::Empty => {}
            part => self.take(path, part),
        }
    }

    fn take(&mut self, path: &Path, part: Result<UnionPart>) {
        match part {
            Ok(part) => self.parts.push(part),
            Err(e) => self.fail(path, e),
        }
    }

    fn fail(&mut self, path: &Path, error: Error) {
        let shown = path.display().to_string();
        self.failed.push((shown.clone(), error.input_or(shown)));
    }

    fn finish(self) -> Result<Union> {
        let shown = self.base.display().to_string();
        if self.parts.is_empty() {
            let first = self.failed.into_iter().next();
            return Err(first.map_or_else(|| Error::empty().input(shown), |(_, error)| error));
        }
        let mut union = Union::new(shown, self.parts);
        union.unreadable.extend(self.failed);
        union.warnings.extend(passed_over(&self.passed, "their names are not those of archives"));
        Ok(union)
    }
}

/// The roots of a layout, those with a bare tag under the name of the repository.
fn tagged(roots: &[Root], repository: &str) -> Vec<Root> {
    let name = |root: &Root| {
        let mut root = root.clone();
        // A tag beside a full name is that name's own.
        let bare = root.label.as_deref().filter(|_| root.names.is_empty());
        let tag = bare.filter(|label| crate::reference::is_tag(label));
        if let Some(name) = tag.and_then(|tag| format!("{repository}:{tag}").parse().ok()) {
            root.names.push(name);
        }
        root
    };
    roots.iter().map(name).collect()
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
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file has the first bytes of an archive, or cannot be read at all.
fn seems_archive(path: &Path) -> bool {
    let mut head = Vec::new();
    match File::open(path).and_then(|file| file.take(512).read_to_end(&mut head)) {
        Ok(_) => Encoding::sniff(&head) != Encoding::Plain || head.get(257..262) == Some(b"ustar"),
        Err(_) => true,
    }
}

/// Says which files are not looked at, and why.
fn passed_over(files: &[String], why: &str) -> Option<String> {
    let told: Vec<_> = files.iter().take(MAX_TOLD).map(|file| text::escape(file)).collect();
    let more = match files.len().saturating_sub(MAX_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let told = told.join(", ");
    (!files.is_empty()).then(|| format!("passed over, since {why}: {told}{more}"))
}

/// Archives that lie in a layout and are no part of it.
///
/// # Errors
/// `Io`.
pub fn beside(layout: &Path) -> Result<Option<String>> {
    let listing = |e: &std::io::Error| Error::io(layout, "listing", e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(layout).map_err(|e| listing(&e))? {
        let entry = entry.map_err(|e| listing(&e))?;
        if is_archive(&entry.file_name().to_string_lossy()) {
            files.push(entry.path().display().to_string());
        }
    }
    files.sort();
    Ok(passed_over(&files, "they are no part of the layout"))
}
