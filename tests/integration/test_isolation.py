#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A target that is slow, dead or wild delays nobody else; limits hold."""
import time
import unittest

import harness


def two_targets(**slow):
    config = harness.simple_config()
    config["targets"]["slow"] = {**config["targets"]["record"], **slow}
    return config


def split(detail_key):
    """Orders with `detail_key` go to target slow, the others to record."""
    return {"rules": [
        {"name": "slow", "pattern": {"detail": {detail_key: [{"exists": True}]}}, "targets": [{"target": "slow"}]},
        {"name": "rest", "pattern": {"source": ["com.shop"], "detail": {detail_key: [{"exists": False}]}},
         "targets": [{"target": "record"}]},
    ]}


class Isolation(unittest.TestCase):
    def daemon(self, *args, **kw):
        return self.enterContext(harness.Daemon(*args, **kw)).start()

    def test_a_hanging_target_delays_no_other(self):
        d = self.daemon(two_targets(timeout="30s"), split("sleep"))
        for n in range(10):
            self.assertEqual(d.post(harness.order(n, sleep=60)).status, 202)
        self.assertEqual(d.post([harness.order(100 + n) for n in range(100)]).status, 202)
        harness.wait_for("the others", lambda: len(d.attempts(ok=True)) == 100, timeout=20)

    def test_a_timeout_kills_the_worker_and_the_retry_finds_a_new_one(self):
        d = self.daemon(two_targets(timeout="300ms", retry={"max_retries": 1, "base": "10ms", "cap": "10ms"}), split("sleep"))
        self.assertEqual(d.post(harness.order(1, sleep=60)).status, 202)
        [letter] = harness.wait_for("the dead letter", d.letters)
        self.assertEqual(letter["attempts"], 2)
        self.assertIn("TIMEOUT", str(letter))
        harness.wait_for("its workers to be gone", lambda: not d.workers())

    def test_a_command_that_cannot_start_costs_no_attempt(self):
        d = self.daemon(two_targets(function={"command": ["./no-such-command"], "protocol": "jsonl"}), split("to_slow"))
        self.assertEqual(d.post([harness.order(1, to_slow=1), harness.order(2)]).status, 202)
        harness.wait_for("the other target", lambda: d.attempts(ok=True, n=2))
        self.assertEqual(d.letters(), [])
        self.assertEqual(d.audit()["in_flight"], 1)

    def test_concurrency_is_exact(self):
        config = harness.simple_config()
        config["targets"]["record"].update(concurrency=3, function=harness.recorder(workers={"min": 0, "max": 8}))
        d = self.daemon(config)
        self.assertEqual(d.post([harness.order(n, sleep=0.05) for n in range(60)]).status, 202)
        most = 0
        while len(d.attempts(ok=True)) < 60:
            most = max(most, d.target()["in_flight"])
            self.assertLessEqual(len(d.workers()), 8)
            time.sleep(0.01)
        self.assertEqual(most, 3)


if __name__ == "__main__":
    harness.main()
