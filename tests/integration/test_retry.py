#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What happens to a delivery that fails: retries, dead letters, redrive."""
import json
import unittest

import harness


class Retry(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()

    def post(self, n, **detail):
        self.assertEqual(self.d.post(harness.order(n, **detail)).status, 202)

    def tries(self, n):
        return [(r["attempt"], r["ok"]) for r in self.d.attempts(n=n)]

    def letters(self, count):
        return harness.wait_for(f"{count} dead letters", lambda: (lambda l: len(l) == count and [l])(self.d.letters()))[0]

    def test_a_passing_failure_is_retried_under_the_same_id(self):
        self.post(1, fail=2)
        harness.wait_for("three attempts", lambda: len(self.d.attempts(n=1)) == 3)
        self.d.settle()
        self.assertEqual(self.tries(1), [(1, False), (2, False), (3, True)])
        self.assertEqual(len({r["id"] for r in self.d.attempts(n=1)}), 1)
        self.assertEqual(self.d.letters(), [])

    def test_the_last_retry_is_followed_by_a_dead_letter(self):
        self.post(1, fail=-1)
        [letter] = self.letters(1)
        self.assertEqual(self.tries(1), [(n, False) for n in (1, 2, 3, 4)])
        self.assertEqual((letter["target"], letter["rule"], letter["attempts"]), ("record", "orders", 4))
        self.assertIn("asked to fail", str(letter))
        self.assertEqual(self.d.audit()["dead_lettered"], 1)

    def test_a_rejection_is_not_retried(self):
        self.post(1, reject=True)
        self.letters(1)
        self.assertEqual(self.tries(1), [(1, False)])

    def test_a_worker_that_dies_costs_one_attempt_and_nothing_else(self):
        self.post(1, exit=9)
        self.post(2)
        harness.wait_for("both deliveries", lambda: {r["n"] for r in self.d.attempts(ok=True)} == {1, 2})
        self.assertEqual(self.tries(1), [(1, False), (2, True)])

    def test_redrive_delivers_and_the_letter_goes(self):
        self.d.broken.touch()
        self.post(1)
        self.letters(1)
        self.d.cli("dlq", "redrive", "--target", "record", "--dry-run")
        self.assertEqual(len(self.d.letters()), 1)
        self.d.broken.unlink()
        self.d.cli("dlq", "redrive", "--target", "record")
        self.letters(0)
        self.assertEqual(self.tries(1)[-1], (1, True))
        audit = self.d.audit()
        self.assertEqual(audit["in_flight"], 0)

    def test_a_failed_redrive_comes_back_with_its_history_even_over_a_crash(self):
        self.d.broken.touch()
        self.post(1)
        [letter] = self.letters(1)
        self.d.cli("dlq", "redrive", "--target", "record")
        self.d.kill()
        self.d.start()
        harness.wait_for("the letter to be back", lambda: (lambda l: l and l[0].get("lives", 1) >= 2)(self.d.letters()))
        shown = self.d.cli_json("dlq", "show", self.d.letters()[0]["id"])
        self.assertIn("history", str(shown))
        self.d.audit()

    def test_purge_counts_what_it_removes(self):
        self.post(1, reject=True)
        self.letters(1)
        self.d.cli("dlq", "purge", "--yes", "--target", "record")
        self.assertEqual(self.d.letters(), [])

    def test_dead_letters_are_listed_without_a_daemon_too(self):
        self.post(1, reject=True)
        [letter] = self.letters(1)
        self.assertEqual(self.d.stop(), 0)
        self.assertEqual([l["id"] for l in self.d.letters()], [letter["id"]])
        self.assertEqual(self.d.audit()["dead_lettered"], 1)


WAYS = ("first", "second", "third")


class Rematch(unittest.TestCase):
    """A redrive by today's rules owes three deliveries where there was one."""

    def setUp(self):
        self.d = self.enterContext(harness.Daemon())
        config = harness.simple_config()
        target = config["targets"].pop("record")
        for name in WAYS:
            function = {**target["function"], "env": {"RECORD": str(self.d.folder / f"{name}.jsonl"), "BROKEN": str(self.broken(name))}}
            config["targets"][name] = {**target, "function": function}
        self.d.write_config(config)
        self.rules("first")
        self.broken("first").touch()
        self.d.start()
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        [self.letter] = harness.wait_for("the letter", self.d.letters)
        self.broken("first").unlink()

    def rules(self, *targets, **pattern):
        self.d.write_rules({"rules": [{"name": "orders", "pattern": {"source": ["com.shop"], **pattern},
                                       "targets": [{"target": t} for t in targets]}]})

    def broken(self, name):
        return self.d.folder / f"{name}.broken"

    def delivered(self, name):
        path = self.d.folder / f"{name}.jsonl"
        return [r for r in map(json.loads, path.read_text().splitlines()) if r["ok"]] if path.exists() else []

    def redrive(self):
        self.rules(*WAYS)
        self.d.cli("reload")
        self.d.cli("dlq", "redrive", self.letter["id"], "--rematch")

    def wait_settled(self):
        for name in WAYS:
            self.d.settle(name)

    def test_the_letter_goes_with_the_last_delivery_over_a_crash_too(self):
        self.rules(*WAYS)
        self.d.cli("pause", "target", "second")
        self.redrive()
        harness.wait_for("two of three", lambda: self.delivered("first") and self.delivered("third"))
        harness.wait_for("their results", lambda: self.d.target("first")["delivered"] == self.d.target("third")["delivered"] == 1)
        for _ in range(2):
            [letter] = self.d.letters()
            self.assertEqual((letter["id"], letter["state"], letter["lives"]), (self.letter["id"], "redriving", 1))
            self.d.kill()
            self.d.start()
        self.d.cli("resume", "target", "second")
        harness.wait_for("the letter to go", lambda: not self.d.letters())
        self.assertEqual([len(self.delivered(n)) for n in WAYS], [1, 1, 1])
        self.assertEqual(self.d.audit()["in_flight"], 0)
        self.d.kill()
        self.d.start()
        self.assertEqual(self.d.letters(), [])

    def test_one_that_dies_brings_it_back_for_its_own_target(self):
        self.broken("second").touch()
        self.redrive()
        self.wait_settled()
        [letter] = harness.wait_for("the letter to be back", lambda: [l for l in self.d.letters() if l["state"] == "dead"])
        self.assertEqual((letter["id"], letter["target"], letter["lives"]), (self.letter["id"], "second", 2))
        self.assertEqual(self.d.cli_json("dlq", "show", letter["id"])["history"][0]["delivery_id"], self.letter["id"])
        self.d.kill()
        self.d.start()
        self.assertEqual([(l["id"], l["lives"]) for l in self.d.letters()], [(letter["id"], 2)])
        self.broken("second").unlink()
        self.d.cli("dlq", "redrive", letter["id"])
        harness.wait_for("the letter to go", lambda: not self.d.letters())
        self.assertEqual([len(self.delivered(n)) for n in WAYS], [1, 1, 1])

    def test_of_two_that_die_neither_is_lost(self):
        for name in ("first", "third"):
            self.broken(name).touch()
        self.redrive()
        self.wait_settled()
        letters = harness.wait_for("two letters", lambda: len(self.d.letters()) == 2 and self.d.letters())
        self.assertEqual(sorted(l["target"] for l in letters), ["first", "third"])
        self.assertEqual(sorted(l["lives"] for l in letters), [1, 2])
        for name in ("first", "third"):
            self.broken(name).unlink()
        self.d.cli("dlq", "redrive")
        harness.wait_for("both to go", lambda: not self.d.letters())
        self.assertEqual([len(self.delivered(n)) for n in WAYS], [1, 1, 1])

    def test_what_no_rule_matches_stays(self):
        self.rules("first", **{"detail-type": ["SomethingElse"]})
        self.d.cli("reload")
        refused = self.d.cli("dlq", "redrive", "--rematch", "-o", "json", ok=(6,))
        self.assertIn("no rule of today matches", json.loads(refused.stdout)["error"]["message"])
        [letter] = self.d.letters()
        self.assertEqual((letter["id"], letter["state"], letter["lives"]), (self.letter["id"], "dead", 1))


class Unmade(unittest.TestCase):
    """The transformer makes more of an event than an input may have: nothing was ever sent."""

    def rules(self, times):
        template = "[" + ",".join(["<d>"] * times) + "]"
        return {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [
            {"target": "record", "input_transformer": {"paths": {"d": "$.detail"}, "template": template}}]}]}

    def test_a_redrive_does_not_send_the_bare_event(self):
        d = self.enterContext(harness.Daemon(rules=self.rules(5))).start()
        self.assertEqual(d.post(harness.order(1, x="x" * 600000)).status, 202)
        [letter] = harness.wait_for("the letter", d.letters)
        self.assertEqual((letter["error_code"], letter["attempts"]), ("INVALID_JSON", 0))
        refused = d.cli("dlq", "redrive", "-o", "json", ok=(6,))
        self.assertIn("--rematch", json.loads(refused.stdout)["error"]["message"])
        d.cli("dlq", "redrive", "--rematch")  # the rule still makes too much: it comes back
        harness.wait_for("its second death", lambda: [l["lives"] for l in d.letters()] == [2])
        self.assertEqual(d.attempts(), [])
        d.write_rules(self.rules(1))
        d.cli("reload")
        d.cli("dlq", "redrive", "--rematch")
        harness.wait_for("the letter to go", lambda: not d.letters())
        self.assertEqual(len(d.attempts()), 1)


if __name__ == "__main__":
    harness.main()
