#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Redis stream -> ten rules -> Redis stream by the daemon, beside one bare hiredis loop that matches nothing: one Redis, in alternating rounds.

  tests/bench/redis.py [--binary B] [--entries N] [--rounds N] [--appendfsync everysec|always|no-aof]

Entries of 512 bytes, each matches exactly one of ten rules. Prints entries a second, the processor time of a million for us and for Redis,
and the audit; it ends with 1 when the audit is not clean.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

import daemon as bench

spec = importlib.util.spec_from_file_location("redis_server", bench.ROOT / "tests" / "support" / "redis.py")
support = importlib.util.module_from_spec(spec)  # this file has its name, too
spec.loader.exec_module(support)


def bare(args, server, n):
    out = f"out-bare-{n}"
    words = ["copy", str(server.path), "in", out, f"bare-{n}", str(args.entries)]
    before = bench.cpu(server.process.pid)
    rate, cpu = subprocess.run([args.bare, *words], check=True, capture_output=True, text=True).stdout.split()
    server("DEL", out)
    server("XGROUP", "DESTROY", "in", f"bare-{n}")
    return float(rate), float(cpu), 1e6 * (bench.cpu(server.process.pid) - before) / args.entries


def group_of(server, name):
    groups = [dict(zip(g[::2], g[1::2])) for g in server("XINFO", "GROUPS", "in")]
    return next((g for g in groups if g["name"] == name), None)


def routed(args, server, n):
    group, out = f"ours-{n}", f"out-ours-{n}"
    source = {"redis": {"url": server.unix_url, "streams": ["in"], "group": group, "field": "body", "window": {"entries": args.window}}, "envelope": "raw", "source": "com.bench",
              "detail_type": "<$.detail.type>"}
    target = {"redis": {"url": server.unix_url, "stream": out, "maxlen": 100000, "fields": {"event": "<event>"}}, "concurrency": args.concurrency}
    rules = [{"name": f"r{i}", "pattern": {"source": ["com.bench"], "detail-type": [f"T{i}"], "detail": {"total": [{"numeric": [">=", 100]}]}},
              "targets": [{"target": "out"}]} for i in range(10)]
    with bench.Daemon(args, {"out": target}, rules, sources={"in": source}) as d:
        while not (g := group_of(server, group)) or not g["entries-read"]:
            time.sleep(0.002)
        first, start, ours, redis = g["entries-read"] - g["pending"], time.monotonic(), bench.cpu(d.pid), bench.cpu(server.process.pid)
        while (g := group_of(server, group))["lag"] or g["pending"]:
            time.sleep(0.02)
        took, some = time.monotonic() - start, args.entries - first
        ours, redis = bench.cpu(d.pid) - ours, bench.cpu(server.process.pid) - redis
        audit, rss = d.cli("audit"), bench.rss_mib(d.pid)
        spilled = next(s for s in d.cli("status")["sources"] if s["name"] == "in")["spilled"]
    server("DEL", out)
    server("XGROUP", "DESTROY", "in", group)
    if not audit["adds_up"] or audit["delivered"] != args.entries:
        sys.exit(f"the audit is not clean: {json.dumps(audit)[:400]}")
    print(f"  audit clean; spilled {spilled:,}, RSS {rss:.0f} MiB", flush=True)
    return some / took, 1e6 * ours / some, 1e6 * redis / some


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=str(bench.ROOT / "build/release/signalbox"), type=os.path.abspath)
    p.add_argument("--bare", default=str(bench.ROOT / "build/ci/bench_redis"), type=os.path.abspath)
    p.add_argument("--entries", type=int, default=500000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--appendfsync", choices=("everysec", "always", "no-aof"), default="everysec")
    p.add_argument("--window", type=int, default=4096)
    p.add_argument("--concurrency", type=int, default=1000)
    p.add_argument("--folder", help="where the daemon keeps its data; default: the folder for temporary files")
    args = p.parse_args()
    rows = {"appendonly": "no"} if args.appendfsync == "no-aof" else {"appendonly": "yes", "appendfsync": args.appendfsync}
    sides = {"bare hiredis": bare, "signalbox": routed}
    seen = {s: [] for s in sides}
    with support.Server(**rows) as server:
        subprocess.run([args.bare, "fill", str(server.path), "in", str(args.entries)], check=True)
        for n in range(args.rounds):
            for name, side in sides.items():
                seen[name].append(side(args, server, n))
                rate, ours, redis = seen[name][-1]
                print(f"round {n + 1}: {name} {rate:,.0f} entries/s, CPU s a million {ours:.2f}, Redis' own {redis:.2f}", flush=True)
    median = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in seen.items()}
    for name, (rate, ours, redis) in median.items():
        print(f"{name}: median {rate:,.0f} entries/s, CPU s a million {ours:.2f}, Redis' own {redis:.2f}")
    print(f"ratio {median['signalbox'][0] / median['bare hiredis'][0]:.2f}")


if __name__ == "__main__":
    main()
