#!/usr/bin/env python3
"""`imgpack serve` at its limits: a blob beyond 4 GiB, 100 000 tags, 10 000 referrers and repositories, few files.

    serve_limits.py --imgpack BIN --dir SCRATCH [--scale 1.0] [blob many files]

SCRATCH needs 11 GiB for `blob`. Prints what was measured and the bars; exit 1 when one is missed.
"""
import argparse
import hashlib
import http.client
import json
import os
import re
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from images import LAYER, MANIFEST, Layout, sha

GIB = 1 << 30
failed = 0


def row(what, found, bar, good):
    global failed
    failed += not good
    print(f"limits: {what}: {found} (bar: {bar}) {'PASS' if good else 'FAIL'}", flush=True)


class Server:
    """A server of its own, ended by its number."""

    def __init__(self, imgpack, *more, files=None):
        command = [imgpack, "serve", "--listen", "127.0.0.1:0", "--access-log", "none", *more]
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        begun = time.monotonic()
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limit)
        said = ""
        for line in self.child.stderr:
            said += line
            if "listening on http://" in line:
                self.host, port = line.split("http://")[1].split()[0].strip("/").rsplit(":", 1)
                self.port = int(port)
                self.took = time.monotonic() - begun
                return
        sys.exit(f"does not listen: {command}\n{said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()

    def memory(self, what="VmHWM:"):
        for line in open(f"/proc/{self.child.pid}/status"):
            if line.startswith(what):
                return int(line.split()[1]) / 1024
        return 0.0

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of one request, and its seconds."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=600)
        begun = time.monotonic()
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data, time.monotonic() - begun

    def pages(self, path, key, of=lambda e: e):
        """Every entry of a list, the number of pages, and the seconds of the slowest."""
        found, count, slowest = [], 0, 0.0
        while path:
            status, headers, data, took = self.ask("GET", path)
            if status != 200:
                sys.exit(f"{path}: {status} {data[:200]}")
            found += [of(entry) for entry in json.loads(data)[key]]
            count, slowest = count + 1, max(slowest, took)
            link = headers.get("Link")
            path = re.match("<(.*)>", link)[1] if link else None
        return found, count, slowest


def hash_of_zeros(size):
    hasher, piece = hashlib.sha256(), bytes(1 << 20)
    for _ in range(size >> 20):
        hasher.update(piece)
    return "sha256:" + hasher.hexdigest()


def fetched(server, path, size):
    """Digest and seconds of a blob that is pulled whole."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
    begun, hasher, got = time.monotonic(), hashlib.sha256(), 0
    connection.request("GET", path)
    answer = connection.getresponse()
    while piece := answer.read(1 << 20):
        hasher.update(piece)
        got += len(piece)
    return answer.status == 200 and got == size, "sha256:" + hasher.hexdigest(), time.monotonic() - begun


def send(server, method, path, file, first, size, chunk=False):
    """Sends bytes of a file as they lie on the disk."""
    with socket.create_connection((server.host, server.port), timeout=600) as stream:
        ranged = f"Content-Range: {first}-{first + size - 1}\r\n" if chunk else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\nContent-Length: {size}\r\n{ranged}\r\n"
        stream.sendall(head.encode())
        stream.settimeout(None)  # sendfile knows no limit
        while size:
            sent = os.sendfile(stream.fileno(), file.fileno(), first, size)
            first, size = first + sent, size - sent
        answer = http.client.HTTPResponse(stream)
        answer.begin()
        answer.read()
        return answer.status, answer.headers


def blob(args, scratch):
    size = int(5 * GIB * args.scale) >> 20 << 20
    wanted, zeros = hash_of_zeros(size), scratch + "/zeros"
    with open(zeros, "wb") as file:
        file.truncate(size)
    file = open(zeros, "rb")
    layout = Layout(scratch + "/layout")
    path = f"{layout.root}/blobs/{wanted.replace(':', '/')}"
    shutil.move(zeros, path)
    layout.name(layout.manifest([{"mediaType": LAYER, "digest": wanted, "size": size}], layout.config([])), "docker.io/library/big:1")
    layout.close()

    def pulled(server, what):
        target = f"/v2/big/blobs/{wanted}"
        whole, found, took = fetched(server, target, size)
        row(f"{what}, whole", f"{took:.1f} s, {size / took / 1e6:.0f} MB/s", "the same digest", whole and found == wanted)
        good = server.ask("HEAD", target)[1]["Content-Length"] == str(size)
        end = min(4 * GIB, size - 3000)
        for first, last in [(end - 1, end), (end + 1000, end + 2000), (size - 10, size + 10)]:
            status, headers, data, _ = server.ask("GET", target, headers={"Range": f"bytes={first}-{last}"})
            last = min(last, size - 1)
            good &= status == 206 and data == bytes(last - first + 1) and headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        status, *_ = server.ask("GET", target, headers={"Range": f"bytes={size}-"})
        row(f"{what}, by ranges", "HEAD, 206 before, across and behind 4 GiB, 416 behind the end", "all right", good and status == 416)
        row(f"{what}, memory", f"{server.memory():.0f} MiB", "<= 64 MiB", server.memory() <= 64)

    with Server(args.imgpack, layout.root) as server:
        pulled(server, "blob beyond 4 GiB of a layout")
    for what in ["in one PUT", "in chunks"]:
        with Server(args.imgpack, "--writable", scratch + "/store") as server:
            place = server.ask("POST", "/v2/big/blobs/uploads/")[1]["Location"]
            begun, first, statuses = time.monotonic(), 0, []
            if what == "in chunks":
                step = (size * 3 // 10) | 1  # the third crosses 4 GiB
                while size - first > step:
                    status, headers = send(server, "PATCH", place, file, first, step, chunk=True)
                    first, place = first + step, headers["Location"]
                    statuses.append((status, headers["Range"] == f"0-{first - 1}"))
                    status, headers, _, _ = server.ask("GET", place)
                    statuses.append((status, headers["Range"] == f"0-{first - 1}"))
            status, _ = send(server, "PUT", f"{place}?digest={wanted}", file, first, size - first)
            took, good = time.monotonic() - begun, status == 201 and all(s in (202, 204) and r for s, r in statuses)
            row(f"blob beyond 4 GiB pushed {what}", f"{took:.1f} s, {size / took / 1e6:.0f} MB/s, {status}", "201", good)
            row("memory", f"{server.memory():.0f} MiB", "<= 64 MiB", server.memory() <= 64)
            if what == "in one PUT":
                pulled(server, "blob beyond 4 GiB of a store")
        shutil.rmtree(scratch + "/store")


def many(args, scratch):
    tags, others = int(100_000 * args.scale), int(10_000 * args.scale)
    layout = Layout(scratch + "/many")
    shared = layout.config([])
    base = [layout.blob(b"base%d" % n * 1000, LAYER) for n in range(4)]
    subject = layout.manifest(base, shared)
    layout.name(subject, *(f"docker.io/library/tags:t{n:06}" for n in range(tags)))
    for n in range(others):
        own = {"mediaType": LAYER, "digest": sha(b"own%d" % n), "size": 4096}
        layout.name(layout.manifest([*base, own], shared), f"docker.io/many/r{n:05}:1")
    for n in range(others):
        layout.entries.append(layout.manifest([base[0]], shared, subject=subject, artifactType="application/x", annotations={"n": str(n)}))
    layout.close()
    for what, more in [("layout", ["--max-images", "200000", layout.root]), ("store", ["--writable", layout.root])]:
        with Server(args.imgpack, *more) as server:
            idle = server.memory()
            row(f"{what} of {tags} tags, {others} repositories, {others} referrers", f"ready in {server.took:.1f} s, {idle:.0f} MiB",
                "<= 60 s, 1 GiB", server.took <= 60 and idle <= 1024)
            wanted = [f"t{n:06}" for n in range(tags)]
            for n in ["", "?n=1000", "?n=100000"]:
                found, pages, slowest = server.pages(f"/v2/tags/tags/list{n}", "tags")
                row(f"{what}, tags/list{n}", f"{pages} pages, the slowest {slowest * 1000:.0f} ms", "all, <= 100 ms", found == wanted and slowest <= 0.1)
            status, _, data, took = server.ask("GET", f"/v2/tags/tags/list?n=3&last=t{tags - 3:06}")
            good = json.loads(data)["tags"] == wanted[-2:]
            row(f"{what}, the last tags", f"{took * 1000:.0f} ms", "right", good and status == 200)
            found, pages, slowest = server.pages("/v2/_catalog?n=1000", "repositories")
            good = found == sorted(["tags", *(f"many/r{n:05}" for n in range(others))])
            row(f"{what}, _catalog", f"{pages} pages, the slowest {slowest * 1000:.0f} ms", "all, <= 250 ms", good and slowest <= 0.25)
            found, pages, slowest = server.pages(f"/v2/tags/referrers/{subject['digest']}", "manifests", lambda e: e["annotations"]["n"])
            good = sorted(found, key=int) == [str(n) for n in range(others)]
            row(f"{what}, referrers", f"{pages} pages, the slowest {slowest * 1000:.0f} ms", "all, <= 500 ms", good and slowest <= 0.5)
            row(f"{what}, memory of all lists", f"{server.memory() - idle:.0f} MiB more", "<= 64 MiB", server.memory() - idle <= 64)
            if what == "store":
                body = open(f"{layout.root}/blobs/{subject['digest'].replace(':', '/')}", "rb").read()
                took = [server.ask("PUT", f"/v2/tags/manifests/new{n}", body, {"Content-Type": MANIFEST}) for n in range(20)]
                times = sorted(t for *_, t in took)
                row("store, a tag more", f"median {times[10] * 1000:.0f} ms, the slowest {times[-1] * 1000:.0f} ms", "201, median <= 250 ms",
                    all(s == 201 for s, *_ in took) and times[10] <= 0.25)
            times = {}
            for path in ["/", "/packing-list", "/?q=r00", "/?page=30"]:
                all_ = [server.ask("GET", path) for _ in range(6)]
                times[path] = all(s == 200 for s, *_ in all_), all_[0][3], min(t for *_, t in all_[1:])
            shown = ", ".join(f"{p} {first * 1000:.0f} then {then * 1000:.0f} ms" for p, (_, first, then) in times.items())
            row(f"{what}, pages for people", shown, "then <= 200 ms", all(g and then <= 0.2 for g, _, then in times.values()))
            row(f"{what}, memory of all", f"{server.memory() - idle:.0f} MiB more", "<= 256 MiB", server.memory() - idle <= 256)


def files(args, scratch):
    """400 clients, a quarter of them pushing, on a server that may have 256 files open."""
    layout = Layout(scratch + "/layout")
    layer = layout.blob(random.randbytes(1 << 20), LAYER)
    layout.name(layout.manifest([layer], layout.config([])), "docker.io/library/app:1")
    layout.close()
    statuses, slowest, data = [], [], random.randbytes(20 << 20)
    name = sha(data)
    with Server(args.imgpack, "--writable", scratch + "/store", layout.root, files=256) as server:
        stop = threading.Barrier(400)

        def client(n):
            status = 0
            begun = time.monotonic()
            connection = http.client.HTTPConnection(server.host, server.port, timeout=300)
            try:
                if n % 4 == 0:  # larger than what is flushed at once
                    connection.request("POST", f"/v2/p{n}/blobs/uploads/?digest={name}", data)
                    status = connection.getresponse().status - 1
                else:
                    connection.request("GET", f"/v2/app/blobs/{layer['digest']}")
                    answer = connection.getresponse()
                    status = answer.status if sha(answer.read()) == layer["digest"] else -1
            except OSError as e:
                status = str(e)
            statuses.append(status)
            slowest.append(time.monotonic() - begun)
            stop.wait()  # nobody hangs up before all were answered

        threads = [threading.Thread(target=client, args=(n,)) for n in range(400)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bad = [status for status in statuses if status != 200]
        row("400 clients, 100 of them pushing 20 MiB, 256 files", f"{400 - len(bad)} answered, {bad[:5]}, the slowest {max(slowest):.1f} s",
            "all", not bad)
        row("memory", f"{server.memory():.0f} MiB", "<= 96 MiB", server.memory() <= 96)
        row("afterwards", server.ask("GET", "/readyz")[0], "200", server.ask("GET", "/readyz")[0] == 200)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imgpack", required=True)
    parser.add_argument("--dir", default=tempfile.gettempdir())
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("what", nargs="*", default=["blob", "many", "files"])
    args = parser.parse_args()
    args.imgpack = os.path.abspath(args.imgpack)
    for what in args.what:
        scratch = tempfile.mkdtemp(prefix="imgpack-limits-", dir=args.dir)
        try:
            {"blob": blob, "many": many, "files": files}[what](args, scratch)
        finally:
            shutil.rmtree(scratch)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
