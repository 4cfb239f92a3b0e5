#!/usr/bin/env python3
"""What one more costs: CPU and memory an image as there are more of them, in client and server.

    growth.py DIR IMGPACK [COUNT…]      default 100 1000 10000

Images are tiny, of three layers each, so that what is measured is the work around the bytes. A row is one run;
the bars are between the largest count and the smallest: CPU an image at most 1.3 times as much, and 8 KB more
memory an image. Exit 1 when one is missed. CPU is user and system time; memory is the peak.
"""
import os
import re
import shutil
import subprocess
import sys
import time

import images
from measure import daemon_cpu, daemon_peak

CPU_BAR, MEMORY_BAR = 1.3, 8
rows = []


def layout(root, count, name, layers=3):
    """A layout of so many images, called by `name(n)`."""
    made = images.Layout(root)
    for n in range(count):
        made.name(made.image([images.tar([(f"{n}-{k}", b"")]) for k in range(layers)]), name(n))
    return made.close()


class Server:
    """`imgpack serve` on a free port of loopback."""

    def __init__(self, log, imgpack, *args):
        with open(log, "wb") as stderr:
            self.child = subprocess.Popen([imgpack, "serve", "--listen", "127.0.0.1:0", *args], stderr=stderr)
        self.pid, found = self.child.pid, None
        while not found and self.child.poll() is None:
            time.sleep(0.02)
            found = re.search(r"127\.0\.0\.1:\d+", open(log).read())
        self.address = found[0] if found else sys.exit(open(log).read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()


def measure(job, count, command, server=None):
    """Runs a command once; its row and the server's."""
    before = daemon_cpu(server.pid) if server else 0
    if server:
        daemon_peak(server.pid, reset=True)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)[:200]}: exit {child.returncode}: {said.decode()[-500:]}")
    note(job, count, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
    if server:
        note(job + ", server", count, daemon_cpu(server.pid) - before, daemon_peak(server.pid) * 1024)


def note(job, count, cpu, peak):
    """One row, said at once: the table comes when all are there."""
    rows.append((job, count, cpu, peak))
    print(f"{job}, {count}: {cpu * 1000 / count:.3f} ms each, {peak / 1024:.0f} MiB", file=sys.stderr, flush=True)


def images_of(count, dir, imgpack):
    """One place after another, with so many images."""
    name = lambda n: f"demo/i{n}:1"
    usb, store = layout(f"{dir}/usb", count, name), f"{dir}/store"
    run = lambda job, *args, server=None: measure(job, count, [imgpack, "--store", store, *args], server)
    run("verify", "verify", usb)
    run("ls", "ls", usb)
    run("load", "load", "-q", "-i", usb)
    run("images", "images", "-q")
    run("sync dir-to-dir", "sync", "dir-to-dir", "-q", usb, f"{dir}/copy")
    run("sync dir-to-dir again", "sync", "dir-to-dir", "-q", usb, f"{dir}/copy")
    with Server(f"{dir}/log", imgpack, "--writable", f"{dir}/far", "--delete") as server:
        run("sync dir-to-registry", "sync", "dir-to-registry", "-q", usb, server.address, server=server)
        run("sync dir-to-registry again", "sync", "dir-to-registry", "-q", usb, server.address, server=server)
    with Server(f"{dir}/log", imgpack, usb) as server:
        catalog = f"{server.address}/*"
        run("sync registry-to-dir", "sync", "registry-to-dir", "-q", catalog, f"{dir}/back", server=server)
    run("rmi", "rmi", "--no-prune", *(name(n) for n in range(count)))
    run("prune", "prune", "-f")


def tags_of(count, dir, imgpack):
    """So many tags in one repository."""
    usb, store = layout(f"{dir}/tags", count, lambda n: f"demo/tags:{n}"), f"{dir}/tagged"
    measure("load tags", count, [imgpack, "--store", store, "load", "-q", "-i", usb])
    with Server(f"{dir}/log", imgpack, "--writable", f"{dir}/far-tags") as server:
        target = f"{server.address}/demo/tags"
        measure("sync dir-to-dir --map", count, [imgpack, "--store", store, "sync", "dir-to-dir", "-q", "--map", f"docker.io={server.address}", usb, f"{dir}/renamed"])
        measure("push -a", count, [imgpack, "--store", f"{dir}/renamed", "push", "-q", "-a", target], server)


def layers_of(count, dir, imgpack):
    """So many layers in one image; the row is by layer."""
    usb, store = layout(f"{dir}/deep", 1, lambda n: "demo/deep:1", count), f"{dir}/deepstore"
    measure("load layers", count, [imgpack, "--store", store, "load", "-q", "-i", usb])
    measure("save layers", count, [imgpack, "--store", store, "save", "-o", f"{dir}/deep.tar", "demo/deep:1"])


def table():
    """Prints the rows with their bars; how many were missed."""
    missed, jobs = 0, list(dict.fromkeys(job for job, *_ in rows))
    print(f"| {'job':32} | {'count':>6} | {'CPU ms each':>11} | {'peak MiB':>8} | bars |")
    print("|---|---|---|---|---|")
    for job in jobs:
        runs = [(count, cpu, peak) for j, count, cpu, peak in rows if j == job]
        (few, cpu_few, peak_few), (many, cpu_many, peak_many) = runs[0], runs[-1]
        for count, cpu, peak in runs:
            verdict = ""
            if count == many and many > few:
                ratio = (cpu_many / many) / max(cpu_few / few, 1e-6)
                memory = max(peak_many - peak_few, 0) / (many - few)
                good = ratio <= CPU_BAR and memory <= MEMORY_BAR
                missed += not good
                verdict = f"CPU {ratio:.2f} x, {memory:.1f} KB each: {'PASS' if good else 'FAIL'}"
            print(f"| {job:32} | {count:6} | {cpu * 1000 / count:11.3f} | {peak / 1024:8.0f} | {verdict} |", flush=True)
    return missed


def main(dir, imgpack, *counts):
    counts = [int(count) for count in counts] or [100, 1000, 10000]
    for count in counts:
        for part in (images_of, tags_of):
            shutil.rmtree(dir, ignore_errors=True)
            os.makedirs(dir)
            part(count, dir, imgpack)
    # An image of more is refused by every engine.
    for count in (10, 50, 120):
        shutil.rmtree(dir, ignore_errors=True)
        os.makedirs(dir)
        layers_of(count, dir, imgpack)
    shutil.rmtree(dir)
    sys.exit(1 if table() else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
