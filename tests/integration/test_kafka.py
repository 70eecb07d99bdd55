#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka as a target, on a real broker: what arrives, what is retried, what becomes a dead letter, and that nothing is lost."""
import json
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

PARTITIONS = 4
QUICK = {"max_retries": 3, "base": "10ms", "cap": "100ms", "max_age": "1h"}
PATIENT = {"max_retries": 1000, "base": "10ms", "cap": "200ms", "max_age": "1h"}
# A topic that is not there is told after this, and looked for again as often.
PROPERTIES = {"topic.metadata.propagation.max.ms": 1000, "topic.metadata.refresh.interval.ms": 500}


def rule(name, target, *kinds, **more):
    return {"name": name, "pattern": {"source": ["com.shop"], "detail": {"kind": list(kinds)}}, "targets": [{"target": target, **more}]}


def numbers(records):
    return [json.loads(r.value)["detail"]["n"] for r in records]


class Kafka(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster(secure=True)
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def target(self, topic, retry=QUICK, timeout="5s", framework=(), **own):
        properties = {**PROPERTIES, **own.pop("properties", {})}
        return {"kafka": {"brokers": own.pop("brokers", self.broker.brokers), "topic": topic, "properties": properties, **own}, "timeout": timeout,
                "retry": retry, **dict(framework)}

    def config(self, targets):
        return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                "targets": targets}

    def daemon(self, targets, rules):
        return self.enterContext(harness.Daemon(self.config(targets), {"rules": rules})).start()

    def post(self, daemon, n, kind="plain", **detail):
        answer = daemon.post(harness.order(n, kind=kind, **detail))
        self.assertEqual(answer.status, 202)
        return answer.json["ids"][0] if "ids" in answer.json else answer.json["id"]

    # ------------------------------------------------------------------------------------------ what arrives

    def test_values_keys_headers_and_order(self):
        self.broker.create("routed", PARTITIONS)
        targets = {"routed": self.target("routed", key="<$.detail.customer>", headers={"shop": "<$.source>", "none": "<$.detail.nothing>"},
                                         framework={"order_by": "$.detail.customer"}.items())}
        daemon = self.daemon(targets, [rule("plain", "routed", "plain"), rule("made", "routed", "made", input_transformer={"template": '{"only": <$.detail.n>}'})])
        ids = {n: self.post(daemon, n, customer=f"c{n % 7}") for n in range(140)}
        self.post(daemon, 1000, kind="made", customer="other")
        daemon.settle("routed")
        records = self.broker.records("routed")
        made = [r for r in records if r.headers["signalbox-rule"] == "made"]
        plain = [r for r in records if r.headers["signalbox-rule"] == "plain"]
        self.assertEqual([(r.key, json.loads(r.value)) for r in made], [("other", {"only": 1000})])
        self.assertEqual(sorted(numbers(plain)), list(range(140)))
        self.assertGreater(len({r.partition for r in plain}), 1)
        for customer in range(7):
            mine = [r for r in plain if r.key == f"c{customer}"]
            self.assertEqual(numbers(mine), list(range(customer, 140, 7)))
            self.assertEqual(len({r.partition for r in mine}), 1)
        for r in plain:
            event = json.loads(r.value)
            self.assertEqual(event["id"], ids[event["detail"]["n"]])
            self.assertEqual((r.headers["signalbox-event-id"], r.headers["signalbox-attempt"], r.headers["shop"]), (event["id"], "1", "com.shop"))
            self.assertNotIn("none", r.headers)
        self.assertEqual(len({r.headers["signalbox-delivery-id"] for r in records}), 141)
        self.assertEqual(daemon.audit()["delivered"], 141)

    def test_a_key_goes_where_the_java_clients_put_it(self):
        self.broker.create("hashed", 6)
        daemon = self.daemon({"hashed": self.target("hashed", key="<$.detail.k>", envelope="raw")}, [rule("plain", "hashed", "plain")])
        for n, key in enumerate(("21", "foobar", "a-little-bit-long-string")):
            self.post(daemon, n, k=key)
        daemon.settle("hashed")
        have = {r.key: r.partition for r in self.broker.records("hashed")}
        # Hashes from the test vectors of Kafka's UtilsTest.
        hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
        self.assertEqual(have, {key: (value & 0x7FFFFFFF) % 6 for key, value in hashes.items()})

    def test_more_partitions_are_used_as_soon_as_they_are_seen(self):
        self.broker.create("growing", 1)
        daemon = self.daemon({"growing": self.target("growing", key="<$.detail.n>")}, [rule("plain", "growing", "plain")])
        self.post(daemon, 0)
        daemon.settle("growing")
        self.broker.grow("growing", 4)
        sent = 1

        def spread():
            nonlocal sent
            self.post(daemon, sent)
            sent += 1
            daemon.settle("growing")
            return len({r.partition for r in self.broker.records("growing")}) > 1

        harness.wait_for("records in a partition that is new", spread, 30)
        self.assertEqual(sorted(numbers(self.broker.records("growing"))), list(range(sent)))

    # ------------------------------------------------------------------------------------------ a broker in trouble

    def test_a_broker_that_hangs_and_one_that_is_gone_lose_nothing(self):
        self.broker.create("stormy", PARTITIONS)
        daemon = self.daemon({"stormy": self.target("stormy", retry=PATIENT, timeout="1s")}, [rule("plain", "stormy", "plain")])
        load = harness.Load().start(daemon, lambda n: {"kind": "plain"})
        try:
            load.wait_acked(200)
            self.broker.freeze()
            load.wait_acked(200)
            harness.wait_for("retries", lambda: daemon.target("stormy")["retries"] > 0)
            self.broker.thaw()
            load.wait_acked(200)
            self.broker.kill()
            load.wait_acked(200)
            harness.wait_for("an unreachable cluster", lambda: daemon.target("stormy")["unreachable_for_ms"] > 0)
            self.assertIn("refused", daemon.target("stormy")["detail"]["last_error"])
            self.broker.start()
            load.wait_acked(200)
        finally:
            self.broker.thaw()
            load.stop()
        daemon.settle("stormy")
        records = self.broker.records("stormy")
        self.assertEqual(set(load.acked) - set(numbers(records)), set())
        self.assertEqual(daemon.audit()["dead_lettered"], 0)
        twice = len(records) - len({r.headers["signalbox-delivery-id"] for r in records})
        print(f"{len(load.acked)} acknowledged, {len(records)} records, {twice} of them twice", flush=True)

    def test_a_cluster_that_is_back_is_used_at_once(self):
        """Not when the pause is over, which is a minute here."""
        self.broker.create("back")
        daemon = self.daemon({"back": self.target("back", retry={**PATIENT, "base": "60s", "cap": "10m"}, timeout="1s")},
                             [rule("plain", "back", "plain")])
        self.post(daemon, 0)
        daemon.settle("back")
        self.broker.kill()
        self.post(daemon, 1)
        harness.wait_for("an unreachable cluster", lambda: daemon.target("back")["unreachable_for_ms"] > 0)
        self.broker.start()
        harness.wait_for("the record", lambda: daemon.target("back")["delivered"] == 2, 30)

    def test_kill_and_restart_of_the_daemon_lose_nothing(self):
        self.broker.create("killed", PARTITIONS)
        daemon = self.daemon({"killed": self.target("killed", retry=PATIENT)}, [rule("plain", "killed", "plain")])
        load = harness.Load().start(daemon, lambda n: {"kind": "plain"})
        try:
            for _ in range(harness.cycles(3)):
                load.wait_acked(300)
                daemon.kill()
                daemon.start()
        finally:
            load.stop()
        daemon.settle("killed")
        self.assertEqual(set(load.acked) - set(numbers(self.broker.records("killed"))), set())
        daemon.audit()

    # ------------------------------------------------------------------------------------------ dead letters

    def letters(self, daemon, count):
        return harness.wait_for(f"{count} dead letters", lambda: (lambda l: len(l) == count and l)(daemon.letters()))

    def test_a_topic_that_is_not_there_makes_dead_letters_until_it_is(self):
        daemon = self.daemon({"absent": self.target("absent")}, [rule("plain", "absent", "plain")])
        self.post(daemon, 1)
        [letter] = self.letters(daemon, 1)
        self.assertEqual((letter["error_code"], letter["attempts"]), ("NO_RESOURCE", 1))
        self.broker.create("absent")
        harness.wait_for("the topic to be seen", lambda: self.post(daemon, 2) and daemon.settle("absent") is None
                         and numbers(self.broker.records("absent")), 30)
        daemon.cli("dlq", "redrive", letter["id"])
        harness.wait_for("the redriven one", lambda: 1 in numbers(self.broker.records("absent")))

    def test_one_record_too_large_and_its_neighbours(self):
        """The broker refuses the batch; only the guilty one dies."""
        self.broker.create("small", max_message_bytes=4000)
        daemon = self.daemon({"small": self.target("small", properties={"linger.ms": 200})}, [rule("plain", "small", "plain")])
        daemon.post([harness.order(n, kind="plain", fill="x" * (8000 if n == 3 else 10)) for n in range(6)])
        [letter] = self.letters(daemon, 1)
        daemon.settle("small")
        self.assertEqual(letter["error_code"], "INVALID_PARAMETER")
        self.assertIn("too large", str(letter))
        self.assertEqual(sorted(numbers(self.broker.records("small"))), [0, 1, 2, 4, 5])
        self.assertEqual(daemon.audit()["dead_lettered"], 1)

    def test_a_dead_letter_topic_gets_the_input_and_eventbridges_attributes(self):
        self.broker.create("refused")
        function = harness.recorder()
        targets = {"record": {"function": function, "retry": {**QUICK, "max_retries": 1}, "dead_letter": "refused"},
                   "refused": self.target("refused", key="<$.detail.n>")}
        daemon = self.daemon(targets, [rule("plain", "record", "plain")])
        event_id = self.post(daemon, 7, fail=-1)
        [r] = harness.wait_for("the letter", lambda: self.broker.records("refused"))
        daemon.settle("refused")
        value = json.loads(r.value)
        self.assertEqual((r.key, value["id"], value["detail"]["n"]), ("7", event_id, 7))
        want = {"RULE_ARN": "arn:aws:events:local:000000000000:rule/default/plain", "TARGET_ARN": "arn:aws:events:local:000000000000:target/record",
                "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts", "RETRY_ATTEMPTS": "1", "signalbox-event-id": event_id, "signalbox-rule": "plain",
                "signalbox-attempt": "1"}
        self.assertEqual({k: r.headers.get(k) for k in want}, want)
        self.assertIn("asked to fail", r.headers["ERROR_MESSAGE"])
        self.assertTrue(r.headers["ERROR_CODE"])
        self.assertEqual(r.headers["signalbox-failed-delivery-id"], daemon.attempts()[0]["id"])
        self.assertNotIn(r.headers["signalbox-delivery-id"], ("", r.headers["signalbox-failed-delivery-id"]))
        daemon.audit()

    # ------------------------------------------------------------------------------------------ who we are

    def encrypted(self, **more):
        return {"security.protocol": "ssl", "ssl.ca.location": str(self.broker.authority.ca), **more}

    def logged_in(self, password):
        return self.encrypted(**{"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": kafka.USER,
                                 "sasl.password": password})

    def test_tls_and_a_log_in(self):
        self.broker.create("secret")
        targets = {"tls": self.target("secret", brokers=self.broker.tls_brokers, properties=self.encrypted()),
                   "sasl": self.target("secret", brokers=self.broker.sasl_brokers, properties=self.logged_in(kafka.PASSWORD))}
        daemon = self.daemon(targets, [rule("plain", "tls", "plain"), rule("login", "sasl", "login")])
        self.post(daemon, 1)
        self.post(daemon, 2, kind="login")
        daemon.settle("tls")
        daemon.settle("sasl")
        self.assertEqual(sorted(numbers(self.broker.records("secret"))), [1, 2])

    def test_a_wrong_password_and_an_unknown_authority_lose_nothing(self):
        self.broker.create("locked")
        stranger = {"security.protocol": "ssl"}  # knows the authorities of the system only
        targets = {"guest": self.target("locked", brokers=self.broker.sasl_brokers, timeout="1s", properties=self.logged_in("wrong")),
                   "stranger": self.target("locked", brokers=self.broker.tls_brokers, timeout="1s", properties=stranger)}
        daemon = self.daemon(targets, [rule("plain", "guest", "plain"), rule("other", "stranger", "other")])
        self.post(daemon, 1)
        self.post(daemon, 2, kind="other")
        for name, cause in (("guest", "uthentication"), ("stranger", "certificate")):
            harness.wait_for(f"{name} to be unreachable", lambda name=name: daemon.target(name)["unreachable_for_ms"] > 0)
            harness.wait_for(f"{name} to say that it is {cause}",  # now and then it is "refused": one of the host's addresses is
                             lambda name=name, cause=cause: cause in daemon.target(name)["detail"]["last_error"])
        self.assertEqual(daemon.letters(), [])
        targets["guest"] = self.target("locked", brokers=self.broker.sasl_brokers, properties=self.logged_in(kafka.PASSWORD))
        targets["stranger"] = self.target("locked", brokers=self.broker.tls_brokers, properties=self.encrypted())
        daemon.write_config(self.config(targets))
        daemon.cli("reload")
        daemon.settle("guest")
        daemon.settle("stranger")
        self.assertEqual(sorted(numbers(self.broker.records("locked"))), [1, 2])

    # ------------------------------------------------------------------------------------------ neighbours

    def test_a_topic_in_trouble_delays_no_other_of_its_cluster(self):
        self.broker.create("fine", PARTITIONS)
        slow = self.target("missing", retry=PATIENT, properties={"topic.metadata.propagation.max.ms": 60000}, timeout="60s")
        daemon = self.daemon({"fine": self.target("fine"), "slow": slow}, [rule("slow", "slow", "plain"), rule("fine", "fine", "plain")])
        for n in range(100):
            self.post(daemon, n)
        daemon.settle("fine")
        self.assertEqual(sorted(numbers(self.broker.records("fine"))), list(range(100)))
        self.assertEqual(daemon.target("slow")["delivered"], 0)


if __name__ == "__main__":
    harness.main()
