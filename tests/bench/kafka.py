#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka -> ten rules -> Kafka by the daemon, beside a bare librdkafka loop that matches nothing: one broker, in alternating rounds.

  tests/bench/kafka.py [--binary B] [--records N] [--rounds N]

Events of 512 bytes, 12 partitions, acks=all, each matches exactly one of ten rules. Prints records a second, the processor time of a
million, ratios, and the audit; it ends with 1 when the audit is not clean.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import daemon as bench

sys.path.insert(0, str(bench.ROOT / "tests" / "support"))
import kafka  # noqa: E402

PARTITIONS = 12


def bare(args, cluster, into, out, n):
    words = ["copy", ",".join(cluster.brokers), into, out, str(PARTITIONS), str(args.records), f"bare-{n}"]
    rate, cpu = subprocess.run([args.bare, *words], check=True, capture_output=True, text=True).stdout.split()
    return float(rate), float(cpu)


def ten_rules():
    return [{"name": f"r{i}", "pattern": {"source": ["com.bench"], "detail-type": [f"T{i}"], "detail": {"total": [{"numeric": [">=", 100]}]}},
             "targets": [{"target": "out"}]} for i in range(10)]


def routed(args, cluster, into, out, n):
    source = {"kafka": {"brokers": cluster.brokers, "topics": [into], "group": f"ours-{n}", "properties": properties(args)}, "envelope": "raw", "source": "com.bench",
              "detail_type": "<$.detail.type>"}
    target = {"kafka": {"brokers": cluster.brokers, "topic": out, "envelope": "raw", "properties": {"linger.ms": 5}}, "concurrency": args.concurrency}
    with bench.Daemon(args, {"out": target}, ten_rules(), sources={"in": source}) as d:
        before, first, start = bench.cpu(d.pid), 0, time.monotonic()
        while (done := d.target("out")["delivered"]) < args.records:
            if not first and done:
                first, start, before = done, time.monotonic(), bench.cpu(d.pid)
            time.sleep(0.05)
        took = time.monotonic() - start
        cpu = bench.cpu(d.pid) - before
        d.wait_empty()
        audit, rss = d.cli("audit"), bench.rss_mib(d.pid)
        source = next(s for s in d.cli("status")["sources"] if s["name"] == "in")
    if not audit["adds_up"] or audit["delivered"] != args.records:
        sys.exit(f"the audit is not clean: {json.dumps(audit)[:400]}")
    print(f"  audit clean; spilled {source['spilled']:,}, RSS {rss:.0f} MiB", flush=True)
    return (args.records - first) / took, 1e6 * cpu / (args.records - first)


# ------------------------------------------------------------------------------------------------ memory

def memory(args):
    """A topic full of records, and a target that nobody is behind: what the daemon takes while it reads all of them and is owed all."""
    with kafka.Cluster() as cluster:
        cluster.create("in", PARTITIONS)
        subprocess.run([args.bare, "fill", ",".join(cluster.brokers), "in", str(PARTITIONS), str(args.records)], check=True)
        source = {"kafka": {"brokers": cluster.brokers, "topics": ["in"], "group": "ours", "properties": properties(args)}, "envelope": "raw",
                  "source": "com.bench", "detail_type": "<$.detail.type>"}
        dead = {"kafka": {"brokers": ["127.0.0.1:1"], "topic": "out"}, "concurrency": args.concurrency, "timeout": "5s"}
        with bench.Daemon(args, {"out": dead}, ten_rules(), sources={"in": source}) as d:
            print(f"idle: {bench.rss_mib(d.pid):.0f} MiB", flush=True)
            start = said = time.monotonic()
            while (queued := (t := d.target("out"))["queued"] + t["in_flight"] + t["retrying"]) < args.records:
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    print(f"  {queued:,} owed, RSS {bench.rss_mib(d.pid):.0f} MiB", flush=True)
                time.sleep(0.2)
            print(f"{args.records:,} records of lag read into the backlog of a dead target in {time.monotonic() - start:.0f} s: "
                  f"peak {bench.peak_mib(d.pid):.0f} MiB, now {bench.rss_mib(d.pid):.0f} MiB")
            time.sleep(10)
            print(f"ten seconds later: {bench.rss_mib(d.pid):.0f} MiB")


def properties(args):
    return dict(p.split("=", 1) for p in args.property)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=str(bench.ROOT / "build/release/signalbox"), type=os.path.abspath)
    p.add_argument("--bare", default=str(bench.ROOT / "build/ci/bench_kafka"), type=os.path.abspath)
    p.add_argument("--records", type=int, default=1000000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--concurrency", type=int, default=10000)
    p.add_argument("--folder", help="where the daemon keeps its data; default: the folder for temporary files")
    p.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of librdkafka, for the source of the daemon")
    p.add_argument("what", nargs="?", default="bare", choices=["bare", "memory"])
    args = p.parse_args()
    if args.what == "memory":
        memory(args)
    else:
        beside_bare(args)


def beside_bare(args):
    sides = {"bare librdkafka": bare, "signalbox": routed}
    rates, cpus = {s: [] for s in sides}, {s: [] for s in sides}
    with kafka.Cluster() as cluster:
        cluster.create("in", PARTITIONS)
        subprocess.run([args.bare, "fill", ",".join(cluster.brokers), "in", str(PARTITIONS), str(args.records)], check=True)
        for n in range(args.rounds):
            for name, side in sides.items():
                out = f"out-{n}-{pathlib.Path(name).name.split()[0]}"
                cluster.create(out, PARTITIONS)
                rate, cpu = side(args, cluster, "in", out, n)
                cluster.delete(out)
                rates[name].append(rate)
                cpus[name].append(cpu)
                print(f"round {n + 1}: {name} {rate:,.0f} records/s, {cpu:.2f} CPU s a million", flush=True)
    for name in sides:
        print(f"{name}: median {statistics.median(rates[name]):,.0f} records/s, {statistics.median(cpus[name]):.2f} CPU s a million")
    ratio = statistics.median(rates["signalbox"]) / statistics.median(rates["bare librdkafka"])
    print(f"ratio {ratio:.2f}, {statistics.median(cpus['signalbox']) / statistics.median(cpus['bare librdkafka']):.1f} times the processor time")


if __name__ == "__main__":
    main()
