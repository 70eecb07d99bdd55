#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka as a source, as a member of its group: which topics, who it is, who else claims to be it, and how it gets in."""
import collections
import json
import pathlib
import sys
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

PARTITIONS = 4
QUICK = {"heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50, "topic.metadata.refresh.interval.ms": 500}
LONG_S = 45  # a session: whoever waits for one to end has failed
RETRY = {"max_retries": 1000, "base": "10ms", "cap": "100ms", "max_age": "1h"}


class KafkaGroup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster(secure=True)
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def setUp(self):
        self.tag = self._testMethodName.removeprefix("test_")[:30]
        self.out = f"out-{self.tag}"
        self.broker.create(self.out, PARTITIONS)

    def topic(self, name):
        return f"{self.tag}.{name}"

    def config(self, topics, brokers=None, properties=(), window=4096):
        own = {"brokers": brokers or self.broker.brokers, "topics": topics, "group": f"g-{self.tag}", "window": {"records": window},
               "properties": {"session.timeout.ms": LONG_S * 1000, **QUICK, **dict(properties)}}
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "sources": {"in": {"kafka": own, "envelope": "raw", "source": "com.shop", "detail_type": "Order"}},
                "targets": {"out": {"kafka": {"brokers": self.broker.brokers, "topic": self.out}, "concurrency": 500, "timeout": "10s", "retry": RETRY}}}

    def daemon(self, config):
        rules = {"rules": [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out"}]}]}
        return self.enterContext(harness.Daemon(config, rules))

    def publish(self, topic, numbers):
        self.broker.kcat("-P", "-t", topic, stdin="".join(json.dumps({"n": n}) + "\n" for n in numbers).encode())

    def numbers(self):
        return [json.loads(r.value)["detail"]["n"] for r in self.broker.records(self.out)]

    def wait_numbers(self, want, timeout=harness.PATIENCE_S):
        harness.wait_for(f"{len(want)} numbers", lambda: set(self.numbers()) >= set(want), timeout)

    def source(self, daemon):
        return harness.named(daemon.status()["sources"], "in")

    def instances(self, daemon, name):
        return [i[name] for i in self.source(daemon).get("instances", [])]

    def partitions(self, daemon):
        return collections.Counter(p["topic"] for parts in self.instances(daemon, "partitions") for p in parts)

    def wait_partitions(self, daemon, **want):
        want = {self.topic(name): n for name, n in want.items()}
        harness.wait_for(f"partitions {want}", lambda: self.partitions(daemon) == want)

    def kept(self, daemon, both):
        """What the member has now, and among it what it must have all the time."""
        have = self.partitions(daemon)
        self.assertEqual({topic: n for topic, n in have.items() if topic in both}, both)
        return have

    # ------------------------------------------------------------------------------------------ which topics

    def test_a_topic_that_a_pattern_fits_is_picked_up_when_it_appears(self):
        self.broker.create(self.topic("a"), 2)
        self.broker.create(f"other.{self.tag}", 1)
        daemon = self.daemon(self.config([f"^{self.tag}\\."])).start()
        self.publish(self.topic("a"), range(10))
        self.publish(f"other.{self.tag}", [1000])
        self.wait_numbers(range(10))
        self.broker.create(self.topic("b"), 3)
        self.publish(self.topic("b"), range(10, 20))
        self.wait_numbers(range(20))
        self.wait_partitions(daemon, a=2, b=3)
        self.assertEqual(sorted(self.numbers()), list(range(20)))

    def test_a_reload_adds_and_removes_topics_and_nothing_comes_twice(self):
        for name in ("a", "b", "c"):
            self.broker.create(self.topic(name), 2)
        daemon = self.daemon(self.config([self.topic("a"), self.topic("b")])).start()
        self.wait_partitions(daemon, a=2, b=2)
        sent, before, read = 0, "ab", [0]
        for topics in ("bc", "ac", "abc"):
            for name in ("a", "b", "c"):
                self.publish(self.topic(name), range(sent, sent + 1000))
                sent += 1000
            began = time.monotonic()
            daemon.write_config(self.config([self.topic(name) for name in topics]))
            [change] = daemon.cli_json("reload")["changes"]
            self.assertEqual((change["name"], change["kind"]), ("in", "in_place"))
            both = {self.topic(name): 2 for name in set(before) & set(topics)}
            # what both have in common is never given away, and the instance is the same
            harness.wait_for("the topics", lambda: self.kept(daemon, both) == {self.topic(name): 2 for name in topics})
            self.assertGreaterEqual(self.instances(daemon, "records"), read)
            before, read = topics, self.instances(daemon, "records")
            print(f"reload: {time.monotonic() - began:.1f} s until topics {topics} are read", flush=True)
        self.wait_numbers(range(sent))
        daemon.settle("out")
        self.assertEqual(len(self.numbers()), sent)
        self.assertEqual(daemon.audit()["delivered"], sent)

    # ------------------------------------------------------------------------------------------ who it is

    def test_a_static_member_comes_back_to_its_partitions(self):
        self.broker.create(self.topic("a"), PARTITIONS)
        daemons = [self.daemon(self.config([self.topic("a")], properties={"group.instance.id": f"member-{i}"})).start() for i in range(2)]
        halves = lambda: [self.partitions(d)[self.topic("a")] for d in daemons]
        harness.wait_for("two halves", lambda: halves() == [2, 2])
        rebalances = self.instances(daemons[1], "rebalances")
        self.publish(self.topic("a"), range(1000))
        self.wait_numbers(range(1000))
        for end in (lambda: self.assertEqual(daemons[0].stop(), 0), daemons[0].kill):
            end()
            began = time.monotonic()
            daemons[0].start()
            harness.wait_for("its half", lambda: halves() == [2, 2], LONG_S / 2)
            print(f"back after {time.monotonic() - began:.1f} s", flush=True)
        self.publish(self.topic("a"), range(1000, 2000))
        self.wait_numbers(range(2000))
        self.assertEqual(self.instances(daemons[1], "rebalances"), rebalances)

    def test_a_static_member_may_be_reloaded(self):
        """The instance before it has gone first: neither fences the other, and nothing comes twice."""
        self.broker.create(self.topic("a"), 2)
        self.broker.create(self.topic("b"), 2)
        config = lambda window, *topics: self.config([self.topic(t) for t in topics], properties={"group.instance.id": "me"}, window=window)
        daemon = self.daemon(config(4096, "a")).start()
        for i, window in enumerate((100, 1000, 4096)):
            self.publish(self.topic("a"), range(2000 * i, 2000 * i + 2000))
            daemon.write_config(config(window, "a"))
            daemon.cli("reload")
            self.wait_numbers(range(2000 * i + 2000), LONG_S / 2)
            self.wait_partitions(daemon, a=2)
        daemon.settle("out")
        self.assertEqual(len(self.numbers()), 6000)
        self.assertFalse(any(self.instances(daemon, "failed")))
        self.assertNotIn("failed for good", daemon.log_tail(100000))
        self.assertNotIn("other topics", daemon.log_tail(100000))
        daemon.write_config(config(4096, "a", "b"))  # as it runs it tells the group
        daemon.cli("reload")
        self.wait_partitions(daemon, a=2, b=2)
        self.assertNotIn("other topics", daemon.log_tail(100000))
        daemon.write_config(config(100, "a"))  # back under its name, it does not
        daemon.cli("reload")
        harness.wait_for("a word about the topics", lambda: "a static member's other topics" in daemon.log_tail(100000))

    def test_one_whose_name_another_took_ends_loudly_and_the_rest_goes_on(self):
        self.broker.create(self.topic("a"), 2)
        config = self.config([self.topic("a")], properties={"group.instance.id": "me"})
        first, second = self.daemon(config).start(), self.daemon(config)
        self.publish(self.topic("a"), range(10))
        self.wait_numbers(range(10))
        second.start()
        harness.wait_for("the first to be fenced", lambda: all(self.instances(first, "failed")))
        self.assertIn("the consumer has failed for good", first.log_tail(100000))
        self.assertIn("fenced", self.instances(first, "last_error")[0].lower())
        self.publish(self.topic("a"), range(10, 20))
        self.wait_numbers(range(20))
        self.assertEqual(first.post(harness.order(100)).status, 202)  # what does not come from Kafka is served as ever
        self.wait_numbers([100])
        self.assertFalse(any(self.instances(second, "failed")))
        self.assertEqual(first.request("GET", "/metrics").status, 200)
        first.write_config(self.config([self.topic("a")], properties={"group.instance.id": "somebody-else"}))
        first.cli("reload")
        harness.wait_for("another name helps", lambda: not any(self.instances(first, "failed")) and self.partitions(first)[self.topic("a")] == 1)
        self.assertEqual([first.stop(), second.stop()], [0, 0])

    # ------------------------------------------------------------------------------------------ how it gets in

    def encrypted(self, **more):
        return {"security.protocol": "ssl", "ssl.ca.location": str(self.broker.authority.ca), **more}

    def logged_in(self, password):
        return self.encrypted(**{"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": kafka.USER, "sasl.password": password})

    def test_tls(self):
        self.broker.create(self.topic("a"), 2)
        self.publish(self.topic("a"), range(10))
        self.daemon(self.config([self.topic("a")], self.broker.tls_brokers, self.encrypted())).start()
        self.wait_numbers(range(10))

    def test_a_log_in_and_a_wrong_password(self):
        self.broker.create(self.topic("a"), 2)
        self.publish(self.topic("a"), range(10))
        daemon = self.daemon(self.config([self.topic("a")], self.broker.sasl_brokers, self.logged_in("wrong"))).start()
        harness.wait_for("to be refused", lambda: any("uthentication" in e for e in self.instances(daemon, "last_error")))
        self.assertFalse(any(self.instances(daemon, "failed")))
        daemon.write_config(self.config([self.topic("a")], self.broker.sasl_brokers, self.logged_in(kafka.PASSWORD)))
        daemon.cli("reload")
        self.wait_numbers(range(10))


if __name__ == "__main__":
    harness.main()
