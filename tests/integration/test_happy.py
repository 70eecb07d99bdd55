#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The way of an event: taken in, matched, delivered, counted. And what is answered to events that are not taken."""
import json
import unittest

import harness

EXAMPLE = """
version: 1
data_dir: ./data
listeners:
  main: {address: 127.0.0.1:0}
rules: rules.d
buses: {default: {}, audit: {}}
sources:
  shop:
    webhook: {path: /hooks/shop}
    source: com.shop
    detail_type: <meta.http.headers.x-shop-topic>
targets:
  invoice:
    function: {command: [python3, functions/recorder.py], protocol: jsonl, workers: {min: 0, max: 4},
      env: {RECORD: "${env:RECORD}"}}
    concurrency: 4
    timeout: 5s
    retry: {max_retries: 4, base: 200ms, cap: 10s, max_age: 1h}
  trail:
    log: {}
"""
BIG_ORDERS = """
rules:
  - name: big-orders
    pattern:
      source: [com.shop]
      detail-type: [OrderPlaced]
      detail: {total: [{numeric: [">=", 100]}]}
    targets:
      - target: invoice
        input_transformer: {paths: {order: $.detail.id}, template: '{"order": <order>}'}
      - target: trail
"""


class Webhook(unittest.TestCase):
    def test_a_posted_webhook_reaches_a_worker_as_its_rule_says(self):
        with harness.Daemon(rules=BIG_ORDERS) as d:
            d.write_config(EXAMPLE)
            d.start()
            topic = {"X-Shop-Topic": "OrderPlaced"}
            self.assertEqual(d.post({"id": 7, "total": 250}, "/hooks/shop", headers=topic).status, 202)
            self.assertEqual(d.post({"id": 8, "total": 5}, "/hooks/shop", headers=topic).status, 202)
            harness.wait_for("the delivery", d.attempts)
            d.settle("invoice")
            d.settle("trail")
            self.assertEqual([r["event"] for r in d.attempts()], [{"order": 7}])
            audit = d.audit()
            self.assertEqual((audit["events"], audit["unmatched"], audit["delivered"]), (2, 1, 2))


class Events(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()

    def delivered(self):
        self.d.settle()
        return sorted(r["n"] for r in self.d.attempts() if r["ok"])

    def test_one_event_an_array_and_ndjson_are_taken(self):
        one = self.d.post(harness.order(1))
        self.assertEqual(one.status, 202)
        self.assertEqual(self.d.post([harness.order(2), harness.order(3)]).status, 202)
        lines = "\n".join(json.dumps(harness.order(n)) for n in (4, 5)) + "\n"
        answer = self.d.post(lines, headers={"Content-Type": "application/x-ndjson"})
        self.assertEqual(answer.status, 202, answer)
        self.assertEqual(self.delivered(), [1, 2, 3, 4, 5])

    def test_a_batch_is_all_or_nothing_unless_leniency_is_preferred(self):
        batch = [harness.order(1), {"detail": {}}, harness.order(3)]
        strict = self.d.post(batch)
        self.assertEqual(strict.status, 400)
        self.assertEqual(self.delivered(), [])
        lenient = self.d.post(batch, headers={"Prefer": "handling=lenient"})
        self.assertEqual(lenient.status, 207)
        self.assertEqual(self.delivered(), [1, 3])

    def test_refusals(self):
        for what, body, headers, status in [
            ("broken JSON", '{"source": "a", ', {}, 400),
            ("not UTF-8", b'{"source": "\xff", "detail-type": "t", "detail": {}}', {}, 400),
            ("too deep", '{"source":"a","detail-type":"t","detail":' + '{"a":' * 2000 + "1" + "}" * 2000 + "}", {}, 400),
            ("no detail-type", {"source": "a", "detail": {}}, {}, 400),
            ("an unknown bus", {**harness.order(1), "bus": "nowhere"}, {}, 404),
            ("a form", "a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ("a browser of another site", harness.order(1), {"Origin": "http://evil.example"}, 403),
            ("too large", harness.order(1, pad="x" * (4 << 20)), {}, 413),
        ]:
            with self.subTest(what):
                self.assertEqual(self.d.post(body, headers=headers).status, status)
        self.assertEqual(self.delivered(), [])
        self.assertEqual(self.d.audit()["events"], 0)

    def test_health_and_metrics_are_served(self):
        self.assertEqual(self.d.request("GET", "/livez").status, 200)
        self.assertEqual(self.d.request("GET", "/readyz").status, 200)
        metrics = self.d.request("GET", "/metrics")
        self.assertEqual(metrics.status, 200)
        self.assertIn("# TYPE signalbox_", metrics.text)

    def test_a_second_daemon_on_the_same_data_exits_and_harms_nothing(self):
        second = self.d.cli("run", ok=None)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(str(self.d.process.pid), second.stdout + second.stderr)
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        self.assertEqual(self.delivered(), [1])


if __name__ == "__main__":
    harness.main()
