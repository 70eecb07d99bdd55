#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka -> ten rules -> Kafka by the daemon, beside what others know: one broker, alternating rounds.

  tests/bench/kafka.py [--binary B] [--records N] [--rounds N] [bare|peers|latency|memory]

  bare     (default) a bare librdkafka loop that consumes and produces and matches nothing
  peers    rsyslog (apt) and Bento (built with Go), with the same ten conditions; what is not there is told and left out
  latency  end to end at 10,000 records a second (--rate), and the same records through the broker alone
  memory   what the daemon takes with a million records of lag and a target that nobody is behind

Events of 512 bytes, 12 partitions, acks=all, each matches exactly one of ten rules. Prints records a second, the processor time of a
million, ratios, and the audit; it ends with 1 when the audit is not clean.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import daemon as bench
import peers

sys.path.insert(0, str(bench.ROOT / "tests" / "support"))
import kafka  # noqa: E402

PARTITIONS = 12
PATIENCE_S = 600


def bare(args, cluster, into, out, n):
    words = ["copy", ",".join(cluster.brokers), into, out, str(PARTITIONS), str(args.records), f"bare-{n}"]
    rate, cpu = subprocess.run([args.bare, *words], check=True, capture_output=True, text=True).stdout.split()
    return float(rate), float(cpu)


def ten_rules():
    return [{"name": f"r{i}", "pattern": {"source": ["com.bench"], "detail-type": [f"T{i}"], "detail": {"total": [{"numeric": [">=", 100]}]}},
             "targets": [{"target": "out"}]} for i in range(10)]


def check_audit(args, d, records=None):
    """What is at the other end is recorded a moment later."""
    want, end = records or args.records, time.monotonic() + 10
    while (audit := d.cli("audit"))["delivered"] < want and time.monotonic() < end:
        time.sleep(0.2)
    if not audit["adds_up"] or audit["delivered"] != want:
        sys.exit(f"the audit is not clean: {json.dumps(audit)[:400]}")


@contextlib.contextmanager
def filled(args):
    """A broker with the records in a topic."""
    with kafka.Cluster() as cluster:
        cluster.create("in", PARTITIONS)
        subprocess.run([args.bare, "fill", ",".join(cluster.brokers), "in", str(PARTITIONS), str(args.records)], check=True)
        yield cluster


def ours(args, cluster, into, out, group, linger_ms=5):
    """A daemon that routes."""
    source = {"kafka": {"brokers": cluster.brokers, "topics": [into], "group": group, "properties": properties(args)}, "envelope": "raw",
              "source": "com.bench", "detail_type": "<$.detail.type>"}
    target = {"kafka": {"brokers": cluster.brokers, "topic": out, "envelope": "raw", "properties": {"linger.ms": linger_ms}},
              "concurrency": args.concurrency}
    return bench.Daemon(args, {"out": target}, ten_rules(), sources={"in": source})


def routed(args, cluster, into, out, n):
    with ours(args, cluster, into, out, f"ours-{n}") as d:
        before, first, start = bench.cpu(d.pid), 0, time.monotonic()
        while (done := d.target("out")["delivered"]) < args.records:
            if not first and done:
                first, start, before = done, time.monotonic(), bench.cpu(d.pid)
            time.sleep(0.05)
        took = time.monotonic() - start
        cpu = bench.cpu(d.pid) - before
        d.wait_empty()
        check_audit(args, d)
        rss = bench.rss_mib(d.pid)
        source = next(s for s in d.cli("status")["sources"] if s["name"] == "in")
    print(f"  audit clean; spilled {source['spilled']:,}, RSS {rss:.0f} MiB", flush=True)
    return (args.records - first) / took, 1e6 * cpu / (args.records - first)


# ------------------------------------------------------------------------------------------------ peers

@contextlib.contextmanager
def signalbox(args, cluster, into, out, group):
    with ours(args, cluster, into, out, group) as d:
        yield d.pid
        d.wait_empty()
        check_audit(args, d)


def growth(args, cluster, out, pid):
    """Records a second from the first that is seen in the topic to the last, and the processor seconds of a million, start-up included: what was
    read and worked on before the first came out is nobody's present."""
    first, start = 0, 0.0
    end = time.monotonic() + PATIENCE_S
    with kafka.Admin(cluster.brokers) as admin:
        while (have := admin.end(out, PARTITIONS)) < args.records:
            if not first and have:
                first, start = have, time.monotonic()
            if time.monotonic() > end:
                raise AssertionError(f"{have:,} of {args.records:,} records in {PATIENCE_S} s")
            time.sleep(0.1)
        took = time.monotonic() - start
    return (args.records - first) / took, 1e6 * bench.cpu(pid) / args.records


def beside_peers(args):
    sides = {"signalbox": lambda *words: signalbox(args, *words)}
    sides.update({name: lambda c, *words, peer=peer: peer(c.brokers[0], *words) for name, peer in peers.ALL.items()})
    rates, cpus = {}, {}
    with filled(args) as cluster:
        for n in range(args.rounds):
            for name, side in list(sides.items()):
                out = f"out-{n}-{name}"
                cluster.create(out, PARTITIONS)
                try:
                    with side(cluster, "in", out, f"{name}-{n}") as pid:
                        rate, cpu = growth(args, cluster, out, pid)
                except peers.Missing as why:
                    print(f"left out: {why}", flush=True)
                    del sides[name]
                    continue
                cluster.delete(out)
                rates.setdefault(name, []).append(rate)
                cpus.setdefault(name, []).append(cpu)
                print(f"round {n + 1}: {name} {rate:,.0f} records/s, {cpu:.2f} CPU s a million", flush=True)
    middle = {name: (statistics.median(rates[name]), statistics.median(cpus[name])) for name in rates}
    for name, (rate, cpu) in middle.items():
        print(f"{name}: median {rate:,.0f} records/s ({min(rates[name]):,.0f}-{max(rates[name]):,.0f}), {cpu:.2f} CPU s a million")
    for name in middle.keys() - {"signalbox"}:
        rate, cpu = middle[name]
        print(f"{middle['signalbox'][0] / rate:.2f} times {name}, with {middle['signalbox'][1] / cpu:.2f} of its processor time")


# ------------------------------------------------------------------------------------------------ latency

def pace(args, cluster, into, out):
    words = ["pace", ",".join(cluster.brokers), into, out, str(PARTITIONS), str(args.rate), str(args.seconds)]
    p50, p99, most, came = subprocess.run([args.bare, *words], check=True, capture_output=True, text=True).stdout.split()
    if int(came) != args.rate * args.seconds:
        sys.exit(f"{came} of {args.rate * args.seconds} records came")
    return float(p50), float(p99), float(most)


def latency(args):
    late = {"broker alone": [], "signalbox": []}
    with kafka.Cluster() as cluster:
        for n in range(args.rounds):
            for name in late:
                into, out = (f"{way}-{n}-{name.split()[0]}" for way in ("in", "out"))
                cluster.create(into, PARTITIONS)
                cluster.create(out, PARTITIONS)
                if name == "signalbox":
                    with ours(args, cluster, into, out, f"ours-{n}", linger_ms=1) as d:
                        before = bench.cpu(d.pid)
                        times = pace(args, cluster, into, out)
                        share = (bench.cpu(d.pid) - before) / args.seconds
                        d.wait_empty()
                        check_audit(args, d, args.rate * args.seconds)
                    print(f"  {share:.2f} cores", flush=True)
                else:
                    times = pace(args, cluster, into, into)
                late[name].append(times)
                print(f"round {n + 1}: {name} p50 {times[0]:.2f} ms, p99 {times[1]:.2f} ms, at most {times[2]:.1f} ms", flush=True)
    for name, times in late.items():
        p50, p99, most = (statistics.median(t[i] for t in times) for i in range(3))
        print(f"{name}: medians at {args.rate:,}/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms, at most {most:.1f} ms")


# ------------------------------------------------------------------------------------------------ memory

def memory(args):
    """A topic full of records, and a target that nobody is behind: what the daemon takes while it reads all of them and is owed all."""
    with filled(args) as cluster:
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
    p.add_argument("--rate", type=int, default=10000, help="latency: records a second")
    p.add_argument("--seconds", type=int, default=30, help="latency: of each round")
    p.add_argument("what", nargs="?", default="bare", choices=["bare", "peers", "latency", "memory"])
    args = p.parse_args()
    {"bare": beside_bare, "peers": beside_peers, "latency": latency, "memory": memory}[args.what](args)


def beside_bare(args):
    sides = {"bare librdkafka": bare, "signalbox": routed}
    rates, cpus = {s: [] for s in sides}, {s: [] for s in sides}
    with filled(args) as cluster:
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
