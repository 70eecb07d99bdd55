#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka as a target, on three brokers that replicate: leaders die, and a majority hangs. Nothing that was acknowledged is lost."""
import json
import pathlib
import signal
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

RULES = {"rules": [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "routed"}]}]}


class Cluster(unittest.TestCase):
    def setUp(self):
        self.brokers = kafka.Cluster(3)
        self.addCleanup(self.brokers.close)
        self.brokers.start()
        self.brokers.create("routed", 12)
        target = {"kafka": {"brokers": self.brokers.brokers, "topic": "routed", "key": "<$.detail.n>"}, "timeout": "2s",
                  "retry": {"max_retries": 100000, "base": "10ms", "cap": "300ms", "max_age": "1h"}}
        self.daemon = self.enterContext(harness.Daemon(
            {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
             "targets": {"routed": target}}, RULES)).start()

    def facts(self):
        return self.daemon.target("routed")

    def delivers(self, more):
        goal = self.facts()["delivered"] + more
        harness.wait_for(f"{more} more deliveries", lambda: self.facts()["delivered"] >= goal)

    def test_leaders_die_and_a_majority_hangs(self):
        first, *others = self.brokers.nodes
        load = harness.Load(threads=2).start(self.daemon)
        try:
            load.wait_acked(200)
            first.signal(signal.SIGKILL)  # leads a third of the partitions, perhaps the controller too
            first.wait_end()
            self.delivers(500)
            first.launch(self.brokers.jars)
            self.brokers.wait_ready()
            self.delivers(200)
            for node in others:
                node.signal(signal.SIGSTOP)  # acks=all: nobody may confirm anything
            harness.wait_for("attempts that fail", lambda: self.facts()["retries"] > 0)
            load.wait_acked(200)
        finally:
            self.brokers.thaw()
            load.stop()
        self.daemon.settle("routed")
        records = self.brokers.records("routed")
        have = {json.loads(r.value)["detail"]["n"] for r in records}
        self.assertEqual(set(load.acked) - have, set())
        audit = self.daemon.audit()
        self.assertEqual((audit["dead_lettered"], audit["double_results"]), (0, 0))
        twice = len(records) - len({r.headers["signalbox-delivery-id"] for r in records})
        print(f"{len(load.acked)} acknowledged, {len(records)} records, {twice} of them twice", flush=True)


if __name__ == "__main__":
    harness.main()
