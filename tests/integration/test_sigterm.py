#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under load, many times: the process ends with 0, nothing acknowledged is lost, nothing is delivered twice."""
import unittest

import harness


class Sigterm(unittest.TestCase):
    def test_clean_stops_lose_and_double_nothing(self):
        chance = harness.seed()
        with harness.Daemon() as d:
            load = harness.Load(threads=2)
            for cycle in range(harness.cycles(100)):
                d.start()
                load.start(d)
                load.wait_acked(chance.randrange(1, 40))
                self.assertEqual(d.stop(), 0, f"cycle {cycle}\n{d.log_tail()}")
                load.stop()
            d.start()
            d.settle()
            self.assertEqual(harness.lost(load, d), [])
            self.assertEqual(harness.duplicates(d), 0)
            d.audit()
            print(f"{len(load.acked)} acknowledged events over {harness.cycles(100)} stops", flush=True)

    def test_a_second_signal_ends_at_once(self):
        with harness.Daemon() as d:
            d.start()
            self.assertEqual(d.post(harness.order(1, sleep=30)).status, 202)
            harness.wait_for("the worker to have it", d.workers)
            d.process.terminate()
            harness.wait_for("intake to be closed", lambda: stopping(d))
            d.process.terminate()
            self.assertNotEqual(d.process.wait(5), 0)
            harness.wait_for("its workers to be gone", lambda: not d.workers(), timeout=5)


def stopping(d):
    try:
        return d.request("GET", "/readyz").status != 200
    except OSError:
        return True


if __name__ == "__main__":
    harness.main()
