"""Killed: at every system call, and at random times."""
import signal
import time

from trial import Trial, ordinals, steps
from world import A, RNG, bad, scale, text


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
