#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Workers that misbehave in every way: the attempt of the culprit fails, the pool heals, neighbours notice nothing."""
import unittest

import harness

NEIGHBOURS = range(1, 21)


class Rogue(unittest.TestCase):
    def daemon(self, workers=None, **target):
        config = harness.simple_config()
        config["targets"]["record"].update(target, function=harness.recorder(workers={"max": 2, **(workers or {})}))
        return self.enterContext(harness.Daemon(config)).start()

    def run_with_neighbours(self, d, **detail):
        """Event 0 does what `detail` says, among others that do nothing."""
        self.assertEqual(d.post([harness.order(0, **detail)] + [harness.order(n) for n in NEIGHBOURS]).status, 202)
        d.settle()
        self.assertEqual(sorted((r["n"], r["attempt"]) for r in d.attempts() if r["n"]), [(n, 1) for n in NEIGHBOURS])
        self.assertEqual(d.letters(), [])
        self.assertEqual(d.post(harness.order(100)).status, 202)
        harness.wait_for("the pool to have healed", lambda: d.attempts(n=100, ok=True))
        d.settle()
        d.audit()
        return [(r["attempt"], r["ok"]) for r in d.attempts(n=0)]

    def test_an_answer_for_an_id_that_it_was_not_given(self):
        d = self.daemon()
        self.assertEqual(self.run_with_neighbours(d, stranger=True)[-1], (2, True))
        self.assertEqual(d.target()["retries"], 1)

    def test_the_same_answer_twice(self):
        for in_flight in (1, 4):
            d = self.daemon({"max": 1, "in_flight": in_flight})
            self.assertEqual(self.run_with_neighbours(d, twice=True), [(1, True)])
            self.assertEqual(d.target()["retries"], 0)
            self.assertIn("answered twice", d.log_tail())

    def test_death_with_several_in_flight(self):
        d = self.daemon({"max": 1, "in_flight": 4}, concurrency=4)
        self.assertEqual(self.run_with_neighbours(d, exit=9), [(1, False), (1, False), (2, True)])
        self.assertEqual(d.target()["retries"], 1, "only when it died alone it was proven")
        self.assertGreaterEqual(d.metric('deliveries_total{target="record",outcome="released"}'), 4)

    def test_a_flood_on_stdout_makes_itself_late_and_nobody_else(self):
        d = self.daemon(timeout="1s")
        self.assertEqual(d.post([harness.order(0, flood=100_000_000), *(harness.order(n) for n in NEIGHBOURS)]).status, 202)
        harness.wait_for("the neighbours", lambda: len([r for r in d.attempts() if r["n"]]) == len(NEIGHBOURS))
        self.assertEqual(d.attempts(n=0), [], "the flood was over before: this proves nothing")
        d.settle()
        self.assertEqual([(r["attempt"], r["ok"]) for r in d.attempts(n=0)], [(2, True)])
        self.assertEqual({r["attempt"] for r in d.attempts() if r["n"]}, {1})
        self.assertLess(d.log.stat().st_size, 1_000_000, "it was logged without a bound")
        self.assertLess(harness.resident_bytes(d.process.pid), 200 << 20)
        d.audit()

    def test_a_worker_that_forks_away_leaves_nothing_and_stays_warm(self):
        d = self.daemon({"max": 1})
        self.assertEqual(self.run_with_neighbours(d, fork=True), [(1, True)])
        harness.wait_for("what it left to be gone", lambda: not d.workers("sleep"), timeout=5)
        self.assertEqual(len({r["pid"] for r in d.attempts()}), 1)

    def test_concurrency_is_exact_over_kills_of_the_daemon(self):
        """Each attempt holds one of three locks of the kernel's; one that finds none says that it is crowded."""
        total, rounds = 400, harness.cycles(6)
        d = self.daemon({"max": 6}, concurrency=3)
        for first in range(0, total, 100):
            self.assertEqual(d.post([harness.order(n, slots=3, sleep=0.005) for n in range(first, first + 100)]).status, 202)
        for _ in range(rounds):
            before = len(d.attempts())
            harness.wait_for("some deliveries", lambda: len(d.attempts()) > before + 20)
            d.kill()
            d.start()  # at once: that no worker of the old one is left is for the daemon to see to
        d.settle()
        self.assertEqual([r for r in d.attempts() if r["crowded"]], [])
        self.assertEqual(len({r["n"] for r in d.attempts(ok=True)}), total)
        self.assertEqual(d.target()["retries"], 0)
        d.audit()


if __name__ == "__main__":
    harness.main()
