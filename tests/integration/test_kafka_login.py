#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way into a cluster, as a source and as a target: TLS, TLS with a certificate of ours, SASL PLAIN, SASL SCRAM; and who is kept out."""
import json
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

COUNT = 200
QUICK = {"reconnect.backoff.max.ms": 500}
SCRAM_WORKS = (2, 6, 1)  # librdkafka, against Kafka 4


class KafkaLogin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster(secure=True)
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def setUp(self):
        self.tag = self._testMethodName.removeprefix("test_")[:40]
        self.broker.create(f"{self.tag}.in", 2)
        self.broker.create(f"{self.tag}.out", 2)

    def daemon(self, brokers, properties):
        """One whose source and target both go this way."""
        end = {"brokers": brokers, "properties": {**QUICK, **properties}}
        config = {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                  "sources": {"in": {"kafka": {**end, "topics": [f"{self.tag}.in"], "group": f"g-{self.tag}"}, "envelope": "raw",
                                     "source": "com.shop", "detail_type": "Order"}},
                  "targets": {"out": {"kafka": {**end, "topic": f"{self.tag}.out"}, "timeout": "2s",
                                      "retry": {"max_retries": 1000, "base": "50ms", "cap": "500ms", "max_age": "1h"}}}}
        rules = {"rules": [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out"}]}]}
        return self.enterContext(harness.Daemon(config, rules)).start()

    def publish(self):
        self.broker.kcat("-P", "-t", f"{self.tag}.in", stdin="".join(json.dumps({"n": n}) + "\n" for n in range(COUNT)).encode())

    def numbers(self):
        return sorted(json.loads(r.value)["detail"]["n"] for r in self.broker.records(f"{self.tag}.out"))

    def goes_through(self, way):
        daemon = self.daemon(*self.broker.ways()[way])
        self.publish()
        harness.wait_for("everything at the other end", lambda: len(self.numbers()) >= COUNT)
        self.assertEqual(self.numbers(), list(range(COUNT)))
        daemon.settle("out")
        daemon.audit()
        return daemon

    def kept_out(self, brokers, properties, *causes):
        """Both ends say why, nothing dies, and nothing is lost: the record waits in its topic, the event for its target."""
        daemon = self.daemon(brokers, properties)
        self.publish()
        self.assertEqual(daemon.post(harness.order(1000)).status, 202)
        harness.wait_for("the target to be unreachable", lambda: daemon.target("out")["unreachable_for_ms"] > 0)
        says = lambda: (daemon.target("out")["detail"]["last_error"],
                        *(i["last_error"] for i in harness.named(daemon.status()["sources"], "in")["instances"]))
        harness.wait_for(f"{causes} in both errors", lambda: all(any(c in error for c in causes) for error in says()))
        self.assertEqual((daemon.letters(), self.numbers()), ([], []))
        daemon.audit()
        return daemon

    def test_tls(self):
        self.goes_through("tls")

    def test_mutual_tls(self):
        self.goes_through("mtls")

    def test_plain_over_tls(self):
        self.goes_through("plain")

    def test_scram_over_tls(self):
        """Before 2.6.1 librdkafka's nonces are not what Kafka 4 takes: said at the start and at check, and nothing is lost."""
        if kafka.library_version() >= SCRAM_WORKS:
            daemon = self.goes_through("scram")
            self.assertNotIn("cannot log in", daemon.log_tail(100000))
            return
        daemon = self.kept_out(*self.broker.ways()["scram"], "uthentication")
        self.assertIn("cannot log in to Kafka 4", daemon.log_tail(100000))
        check = daemon.cli("check")
        self.assertIn("cannot log in to Kafka 4", check.stdout)
        self.assertIn("PLAIN over TLS or mTLS", check.stdout)

    def test_a_wrong_password_is_kept_out(self):
        brokers, properties = self.broker.ways()["plain"]
        self.kept_out(brokers, {**properties, "sasl.password": "wrong"}, "uthentication")

    def test_no_certificate_is_kept_out(self):
        self.kept_out(self.broker.mtls_brokers, self.broker.ways()["tls"][1], "certificate", "SSL", "ssl")

    def test_a_broker_that_an_unknown_authority_vouches_for_is_not_believed(self):
        self.kept_out(self.broker.tls_brokers, {"security.protocol": "ssl"}, "certificate")


if __name__ == "__main__":
    harness.main()
