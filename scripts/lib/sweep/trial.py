"""A command that is interrupted, the world before it and the world after it."""
import re
import shutil

from images import docker, gzip, layer, sha
from world import ONE, RNG, SERIAL, World, bad, text


# Whatever changes files, and whatever looks at them in between.
CALLS = "%file,%desc"


def job(world, name):
    """A command to interrupt: prepares `world`, returns (arguments, output path or None)."""
    shared = layer("shared", 3000)
    before = docker([("keep:1", [shared]), ("move:1", [layer("old", 2000)])])
    if name == "load":
        world.ok(["--no-sync", "load", "-q", "-i", world.put("in/before.tar", before)])
        new = docker([("move:1", [shared, layer("new", 300_000, True)]), ("fresh:1", [layer("big", 1_200_000), layer("z", 900, True)])])
        return ["load", "-i", world.put("in/new.tar", new)], None
    if name == "first-load":
        return ["load", "-i", world.put("in/new.tar", before)], None
    if name == "pipe-load":
        return ["load", "-i", world.put("in/new.tar.gz", gzip(before))], None
    big = docker([("keep:1", [shared, layer("big", 700_000, True)])])
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
