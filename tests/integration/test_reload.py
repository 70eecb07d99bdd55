#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reload swaps everything or nothing, under load, and a pause outlives the process."""
import json
import signal
import unittest

import harness


def rule(name, to="record"):
    return {"rules": [{"name": name, "pattern": {"source": ["com.shop"]}, "targets": [{"target": to}]}]}


class Reload(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()

    def generation(self):
        return self.d.status()["generation"]

    def test_reload_under_load_loses_and_doubles_nothing(self):
        load = harness.Load(threads=2).start(self.d)
        load.wait_acked(20)
        for n in range(harness.cycles(10)):
            before = self.generation()
            self.d.write_rules(rule(f"orders-{n}"))
            self.d.cli("reload")
            self.assertGreater(self.generation(), before)
            load.wait_acked(10)
        load.stop()
        self.d.settle()
        self.assertEqual(harness.lost(load, self.d), [])
        self.assertEqual(harness.duplicates(self.d), 0)
        self.assertEqual(load.refused, 0)
        self.d.audit()

    def test_an_event_keeps_the_generation_that_matched_it(self):
        self.d.cli("pause", "target", "record")
        matched_by = self.generation()
        self.assertEqual(self.d.post(harness.order(1, reject=True)).status, 202)
        self.d.write_rules(rule("renamed"))
        self.d.cli("reload")
        self.assertEqual(self.d.post(harness.order(2, reject=True)).status, 202)
        then_by = self.generation()
        self.assertNotEqual(matched_by, then_by)
        self.d.kill()
        self.d.start()  # and one more generation
        self.d.cli("resume", "target", "record")
        harness.wait_for("both letters", lambda: len(self.d.letters()) == 2)
        letters = sorted(self.d.letters(), key=lambda letter: letter["generation"])  # two workers: either may be the first
        self.assertEqual([(a["rule"], a["generation"]) for a in letters], [("orders", matched_by), ("renamed", then_by)])
        self.d.cli("dlq", "redrive", letters[0]["id"])
        letter = harness.wait_for("the redriven one to die again", lambda: [a for a in self.d.letters() if a["lives"] == 2])[0]
        self.assertEqual((letter["rule"], letter["generation"]), ("orders", matched_by))

    def test_a_bad_file_keeps_the_old_generation_and_says_where(self):
        before = self.generation()
        self.d.write_rules("rules:\n  - name: orders\n    pattern: {source: [{prefx: a}]}\n    targets: [{target: record}]\n")
        done = self.d.cli("reload", ok=(3,))
        self.assertIn("orders.yaml:3:", done.stdout + done.stderr)
        self.assertIn("prefix", done.stdout + done.stderr)
        self.assertEqual(self.generation(), before)
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        harness.wait_for("the old rule to deliver", lambda: self.d.attempts(n=1))

    def test_sighup_reloads(self):
        before = self.generation()
        self.d.write_rules(rule("renamed"))
        self.d.process.send_signal(signal.SIGHUP)
        harness.wait_for("a new generation", lambda: self.generation() > before)

    def test_a_target_that_still_owes_is_not_removed_unless_told_how(self):
        self.d.cli("pause", "target", "record")
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        config = harness.simple_config()
        config["targets"] = {"trail": {"log": {}}}
        self.d.write_config(config)
        self.d.write_rules(rule("orders", "trail"))
        self.assertIn("record", (lambda p: p.stdout + p.stderr)(self.d.cli("reload", ok=(1, 3, 5))))
        self.d.cli("reload", "--orphans", "dead-letter")
        [letter] = harness.wait_for("the dead letter", self.d.letters)
        self.assertEqual(letter["target"], "record")
        self.d.audit()

    def test_a_pause_holds_deliveries_over_a_restart(self):
        self.d.cli("pause", "target", "record")
        self.assertEqual(self.d.post([harness.order(1), harness.order(2)]).status, 202)
        self.assertTrue(self.d.target()["paused"])
        self.d.kill()
        self.d.start()
        self.assertTrue(self.d.target()["paused"])
        self.assertEqual(self.d.attempts(), [])
        self.d.cli("resume", "target", "record")
        harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
        self.d.settle()

    def test_a_paused_source_refuses_with_a_reason(self):
        source = named_source(self.d.status())
        self.d.cli("pause", "source", source)
        self.assertEqual(self.d.post(harness.order(1)).status, 503)
        self.d.cli("resume", "source", source)
        self.assertEqual(self.d.post(harness.order(1)).status, 202)


def named_source(status):
    """The source behind /v1/events, under whatever name it is shown."""
    rows = status["sources"]
    names = list(rows) if isinstance(rows, dict) else [row["name"] for row in rows]
    assert len(names) == 1, json.dumps(rows)
    return names[0]


if __name__ == "__main__":
    harness.main()
