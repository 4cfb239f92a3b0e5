"""stall.py SRC MNT NAME: SRC seen through MNT, where reads of files with NAME in their path do not end.
Needs fusepy and /dev/fuse. Writes ASKED beside MNT once somebody waits."""
import os, sys, time

try:  # as Debian packages it
    from fusepy import FUSE, Operations
except ImportError:  # as PyPI has it
    from fuse import FUSE, Operations

src, mnt, name = sys.argv[1:4]


class Stalling(Operations):
    def getattr(self, path, fh=None):
        st = os.lstat(src + path)
        keys = ("st_mode", "st_size", "st_mtime", "st_ctime", "st_atime", "st_nlink", "st_uid", "st_gid")
        return {key: getattr(st, key) for key in keys}

    def readdir(self, path, fh):
        return [".", ".."] + os.listdir(src + path)

    def open(self, path, flags):
        return os.open(src + path, os.O_RDONLY)

    def release(self, path, fh):
        os.close(fh)

    def read(self, path, size, offset, fh):
        if name in path:
            open(mnt.rstrip("/") + ".asked", "w").close()
            time.sleep(600)
        return os.pread(fh, size, offset)


FUSE(Stalling(), mnt, foreground=True, nothreads=False, allow_other=True)
