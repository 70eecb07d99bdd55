#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`check --connect` on a real broker and a real Redis: what answers, what does not and why, within the time that was given, and that
nothing is left behind by having asked."""
import pathlib
import sys
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402
import redis  # noqa: E402

RULES = {"rules": [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out"}]}]}
SCRAM_WORKS = (2, 6, 1)


def config(sources=None, **targets):
    return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
            "sources": sources or {}, "targets": {"out": {"null": {}}, **targets}}


def raw(**connector):
    return {**connector, "envelope": "raw", "source": "com.shop", "detail_type": "Order"}


class Asked(unittest.TestCase):
    def ask(self, configuration, *words, code):
        d = self.enterContext(harness.Daemon(configuration, RULES))
        began = time.monotonic()
        answer = d.cli_json("check", "--connect", *words, ok=(code,))
        self.took_s = time.monotonic() - began
        return answer

    def said(self, answer, kind, name):
        return [(a["found"], a["message"]) for a in answer["answers"] if (a["kind"], a["name"]) == (kind, name)]

    def assertSaid(self, answer, kind, name, found, *words):
        said = self.said(answer, kind, name)
        self.assertTrue(any(f == found and all(w in m for w in words) for f, m in said), f"{kind} {name}: {said}")

    def finding(self, answer, path):
        found = [f for f in answer["findings"] if f["path"] == path]
        self.assertEqual(len(found), 1, answer["findings"])
        self.assertGreater(found[0]["line"], 0)
        return found[0]


class Kafka(Asked):
    @classmethod
    def setUpClass(cls):
        # A cluster that makes any topic that a producer asks for: asking must not be taken for that.
        cls.broker = kafka.Cluster(secure=True, auto_create_topics_enable="true")
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()
        cls.broker.create("orders", 12)
        cls.broker.create("routed", 3)
        harness.wait_for("topics that every question sees", lambda: cls.topics() == ["orders", "routed"])

    def source(self, topics, way=None, group="asked"):
        brokers, properties = way or (self.broker.brokers, {})
        return raw(kafka={"brokers": brokers, "topics": topics, "group": group, "properties": properties})

    def target(self, topic="routed", way=None):
        brokers, properties = way or (self.broker.brokers, {})
        return {"kafka": {"brokers": brokers, "topic": topic, "properties": properties}}

    @classmethod
    def topics(cls):
        return sorted(line.split('"')[1] for line in cls.broker.kcat("-L").decode().splitlines() if line.strip().startswith("topic "))

    def test_all_that_is_there_answers_and_nothing_is_changed(self):
        """Runs before any group is joined: then the broker has no topic of positions yet."""
        answer = self.ask(config({"in": self.source(["orders", "^ord"])}, k=self.target()), code=0)
        self.assertTrue(answer["ok"])
        self.assertSaid(answer, "source", "in", "ok", "cluster with 1 broker")
        self.assertSaid(answer, "source", "in", "ok", "librdkafka " + ".".join(map(str, kafka.library_version())))
        self.assertSaid(answer, "source", "in", "ok", "`orders`: 12 partitions")
        self.assertSaid(answer, "source", "in", "ok", "`^ord`: 1 of them")
        self.assertSaid(answer, "source", "in", "ok", "group `asked`: no member")
        self.assertSaid(answer, "target", "k", "ok", "`routed`: 3 partitions")
        self.assertEqual(self.said(answer, "target", "out"), [])  # nothing to ask
        self.assertEqual(self.topics(), ["orders", "routed"])  # neither a topic of ours nor the one of positions

    def test_a_topic_that_is_not_there_is_told_at_its_place_and_not_made(self):
        answer = self.ask(config({"in": self.source(["orders", "nowhere", "^nothing"])}, k=self.target("elsewhere")), code=4)
        self.assertEqual((answer["ok"], answer["errors"], answer["warnings"]), (False, 2, 1))
        self.assertIn("`nowhere`", self.finding(answer, "sources.in.kafka.topics[1]")["message"])
        self.assertEqual(self.finding(answer, "sources.in.kafka.topics[2]")["severity"], "warning")
        self.assertIn("`elsewhere`", self.finding(answer, "targets.k.kafka.topic")["message"])
        self.assertSaid(answer, "source", "in", "ok", "`orders`")
        self.assertNotIn("elsewhere", self.topics())
        self.assertNotIn("nowhere", self.topics())

    def test_every_way_in(self):
        for way, (brokers, properties) in self.broker.ways().items():
            if way == "scram" and kafka.library_version() < SCRAM_WORKS:
                answer = self.ask(config(k=self.target(way=(brokers, properties))), code=4)
                self.assertSaid(answer, "target", "k", "failed", "uthentication")
                self.assertIn("2.6.1", self.finding(answer, "targets.k.kafka.brokers")["hint"])
            else:
                answer = self.ask(config({"in": self.source(["orders"], (brokers, properties))}, k=self.target(way=(brokers, properties))), code=0)
                self.assertSaid(answer, "target", "k", "ok", "`routed`")
                self.assertSaid(answer, "source", "in", "ok", "`orders`")

    def test_who_is_kept_out_is_told_why(self):
        brokers, plain = self.broker.ways()["plain"]
        cases = {"password": ((brokers, {**plain, "sasl.password": "wrong"}), "uthentication"),
                 "authority": ((self.broker.tls_brokers, {"security.protocol": "ssl"}), "certificate"),
                 "clear": ((self.broker.brokers, {"security.protocol": "ssl"}), "SSL"),
                 "nobody": ((["127.0.0.1:1"], {}), "refused")}
        answer = self.ask(config({}, **{name: self.target(way=way) for name, (way, _) in cases.items()}), "--timeout", "20s", code=4)
        for name, (_, cause) in cases.items():
            self.assertSaid(answer, "target", name, "failed", cause)
            self.finding(answer, f"targets.{name}.kafka.brokers")
        self.assertNotIn("wrong", str(answer))

    def test_members_that_share_by_other_rules_are_told(self):
        by_range = (self.broker.brokers, {"partition.assignment.strategy": "range"})
        running = config({"in": self.source(["orders"], by_range, group="shared")})
        d = self.enterContext(harness.Daemon(running, RULES)).start()
        assigned = lambda: [p for i in harness.named(d.status()["sources"], "in").get("instances", []) for p in i["partitions"]]
        harness.wait_for("its partitions", lambda: len(assigned()) == 12)
        answer = self.ask(running, code=0)
        self.assertSaid(answer, "source", "in", "ok", "group `shared`: Stable, 1 member")
        answer = self.ask(config({"in": self.source(["orders"], group="shared")}), code=4)
        self.assertSaid(answer, "source", "in", "failed", "`range`", "`cooperative-sticky`")
        self.finding(answer, "sources.in.kafka.group")
        self.assertEqual(len(assigned()), 12)

    def test_when_it_hangs_it_costs_the_time_that_was_given_and_no_more(self):
        self.broker.freeze()
        try:
            answer = self.ask(config({f"s{i}": self.source(["orders"]) for i in range(4)}, k=self.target()), "--timeout", "2s", code=4)
        finally:
            self.broker.thaw()
        self.assertEqual(answer["errors"], 5)
        self.assertGreaterEqual(answer["took_ms"], 2000)
        self.assertLess(self.took_s, 20)  # one after the other, with a machine as slow as this allows for, would be far more


class Redis(Asked):
    def server(self, **rows):
        return self.enterContext(redis.Server(**rows))

    def end(self, r, **more):
        return {"url": r.url, "connect_timeout": "5s", **more}

    def test_what_is_there_answers_and_nothing_is_changed(self):
        r = self.server()
        r("XADD", "jobs", "*", "body", "{}")
        r("XGROUP", "CREATE", "jobs", "g", "0")
        keys = r("DBSIZE")
        c = config({"in": raw(redis=self.end(r, streams=["jobs", "later"], group="g"))}, k={"redis": self.end(r, stream="done")})
        c["metrics"] = {"redis": {"url": r.unix_url, "cluster": "c"}}
        answer = self.ask(c, code=0)
        version = next(line.split(":")[1] for line in r("INFO", "server").splitlines() if line.startswith("redis_version"))
        self.assertSaid(answer, "source", "in", "ok", f"Redis {version}")
        self.assertSaid(answer, "source", "in", "ok", "`jobs`, group `g`: 0 consumers, 0 pending")
        self.assertSaid(answer, "source", "in", "ok", "`later` is not there yet")
        self.assertSaid(answer, "target", "k", "ok", "`done` is not there yet")
        self.assertSaid(answer, "metrics", "redis", "ok", f"Redis {version}")
        self.assertEqual(r("DBSIZE"), keys)

    def test_what_is_wrong_is_told_at_its_place(self):
        r, locked = self.server(), self.server(requirepass="sesame")
        r("SET", "text", "x")
        answer = self.ask(config(
            {"in": raw(redis=self.end(r, streams=["jobs", "text"], group="g"))}, k={"redis": self.end(locked, stream="done", password="guess")},
            gone={"redis": {"url": "redis://127.0.0.1:1", "stream": "done"}}), code=4)
        self.assertIn("no stream but a string", self.finding(answer, "sources.in.redis.streams[1]")["message"])
        self.assertIn("WRONGPASS", self.finding(answer, "targets.k.redis.url")["message"])
        self.assertIn("refused", self.finding(answer, "targets.gone.redis.url")["message"])
        self.assertNotIn("guess", str(answer))
        answer = self.ask(config(k={"redis": self.end(locked, stream="done", password="sesame")}), code=0)
        self.assertSaid(answer, "target", "k", "ok", "answers")

    def test_one_that_hangs_costs_the_time_that_was_given(self):
        r = self.server()
        r.freeze()
        try:
            answer = self.ask(config(k={"redis": self.end(r, stream="done")}), "--timeout", "1s", code=4)
        finally:
            r.thaw()
        self.assertSaid(answer, "target", "k", "failed", "in time")
        self.assertGreaterEqual(answer["took_ms"], 900)


if __name__ == "__main__":
    harness.main()
