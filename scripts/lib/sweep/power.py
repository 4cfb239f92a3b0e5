"""What is flushed, and what is left when the plug is pulled."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from images import sha
from trial import Trial, ordinals, steps
from world import ONE, SERIAL, Mount, World, bad, need_root, scale, sh, text


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
                try:
                    # strace tries out what it can do on children of its own first.
                    ours = [kid for kid in kids if pathlib.Path(f"/proc/{kid}/comm").read_text().startswith("imgpack")]
                    child = int(ours[0]) if ours else None
                    if child and stopped(child):
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
            if ended is None and child:
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
