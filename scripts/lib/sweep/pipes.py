"""Readers that go away."""
import subprocess

from images import docker, layer
from world import A, World, bad, tame, text


def pipes():
    """Readers that go away, closed descriptors, a full device (R-14 to R-16)."""
    with World() as world:
        path = world.put("in/x.tar", docker([("a:1", [layer("a", 3_000_000)])]))
        world.ok(["load", "-q", "-i", path])
        for args in (["save", "a:1"], ["ls", path], ["inspect", path], ["images"], ["verify", path]):
            p = world.start(args)
            p.stdout.read(1 if args[0] == "save" else 0)
            p.stdout.close()
            err = p.stderr.read()
            code = p.wait(timeout=60)
            if code not in (0, 141, 1) or b"panic" in err or (args[0] != "save" and (code or err)):
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
