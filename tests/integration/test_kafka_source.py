#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka as a source, on a real broker: nothing is lost over crashes and rebalances, positions move, duplicates are bounded."""
import collections
import json
import os
import pathlib
import random
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

PARTITIONS = 6
WINDOW = 100  # where a bound is measured: small, so that what stays below it says something
QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50}
RETRY = {"max_retries": 3, "base": "10ms", "cap": "100ms", "max_age": "1h"}


class KafkaSource(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def names(self):
        """Topics and group of a test of its own."""
        tag = self._testMethodName.removeprefix("test_")[:40]
        return f"in-{tag}", f"out-{tag}", f"g-{tag}"

    def config(self, into, out, group, source=(), own=(), targets=None):
        kafka_in = {"brokers": self.broker.brokers, "topics": [into], "group": group, "properties": QUICK, **dict(own)}
        targets = targets or {"out": {"kafka": {"brokers": self.broker.brokers, "topic": out}, "concurrency": 500}}
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "sources": {"in": {"kafka": kafka_in, "envelope": "raw", "source": "com.shop", "detail_type": "Order", **dict(source)}},
                "targets": {name: {"retry": RETRY, "timeout": "10s", **t} for name, t in targets.items()}}

    def daemon(self, config, *targets, pattern=None):
        rules = [{"name": "all", "pattern": pattern or {"source": ["com.shop"]}, "targets": [{"target": t} for t in targets or ("out",)]}]
        return self.enterContext(harness.Daemon(config, {"rules": rules}))

    def publish(self, topic, numbers):
        lines = "".join(f"k{n % 97}\t" + json.dumps({"n": n}) + "\n" for n in numbers)
        self.broker.kcat("-P", "-t", topic, "-K", "\t", stdin=lines.encode())

    def numbers(self, topic):
        return [json.loads(r.value)["detail"]["n"] for r in self.broker.records(topic)]

    def wait_numbers(self, topic, want):
        harness.wait_for(f"{len(want)} numbers in {topic}", lambda: set(self.numbers(topic)) >= want)

    def source(self, daemon):
        return harness.named(daemon.status()["sources"], "in")

    def instance(self, daemon, name):
        return sum(i.get(name, 0) for i in self.source(daemon).get("instances", []))

    def owned(self, daemons):
        return [sum(len(i["partitions"]) for i in self.source(d).get("instances", [])) for d in daemons]

    def lag(self, daemon, partitions=1):
        """None while one is between two shards' members, or has not been heard of since it came."""
        lags = [p["lag"] for s in daemon.status()["sources"] for i in s.get("instances", []) for p in i["partitions"]]
        return sum(lags) if len(lags) >= partitions and min(lags) >= 0 else None

    def known_lag(self, daemon, partitions):
        known = []
        harness.wait_for("the lag to be known", lambda: known.append(self.lag(daemon, partitions)) or known[-1] is not None)
        return known[-1]

    def owes_nothing(self, daemon):
        s = daemon.status()
        return all(x["held"] == 0 for x in s["sources"]) and all(t["queued"] + t["in_flight"] + t["retrying"] == 0 for t in s["targets"])

    # ------------------------------------------------------------------------------------------ what comes in

    def test_records_become_events_and_positions_move(self):
        into, out, group = self.names()
        self.broker.create(into, PARTITIONS)
        self.broker.create(out, PARTITIONS)
        self.publish(into, range(300))
        config = self.config(into, out, group)
        config["targets"]["out"]["kafka"].update(key="<meta.kafka.key>", headers={"from": "<meta.kafka.topic>"})
        daemon = self.daemon(config).start()
        self.wait_numbers(out, set(range(300)))
        records = self.broker.records(out)
        self.assertEqual(len(records), 300)
        for r in records:
            event = json.loads(r.value)
            self.assertEqual(r.key, f"k{event['detail']['n'] % 97}")
            self.assertEqual((event["source"], event["detail-type"], r.headers["from"]), ("com.shop", "Order", into))
            self.assertNotIn("meta", event)
        harness.wait_for("no lag", lambda: self.owes_nothing(daemon) and self.lag(daemon) == 0)
        self.assertEqual(daemon.audit()["delivered"], 300)
        self.assertEqual(self.source(daemon)["spilled"], 0)
        self.assertEqual(daemon.stop(), 0)
        # a clean stop: nothing comes twice
        self.publish(into, range(300, 310))
        daemon.start()
        self.wait_numbers(out, set(range(310)))
        harness.wait_for("rest", lambda: self.owes_nothing(daemon))
        self.assertEqual(len(self.numbers(out)), 310)
        self.assertEqual(daemon.audit()["delivered"], 310)

    def test_what_is_no_event_becomes_a_dead_letter(self):
        into, out, group = self.names()
        self.broker.create(into, 1)
        self.broker.create(out, 1)
        self.broker.kcat("-P", "-t", into, stdin=b'{"n": 1}\n{"n": \n{"n": 2}\n')
        daemon = self.daemon(self.config(into, out, group)).start()
        self.wait_numbers(out, {1, 2})
        letter = harness.wait_for("the letter", lambda: daemon.letters())[0]
        self.assertEqual((letter["error_code"], letter["event_id"], letter["origin"]), ("INVALID_JSON", f"{into}/0/1", "in"))
        self.assertIn("at byte", letter["error"])
        shown = daemon.cli_json("dlq", "show", letter["id"])
        self.assertEqual(shown["event"], '{"n": ')
        harness.wait_for("no lag", lambda: self.lag(daemon) == 0)
        self.assertEqual(self.instance(daemon, "buried"), 1)

    def test_a_failing_target_does_not_hold_the_position(self):
        into, out, group = self.names()
        self.broker.create(into, 2)
        targets = {"record": {"function": harness.recorder(), "retry": {"max_retries": 1000, "base": "50ms", "cap": "200ms", "max_age": "1h"}}}
        daemon = self.daemon(self.config(into, out, group, targets=targets), "record")
        broken = pathlib.Path(daemon.environment()["BROKEN"])
        broken.write_text("")
        daemon.start()
        self.publish(into, range(50))
        harness.wait_for("no lag, all in the journal", lambda: self.lag(daemon) == 0 and self.instance(daemon, "records") == 50)
        self.assertGreater(self.source(daemon)["spilled"], 0)
        self.assertEqual(self.source(daemon)["held"], 0)
        daemon.kill()
        broken.unlink()
        daemon.start()
        harness.wait_for("all delivered", lambda: daemon.audit()["delivered"] == 50)

    def test_with_pause_the_position_waits(self):
        into, out, group = self.names()
        self.broker.create(into, 1)
        targets = {"record": {"function": harness.recorder(), "retry": {"max_retries": 1000, "base": "50ms", "cap": "200ms", "max_age": "1h"}}}
        config = self.config(into, out, group, source={"overflow": "pause"}, own={"window": {"records": 10}}, targets=targets)
        daemon = self.daemon(config, "record")
        broken = pathlib.Path(daemon.environment()["BROKEN"])
        broken.write_text("")
        daemon.start()
        self.publish(into, range(50))
        harness.wait_for("a full window", lambda: self.source(daemon)["held"] == 10)
        self.assertEqual(self.source(daemon)["spilled"], 0)
        broken.unlink()
        harness.wait_for("all delivered", lambda: daemon.audit()["delivered"] == 50)
        self.assertEqual(self.source(daemon)["spilled"], 0)

    def test_pause_and_resume(self):
        into, out, group = self.names()
        self.broker.create(into, 2)
        self.broker.create(out, 1)
        daemon = self.daemon(self.config(into, out, group)).start()
        self.publish(into, range(10))
        self.wait_numbers(out, set(range(10)))
        daemon.cli("pause", "source", "in")
        self.publish(into, range(10, 20))
        harness.wait_for("word of what is there", lambda: self.lag(daemon, 2) == 10)
        seen = [(self.instance(daemon, "records"), self.known_lag(daemon, 2), len(self.numbers(out))) for _ in range(10)]
        self.assertEqual(seen, [(10, 10, 10)] * 10)
        daemon.cli("resume", "source", "in")
        self.wait_numbers(out, set(range(20)))

    def test_positions_that_are_gone_stop_the_partition_or_are_counted(self):
        into, out, group = self.names()
        self.broker.create(into, 1)
        self.broker.create(out, 1)
        daemon = self.daemon(self.config(into, out, group)).start()
        self.publish(into, range(10))
        self.wait_numbers(out, set(range(10)))
        harness.wait_for("no lag", lambda: self.lag(daemon) == 0)
        self.assertEqual(daemon.stop(), 0)
        self.publish(into, range(10, 30))
        self.broker.trim(into, 0, 25)
        daemon.start()
        partition = lambda: [p["state"] for i in self.source(daemon).get("instances", []) for p in i["partitions"]]
        harness.wait_for("a stopped partition", lambda: partition() == ["stopped"])
        self.assertEqual(self.instance(daemon, "lost_by_retention"), 15)
        self.assertIn("partition stopped", daemon.log_tail())
        self.assertEqual(daemon.stop(), 0)
        daemon.write_config(self.config(into, out, group, own={"out_of_range": "earliest"}))
        daemon.start()
        self.wait_numbers(out, set(range(10)) | set(range(25, 30)))
        self.assertEqual(len(self.numbers(out)), 15)

    def test_a_topic_that_is_made_anew_has_its_positions_from_the_beginning(self):
        """What the group has is beyond the topic's end; a window that waited for it would wait for ever."""
        into, out, group = self.names()
        self.broker.create(into, 1)
        self.broker.create(out, 1)
        daemon = self.daemon(self.config(into, out, group, own={"window": {"records": 10}, "out_of_range": "earliest"})).start()
        self.publish(into, range(100))
        self.wait_numbers(out, set(range(100)))
        self.assertEqual(daemon.stop(), 0)
        self.broker.delete(into)
        harness.wait_for("the topic to be made anew", lambda: self.made_anew(into))
        self.publish(into, range(100, 150))
        for _ in range(2):
            daemon.start()
            self.wait_numbers(out, set(range(150)))
            harness.wait_for("no lag", lambda: self.owes_nothing(daemon) and self.lag(daemon) == 0)
            self.assertEqual(daemon.stop(), 0)
        self.assertEqual(len(self.numbers(out)), 150)

    def made_anew(self, topic):
        """Deletion takes its time."""
        try:
            self.broker.create(topic, 1)
        except AssertionError:
            return False
        return True

    # ------------------------------------------------------------------------------------------ crashes and rebalances

    def test_kill_9_loses_nothing(self):
        into, out, group = self.names()
        self.broker.create(into, PARTITIONS)
        self.broker.create(out, PARTITIONS)
        daemon = self.daemon(self.config(into, out, group, own={"window": {"records": WINDOW}})).start()
        sent = 0
        chance = harness.seed()
        for _ in range(harness.cycles(5)):
            self.publish(into, range(sent, sent + 2000))
            sent += 2000
            some = len(self.numbers(out)) + chance.randrange(1500)
            harness.wait_for("some progress", lambda: len(self.numbers(out)) >= min(some, sent))
            daemon.kill()
            daemon.start()
        self.wait_numbers(out, set(range(sent)))
        harness.wait_for("rest", lambda: self.owes_nothing(daemon) and self.lag(daemon) == 0)
        records = self.broker.records(out)
        ids = collections.Counter(r.headers["signalbox-delivery-id"] for r in records)
        self.assertEqual(len(ids), sent)  # what came twice has the same id
        print(f"kill -9 x{harness.cycles(5)}: {sent} records, {len(records) - sent} delivered twice")
        self.assertLessEqual(len(records) - sent, harness.cycles(5) * PARTITIONS * WINDOW)

    def test_members_come_and_go(self):
        into, out, group = self.names()
        self.broker.create(into, PARTITIONS)
        self.broker.create(out, PARTITIONS)
        daemons = [self.daemon(self.config(into, out, group, own={"window": {"records": WINDOW}})) for _ in range(3)]
        alone = os.environ.get("SB_SHARDS", "1") == "1"  # else a daemon is several members, and rebalances run into each other
        for d in daemons:
            d.start()
        sent = 0
        for i in range(harness.cycles(6)):
            self.publish(into, range(sent, sent + 1500))
            sent += 1500
            d = daemons[i % 3]
            harness.wait_for("every partition has an owner", lambda: self.owned(daemons) == [PARTITIONS // 3] * 3 if alone else sum(self.owned(daemons)) == PARTITIONS)
            self.assertEqual(d.stop(), 0)  # most of what was published is still to be read
            d.start()
        self.wait_numbers(out, set(range(sent)))
        harness.wait_for("rest", lambda: all(self.owes_nothing(d) for d in daemons))
        twice = len(self.numbers(out)) - sent
        told = ("records", "abandoned", "stale", "rebalances", "errors")
        print([{name: self.instance(d, name) for name in told} for d in daemons])
        print(f"{harness.cycles(6)} members left cleanly under load: {sent} records, {twice} delivered twice")
        self.assertLessEqual(twice, 0 if alone else harness.cycles(6) * PARTITIONS * WINDOW)
        # and one that is killed
        self.publish(into, range(sent, sent + 3000))
        daemons[0].kill()
        self.wait_numbers(out, set(range(sent + 3000)))
        self.assertLessEqual(len(self.numbers(out)) - sent - 3000 - twice, PARTITIONS * WINDOW)

    def test_a_frozen_broker_is_waited_for(self):
        into, out, group = self.names()
        self.broker.create(into, 2)
        self.broker.create(out, 2)
        daemon = self.daemon(self.config(into, out, group)).start()
        self.publish(into, range(100))
        self.wait_numbers(out, set(range(100)))
        self.broker.freeze()
        try:
            self.assertEqual(daemon.post(harness.order(1000)).status, 202)
            harness.wait_for("an attempt that nobody answers", lambda: daemon.target("out")["retries"] > 0)
        finally:
            self.broker.thaw()
        self.publish(into, range(100, 200))
        self.wait_numbers(out, set(range(200)) | {1000})


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    harness.main()
