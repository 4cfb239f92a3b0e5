"""What happens to imgpack when the world fails it: killed, out of space, cut off, contended.

    scripts/lib/sweep --imgpack FILE [--soak] [--seed N] SECTION…      (no SECTION: list them)

Each section builds its own images and directories beneath a temporary folder, prints what it did and
exits 1 when a promise was broken. "Old or new" means: the store or the output is as before or as after
the whole command, `verify` says 0, and running the command again completes it.
"""
import argparse
import os
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parents[1]))

from crowd import crowd, locks
from faults import faults
from kills import kill, random_kills
from pipes import pipes
from power import order, power
from signals import signals
from sources import sources
from space import space
from stores import clock, names, size
from world import A, RNG, finish

SECTIONS = {"kill": kill, "faults": faults, "order": order, "random-kills": random_kills, "power": power, "space": space,
            "sources": sources, "signals": signals, "pipes": pipes, "crowd": crowd, "locks": locks, "names": names,
            "size": size, "clock": clock}


def main():
    parser = argparse.ArgumentParser(prog="sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgpack", default="target/release/imgpack")
    parser.add_argument("--soak", action="store_true", default=os.environ.get("IMGPACK_TEST_SCALE") == "soak")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("IMGPACK_TEST_SEED") or time.time_ns() % 10 ** 9))
    parser.add_argument("--tmp", default=None)
    parser.add_argument("section", nargs="*")
    parser.parse_args(namespace=A)
    A.imgpack = os.path.abspath(A.imgpack)
    if not A.section:
        for name, f in SECTIONS.items():
            print(f"{name:13} {f.__doc__}")
        return
    RNG.seed(A.seed)
    print(f"seed {A.seed}")
    for name in A.section:
        start = time.time()
        SECTIONS[name]()
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
    finish()


main()
