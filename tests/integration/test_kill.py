#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 under load, at random times and at every named fault point: nothing answered 202 is lost, no worker survives."""
import time
import unittest

import harness

# An outcome that was not durable yet is tried again: what was in flight, and the last group of outcomes.
MOST_TWICE_A_KILL = 256


def mixed(n):
    """Some succeed, some after a retry, some die at once, so that every path is walked."""
    return [{}, {"fail": 1}, {"reject": True}][n % 3]


class Kill(unittest.TestCase):
    def check(self, d, load, kills):
        d.start()
        d.settle()
        self.assertEqual(harness.lost(load, d), [], "acknowledged and lost")
        twice = harness.duplicates(d)
        print(f"{len(load.acked)} acknowledged events, {kills} kills, {twice} delivered twice", flush=True)
        self.assertLessEqual(twice, kills * MOST_TWICE_A_KILL)
        d.audit()
        self.assertGreater(len(load.acked), kills)

    def no_worker_survives(self, d):
        harness.wait_for("workers to die with the daemon", lambda: not d.workers(), timeout=5)

    def test_at_random_times(self):
        chance, rounds = harness.seed(), harness.cycles(100)
        with harness.Daemon() as d:
            load = harness.Load(threads=4)
            for _ in range(rounds):
                d.start()
                load.start(d)
                load.wait_acked(1)
                time.sleep(chance.uniform(0, 0.15))  # the time of the kill is the experiment
                d.kill()
                load.stop()
                self.no_worker_survives(d)
            self.check(d, load, rounds)

    def test_at_every_fault_point(self):
        points = harness.fault_points()
        self.assertTrue(points)
        reached = 0
        with harness.Daemon() as d:
            load = harness.Load(threads=2)
            for point in points:
                for hit in (1, 2, 7):
                    d.launch(env={"SB_FAULT": f"{point}:{hit}:kill"})
                    load.start(d, mixed)
                    reached += self.dies_within(d, 1.5)
                    d.kill()
                    load.stop()
                    self.no_worker_survives(d)
            print(f"{len(points)} fault points, {reached} deaths at them", flush=True)
            self.assertGreaterEqual(reached, 2 * len(points))
            self.check(d, load, 3 * len(points))

    def dies_within(self, d, seconds):
        try:
            return harness.wait_for("its death", lambda: d.process.poll() is not None, timeout=seconds)
        except AssertionError:
            return False  # a point that this load does not pass


if __name__ == "__main__":
    harness.main()
