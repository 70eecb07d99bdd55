#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of docs/kafka.md as it stands there: a topic through rules to a topic and a function, and what the function refuses to a topic."""
import json
import pathlib
import re
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

DOCS = harness.ROOT / "docs" / "kafka.md"
# Rejects an order without a customer.
INVOICE = harness.ROOT / "deploy" / "kafka" / "functions" / "invoice.py"


def blocks():
    """The YAML of the page's section `The whole way`: the configuration, then the rules."""
    section = DOCS.read_text().split("\n## The whole way\n")[1].split("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", section, re.S)


class Example(unittest.TestCase):
    def setUp(self):
        self.broker = kafka.Cluster()
        self.addCleanup(self.broker.close)
        self.broker.start()
        for topic in ("orders", "routed", "refused"):
            self.broker.create(topic, 3)
        config, rules = blocks()
        self.assertEqual(config.count("127.0.0.1:9092"), 3)
        self.daemon = self.enterContext(harness.Daemon())
        self.daemon.write_config(config.replace("127.0.0.1:9092", self.broker.brokers[0]))
        self.daemon.write_rules(rules)
        (self.daemon.folder / "functions" / "invoice.py").write_text(INVOICE.read_text())
        self.daemon.start()

    def publish(self, orders):
        self.broker.kcat("-P", "-t", "orders", stdin="".join(json.dumps(order) + "\n" for order in orders).encode())

    def wait_records(self, topic, n):
        return harness.wait_for(f"{n} records in {topic}", lambda: (lambda r: len(r) >= n and r)(self.broker.records(topic)))

    def test_orders_are_routed_and_what_cannot_be_invoiced_is_refused(self):
        self.publish({"id": n, "total": 100 + n, **({} if n in (3, 7) else {"customer": "ada"})} for n in range(20))
        routed = self.wait_records("routed", 20)
        self.assertEqual(sorted(int(r.key) for r in routed), list(range(20)))
        events = {event["detail"]["id"]: event for event in (json.loads(r.value) for r in routed)}
        self.assertEqual({(e["source"], e["detail-type"]) for e in events.values()}, {("com.shop", "OrderPlaced")})
        refused = {json.loads(r.value)["detail"]["id"]: r for r in self.wait_records("refused", 2)}
        self.assertEqual(set(refused), {3, 7})
        for number, r in refused.items():
            self.assertEqual(json.loads(r.value), events[number])
            want = {"RULE_ARN": "arn:aws:events:local:000000000000:rule/default/invoices",
                    "TARGET_ARN": "arn:aws:events:local:000000000000:target/invoice", "RETRY_ATTEMPTS": "0",
                    "signalbox-event-id": events[number]["id"], "signalbox-rule": "invoices"}
            self.assertEqual({k: r.headers.get(k) for k in want}, want)
            self.assertIn("no 'customer'", r.headers["ERROR_MESSAGE"])
            self.assertTrue(r.headers["ERROR_CODE"])
            self.assertNotIn("EXHAUSTED_RETRY_CONDITION", r.headers)  # it was rejected, not exhausted
            self.assertTrue(r.headers["signalbox-failed-delivery-id"])
        self.daemon.settle("invoice")
        self.daemon.settle("refused")
        audit = self.daemon.audit()
        self.assertEqual((audit["in_flight"], self.daemon.letters()), (0, []))
        print(audit)


if __name__ == "__main__":
    harness.main()
