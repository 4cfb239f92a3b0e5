"""Input that is read-only, slow, short, broken, or moving."""
import os
import re
import shutil
import subprocess
import time

from images import docker, layer, noise
from world import A, ONE, RNG, SERIAL, World, bad, litter, need_root, scale, sh, text


def sources():
    """Input that is read-only, slow, short, broken, or changes while it is read (R-8 to R-12)."""
    with World() as world:
        images = [("a:1", [layer("a", 400_000)]), ("b:1", [layer("b", 400_000)]), ("c:1", [layer("c", 60_000, True)])]
        data = docker(images)
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
        small = docker([("s:1", [layer("s", 500)])])
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
