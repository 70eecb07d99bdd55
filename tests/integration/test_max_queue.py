#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""max_queue: at its bound senders are refused, or what comes is a dead letter; other targets and the rest go on."""
import unittest

import harness

PAD = "x" * 1000


class MaxQueue(unittest.TestCase):
    def daemon(self, **target):
        config = harness.simple_config()
        config["targets"]["record"].update(target)
        config["targets"]["other"] = {"null": {}}
        rules = {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "record"}]},
                           {"name": "rest", "pattern": {"source": ["com.bank"]}, "targets": [{"target": "other"}]}]}
        d = self.enterContext(harness.Daemon(config, rules)).start()
        d.cli("pause", "target", "record")
        return d

    def fill(self, d):
        """Posts until it is refused; gives the numbers that were taken."""
        taken = []
        for n in range(100):
            answer = d.post(harness.order(n, pad=PAD))
            if answer.status != 202:
                self.refused(answer)
                return taken
            taken.append(n)
        raise AssertionError("it never filled up")

    def refused(self, answer):
        self.assertEqual((answer.status, answer.json["error"]["code"], answer.json["error"]["retryable"]), (503, "no_room", True))
        self.assertGreater(int(answer.headers["Retry-After"]), 0)

    def check_delivered(self, d, numbers):
        d.settle()
        self.assertEqual(sorted(r["n"] for r in d.attempts(ok=True)), sorted(numbers))
        self.assertEqual(d.letters(), [])
        d.audit()

    def test_refuse_by_bytes(self):
        d = self.daemon(max_queue={"bytes": "16KiB"}, on_full="refuse")
        taken = self.fill(d)
        self.assertIn(len(taken), range(8, 16))
        source = d.status()["sources"][0]["name"]
        self.assertEqual(d.metric(f'events_rejected_total{{via="{source}",reason="refused"}}'), 1)
        self.assertEqual(d.post({**harness.order(0), "source": "com.bank"}).status, 202, "another target's event")
        self.refused(d.post([{**harness.order(0), "source": "com.bank"}, harness.order(1, pad=PAD)]))
        self.assertEqual(d.audit()["events"], len(taken) + 1, "part of a refused batch was stored")
        d.kill()
        d.start()
        self.refused(d.post(harness.order(1, pad=PAD)))
        d.cli("resume", "target", "record")
        harness.wait_for("room", lambda: d.post(harness.order(1000, pad=PAD)).status == 202)
        self.check_delivered(d, [*taken, 1000])

    def test_refuse_by_age(self):
        d = self.daemon(max_queue={"age": "500ms"}, on_full="refuse")
        self.assertEqual(d.post([harness.order(0), harness.order(1)]).status, 202)
        harness.wait_for("the first to be too old", lambda: d.target()["oldest_ms"] > 500)
        self.refused(d.post(harness.order(2)))
        self.assertEqual(d.post({**harness.order(0), "source": "com.bank"}).status, 202, "another target's event")
        d.kill()
        d.start()
        harness.wait_for("what is owed to be known again", lambda: d.post(harness.order(3)).status == 503)
        d.cli("resume", "target", "record")
        harness.wait_for("the queue to be young again", lambda: d.post(harness.order(4)).status == 202)
        d.settle()
        self.assertLessEqual({0, 1, 4}, {r["n"] for r in d.attempts(ok=True)})
        self.assertNotIn(2, {r["n"] for r in d.attempts()})
        self.assertEqual(d.letters(), [], "what was taken died of its age")
        d.audit()

    def test_dead_letter_by_bytes(self):
        d = self.daemon(max_queue={"bytes": "16KiB"})
        for n in range(30):
            self.assertEqual(d.post(harness.order(n, pad=PAD)).status, 202)
        harness.wait_for("the rest to be dead letters", lambda: d.target()["queued"] + len(d.letters()) == 30)
        letters, kept = d.letters(), d.target()["queued"]
        self.assertIn(kept, range(8, 16))
        self.assertEqual({(l["error_code"], l["attempts"]) for l in letters}, {("QUEUE_FULL", 0)})
        self.assertEqual(d.attempts(), [])
        d.cli("resume", "target", "record")
        d.settle()
        self.assertEqual(sorted(r["n"] for r in d.attempts(ok=True)), list(range(kept)), "not the first ones were kept")
        harness.wait_for("all letters to be delivered, as many at a time as there is room for", lambda: self.redriven(d))
        self.assertEqual(len(d.attempts(ok=True)), 30)
        d.audit()

    def redriven(self, d):
        d.cli("dlq", "redrive", "--target", "record")
        d.settle()
        return not d.letters()

    def test_a_letter_keeps_its_input_however_often_the_queue_is_full(self):
        d = self.daemon(max_queue={"bytes": "2KiB"})
        transformer = {"paths": {"n": "$.detail.n"}, "template": '{"number": <n>, "pad": "' + PAD + '"}'}
        d.write_rules({"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]},
                                  "targets": [{"target": "record", "input_transformer": transformer}]}]})
        d.cli("reload")
        for n in range(3):
            self.assertEqual(d.post(harness.order(n)).status, 202)
        harness.wait_for("a letter", lambda: d.target()["queued"] + len(d.letters()) == 3)
        letter = d.letters()[0]["id"]
        d.cli("dlq", "redrive", letter)
        harness.wait_for("it to be back", lambda: [l for l in d.letters() if l["id"] == letter and l["lives"] == 2])
        d.kill()
        d.start()
        shown = d.cli_json("dlq", "show", letter)
        self.assertEqual(shown["input"], {"number": shown["event"]["detail"]["n"], "pad": PAD})
        d.cli("resume", "target", "record")
        harness.wait_for("all letters to be delivered", lambda: self.redriven(d))
        self.assertEqual(sorted(r["event"]["number"] for r in d.attempts(ok=True)), [0, 1, 2])
        d.audit()

    def test_dead_letter_by_age(self):
        d = self.daemon(max_queue={"age": "300ms"})
        self.assertEqual(d.post([harness.order(0), harness.order(1)]).status, 202)
        letters = harness.wait_for("dead letters", lambda: (lambda l: len(l) == 2 and l)(d.letters()))
        self.assertEqual({(l["error_code"], l["attempts"]) for l in letters}, {("QUEUE_FULL", 0)})
        d.cli("resume", "target", "record")
        self.assertEqual(d.post(harness.order(2)).status, 202)
        d.settle()
        self.assertEqual([r["n"] for r in d.attempts()], [2])
        self.assertEqual(d.audit()["dead_lettered"], 2)


if __name__ == "__main__":
    harness.main()
