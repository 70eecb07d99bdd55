#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same binary on a librdkafka of years later: a short form of what the other Kafka tests hold it to, and the group protocol of
KIP-848, which the older library has not.

SB_NEWER=all runs all of them, which takes minutes.
"""
import json
import os
import pathlib
import sys
import unittest

import harness

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))  # which has a test_kafka too: ours is meant
import kafka  # noqa: E402
import rdkafka  # noqa: E402

PARTITIONS = 6
SHORT = [
    "test_kafka.Kafka.test_values_keys_headers_and_order",
    "test_kafka.Kafka.test_one_record_too_large_and_its_neighbours",
    "test_kafka.Kafka.test_a_topic_that_is_not_there_makes_dead_letters_until_it_is",
    "test_kafka_login.KafkaLogin.test_mutual_tls",
    "test_kafka_login.KafkaLogin.test_scram_over_tls",
    "test_kafka_source.KafkaSource.test_records_become_events_and_positions_move",
    "test_kafka_source.KafkaSource.test_positions_that_are_gone_stop_the_partition_or_are_counted",
    "test_kafka_source.KafkaSource.test_kill_9_loses_nothing",
    "test_kafka_group.KafkaGroup.test_a_reload_adds_and_removes_topics_and_nothing_comes_twice",
    "test_kafka_group.KafkaGroup.test_one_whose_name_another_took_ends_loudly_and_the_rest_goes_on",
]
ALL = ["test_kafka", "test_kafka_login", "test_kafka_source", "test_kafka_group", "test_connect.Kafka"]


class ConsumerProtocol(unittest.TestCase):
    """The broker computes who gets what, and tells each member what to give and to take."""

    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster(**{"group_consumer_min_session_timeout_ms": 1000, "group_consumer_session_timeout_ms": 6000,
                                      "group_consumer_min_heartbeat_interval_ms": 200, "group_consumer_heartbeat_interval_ms": 500})
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def setUp(self):
        self.sent = 0
        self.into, self.out = (f"{way}-{self._testMethodName}" for way in ("in", "out"))
        self.broker.create(self.into, PARTITIONS)
        self.broker.create(self.out, PARTITIONS)

    def config(self):
        source = {"kafka": {"brokers": self.broker.brokers, "topics": [self.into], "group": f"g-{self._testMethodName}",
                            "properties": {"group.protocol": "consumer", "fetch.wait.max.ms": 50}},
                  "envelope": "raw", "source": "com.shop", "detail_type": "Order"}
        target = {"kafka": {"brokers": self.broker.brokers, "topic": self.out}, "concurrency": 500,
                  "retry": {"max_retries": 1000, "base": "10ms", "cap": "100ms", "max_age": "1h"}}
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "sources": {"in": source}, "targets": {"out": target}}

    def daemon(self):
        rules = {"rules": [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out"}]}]}
        return self.enterContext(harness.Daemon(self.config(), rules)).start()

    def publish(self, n=2000):
        lines = "".join(json.dumps({"n": i}) + "\n" for i in range(self.sent, self.sent + n))
        self.broker.kcat("-P", "-t", self.into, stdin=lines.encode())
        self.sent += n

    def numbers(self):
        return [json.loads(r.value)["detail"]["n"] for r in self.broker.records(self.out)]

    def wait_all(self):
        harness.wait_for(f"all of {self.sent}", lambda: len(set(self.numbers())) == self.sent)

    def owned(self, *daemons):
        return [sum(len(i["partitions"]) for i in harness.named(d.status()["sources"], "in").get("instances", [])) for d in daemons]

    def test_members_come_and_go_and_nothing_is_lost_or_comes_twice(self):
        first = self.daemon()
        self.publish()
        self.wait_all()
        second = self.daemon()
        self.publish()
        harness.wait_for("halves", lambda: self.owned(first, second) == [3, 3])
        self.publish()
        self.assertEqual(first.stop(), 0)
        harness.wait_for("the whole", lambda: self.owned(second) == [PARTITIONS])
        self.publish()
        self.wait_all()
        second.settle("out")
        self.assertEqual(sorted(self.numbers()), list(range(self.sent)))
        second.audit()

    def test_kill_9_loses_nothing_and_a_reload_stays(self):
        daemons = [self.daemon(), self.daemon()]
        harness.wait_for("halves", lambda: self.owned(*daemons) == [3, 3])
        self.publish()
        daemons[0].kill()
        self.publish()
        harness.wait_for("the whole", lambda: self.owned(daemons[1]) == [PARTITIONS])
        config = self.config()
        config["sources"]["in"]["kafka"]["window"] = {"records": 500}
        daemons[1].write_config(config)
        daemons[1].cli("reload")
        self.publish()
        self.wait_all()
        twice = len(self.numbers()) - self.sent
        print(f"{self.sent} records, {twice} of them twice", flush=True)
        self.assertLessEqual(twice, PARTITIONS * 4096)

    def test_check_accepts_it(self):
        daemon = self.daemon()
        harness.wait_for("the whole", lambda: self.owned(daemon) == [PARTITIONS])
        answer = daemon.cli_json("check", "--connect")
        said = [a["message"] for a in answer["answers"]]
        self.assertIn("librdkafka " + ".".join(map(str, kafka.library_version())), said)
        self.assertFalse([m for m in said if "group" in m], said)  # the library's question does not see members of this protocol


def load_tests(loader, own, pattern):
    suite = unittest.TestSuite([own])
    suite.addTests(loader.loadTestsFromNames(ALL if os.environ.get("SB_NEWER") == "all" else SHORT))
    return suite


if __name__ == "__main__":
    rdkafka.run_on_it(harness.SKIP)
    print("on librdkafka " + ".".join(map(str, kafka.library_version())), flush=True)
    os.environ.setdefault("SB_CYCLES", "2")
    harness.main()
