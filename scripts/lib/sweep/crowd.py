"""Many processes on one store, and its locks."""
import os
import random
import shutil
import threading
import time

from images import docker, layer
from world import A, BAD, ONE, RNG, SERIAL, World, bad, litter, scale, text


def crowd():
    """Many processes on one store (R-17), loading against pruning (R-18)."""
    with World() as world:
        files = []
        for i in range(6):
            images = [(f"own{i}:1", [layer("base", 20_000), layer(f"o{i}", 30_000, True)]), ("shared:1", [layer("base", 20_000), layer("s", 9000)])]
            files.append(world.put(f"in/{i}.tar", docker(images)))
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
        path = world.put("in/x.tar", docker([("x:1", [layer("x", 5000), layer("y", 5000, True)])]))
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
        path = world.put("in/x.tar", docker([("x:1", [layer("x", 5000)])]))
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
            if done.returncode != 6 or f"pid {os.getpid()}" not in text(done) or took < 0.9:
                bad(f"busy {verb}: {done.returncode} after {took:.1f} s: {text(done)}")
            os.close(fd)
        print("locks: ok")
