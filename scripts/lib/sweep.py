#!/usr/bin/env python3
"""What happens to imgpack when the world fails it: killed, out of space, cut off, contended.

    sweep.py --imgpack FILE [--soak] [--seed N] SECTION…      (no SECTION: list them)

Each section builds its own images and directories beneath a temporary folder, prints what it did and
exits 1 when a promise was broken. "Old or new" means: the store or the output is as before or as after
the whole command, `verify` says 0, and running the command again completes it.
"""
import argparse, errno, hashlib, io, json, os, pathlib, random, re, shutil, signal, subprocess, sys, tarfile, tempfile, threading, time, zlib

A = None        # arguments
RNG = None
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


# ---- images ------------------------------------------------------------------------------------

def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


def gz(data):
    c = zlib.compressobj(1, zlib.DEFLATED, 31)
    return c.compress(data) + c.flush()


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def layer(seed, size, packed=False):
    plain = tar([("file-%s" % seed, noise(seed, size))])
    return (gz(plain) if packed else plain), sha(plain)


def archive(images):
    """A Docker archive of [(tag, [(stored, diff id)])]."""
    members, table = {}, []
    for tag, layers in images:
        config = json.dumps({"os": "linux", "architecture": "amd64",
                             "rootfs": {"type": "layers", "diff_ids": [d for _, d in layers]}}).encode()
        name = sha(config)[7:] + ".json"
        members[name] = config
        names = []
        for stored, _ in layers:
            names.append(sha(stored)[7:19] + "/layer.tar")
            members[names[-1]] = stored
        table.append({"Config": name, "RepoTags": tag if isinstance(tag, list) else [tag], "Layers": names})
    members["manifest.json"] = json.dumps(table).encode()
    return tar(sorted(members.items()))


# ---- running -----------------------------------------------------------------------------------

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
# Whatever changes files, and whatever looks at them in between.
CALLS = "%file,%desc"


def job(world, name):
    """A command to interrupt: prepares `world`, returns (arguments, output path or None)."""
    shared = layer("shared", 3000)
    before = archive([("keep:1", [shared]), ("move:1", [layer("old", 2000)])])
    if name == "load":
        world.ok(["--no-sync", "load", "-q", "-i", world.put("in/before.tar", before)])
        new = archive([("move:1", [shared, layer("new", 300_000, True)]), ("fresh:1", [layer("big", 1_200_000), layer("z", 900, True)])])
        return ["load", "-i", world.put("in/new.tar", new)], None
    if name == "first-load":
        return ["load", "-i", world.put("in/new.tar", before)], None
    if name == "pipe-load":
        return ["load", "-i", world.put("in/new.tar.gz", gz(before))], None
    big = archive([("keep:1", [shared, layer("big", 700_000, True)])])
    world.ok(["--no-sync", "load", "-q", "-i", world.put("in/before.tar", big)])
    (world.root / "out").mkdir(exist_ok=True)
    if name == "save":
        return ["save", "-o", str(world.root / "out/x.tar"), "keep:1"], "out/x.tar"
    if name == "save-over":
        world.put("out/x.tar", b"what was there before")
        return ["save", "--force", "-o", str(world.root / "out/x.tar"), "keep:1"], "out/x.tar"
    raise SystemExit(name)


class Trial:
    """A command, the world before it and the world after it; fresh copies to break."""

    def __init__(self, name, base=None, extra=()):
        self.name = name
        self.world = World(base)
        self.args, self.output = job(self.world, name)
        self.args = [*extra, *self.args]
        self.spot = self.world.root / ("out" if self.output else "store")
        self.before = self.world.root / "before"
        self.before.mkdir(exist_ok=True)
        if self.spot.exists():
            shutil.rmtree(self.before)
            shutil.copytree(self.spot, self.before)
        self.old = self.look()
        self.world.ok(self.args, env=ONE)
        self.new = self.look()
        self.whole = self.world.listing(self.spot)
        self.restore()

    def look(self):
        if self.output:
            path = self.world.root / self.output
            return sha(path.read_bytes()) if path.exists() else None
        return self.world.state()

    def restore(self):
        shutil.rmtree(self.spot, ignore_errors=True)
        if self.output or any(self.before.iterdir()):
            shutil.copytree(self.before, self.spot)

    def check(self, what, again=True):
        """Old or new, sound, and completed by running it again."""
        now = self.look()
        if now not in (self.old, self.new):
            bad(f"{what}: neither old nor new: {now}")
        if not self.output:
            self.world.sound(what)
        if again:
            args = self.args
            if self.output and now == self.new and "--force" not in args:
                return now
            done = self.world.run(args, env=ONE)
            if done.returncode:
                bad(f"{what}: again: {done.returncode}: {text(done)}")
            elif self.world.listing(self.spot) != self.whole:
                mine = self.world.listing(self.spot)
                differ = [k for k in self.whole | mine if self.whole.get(k) != mine.get(k)]
                bad(f"{what}: again, but not the same: {differ}")
        return now

    def trace(self, calls=CALLS, more=()):
        """The system calls of an undisturbed run, and the proof that one thread made them."""
        log = self.world.root / "trace"
        done = self.world.run([*SERIAL, *self.args], ["strace", "-f", "-qq", "-o", str(log), *more, "-e", f"trace={calls}"], ONE)
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.returncode}: {text(done)}")
        self.restore()
        lines = [l.split(None, 1) for l in log.read_text().splitlines()]
        # The thread that waits for signals does nothing else.
        own = lambda pid, rest: pid == lines[0][0] or not re.match(r"(<\.\.\. )?(mmap|munmap|mprotect|rseq|set_robust_list|rt_sig\w+|sigaltstack|prctl|sched_getaffinity|gettid|madvise)\b", rest)
        threads = {pid for pid, rest in lines if own(pid, rest)}
        if len(threads) != 1:
            bad(f"{self.name}: {len(threads)} threads with one job: strace counts per thread")
        return [rest for pid, rest in lines if pid == lines[0][0]]

    def broken(self, inject, env={}, timeout=120):
        wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + inject.split(":")[0], "-e", "inject=" + inject]
        return self.world.run([*SERIAL, *self.args], wrap, ONE | env, timeout)


def ordinals(lines):
    """(system call, how many of that kind so far, line): strace counts each kind for itself."""
    counts, out = {}, []
    for line in lines:
        call = line.split("(", 1)[0]
        if not call.isidentifier() or call.startswith("exit"):
            continue
        counts[call] = counts.get(call, 0) + 1
        out.append((call, counts[call], line))
    return out


def steps(n, want):
    """`want` of 1…n, the first and last few always among them; all when that is fewer."""
    if n <= want:
        return range(1, n + 1)
    some = set(RNG.sample(range(1, n + 1), want)) | {1, 2, n - 1, n}
    return sorted(some)


# ---- sections ----------------------------------------------------------------------------------

def kill(names=("load", "first-load", "pipe-load", "save", "save-over")):
    """kill -9 at every system call (R-1)."""
    for name in names:
        trial = Trial(name)
        calls = [c for c in ordinals(trial.trace()) if c[0] not in ("execve", "mmap", "munmap")]
        seen = {"old": 0, "new": 0}
        for k in steps(len(calls), scale(160, 10 ** 6)):
            call, nth, line = calls[k - 1]
            done = trial.broken(f"{call}:signal=KILL:when={nth}")
            if done.returncode != -signal.SIGKILL and done.returncode != 137:
                bad(f"kill {name} {k}, {call} {nth}: not killed: {done.returncode}: {text(done)}")
            now = trial.check(f"kill {name} at {k} of {len(calls)}: {line[:70]}")
            seen["new" if now == trial.new else "old"] += 1
            trial.restore()
        print(f"kill {name}: {len(calls)} calls by one thread; {seen['old']} times old, {seen['new']} times new")
        trial.world.__exit__()


FAULTS = ["ENOSPC", "EIO", "EDQUOT", "EINTR", "EMFILE", "EACCES", "EROFS"]
TARGETS = ["write", "pwrite64", "fsync", "syncfs", "renameat", "renameat2", "openat", "openat2", "ftruncate", "close", "mkdirat", "unlinkat"]
WHO = {"EMFILE": ("openat", "openat2"), "EACCES": ("openat", "openat2", "mkdirat", "renameat", "renameat2")}


def faults(names=("load", "save")):
    """Every system call fails once, in every way (R-4, R-5)."""
    for name in names:
        trial = Trial(name)
        lines = trial.trace("all")
        begin = next(i for i, l in enumerate(lines) if str(trial.world.root) in l and "execve" not in l and ".config" not in l)
        count = runs = survived = 0
        for call in TARGETS:
            at = [i for i, l in enumerate(lines) if l.startswith(call + "(")]
            first = sum(1 for i in at if i < begin)
            for fault in FAULTS:
                if call not in WHO.get(fault, TARGETS):
                    continue
                ks = range(first + 1, len(at) + 1)
                ks = ks if A.soak else [k for k in ks if RNG.random() < 0.4 or k == len(at)]
                for k in ks:
                    runs += 1
                    shown = lines[at[k - 1]]
                    what = f"{name}: {fault} at {call} {k}: {shown[:90]}"
                    done = trial.broken(f"{call}:error={fault}:when={k}")
                    tame(done, what)
                    said = text(done)
                    if done.returncode == 0:
                        survived += 1
                        if trial.look() != trial.new:
                            bad(f"{what}: success, and nothing done")
                    elif done.returncode != 7:
                        # What is said last is only said: standard output is no part of the store.
                        bad(f"{what}: exit {done.returncode}: {said}")
                    else:
                        words = os.strerror(getattr(errno, fault)).lower()
                        if words not in said.lower():
                            bad(f"{what}: the cause is not named: {said}")
                        if str(trial.world.root) not in said and "standard output" not in said:
                            bad(f"{what}: no path: {said}")
                        if call in ("fsync", "syncfs") and fault == "EIO" and "do not trust this medium" not in said:
                            bad(f"{what}: no warning of the medium: {said}")
                        # A file that cannot even be unlinked stays, until the next run sweeps it.
                        if call != "unlinkat" and litter(trial.spot):
                            bad(f"{what}: left {litter(trial.spot)}")
                    if call in ("fsync", "syncfs") and done.returncode == 0 and fault in ("EIO", "ENOSPC", "EDQUOT"):
                        bad(f"{what}: a failed flush was passed over")
                    trial.check(what, again=runs % 7 == 0)
                    trial.restore()
                    count += 1
        print(f"faults {name}: {count} faults, {survived} survived")
        trial.world.__exit__()


def order(names=("load", "first-load", "pipe-load", "save", "save-over")):
    """Data is flushed before it is named, names before success is reported (R-3)."""
    for name in names:
        trial = Trial(name)
        lines = trial.trace("%file,%desc,exit_group", ["-y"])
        dirty, unflushed, renames = set(), set(), 0
        arg = re.compile(r"\d+<([^>]*)>")
        for line in lines:
            call = line.split("(", 1)[0]
            paths = arg.findall(line)
            if line.rsplit("= ", 1)[-1].startswith("-1"):
                continue
            inside = [p for p in paths if p.startswith(str(trial.spot))]
            if call in ("write", "pwrite64", "ftruncate", "copy_file_range", "sendfile") and inside:
                dirty.add(inside[-1])
            elif call in ("fsync", "fdatasync"):
                dirty.discard(paths[0])
                unflushed.discard(paths[0])
            elif call == "syncfs":
                dirty.clear()
                unflushed.clear()
            elif call in ("renameat", "renameat2") and len(paths) == 2:
                names_ = re.findall(r'"([^"]*)"', line)
                source, target = f"{paths[0]}/{names_[0]}", f"{paths[1]}/{names_[1]}"
                if source in dirty:
                    if "/.imgpack-" in target:
                        dirty.add(target)
                        continue
                    bad(f"order {name}: {source} is named {target} before its bytes are flushed")
                if "/.imgpack-" not in paths[1]:
                    renames += 1
                    unflushed.add(paths[1])
            elif call == "exit_group" and unflushed:
                bad(f"order {name}: exit before {unflushed} is flushed")
        if not renames:
            bad(f"order {name}: no rename was seen; the check is blind")
        print(f"order {name}: {renames} renames, each after its flush")
        trial.world.__exit__()


def random_kills():
    """kill -9 at random times, all threads at work (R-1)."""
    for name, n in (("load", scale(25, 500)), ("save", scale(10, 200))):
        trial = Trial(name)
        start = time.time()
        trial.world.ok(trial.args)
        whole = time.time() - start
        trial.restore()
        killed = 0
        for i in range(n):
            p = trial.world.start(trial.args)
            time.sleep(RNG.random() * whole * 1.1)
            p.kill()
            p.communicate()
            killed += p.returncode == -9
            trial.check(f"random kill {i} of {name} (seed {A.seed})")
            trial.restore()
        print(f"random kills {name}: {killed} of {n} died at work")
        trial.world.__exit__()


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


def power():
    """The plug is pulled at sampled system calls, on ext4 (R-2)."""
    if not need_root("power loss") or not shutil.which("mkfs.ext4"):
        return
    with World() as outer:
        try:
            for name in ("load", "save-over"):
                power_of(name, outer)
        except OSError as e:
            print(f"skipped: {e}")


def power_of(name, outer):
    disk, snap = outer.root / "disk", outer.root / "snap"
    where, there = outer.root / "mnt", outer.root / "snapmnt"
    calls = "fsync,syncfs,renameat,renameat2,write,pwrite64,close,unlinkat,mkdirat"
    with Mount("ext4", 48 << 20, where, disk):
        trial = Trial(name, where)
        plan = ordinals(trial.trace(calls))
        n = len(plan)
        os.sync()
    base = outer.root / "base"
    sh("cp", "--sparse=always", str(disk), str(base))
    verdicts = {"old": 0, "new": 0}
    for k in [*steps(n, scale(12, 400)), 0]:
        call, nth = plan[k - 1][:2] if k else ("fsync", 10_000)
        sh("cp", "--sparse=always", str(base), str(disk))
        with Mount("ext4", 0, where, disk):
            wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=STOP:when={nth}"]
            p = trial.world.start([*SERIAL, *trial.args], wrap, ONE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child = None
            while p.poll() is None:
                kids = pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()
                child = int(kids[0]) if kids else child
                if child:
                    try:
                        if pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] in "Tt" and stopped(child):
                            break
                    except OSError:
                        pass
                time.sleep(0.002)
            ended = p.poll()
            # A crash is one moment; a copy takes several. One during which the kernel wrote is no crash.
            for _ in range(50):
                before = disk.stat().st_mtime_ns
                sh("cp", "--sparse=always", str(disk), str(snap))
                if disk.stat().st_mtime_ns == before:
                    break
                time.sleep(0.05)
            if ended is None:
                try:
                    os.kill(child, signal.SIGKILL)
                except OSError:
                    pass
                p.wait()
        with Mount("ext4", 0, there, snap):
            # The same places on the copy.
            world = World(there)
            args = [a.replace(str(where), str(there)) for a in trial.args]
            what = f"power loss in {name} at {k} of {n}"
            if trial.output:
                path = there / trial.output
                now = sha(path.read_bytes()) if path.exists() else None
            else:
                now = world.state()
                world.sound(what)
            if now not in (trial.old, trial.new):
                bad(f"{what}: neither old nor new: {now}")
            if ended == 0 and now != trial.new:
                bad(f"{what}: success was reported and is lost")
            verdicts["new" if now == trial.new else "old"] += 1
            done = world.run(args)
            if done.returncode:
                bad(f"{what}: again: {done.returncode}: {text(done)}")
            elif not trial.output:
                world.sound(what + ", again")
    print(f"power loss {name}: {verdicts['old']} times old, {verdicts['new']} times new")


def stopped(pid):
    """In group-stop, and not only between two calls under strace."""
    for _ in range(3):
        if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "Tt":
            return False
        time.sleep(0.003)
    return True


def space():
    """A disk that fills up (R-6); TMPDIR full or absent (R-7)."""
    if need_root("a small file system"):
        for kind in ("tmpfs", "ext4"):
            with World() as outer:
                try:
                    mount = Mount(kind, 12 << 20, outer.root / "mnt", outer.root / "disk")
                except OSError as e:
                    print(f"skipped: {e}")
                    continue
                with mount:
                    for name in ("load", "pipe-load", "save-over"):
                        space_of(name, kind, outer.root / "mnt" / name)
    with World() as world:
        args, _ = job(world, "pipe-load")
        full = world.root / "full"
        for tmp in ["/nonexistent", str(full)]:
            mount = Mount("tmpfs", "64k", full) if tmp == str(full) and not os.geteuid() else None
            if mount:
                (full / "filler").write_bytes(b"x" * (60 << 10))
            for a in (args, ["save", "-o", str(world.root / f"{tmp[1:4]}.tar"), "keep:1"], ["verify", "-q", "store:"]):
                done = world.run(a, env={"TMPDIR": tmp})
                if done.returncode:
                    bad(f"TMPDIR={tmp}: {a}: {done.returncode}: {text(done)}")
            if mount:
                mount.__exit__()
    print("space: TMPDIR full and absent do not matter")


def space_of(name, kind, base):
    trial = Trial(name, base)
    counts = {}
    said = ""
    total = scale(10, 40)
    for step in range(total):
        filler = base / "filler"
        free = os.statvfs(base)
        room = free.f_bavail * free.f_frsize
        try:
            filler.write_bytes(b"\0" * max(0, room - (3 << 20) * step // total))
        except OSError:
            pass  # the file system keeps some for itself
        done = trial.world.run(trial.args)
        what = f"{kind}, {name}, {(3 << 20) * step // total} bytes free"
        tame(done, what)
        if done.returncode not in (0, 7):
            bad(f"{what}: {done.returncode}: {text(done)}")
        if done.returncode == 7:
            said += text(done)
            if not ("no space left" in text(done) or " free" in text(done)):
                bad(f"{what}: {text(done)}")
            if litter(trial.spot):
                bad(f"{what}: left {litter(trial.spot)}")
        counts[done.returncode] = counts.get(done.returncode, 0) + 1
        if trial.look() not in (trial.old, trial.new):
            bad(f"{what}: neither old nor new")
        trial.world.sound(what) if not trial.output else None
        filler.unlink()
        trial.check(what)
        trial.restore()
    if not re.search(r"needs [\d.]+ [KMG]?i?B, [\d.]+ [KMG]?i?B free", said) and name != "pipe-load":
        bad(f"{kind} {name}: never said how much is needed: {said}")
    print(f"space {kind} {name}: exit statuses {counts}")
    shutil.rmtree(base)


def sources():
    """Input that is read-only, slow, short, broken, or changes while it is read (R-8 to R-12)."""
    with World() as world:
        images = [("a:1", [layer("a", 400_000)]), ("b:1", [layer("b", 400_000)]), ("c:1", [layer("c", 60_000, True)])]
        data = archive(images)
        path = world.put("in/x.tar", data)
        # a read-only mount.
        if need_root("a read-only mount"):
            (world.root / "ro").mkdir()
            world.ok(["copy", "-q", path, f"oci:{world.root}/in/layout"])
            sh("mount", "--bind", str(world.root / "in"), str(world.root / "ro"))
            sh("mount", "-o", "remount,ro,bind", str(world.root / "ro"))
            try:
                for place in ("x.tar", "layout"):
                    place = f"{world.root}/ro/{place}"
                    for a in (["verify", place], ["ls", place], ["inspect", place], ["load", "-q", "-i", place], ["copy", "-q", place, f"{world.root}/o{len(place)}.tar"]):
                        done = world.run(a)
                        if done.returncode:
                            bad(f"read-only {a}: {done.returncode}: {text(done)}")
                done = world.run(["--store", f"{world.root}/ro/layout", "images"])
                if done.returncode:
                    bad(f"read-only store: {done.returncode}: {text(done)}")
            finally:
                sh("umount", str(world.root / "ro"))
            shutil.rmtree(world.store)
        # bad sectors. Which call reads layer b is found in an undisturbed run.
        log = world.root / "trace"
        load = [*SERIAL, "load", "--keep-going", "-i", path]
        world.ok(load, wrap=["strace", "-f", "-y", "-o", str(log), "-e", "trace=pread64"], env=ONE)
        reads = [l for l in log.read_text().splitlines() if "pread64(" in l]
        offset = data.index(noise("b", 100)) - 512
        def covers(line):
            m = re.search(r"x\.tar>.*, (\d+), (\d+)\) = \d+", line)
            return m and int(m[1]) >= 4096 and int(m[2]) <= offset + 300_000 and int(m[2]) + int(m[1]) > offset
        k = next(i for i, l in enumerate(reads, 1) if covers(l))
        for args, want in ((load, 9), ([*SERIAL, "load", "-i", path], 7), ([*SERIAL, "verify", path], 3)):
            shutil.rmtree(world.store, ignore_errors=True)
            done = world.run(args, ["strace", "-f", "-o", "/dev/null", "-e", "trace=pread64", "-e", f"inject=pread64:error=EIO:when={k}"], ONE)
            said = text(done)
            if done.returncode != want:
                bad(f"EIO on read, {args}: exit {done.returncode}, want {want}: {said}")
            for part in (path, "offset", layer("b", 400_000)[1], "b:1", "input/output error"):
                if part not in said:
                    bad(f"EIO on read, {args}: {part} is not named in: {said}")
            if want == 9 and sorted(n.rsplit("/", 1)[1] for n in world.state()) != ["a:1", "c:1"]:
                bad(f"EIO on read: the others were not loaded: {world.state()}")
            world.sound("after EIO on read")
        print("sources: bad sectors are named; the other images load")
        # one byte at a time, interrupted reads, a small file-size limit.
        small = archive([("s:1", [layer("s", 500)])])
        p = world.start(["load", "-q"], stdin=subprocess.PIPE)
        fd = p.stdin.fileno()
        for i in range(len(small)):
            os.write(fd, small[i:i + 1])
        out, err = p.communicate()
        if p.returncode:
            bad(f"one byte at a time: {p.returncode}: {err.decode()}")
        for call in ("read", "pread64", "write", "openat2", "fsync", "flock"):
            done = world.run([*SERIAL, "load", "-q", "-i", path], ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error=EINTR:when=30+3"], ONE)
            if done.returncode not in ((0,) if call in ("read", "pread64", "write", "flock") else (0, 7)):
                bad(f"EINTR on {call}: {done.returncode}: {text(done)}")
            world.sound(f"EINTR on {call}")
        done = world.run(["save", "-o", str(world.root / "limited.tar"), "a:1"], ["prlimit", "--fsize=100000"])
        if done.returncode != 7 or litter(world.root) or (world.root / "limited.tar").exists():
            bad(f"file-size limit: {done.returncode}: {text(done)} {litter(world.root)}")
        # the source changes under the reader.
        seen = {}
        for i in range(scale(30, 1000)):
            moving = world.root / "in/moving.tar"
            moving.write_bytes(data)
            shutil.rmtree(world.store, ignore_errors=True)
            p = world.start(["load", "-q", "-i", str(moving)])
            time.sleep(RNG.random() * 0.02)
            how = RNG.randrange(3)
            if how == 0:
                os.truncate(moving, RNG.randrange(len(data)))
            elif how == 1:
                with open(moving, "r+b") as f:
                    f.seek(RNG.randrange(len(data) - 5000)); f.write(noise(i, 5000))
            else:
                with open(moving, "ab") as f:
                    f.write(data)
            out, err = p.communicate(timeout=60)
            seen[p.returncode] = seen.get(p.returncode, 0) + 1
            if p.returncode not in (0, 3, 7) or b"panicked" in err:
                bad(f"source changed (seed {A.seed}, round {i}): {p.returncode}: {err.decode()}")
            world.sound(f"source changed, round {i}")
        print(f"sources: changed while read: exit statuses {seen}")


def signals():
    """SIGINT and SIGTERM at random times (R-13)."""
    with World() as world:
        data = archive([(f"i{i}:1", [layer(i, 3_000_000, True)]) for i in range(6)])
        path = world.put("in/x.tar", data)
        world.ok(["load", "-q", "-i", path])
        jobs = {"load": ["--store", str(world.root / "other"), "load", "-q", "-i", path],
                "save": ["save", "--force", "-o", str(world.root / "out.tar"), *[f"i{i}:1" for i in range(6)]],
                "copy": ["copy", "-q", "--compress", "gzip:9", path, f"oci:{world.root}/layout"],
                "verify": ["verify", path]}
        for name, args in jobs.items():
            worst, seen = 0, {}
            start = time.time()
            world.run(args)
            whole = time.time() - start
            for i in range(scale(12, 100)):
                for place in ("other", "layout", "out.tar"):
                    shutil.rmtree(world.root / place, ignore_errors=True)
                    (world.root / place).unlink(missing_ok=True)
                what, want = RNG.choice([(signal.SIGINT, 130), (signal.SIGTERM, 143)])
                p = world.start(args)
                time.sleep(0.01 + RNG.random() * whole)
                sent = time.time()
                p.send_signal(what)
                err = p.communicate(timeout=30)[1]
                worst = max(worst, time.time() - sent)
                seen[p.returncode] = seen.get(p.returncode, 0) + 1
                if p.returncode not in (0, want, -what):
                    bad(f"{name}, {what.name} (seed {A.seed}, round {i}): {p.returncode}: {err.decode()}")
                # Before handlers are set the signal simply ends the process, which has done nothing yet.
                if litter(world.root):
                    bad(f"{name}, {what.name} (seed {A.seed}, round {i}): left {litter(world.root)}")
            if worst > 2:
                bad(f"{name}: took {worst:.1f} s to stop")
            print(f"signals {name}: stops within {worst:.2f} s, exit statuses {seen}")


def pipes():
    """Readers that go away, closed descriptors, a full device (R-14 to R-16)."""
    with World() as world:
        path = world.put("in/x.tar", archive([("a:1", [layer("a", 3_000_000)])]))
        world.ok(["load", "-q", "-i", path])
        for args in (["save", "a:1"], ["ls", path], ["inspect", path], ["images"], ["verify", path]):
            start = time.time()
            p = world.start(args)
            p.stdout.read(1 if args[0] == "save" else 0)
            p.stdout.close()
            err = p.stderr.read()
            code = p.wait(timeout=10)
            if code not in (0, 141, 1) or b"panic" in err or time.time() - start > 5 or (args[0] != "save" and (code or err)):
                bad(f"reader gone, {args}: {code}: {err.decode()}")
            with open("/dev/full", "wb") as full:
                done = world.run(args, stdout=full)
                if done.returncode != 7:
                    bad(f"/dev/full, {args}: {done.returncode}: {text(done)}")
        listing = world.listing()
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">&- 2>&-"):
            for args in (f"load -i {path}", "images", "save -o out.tar a:1", f"verify {path}", "save a:1", "load"):
                (world.root / "out.tar").unlink(missing_ok=True)
                command = f'cd {world.root} && "$0" {args} {closed}'
                done = subprocess.run(["sh", "-c", command, A.imgpack], env=world.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
                tame(done, f"{args} {closed}")
                if done.returncode and args.startswith(("load -i", "save -o", "verify")) and ">&-" not in closed.replace("2>&-", ""):
                    bad(f"{args} {closed}: {done.returncode}: {text(done)}")
        world.sound("closed descriptors")
        if world.listing() != listing:
            bad("closed descriptors: the store changed")
        print("pipes: ok")


def crowd():
    """Many processes on one store (R-17), loading against pruning (R-18)."""
    with World() as world:
        files = []
        for i in range(6):
            images = [(f"own{i}:1", [layer("base", 20_000), layer(f"o{i}", 30_000, True)]), ("shared:1", [layer("base", 20_000), layer("s", 9000)])]
            files.append(world.put(f"in/{i}.tar", archive(images)))
        deadline = time.time() + scale(10, 600)
        lock = threading.Lock()
        counts = {}

        def worker(n):
            rng = random.Random(A.seed + n)
            while time.time() < deadline and not BAD:
                i = rng.randrange(6)
                what = rng.choice(["load", "load", "load", "save", "prune", "images", "tag"])
                out = world.root / f"w{n}.tar"
                args = {"load": ["load", "-q", "-i", files[i]], "save": ["save", "--force", "-o", str(out), f"own{i}:1"],
                        "prune": ["prune"], "images": ["images"], "tag": ["tag", f"own{i}:1", f"w{n}:{i}"]}[what]
                done = world.run(args, timeout=300)
                with lock:
                    key = (what, done.returncode)
                    counts[key] = counts.get(key, 0) + 1
                    # An image that nobody loaded yet is not there.
                    if done.returncode not in ((0, 6, 4) if what in ("save", "tag") else (0, 6)):
                        bad(f"crowd {args}: {done.returncode}: {text(done)}")

        threads = [threading.Thread(target=worker, args=(n,)) for n in range(scale(8, 32))]
        [t.start() for t in threads]
        [t.join() for t in threads]
        for i in range(6):
            world.ok(["load", "-q", "-i", files[i]])
        names = {n.rsplit("/", 1)[1] for n in world.state()}
        lost = [f"own{i}:1" for i in range(6) if f"own{i}:1" not in names]
        if lost or "shared:1" not in names:
            bad(f"crowd: lost {lost}")
        world.sound("crowd")
        if litter(world.store):
            bad(f"crowd: left {litter(world.store)}")
        print("crowd:", ", ".join(f"{w} {c}: {n}" for (w, c), n in sorted(counts.items())))
    with World() as world:
        path = world.put("in/x.tar", archive([("x:1", [layer("x", 5000), layer("y", 5000, True)])]))
        rounds = scale(60, 10_000)
        stop = threading.Event()
        prunes = [0]

        def pruner():
            while not stop.is_set():
                done = world.run(["prune", "-a"])
                prunes[0] += 1
                if done.returncode not in (0, 6):
                    bad(f"prune beside load: {done.returncode}: {text(done)}")

        thread = threading.Thread(target=pruner)
        thread.start()
        for i in range(rounds):
            wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,openat2", "-e", f"inject=renameat:delay_enter={RNG.randrange(30_000)}"] if i % 4 == 0 else ()
            done = world.run(["load", "-q", "-i", path], wrap)
            if done.returncode:
                bad(f"load beside prune {i}: {done.returncode}: {text(done)}")
            if i % 10 == 0 or not A.soak:
                world.sound(f"load beside prune {i} (seed {A.seed})")
            if i % 3 == 0:
                world.run(["rmi", "x:1"] if i % 2 else ["rmi", "--no-prune", "x:1"])
            if len(BAD) > 3:
                break
        stop.set()
        thread.join()
        print(f"crowd: {rounds} loads beside {prunes[0]} prunes")


def locks():
    """File systems without locks say so (R-19); a killed holder leaves none; waiting ends (R-17)."""
    with World() as world:
        path = world.put("in/x.tar", archive([("x:1", [layer("x", 5000)])]))
        for fault in ("ENOLCK", "EOPNOTSUPP", "ENOSYS"):
            done = world.run([*SERIAL, "load", "-q", "-i", path], ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", f"inject=flock:error={fault}"], ONE)
            said = text(done)
            if done.returncode != 7 or "lock" not in said or str(world.store) not in said:
                bad(f"{fault}: {done.returncode}: {said}")
            shutil.rmtree(world.store, ignore_errors=True)
        world.ok(["load", "-q", "-i", path])
        import fcntl
        for name, verb in (("blobs", ["load", "-i", path]), ("blobs", ["prune"]), (".", ["tag", "x:1", "y:1"])):
            fd = os.open(world.store / name, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX)
            start = time.time()
            done = world.run(["--wait", "1", *verb])
            took = time.time() - start
            if done.returncode != 6 or f"pid {os.getpid()}" not in text(done) or not 0.9 < took < 4:
                bad(f"busy {verb}: {done.returncode} after {took:.1f} s: {text(done)}")
            os.close(fd)
        print("locks: ok")


def names():
    """Layouts hold lower-case hexadecimal names only; tags never become file names (R-27, R-32)."""
    with World() as world:
        tags = ["x:A", "x:a", "y:Tag", "y:tAG"]
        path = world.put("in/x.tar", archive([(t, [layer(t, 300)]) for t in tags]))
        world.ok(["load", "-q", "-i", path])
        world.ok(["copy", "-q", path, f"oci:{world.root}/layout"])
        for root in (world.store, world.root / "layout"):
            for p in root.rglob("*"):
                name = str(p.relative_to(root))
                if not re.fullmatch(r"blobs|blobs/sha256|blobs/sha256/[0-9a-f]{64}|index\.json|oci-layout|diff-ids", name):
                    bad(f"names: {name}")
                if p.is_symlink() or (p.is_file() and p.stat().st_nlink != 1):
                    bad(f"names: a link: {name}")
            state = world.state(root)
            if len(set(state.values())) != 4 or {n.rsplit("/", 1)[1] for n in state} != set(tags):
                bad(f"names: collided: {state}")
        # skopeo's bare names, in both Unicode forms.
        for form in ("caf\u00e9", "cafe\u0301"):
            world.ok(["copy", "-q", f"docker-archive:{path}:x:{'A' if form < 'caff' else 'a'}", f"oci:{world.root}/layout:{form}"])
        index = json.loads((world.root / "layout/index.json").read_text())
        labels = {m.get("annotations", {}).get("org.opencontainers.image.ref.name"): m["digest"] for m in index["manifests"]}
        if not {"caf\u00e9", "cafe\u0301"} <= set(labels):
            bad(f"names: Unicode forms collided: {labels}")
        print("names: ok")


def size():
    """Many images and many blobs: listing stays quick (R-35)."""
    with World() as world:
        images, per = scale(1_000, 10_000), 9
        blobs = world.store / "blobs/sha256"
        blobs.mkdir(parents=True)
        def blob(data):
            digest = sha(data)
            (blobs / digest[7:]).write_bytes(data)
            return {"digest": digest, "size": len(data)}
        entries = []
        for i in range(images):
            layers, ids = [], []
            for j in range(per - 1):
                data = b"layer %d %d" % (i, j)
                layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(data)})
                ids.append(layers[-1]["digest"])
            config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}}).encode()
            manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                   "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(config)}, "layers": layers}).encode()
            name = f"registry.example/team/image{i}:1.0"
            entries.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", **blob(manifest),
                            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}})
        (world.store / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (world.store / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        world.run(["images", "-q"])
        limit = 1.0
        for args in (["images"], ["ls", "store:"], ["tag", f"registry.example/team/image5:1.0", "moved:1"], ["verify", "-q", "store:"], ["prune", "--dry-run"]):
            start = time.time()
            done = world.run(args, ["/usr/bin/env"])
            took = time.time() - start
            if done.returncode:
                bad(f"{args}: {done.returncode}: {text(done)[:300]}")
            print(f"size: {args[0]} of {images} images, {images * (per + 1)} blobs: {took:.2f} s")
            if A.soak and args[0] in ("images", "ls") and took > limit:
                bad(f"{args} took {took:.2f} s")
        path = world.put("in/x.tar", archive([("new:1", [layer("n", 500)])]))
        start = time.time()
        world.ok(["load", "-q", "-i", path])
        print(f"size: load of one more image: {time.time() - start:.2f} s")


def clock():
    """Years outside everyday life (R-36)."""
    if not shutil.which("faketime"):
        print("skipped: faketime is not installed")
        return
    with World() as world:
        path = world.put("in/x.tar", archive([("x:1", [layer("x", 5000)])]))
        outputs = set()
        for when in ("1970-01-02 00:00:00", "2038-02-01 00:00:00", "2106-03-01 00:00:00", "2026-01-01 00:00:00"):
            shutil.rmtree(world.store, ignore_errors=True)
            out = world.root / "o.tar"
            out.unlink(missing_ok=True)
            for args in (["load", "-i", path], ["images"], ["history", "x:1"], ["verify", "store:"], ["save", "-o", str(out), "x:1"], ["prune"]):
                done = world.run(args, ["faketime", "-f", when])
                if done.returncode or b"-" in done.stdout and re.search(rb"(^|\s)-\d+ (second|minute|hour|day|year)", done.stdout):
                    bad(f"clock {when}, {args}: {done.returncode}: {text(done)} {done.stdout.decode()}")
            outputs.add(sha(out.read_bytes()))
        if len(outputs) != 1:
            bad("clock: the archive depends on the time")
        print("clock: ok")


SECTIONS = {"kill": kill, "faults": faults, "order": order, "random-kills": random_kills, "power": power, "space": space,
            "sources": sources, "signals": signals, "pipes": pipes, "crowd": crowd, "locks": locks, "names": names,
            "size": size, "clock": clock}


def main():
    global A, RNG
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgpack", default="target/release/imgpack")
    parser.add_argument("--soak", action="store_true", default=os.environ.get("IMGPACK_TEST_SCALE") == "soak")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("IMGPACK_TEST_SEED") or time.time_ns() % 10 ** 9))
    parser.add_argument("--tmp", default=None)
    parser.add_argument("section", nargs="*")
    A = parser.parse_args()
    A.imgpack = os.path.abspath(A.imgpack)
    if not A.section:
        for name, f in SECTIONS.items():
            print(f"{name:13} {f.__doc__}")
        return
    RNG = random.Random(A.seed)
    print(f"seed {A.seed}")
    for name in A.section:
        start = time.time()
        SECTIONS[name]()
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
    finish()


main()
