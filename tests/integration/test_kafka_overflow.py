#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`overflow: {topic: T}` on a real broker: what a target cannot take goes to another topic, once, and can be routed again from there."""
import json
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50, "topic.metadata.propagation.max.ms": 1000,
         "topic.metadata.refresh.interval.ms": 1000}
PATIENT = {"max_retries": 100000, "base": "20ms", "cap": "200ms", "max_age": "1h"}


class KafkaOverflow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def setUp(self):
        self.tag = self._testMethodName.removeprefix("test_")[:30]
        self.into, self.out, self.later = (f"{name}-{self.tag}" for name in ("in", "out", "later"))
        self.broker.create(self.into, 3)
        self.broker.create(self.out, 3)

    def source(self, topic, envelope, **more):
        own = {"brokers": self.broker.brokers, "topics": [topic], "group": f"g-{topic}", "properties": QUICK}
        return {"kafka": own, "envelope": envelope, "source": "com.shop", "detail_type": "Order", **more}

    def config(self, **sources):
        targets = {"out": {"kafka": {"brokers": self.broker.brokers, "topic": self.out}}, "record": {"function": harness.recorder()}}
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "sources": {"in": self.source(self.into, "raw", overflow={"topic": self.later}), **sources},
                "targets": {name: {"timeout": "10s", "retry": PATIENT, **t} for name, t in targets.items()}}

    def daemon(self):
        """Everything goes to both; what comes from the overflow topic only to whom it is still owed."""
        of = lambda topic: {"meta": {"kafka": {"topic": [topic]}}}
        rules = [{"name": "all", "pattern": of(self.into), "targets": [{"target": "out"}, {"target": "record"}]},
                 {"name": "again", "pattern": of(self.later), "targets": [{"target": "record"}]}]
        daemon = self.enterContext(harness.Daemon(self.config(), {"rules": rules}))
        daemon.broken.write_text("")
        return daemon

    def publish(self, numbers):
        lines = "".join(f"k{n % 7}\t" + json.dumps({"n": n}) + "\n" for n in numbers)
        self.broker.kcat("-P", "-t", self.into, "-K", "\t", "-H", "traceparent=00-1-2-3", "-H", "content-type=text/plain", stdin=lines.encode())

    def facts(self, daemon, name="in"):
        return harness.named(daemon.status()["sources"], name)

    def lag(self, daemon):
        return sum(p["lag"] for i in self.facts(daemon).get("instances", []) for p in i["partitions"])

    def overflow(self, daemon, what):
        return sum(i["overflow"][what] for i in self.facts(daemon).get("instances", []))

    def test_a_broken_target_overflows_and_another_source_routes_it_again(self):
        self.broker.create(self.later, 2)
        daemon = self.daemon().start()
        self.publish(range(200))
        harness.wait_for("everything sent on", lambda: self.facts(daemon)["overflowed"] == 200 and self.lag(daemon) == 0)
        self.assertEqual((self.facts(daemon)["spilled"], self.facts(daemon)["held"]), (0, 0))
        self.assertEqual(daemon.metric(f'events_overflowed_total{{via="in"}}'), 200)
        came = {(str(r.partition), str(r.offset)): r for r in self.broker.records(self.into)}
        records = self.broker.records(self.later)
        self.assertEqual(len(records), 200)
        for r in records:
            was = came.pop((r.headers["signalbox-partition"], r.headers["signalbox-offset"]))
            event = json.loads(r.value)
            self.assertEqual((event["detail"], r.key), (json.loads(was.value), was.key))
            self.assertEqual((event["source"], event["detail-type"], event["id"]), ("com.shop", "Order", r.headers["signalbox-event-id"]))
            self.assertEqual((r.headers["signalbox-source"], r.headers["signalbox-topic"], r.headers["traceparent"]), ("in", self.into, "00-1-2-3"))
            self.assertEqual(json.loads(r.headers["signalbox-owed"]), [{"rule": "all", "target": "record"}])
            self.assertNotIn("content-type", r.headers)
        self.assertEqual(len(self.broker.records(self.out)), 200)  # who could take it has it, once
        self.assertEqual(daemon.audit()["delivered"], 400)
        daemon.kill()  # nothing is owed here: nobody delivers it twice
        daemon.broken.unlink()
        daemon.write_config(self.config(again=self.source(self.later, "eventbridge")))
        daemon.start()
        harness.wait_for("all of it recorded", lambda: len(daemon.attempts(ok=True)) >= 200)
        daemon.settle()
        self.assertEqual(sorted(a["n"] for a in daemon.attempts(ok=True)), list(range(200)))
        self.assertEqual(daemon.stop(), 0)

    def test_a_topic_that_refuses_is_waited_for(self):
        daemon = self.daemon().start()
        self.publish(range(20))
        harness.wait_for("to be refused, again and again", lambda: self.overflow(daemon, "refused") > 40)
        self.assertEqual((self.facts(daemon)["held"], self.facts(daemon)["spilled"], self.facts(daemon)["overflowed"]), (20, 0, 0))
        self.assertGreater(self.lag(daemon), 0)
        self.assertEqual(daemon.log_tail(100000).count("the overflow topic refuses"), len(self.facts(daemon)["instances"]))
        self.broker.create(self.later, 1)
        harness.wait_for("everything sent on", lambda: self.facts(daemon)["overflowed"] == 20 and self.lag(daemon) == 0)
        self.assertEqual(len({r.headers["signalbox-event-id"] for r in self.broker.records(self.later)}), 20)
        self.assertEqual(daemon.stop(), 0)

    def test_what_is_too_large_for_it_goes_to_the_journal_and_its_neighbours_do_not(self):
        self.broker.create(self.later, 1, max_message_bytes=20000)
        daemon = self.daemon().start()
        lines = "".join("k\t" + json.dumps({"n": n, "pad": "x" * (30000 if n == 7 else 10)}) + "\n" for n in range(20))
        self.broker.kcat("-P", "-t", self.into, "-K", "\t", stdin=lines.encode())
        harness.wait_for("everything out of the way", lambda: self.facts(daemon)["overflowed"] == 19 and self.lag(daemon) == 0)
        self.assertEqual((self.facts(daemon)["spilled"], self.facts(daemon)["held"]), (1, 0))
        self.assertEqual(len({r.headers["signalbox-event-id"] for r in self.broker.records(self.later)}), 19)
        daemon.broken.unlink()
        harness.wait_for("the large one", lambda: 7 in {a["n"] for a in daemon.attempts(ok=True)})
        daemon.settle()
        daemon.audit()
        self.assertEqual(daemon.stop(), 0)

    def test_a_stop_and_a_reload_leave_nothing_behind(self):
        """What the topic has not taken stays with the group over a stop, and goes to the journal when the source is changed."""
        daemon = self.daemon().start()
        self.publish(range(20))
        harness.wait_for("to be refused", lambda: self.overflow(daemon, "refused") > 0)
        self.assertEqual(daemon.stop(), 0)
        daemon.start()
        harness.wait_for("to be refused", lambda: self.overflow(daemon, "refused") > 0 and self.facts(daemon)["held"] == 20)
        config = self.config()
        config["sources"]["in"]["overflow"] = "spill"
        daemon.broken.unlink()
        daemon.write_config(config)
        daemon.cli("reload")
        harness.wait_for("all of it recorded", lambda: {a["n"] for a in daemon.attempts(ok=True)} == set(range(20)))
        harness.wait_for("nothing held", lambda: self.facts(daemon)["held"] == 0 and self.lag(daemon) == 0)
        daemon.settle()
        self.assertEqual(daemon.audit()["in_flight"], 0)
        self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    harness.main()
