"""A place of its own for each section, imgpack run in it, and what is judged of every run."""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from images import sha


# What the whole run goes by: its arguments, its random choices, and the promises that were broken.
A = argparse.Namespace()
RNG = random.Random()
BAD = []


def bad(text):
    BAD.append(text)
    print("BROKEN:", text, flush=True)
    if len(BAD) > 20:
        finish()


def finish():
    print(f"{len(BAD)} broken promises" if BAD else "all kept", flush=True)
    sys.exit(1 if BAD else 0)


def scale(ci, soak):
    return soak if A.soak else ci


class World:
    def __init__(self, base=None):
        self.root = pathlib.Path(base or tempfile.mkdtemp(prefix="imgpack-sweep-", dir=A.tmp))
        self.owned = base is None
        self.root.mkdir(exist_ok=True)
        for name in ("tmp", "home", "in"):
            (self.root / name).mkdir(exist_ok=True)
        self.store = self.root / "store"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.owned:
            shutil.rmtree(self.root, ignore_errors=True)

    def env(self, more={}):
        return {"PATH": os.environ["PATH"], "HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"),
                "IMGPACK_STORE": str(self.store)} | more

    def put(self, name, data):
        path = self.root / name
        path.write_bytes(data)
        return str(path)

    def run(self, args, wrap=(), env={}, timeout=120, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.run([*wrap, A.imgpack, *args], env=self.env(env), timeout=timeout, **kw)

    def start(self, args, wrap=(), env={}, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([*wrap, A.imgpack, *args], env=self.env(env), **kw)

    def ok(self, args, **kw):
        done = self.run(args, **kw)
        if done.returncode:
            raise SystemExit(f"{args}: exit {done.returncode}: {done.stderr.decode()}")
        return done

    def state(self, store=None):
        """Names and what they point at."""
        store = store or self.store
        if not (store / "index.json").exists():
            return {}
        done = self.run(["--store", str(store), "inspect", "--format", "json", "store:"])
        if done.returncode:
            return {"error": f"{done.returncode}: {done.stderr.decode()}"}
        return {n: i["target"] for i in json.loads(done.stdout)["images"] for n in i["names"] or [i["target"]]}

    def listing(self, store=None):
        """Every file with its content; the order in which diff ids were noted means nothing."""
        store = store or self.store
        found = {}
        for path in sorted(store.rglob("*")):
            data = path.read_bytes() if path.is_file() else b""
            if path.name == "diff-ids":
                data = b"\n".join(sorted(set(data.splitlines())))
            found[str(path.relative_to(store))] = sha(data)
        return found

    def sound(self, what, store=None):
        if not (store or self.store).joinpath("index.json").exists():
            return True
        done = self.run(["--store", str(store or self.store), "verify", "-q", "store:"])
        if done.returncode:
            bad(f"{what}: verify says {done.returncode}: {done.stderr.decode()}")
        return done.returncode == 0


def litter(root):
    return [str(p) for p in pathlib.Path(root).rglob("*") if p.name.startswith(".imgpack-") or p.name.endswith(".part")]


def text(done):
    return done.stderr.decode(errors="replace").strip()


def tame(done, what):
    """No crash, no panic, whatever else happened."""
    if done.returncode < 0 or done.returncode in (101, 134):
        bad(f"{what}: ended by {done.returncode}: {text(done)}")
    if b"panicked" in done.stderr:
        bad(f"{what}: panic: {text(done)}")


SERIAL = ["--jobs", "1"]
ONE = {"RAYON_NUM_THREADS": "1"}


def need_root(what):
    if os.geteuid():
        print(f"skipped: {what} needs root")
        return False
    return True


def sh(*args, check=True):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode:
        raise OSError(f"{args}: {done.stdout.decode()}")
    return done


class Mount:
    """A file system of its own."""

    def __init__(self, kind, size, where, disk=None):
        self.where = pathlib.Path(where)
        self.where.mkdir(exist_ok=True)
        if kind == "tmpfs":
            sh("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where))
            return
        self.disk = str(disk)
        if size:
            with open(self.disk, "wb") as f:
                f.truncate(size)
            sh("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.disk)
        sh("mount", "-o", "loop", self.disk, str(where))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(50):
            if not sh("umount", str(self.where), check=False).returncode:
                return
            time.sleep(0.1)
        sh("umount", "-l", str(self.where), check=False)
