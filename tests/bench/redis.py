#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Redis stream -> ten rules -> Redis stream by the daemon, beside others that match nothing: one Redis, in alternating rounds.

  tests/bench/redis.py [--binary B] [--entries N] [--rounds N] [--appendfsync everysec|always|no-aof] [--bullmq FOLDER]
  tests/bench/redis.py [--binary B] --metrics [--rounds N] [--seconds S]

Entries of 512 bytes, each matches exactly one of ten rules. Beside it one bare connection of hiredis that reads, adds and acknowledges in
pipelines of 100, and, where FOLDER has it (npm install --prefix FOLDER bullmq ioredis), BullMQ's worker that does nothing, 50 at a time. Prints
entries a second, the processor time of a million for us and for Redis, and the audit; it ends with 1 when the audit is not clean.

--metrics: what it costs to tell a Redis of 1,000 rules, targets and sources once a second, in shares of a core, beside a daemon that tells nothing.
"""
import argparse
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

import daemon as bench

sys.path.append(str(bench.ROOT / "tests" / "support"))  # for what that imports
spec = importlib.util.spec_from_file_location("redis_server", bench.ROOT / "tests" / "support" / "redis.py")
support = importlib.util.module_from_spec(spec)  # this file has its name, too
spec.loader.exec_module(support)


def commands(server):
    """How many commands Redis has carried out, and the time that it took, in microseconds."""
    lines = re.findall(r"^cmdstat_([a-z|]+):calls=(\d+),usec=(\d+)", server("INFO", "commandstats"), re.M)
    return {name: (int(calls), int(us)) for name, calls, us in lines}


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


def bullmq(args, server, n):
    """A job is three keys and a round trip of Lua, so fewer of them tell as much."""
    jobs = max(1000, args.entries // 10)
    words = ["node", str(bench.ROOT / "tests/bench/workers/bullmq.cjs"), args.bullmq, str(server.path), str(jobs), "50"]
    p = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    before = bench.cpu(server.process.pid)
    out, _ = p.communicate()
    if p.returncode:
        sys.exit("BullMQ does not run")
    rate, cpu = out.split()
    redis = 1e6 * (bench.cpu(server.process.pid) - before) / jobs  # with the filling
    for key in server("KEYS", "bull:bench:*"):
        server("DEL", key)
    return float(rate), float(cpu), redis


def peers(args):
    sides = {"bare hiredis": bare, "signalbox": routed}
    if args.bullmq and shutil.which("node") and os.path.isdir(f"{args.bullmq}/node_modules/bullmq"):
        return {**sides, "BullMQ": bullmq}
    print("BullMQ: left out; it wants node and --bullmq FOLDER, made by: npm install --prefix FOLDER bullmq ioredis")
    return sides


# ------------------------------------------------------------------------------------------------ metrics

RULES, TARGETS = 849, 150  # and the source `events`


def post(d, events):
    body = json.dumps([{"source": "com.bench", "detail-type": "T", "detail": {"rule": i}} for i in events]).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{d.port}/v1/events", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        answer.read()


def shares(args, server, told):
    """Of a core, in percent, over a little more than a roll-up in which every rule and target is at work: the daemon's, and Redis'."""
    rules = [{"name": f"rule-{i:03}", "pattern": {"source": ["com.bench"], "detail": {"rule": [i]}}, "targets": [{"target": f"target-{i % TARGETS:03}"}]}
             for i in range(RULES)]
    more = {"metrics": {"redis": {"url": server.unix_url, "cluster": "bench"}}} if told else {}
    with bench.Daemon(args, {f"target-{i:03}": {"null": {}} for i in range(TARGETS)}, rules, **more) as d:
        post(d, range(RULES))
        time.sleep(3)
        start, ours, redis = time.monotonic(), bench.cpu(d.pid), bench.cpu(server.process.pid)
        while (passed := time.monotonic() - start) < args.seconds:
            post(d, range(RULES))
            time.sleep(min(10, args.seconds - passed))
        passed = time.monotonic() - start
        ours, redis = bench.cpu(d.pid) - ours, bench.cpu(server.process.pid) - redis
    if told:
        calls = {name: us for name, (n, us) in commands(server).items()}
        print(f"  Redis' commands alone took {100 * sum(calls.values()) / 1e6 / passed:.2f} % of a core", flush=True)
    server("FLUSHALL")
    server("CONFIG", "RESETSTAT")
    return 100 * ours / passed, 100 * redis / passed


def metrics(args, server):
    seen = {told: [] for told in (False, True)}
    server("CONFIG", "RESETSTAT")
    for n in range(args.rounds):
        for told, rounds in seen.items():
            rounds.append(shares(args, server, told))
            print(f"round {n + 1}: {'tells' if told else 'does not tell'}: the daemon {rounds[-1][0]:.2f} % of a core, Redis {rounds[-1][1]:.2f} %", flush=True)
    more = [statistics.median(t[i] - s[i] for s, t in zip(seen[False], seen[True])) for i in range(2)]
    print(f"1,000 entities a second cost {more[0]:.2f} % of a core here (bar: 1) and {more[1]:.2f} % in Redis (bar: 0.5)")


def hop(args, server):
    sides = peers(args)
    seen = {s: [] for s in sides}
    subprocess.run([args.bare, "fill", str(server.path), "in", str(args.entries)], check=True)
    for n in range(args.rounds):
        for name, side in sides.items():
            seen[name].append(side(args, server, n))
            rate, ours, redis = seen[name][-1]
            print(f"round {n + 1}: {name} {rate:,.0f} entries/s, CPU s a million {ours:.2f}, Redis' own {redis:.2f}", flush=True)
    median = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in seen.items()}
    for name, (rate, ours, redis) in median.items():
        print(f"{name}: median {rate:,.0f} entries/s, CPU s a million {ours:.2f}, Redis' own {redis:.2f}")
    for name in sides.keys() - {"signalbox"}:
        ratios = [ours[0] / theirs[0] for ours, theirs in zip(seen["signalbox"], seen[name])]
        print(f"ratio to {name}: {median['signalbox'][0] / median[name][0]:.2f} (rounds {min(ratios):.2f}-{max(ratios):.2f})")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=str(bench.ROOT / "build/release/signalbox"), type=os.path.abspath)
    p.add_argument("--bare", default=str(bench.ROOT / "build/ci/bench_redis"), type=os.path.abspath)
    p.add_argument("--entries", type=int, default=500000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--appendfsync", choices=("everysec", "always", "no-aof"), default="everysec")
    p.add_argument("--window", type=int, default=4096)
    p.add_argument("--concurrency", type=int, default=1000)
    p.add_argument("--bullmq", metavar="FOLDER", type=os.path.abspath, help="its node_modules has bullmq and ioredis")
    p.add_argument("--metrics", action="store_true")
    p.add_argument("--seconds", type=float, default=70, help="of each half of a round of --metrics")
    p.add_argument("--folder", help="where the daemon keeps its data; default: the folder for temporary files")
    args = p.parse_args()
    rows = {"appendonly": "no"} if args.appendfsync == "no-aof" else {"appendonly": "yes", "appendfsync": args.appendfsync}
    with support.Server(**rows) as server:
        (metrics if args.metrics else hop)(args, server)


if __name__ == "__main__":
    main()
