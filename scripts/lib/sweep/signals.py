"""Signals that stop a run."""
import shutil
import signal
import time

from images import docker, layer
from world import A, RNG, World, bad, litter, scale


def signals():
    """SIGINT and SIGTERM at random times (R-13)."""
    with World() as world:
        data = docker([(f"i{i}:1", [layer(i, 3_000_000, True)]) for i in range(6)])
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
            # A busy machine may need longer to get to it.
            if worst > scale(20, 2):
                bad(f"{name}: took {worst:.1f} s to stop")
            print(f"signals {name}: stops within {worst:.2f} s, exit statuses {seen}")
