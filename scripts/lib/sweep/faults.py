"""Every system call fails once."""
import errno
import os

from trial import Trial
from world import A, RNG, bad, litter, tame, text


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
