#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A topic of 12 partitions through rules to a topic, to a topic whose order per key is kept, to a function pool, and what that refuses to a
dead-letter topic: every record is exactly where it belongs, once, and the daemon's own recount says the same.

SB_RECORDS says how many (20,000); the long form is

  SB_RECORDS=1000000 SIGNALBOX=build/release/signalbox tests/integration/test_kafka_proof.py
"""
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

RECORDS = int(os.environ.get("SB_RECORDS", 20000))
PATIENCE_S = 120 + RECORDS / 1000  # a machine that is slow and busy; a test that passes does not wait
PARTITIONS, KEYS, BYTES = 12, 997, 512
ORDERED, REFUSED = 4, 50  # every so-manieth
RETRY = {"max_retries": 1000, "base": "10ms", "cap": "200ms", "max_age": "24h"}


def record(n):
    """The n-th: its key, and its place among those of the key."""
    detail = {"n": n, "key": f"k{n % KEYS}", "place": n // KEYS}
    if n % KEYS % ORDERED == 0:
        detail["ordered"] = True
    if n % REFUSED == 0:
        detail["refuse"] = True
    text = json.dumps(detail)
    return text[:-1] + ', "pad": "' + "x" * (BYTES - len(text) - 11) + '"}'


def rule(name, detail, *targets):
    pattern = {"source": ["com.shop"], **({"detail": detail} if detail else {})}
    return {"name": name, "pattern": pattern, "targets": [{"target": t} for t in targets]}


class Proof(unittest.TestCase):
    def setUp(self):
        self.broker = kafka.Cluster()
        self.addCleanup(self.broker.close)
        self.broker.start()
        for topic in ("in", "routed", "ordered", "refused"):
            self.broker.create(topic, PARTITIONS)

    def config(self):
        topic = lambda name, **more: {"kafka": {"brokers": self.broker.brokers, "topic": name, "key": "<$.detail.key>", "envelope": "raw"},
                                      "concurrency": 2000, "retry": RETRY, **more}
        function = {"command": ["python3", "functions/ledger.py"], "protocol": "jsonl", "workers": {"min": 2, "max": 2, "in_flight": 64},
                    "env": {"RECORD": "${env:RECORD}"}}
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "sources": {"in": {"kafka": {"brokers": self.broker.brokers, "topics": ["in"], "group": "proof"}, "envelope": "raw",
                                   "source": "com.shop", "detail_type": "Order"}},
                "targets": {"routed": topic("routed"), "ordered": topic("ordered", order_by="$.detail.key", lanes=256), "refused": topic("refused"),
                            "pool": {"function": function, "concurrency": 128, "timeout": "60s", "retry": RETRY, "dead_letter": "refused"}}}

    def publish(self):
        """By the keys' partitions, as any client would."""
        words = ["kcat", "-q", "-b", self.broker.brokers[0], "-P", "-t", "in", "-K", "\t", "-X", "enable.idempotence=true"]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as p:
            for n in range(RECORDS):
                p.stdin.write(f"k{n % KEYS}\t{record(n)}\n".encode())
            p.stdin.close()
            self.assertEqual(p.wait(), 0)

    def read(self, topic):
        """(partition, detail) of each record, in the order of each partition; a million of them are never all in memory."""
        words = ["kcat", "-q", "-b", self.broker.brokers[0], "-C", "-t", topic, "-e", "-o", "beginning", "-f", "%p %s\n"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as p:
            for line in p.stdout:
                partition, _, value = line.partition(b" ")
                value = json.loads(value)
                yield int(partition), value.get("detail", value)
            self.assertEqual(p.wait(), 0)

    def exactly(self, what, numbers, want):
        """Each once: told by a byte for each number."""
        seen = bytearray(RECORDS)
        for n in numbers:
            seen[n] = min(seen[n] + 1, 255)
        lost = [n for n in want if not seen[n]]
        twice = [n for n in range(RECORDS) if seen[n] > 1]
        strange = sum(map(bool, seen)) - (len(want) - len(lost))
        self.assertEqual((lost[:10], twice[:10], strange), ([], [], 0), f"{what}: {len(lost)} lost, {len(twice)} twice, {strange} that do not belong")

    def in_order(self, topic):
        """Its numbers; places of a key only ever grow, and stand in one partition."""
        last = {}
        for partition, detail in self.read(topic):
            before = last.get(detail["key"], (partition, -1))
            self.assertEqual(before[0], partition, f"key {detail['key']} is in two partitions of {topic}")
            self.assertGreater(detail["place"], before[1], f"{topic}: key {detail['key']} is out of order")
            last[detail["key"]] = (partition, detail["place"])
            yield detail["n"]

    def called(self, daemon):
        for file in daemon.folder.glob("record.jsonl.*"):
            with open(file) as f:
                yield from map(int, f)

    def done(self, daemon):
        s = daemon.status()
        source = harness.named(s["sources"], "in")
        parts = [p for i in source.get("instances", []) for p in i["partitions"]]
        return (len(parts) == PARTITIONS and sum(p["position"] for p in parts if p["position"] > 0) == RECORDS and source["held"] == 0 and
                all(t["queued"] + t["in_flight"] + t["retrying"] == 0 for t in s["targets"]))

    def wait_done(self, daemon):
        """A status is not free for the daemon: asked for less often than other tests do."""
        end, step = time.monotonic() + PATIENCE_S, max(0.2, RECORDS / 1000000)
        while not self.done(daemon):
            self.assertLess(time.monotonic(), end, f"not everything is delivered in time: {json.dumps(daemon.status()['targets'])[:2000]}")
            time.sleep(step)

    def test_every_record_is_exactly_where_it_belongs(self):
        began = time.monotonic()
        self.publish()
        published = time.monotonic()
        daemon = self.enterContext(harness.Daemon(self.config(), {"rules": [rule("all", None, "routed", "pool"),
                                                                            rule("ordered", {"ordered": [True]}, "ordered")]}))
        daemon.start()
        self.wait_done(daemon)
        routed = time.monotonic()
        peak = harness.peak_bytes(daemon.process.pid)
        audit = daemon.audit()
        ordered = [n for n in range(RECORDS) if n % KEYS % ORDERED == 0]
        refused = range(0, RECORDS, REFUSED)
        self.exactly("routed", (d["n"] for _, d in self.read("routed")), range(RECORDS))
        self.exactly("ordered", self.in_order("ordered"), ordered)
        self.exactly("pool", self.called(daemon), range(RECORDS))
        self.exactly("refused", (d["n"] for _, d in self.read("refused")), refused)
        routes = {(r["source"], r["rule"], r["target"]): (r["accepted"], r["delivered"], r["dead_lettered"]) for r in audit["routes"]}
        self.assertEqual(routes, {("in", "all", "routed"): (RECORDS, RECORDS, 0),
                                  ("in", "ordered", "ordered"): (len(ordered), len(ordered), 0),
                                  ("in", "all", "pool"): (RECORDS, RECORDS - len(refused), len(refused)),
                                  ("in", "all", "refused"): (len(refused), len(refused), 0)})
        self.assertEqual((audit["double_results"], audit["unknown_results"], daemon.letters()), (0, 0, []))
        print(f"{RECORDS} records published in {published - began:.0f} s, {audit['accepted']} outcomes in {routed - published:.0f} s, "
              f"proven in {time.monotonic() - routed:.0f} s; peak {peak >> 20} MiB", flush=True)


if __name__ == "__main__":
    harness.main()
