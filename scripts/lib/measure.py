#!/usr/bin/env python3
"""Runs the sides of a race in alternation and measures wall, CPU and peak memory of each.

    measure.py race RESULTS.jsonl < PLAN.json     run it, print medians, append one JSON line
    measure.py table RESULTS.jsonl                the table of all races; exit 1 when a bar is missed

PLAN: {"job": text, "rounds": n, "sides": [{"name", "prepare"?, "run", "output"?, "daemon"?}],
       "bars": [[side, peer, wall ratio]], "sizes": [[side, peer, ratio]], "wires": [[side, peer, ratio]],
       "limits": [[side, seconds]], "peaks": [[side, MiB]], "cpus": [[side, peer, CPU ratio]],
       "costs": [[side, requests, CPU microseconds for each]]}

`prepare` is not timed; before each timed run, everything written so far is flushed to disk. `daemon`
is the pid of a server that does the side's work: the CPU time of its process tree is added, and its
peak memory is taken when larger. Of a `server` instead, CPU time and memory alone count: what runs is a load. A peak under the 15 MiB of this script itself shows as 15. The wire is
what went over the loopback of this network namespace, which is the rig's own. Times are seconds, memory
is MiB, sizes are bytes.
"""
import json
import os
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


def tree(pid):
    pids, parents = [], {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    for candidate in parents:
        p = candidate
        while p and p != pid:
            p = parents.get(p, 0)
        if p == pid:
            pids.append(candidate)
    return pids


def daemon_cpu(pid):
    total = 0
    for p in tree(pid):  # own time and that of children that have ended
        try:
            fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            total += sum(int(x) for x in fields[11:15])
        except OSError:
            pass
    return total / TICK


def daemon_peak(pid, reset=False):
    if reset:
        try:
            open(f"/proc/{pid}/clear_refs", "w").write("5")
        except OSError:
            pass
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0


def size_of(path):
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


def wire():
    for line in open("/proc/net/dev"):
        name, _, fields = line.partition(":")
        if name.strip() == "lo":
            return int(fields.split()[0])
    return 0


def run_once(side):
    if side.get("prepare"):
        subprocess.run(["sh", "-c", side["prepare"]], check=True, stdout=subprocess.DEVNULL)
    os.sync()
    server = side.get("server")
    daemon = server or side.get("daemon")
    before = daemon_cpu(daemon) if daemon else 0
    if daemon:
        daemon_peak(daemon, reset=True)
    wire_before = wire()
    start = time.monotonic()
    child = subprocess.Popen(["sh", "-c", side["run"]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.stderr.buffer.write(message)
        print(f"FAIL {side['name']}: exit {child.returncode}: {side['run']}", flush=True)
        return None
    result = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024, "wire": wire() - wire_before}
    if server:
        result["cpu"] = result["rss"] = 0
    if daemon:
        result["cpu"] += daemon_cpu(daemon) - before
        result["rss"] = max(result["rss"], daemon_peak(daemon))
    if side.get("output"):
        result["size"] = size_of(side["output"])
    return result


def race(path):
    plan = json.load(sys.stdin)
    runs = {side["name"]: [] for side in plan["sides"]}
    for _ in range(plan.get("rounds", 5)):
        for side in plan["sides"]:
            runs[side["name"]].append(run_once(side) if None not in runs[side["name"]] else None)
    plan["failed"] = [name for name, rounds in runs.items() if None in rounds]
    runs = {name: rounds for name, rounds in runs.items() if None not in rounds}
    plan["medians"] = {
        name: {key: statistics.median(r[key] for r in rounds) for key in rounds[0]} for name, rounds in runs.items()
    }
    plan["runs"] = runs
    with open(path, "a") as out:
        out.write(json.dumps(plan) + "\n")
    for name, m in plan["medians"].items():
        walls = " ".join(f"{r['wall']:.2f}" for r in runs[name])
        print(f"{plan['job']}: {name}: wall {m['wall']:.3f} s ({walls}), cpu {m['cpu']:.2f} s, peak {m['rss']:.0f} MiB", flush=True)


def table(path):
    rows, missed = [("job", "side", "wall s", "CPU s", "peak MiB", "size MB", "wall, CPU, peak, size against", "bar", "")], 0
    for line in open(path):
        plan = json.loads(line)
        medians = plan["medians"]
        for name in plan["failed"]:
            missed += 1
            rows.append((plan["job"], name, "", "", "", "", "the command failed", "", "FAIL"))
        for name, m in medians.items():
            row = [plan["job"], name, f"{m['wall']:.3f}", f"{m['cpu']:.2f}", f"{m['rss']:.0f}", f"{m['size'] / 1e6:.1f}" if "size" in m else ""]
            notes = []
            for a, b, bar in plan.get("bars", []):
                if a == name and b in medians:
                    peer = medians[b]
                    size = f", {m['size'] / peer['size']:.3f}" if "size" in m and "size" in peer else ""
                    ratio = m["wall"] / peer["wall"]
                    text = f"{ratio:.2f}, {m['cpu'] / max(peer['cpu'], 1e-3):.2f}, {m['rss'] / peer['rss']:.2f}{size} {b}"
                    notes.append((text, f"wall <= {bar:.2f} x", ratio <= bar))
            for a, b, bar in plan.get("sizes", []):
                if a == name and b in medians:
                    ratio = m["size"] / medians[b]["size"]
                    notes.append((f"size {ratio:.4f} {b}", f"size <= {bar:.2f} x", ratio <= bar))
            for a, b, bar in plan.get("wires", []):
                if a == name and b in medians:
                    ratio = m["wire"] / medians[b]["wire"]
                    text = f"{m['wire'] / 1e6:.1f} MB sent, {ratio:.4f} {b}"
                    notes.append((text, f"sent <= {bar:.2f} x", ratio <= bar))
            for a, b, bar in plan.get("cpus", []):
                if a == name and b in medians:
                    ratio = m["cpu"] / max(medians[b]["cpu"], 1e-3)
                    notes.append((f"CPU {ratio:.2f} {b}", f"CPU <= {bar:.2f} x", ratio <= bar))
            for a, requests, bar in plan.get("costs", []):
                if a == name:
                    cost = m["cpu"] * 1e6 / requests
                    notes.append((f"{cost:.0f} us a request", f"<= {bar} us" if bar else "", cost <= bar if bar else None))
            for a, bar in plan.get("peaks", []):
                if a == name:
                    notes.append(("", f"peak <= {bar} MiB", m["rss"] <= bar))
            for a, bar in plan.get("limits", []):
                if a == name:
                    notes.append(("", f"wall <= {bar * 1000:.0f} ms", m["wall"] <= bar))
            for i, (text, bar, good) in enumerate(notes or [("", "", None)]):
                missed += good is False
                verdict = "" if good is None else "PASS" if good else "FAIL"
                rows.append(tuple(row if i == 0 else [""] * 6) + (text, bar, verdict))
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for i, r in enumerate(rows):
        print("| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["race", results]:
            race(results)
        case ["table", results]:
            table(results)
        case _:
            sys.exit(__doc__)
