"""Names, sizes and times that stores do not depend on."""
import json
import re
import shutil
import time

from images import Layout, docker, layer, sha
from world import A, World, bad, scale, text


def names():
    """Layouts hold lower-case hexadecimal names only; tags never become file names (R-27, R-32)."""
    with World() as world:
        tags = ["x:A", "x:a", "y:Tag", "y:tAG"]
        path = world.put("in/x.tar", docker([(t, [layer(t, 300)]) for t in tags]))
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
        layout = Layout(world.store)
        for i in range(images):
            entry = layout.image([b"layer %d %d" % (i, j) for j in range(per - 1)])
            layout.name(entry, f"registry.example/team/image{i}:1.0")
        layout.close()
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
        path = world.put("in/x.tar", docker([("new:1", [layer("n", 500)])]))
        start = time.time()
        world.ok(["load", "-q", "-i", path])
        print(f"size: load of one more image: {time.time() - start:.2f} s")


def clock():
    """Years outside everyday life (R-36)."""
    if not shutil.which("faketime"):
        print("skipped: faketime is not installed")
        return
    with World() as world:
        path = world.put("in/x.tar", docker([("x:1", [layer("x", 5000)])]))
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
