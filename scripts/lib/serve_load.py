#!/usr/bin/env python3
"""200 clients on `imgpack serve`, a tenth slow and a tenth cut off: no 5xx, no leak, quick all the same.

    serve_load.py --imgpack BIN --place LAYOUT [--seconds 30] [--clients 200] [--pause 0.1]

LAYOUT holds golang:1 (scripts/bench-images). Prints what was seen and the bars; exit 1 when one is missed. Memory and open
files are those of the server, compared between the end of a warm-up (a fifth of the time) and the end.
"""
import argparse
import asyncio
import collections
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.request

P99 = 0.050  # seconds, of HEAD
MEMORY = 96  # MiB at the most
GROWTH = 1.2  # after the warm-up


def server(args):
    command = [args.imgpack, "serve", "--listen", "127.0.0.1:0", "--access-log", "none", args.place]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if "listening on http://" in line:
            host, port = line.split("http://")[1].strip().rsplit(":", 1)
            return child, host, int(port)
    sys.exit(f"does not listen: {command}")


def memory(pid, what):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return 0.0


def files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Seen:
    def __init__(self):
        self.statuses = collections.Counter()
        self.heads = []
        self.broken = 0


async def read_answer(reader, slow):
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length:")), 0)
    return status, length


async def client(kind, host, port, paths, end, pause, seen, rng):
    while time.monotonic() < end:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(host, port)
            for _ in range(rng.randrange(5, 50)):
                if time.monotonic() >= end:
                    break
                method, path = rng.choices([("HEAD", paths["blob"]), ("GET", paths["manifest"]), ("GET", paths["tags"]), ("GET", paths["blob"])],
                                           [60, 20, 10, 10])[0]
                if kind == "slow":
                    method, path = "GET", paths["blob"]
                request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
                begun = time.monotonic()
                if kind == "slow":  # some dribble their request, all read slowly
                    half = rng.randrange(1, len(request))
                    writer.write(request[:half])
                    await asyncio.sleep(rng.random())
                    writer.write(request[half:])
                else:
                    writer.write(request)
                status, length = await read_answer(reader, kind == "slow")
                seen.statuses[status] += 1
                if method == "HEAD":
                    if kind == "plain":
                        seen.heads.append(time.monotonic() - begun)
                else:
                    if kind == "cut" and rng.random() < 0.5:
                        await reader.read(min(length, 1000))
                        linger = struct.pack("ii", 1, 0)  # close with a reset
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        break
                    left = length
                    while left and time.monotonic() < end:
                        got = await reader.read(min(left, 2048 if kind == "slow" else 1 << 16))
                        if not got:
                            break
                        left -= len(got)
                        if kind == "slow":
                            await asyncio.sleep(0.05)
                await asyncio.sleep(rng.uniform(0, 2 * pause))
        except (ConnectionError, asyncio.IncompleteReadError, OSError):
            seen.broken += kind == "plain"
        finally:
            if writer:
                writer.close()


async def load(args, pid, host, port, paths, seen):
    rng = random.Random(7)
    end = time.monotonic() + args.seconds
    kinds = ["slow" if i % 10 == 0 else "cut" if i % 10 == 1 else "plain" for i in range(args.clients)]
    clients = [asyncio.create_task(client(k, host, port, paths, end, args.pause, seen, random.Random(rng.random()))) for k in kinds]
    await asyncio.sleep(args.seconds / 5)
    warm = memory(pid, "VmRSS:"), files(pid)
    seen.heads.clear()
    await asyncio.gather(*clients)
    return warm


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imgpack", required=True)
    parser.add_argument("--place", required=True)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.1, help="mean seconds between two requests of a client")
    args = parser.parse_args()
    child, host, port = server(args)
    try:
        manifest = "/v2/golang/manifests/1"
        layers = json.load(urllib.request.urlopen(f"http://{host}:{port}{manifest}"))["layers"]
        blob = min(layers, key=lambda layer: layer["size"])["digest"]
        paths = {"manifest": manifest, "tags": "/v2/golang/tags/list", "blob": f"/v2/golang/blobs/{blob}"}
        idle = files(child.pid)
        seen = Seen()
        warm_memory, _ = asyncio.run(load(args, child.pid, host, port, paths, seen))
        time.sleep(2)
        heads = sorted(seen.heads)
        p50, p99 = heads[len(heads) // 2], heads[len(heads) * 99 // 100]
        peak, now, left = memory(child.pid, "VmHWM:"), memory(child.pid, "VmRSS:"), files(child.pid)
        bad = sum(n for status, n in seen.statuses.items() if status >= 500)
        rows = [("answers", f"{sum(seen.statuses.values())} ({dict(seen.statuses)})", "no 5xx", bad == 0),
                ("connections broken for plain clients", seen.broken, "0", seen.broken == 0),
                ("HEAD", f"median {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms of {len(heads)}", f"p99 <= {P99 * 1000:.0f} ms", p99 <= P99),
                ("memory", f"peak {peak:.0f} MiB", f"<= {MEMORY} MiB", peak <= MEMORY),
                ("memory after the warm-up and at the end", f"{warm_memory:.1f}, {now:.1f} MiB", f"<= {GROWTH} x", now <= GROWTH * warm_memory),
                ("open files before and after", f"{idle}, {left}", "the same, but for files kept", left <= idle + 8)]
        for what, found, bar, good in rows:
            print(f"serve, {args.clients} clients, {args.seconds:.0f} s: {what}: {found} (bar: {bar}) {'PASS' if good else 'FAIL'}", flush=True)
        sys.exit(0 if all(good for *_, good in rows) else 1)
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
