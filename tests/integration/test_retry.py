#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What happens to a delivery that fails: retries, dead letters, redrive."""
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


if __name__ == "__main__":
    harness.main()
