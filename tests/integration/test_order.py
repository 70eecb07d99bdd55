#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""order_by, end to end: one at a time and in order for each key, whatever fails, whenever the process dies, wherever the backlog is."""
import unittest

import harness

KEYS = 7


def ordered(**changes):
    """An ordered target with several workers, and another one beside it that knows no order."""
    config = harness.simple_config()
    config["targets"]["record"].update(order_by="$.detail.key", concurrency=4, function=harness.recorder(workers={"max": 4}), **changes)
    config["targets"]["other"] = {"null": {}}
    return config


RULES = {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "record"}, {"target": "other"}]}]}


def order(n, **detail):
    return harness.order(n, key=f"key {n % KEYS}", **detail)


class Order(unittest.TestCase):
    def daemon(self, **changes):
        return self.enterContext(harness.Daemon(ordered(**changes), RULES)).start()

    def post(self, d, events):
        answer = d.post(events)
        self.assertEqual(answer.status, 202, answer)

    def in_order(self, attempts):
        """Every attempt of a key, failed ones too, comes before all attempts of what was posted later."""
        for key in range(KEYS):
            numbers = [r["n"] for r in attempts if r["n"] % KEYS == key]
            self.assertEqual(numbers, sorted(numbers), f"key {key}")

    def test_in_order_for_each_key_and_side_by_side_for_different_ones(self):
        d = self.daemon()
        self.post(d, [order(n, sleep=0.004, fail=1 if n % 10 == 3 else 0) for n in range(60)])
        self.post(d, [order(n, sleep=0.004) for n in range(60, 100)])
        d.settle()
        self.assertEqual(len(d.attempts(ok=True)), 100)
        self.in_order(d.attempts())
        self.assertGreater(len({r["pid"] for r in d.attempts()}), 1, "one worker alone proves nothing")

    def test_a_failing_key_blocks_itself_alone_and_goes_on_in_order(self):
        d = self.daemon(retry={"max_retries": 100000, "base": "5ms", "cap": "20ms", "max_age": "1h"})
        stuck = d.folder / "stuck"
        stuck.touch()
        self.post(d, [order(n, **({"fail_while": "stuck"} if n == 0 else {})) for n in range(140)])
        harness.wait_for("all other keys", lambda: len(d.attempts(ok=True)) == 120)
        harness.wait_for("the failing one to be tried again and again", lambda: len(d.attempts(n=0)) > 5)
        d.kill()
        d.start()
        before = len(d.attempts(n=0))
        harness.wait_for("it to be tried on after the restart", lambda: len(d.attempts(n=0)) > before + 2)
        self.assertEqual({r["n"] for r in d.attempts() if r["n"] % KEYS == 0}, {0}, "overtaken in its key")
        stuck.unlink()
        d.settle()
        self.assertEqual(len({r["n"] for r in d.attempts(ok=True)}), 140)
        self.in_order([r for r in d.attempts() if r["n"] % KEYS == 0])
        d.audit()

    def test_a_rejected_one_lets_the_next_go(self):
        d = self.daemon()
        self.post(d, [order(n, reject=n < KEYS) for n in range(3 * KEYS)])
        d.settle()
        harness.wait_for("a letter for each key", lambda: len(d.letters()) == KEYS)
        self.in_order(d.attempts())
        self.assertEqual(len(d.attempts(ok=True)), 2 * KEYS)

    def test_over_kills_with_more_on_disk_than_memory_holds(self):
        total, lives = 1000, []
        d = self.daemon(cache_bytes="64KiB")
        d.cli("pause", "target", "record")
        for first in range(0, total, 100):
            self.post(d, [order(n, pad="x" * 1000) for n in range(first, first + 100)])
        self.assertTrue(d.target()["backlog"], "all of it is in memory: this proves nothing")
        d.kill()
        d.start()
        d.cli("resume", "target", "record")
        for share in (150, 400):
            harness.wait_for(f"{share} deliveries", lambda: len(d.attempts(ok=True)) >= share)
            d.kill()
            harness.wait_for("its workers to be gone", lambda: not d.workers())
            lives.append(len(d.attempts()))
            d.start()
        d.settle()
        self.assertEqual(len({r["n"] for r in d.attempts(ok=True)}), total)
        self.check_lives(d.attempts(), lives)
        d.audit()

    def check_lives(self, attempts, lives):
        """Within a life in order and without a gap; the next life begins at most one behind where the last one ended."""
        for key in range(KEYS):
            done = key - KEYS
            for begin, end in zip([0, *lives], [*lives, len(attempts)]):
                numbers = [r["n"] for r in attempts[begin:end] if r["n"] % KEYS == key]
                if not numbers:
                    continue
                self.assertLessEqual(numbers[0], done + KEYS, f"key {key} left something out at a restart")
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + KEYS * len(numbers), KEYS)), f"key {key}")
                done = max(done, numbers[-1])


if __name__ == "__main__":
    harness.main()
