//! A medium that fails: a file system that shows a directory, read only, until a fault is set.
//!
//! It knows no image. It answers from a thread of the test through `/dev/fuse`, nothing is cached, and it
//! is unmounted when the value is dropped.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request,
};

/// What fails: the error, and what the paths have in their names that it is for.
type Fault = Arc<Mutex<Option<(i32, String)>>>;

/// A mounted medium.
pub(crate) struct Medium {
    fault: Fault,
    _session: BackgroundSession,
}

impl Medium {
    /// Shows `of` at `at`; nothing where the kernel or the user has no such file systems.
    pub(crate) fn mount(of: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let fault = Fault::default();
        let files = Files { paths: Mutex::new(vec![of.to_owned()]), fault: fault.clone() };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("medium".into())];
        match fuser::spawn_mount(files, at, &config) {
            Ok(_session) => Some(Self { fault, _session }),
            Err(e) => {
                crate::net::skip(&format!("no file system can be mounted through /dev/fuse: {e}"));
                None
            }
        }
    }

    /// Every call fails.
    pub(crate) fn fails(&self, errno: i32) {
        self.fails_at(errno, "");
    }

    /// Every call fails whose path contains `name`.
    pub(crate) fn fails_at(&self, errno: i32, name: &str) {
        *self.fault.lock().expect("a lock") = Some((errno, name.to_owned()));
    }

    /// It is well again.
    pub(crate) fn recovers(&self) {
        *self.fault.lock().expect("a lock") = None;
    }
}

struct Files {
    /// By the number of the inode, from 1.
    paths: Mutex<Vec<PathBuf>>,
    fault: Fault,
}

impl Files {
    /// The path of an inode, unless it is one that fails.
    fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        let at = usize::try_from(u64::from(ino) - 1).expect("an index");
        self.sound(self.paths.lock().expect("a lock")[at].clone())
    }

    fn sound(&self, path: PathBuf) -> Result<PathBuf, Errno> {
        match &*self.fault.lock().expect("a lock") {
            Some((errno, name)) if path.to_string_lossy().contains(name) => {
                Err(Errno::from_i32(*errno))
            }
            _ => Ok(path),
        }
    }

    fn number(&self, path: &Path) -> INodeNo {
        let mut paths = self.paths.lock().expect("a lock");
        let at = paths.iter().position(|known| known == path).unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        });
        INodeNo(at as u64 + 1)
    }

    fn facts(&self, path: &Path) -> Result<FileAttr, Errno> {
        Ok(facts(self.number(path), &path.symlink_metadata()?))
    }
}

fn facts(ino: INodeNo, meta: &Metadata) -> FileAttr {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino,
        size: meta.len(),
        blocks: meta.blocks(),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: FileType::from_std(meta.file_type()).expect("a known type"),
        perm: (meta.permissions().mode() & 0o7777) as u16,
        nlink: 1,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.path(parent).and_then(|dir| self.sound(dir.join(name)));
        match found.and_then(|path| self.facts(&path)) {
            Ok(facts) => reply.entry(&Duration::ZERO, &facts, Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(ino).and_then(|path| self.facts(&path)) {
            Ok(facts) => reply.attr(&Duration::ZERO, &facts),
            Err(e) => reply.error(e),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.path(ino) {
            // Past the page cache, so that each read is asked for here.
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(e) => reply.error(e),
        }
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.path(ino) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(e) => reply.error(e),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = |path: PathBuf| -> Result<Vec<u8>, Errno> {
            let mut bytes = vec![0; size as usize];
            let count = File::open(path)?.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        match self.path(ino).and_then(read) {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(e),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let list = |path: PathBuf| -> Result<Vec<PathBuf>, Errno> {
            let mut all = Vec::new();
            for entry in std::fs::read_dir(path)? {
                all.push(entry?.path());
            }
            all.sort();
            Ok(all)
        };
        match self.path(ino).and_then(list) {
            Ok(all) => {
                for (at, path) in all.iter().enumerate().skip(offset as usize) {
                    let Ok(facts) = self.facts(path) else { continue };
                    let name = path.file_name().expect("a name");
                    if reply.add(facts.ino, at as u64 + 1, facts.kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(e) => reply.error(e),
        }
    }
}
