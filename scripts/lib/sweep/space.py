"""A disk that fills up."""
import os
import re
import shutil

from trial import Trial, job
from world import Mount, World, bad, litter, need_root, scale, tame, text


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
