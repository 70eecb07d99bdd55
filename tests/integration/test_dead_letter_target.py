#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dead_letter: TARGET: the letter goes there with all that is known, is retried without end, and never dies again."""
import unittest

import harness


class DeadLetterTarget(unittest.TestCase):
    def setUp(self):
        config = harness.simple_config()
        main = config["targets"]["record"]
        self.morgue = {**main, "retry": {"max_retries": 1, "base": "5ms", "cap": "20ms", "max_age": "100ms"}}
        del main["function"]["env"]["BROKEN"]
        self.morgue["function"] = harness.recorder()
        main["dead_letter"] = "morgue"
        config["targets"]["morgue"] = self.morgue
        self.d = self.enterContext(harness.Daemon(config)).start()

    def post(self, n, **detail):
        self.assertEqual(self.d.post(harness.order(n, **detail)).status, 202)

    def buried(self, **want):
        """The attempts of the target of the dead: what it got is no event."""
        return [r for r in self.d.attempts(**want) if "ERROR_CODE" in r["event"]]

    def test_it_gets_the_input_and_why(self):
        self.post(1, fail=-1)
        [r] = harness.wait_for("the letter", self.buried)
        letter = r["event"]
        self.assertEqual((letter["ERROR_CODE"], letter["EXHAUSTED_RETRY_CONDITION"], letter["RETRY_ATTEMPTS"]),
                         ("ERROR_FROM_TARGET", "MaximumRetryAttempts", 3))
        self.assertIn("asked to fail", letter["ERROR_MESSAGE"])
        self.assertEqual(letter["TARGET_ARN"], "arn:aws:events:local:000000000000:target/record")
        self.assertEqual(letter["RULE_ARN"], "arn:aws:events:local:000000000000:rule/default/orders")
        self.assertEqual(letter["input"]["detail"], {"n": 1, "fail": -1})
        self.d.settle("morgue")
        self.assertEqual(self.d.letters(), [], "it is in the table as well")
        audit = self.d.audit()
        self.assertEqual((audit["delivered"], audit["dead_lettered"], audit["in_flight"]), (1, 1, 0))

    def test_each_letter_is_a_delivery_of_its_own(self):
        """Two letters of one event, and the two deliveries that died: a function must be able to tell all four apart."""
        config = harness.simple_config()
        config["targets"]["record"]["dead_letter"] = "morgue"
        config["targets"] |= {"second": dict(config["targets"]["record"]), "morgue": self.morgue}
        self.d.stop()
        self.d.write_config(config)
        self.d.write_rules({"rules": [{**harness.ORDERS["rules"][0], "targets": [{"target": "record"}, {"target": "second"}]}]})
        self.d.start()
        self.post(1, fail=-1)
        letters = harness.wait_for("both letters", lambda: len(self.buried()) == 2 and self.buried())
        self.assertEqual({r["id"] for r in letters} & {r["id"] for r in self.d.attempts() if r not in letters}, set())
        self.assertEqual(len({r["id"] for r in letters}), 2)
        self.d.settle("morgue")

    def test_what_its_full_queue_refuses_goes_there_too(self):
        config = harness.simple_config()
        config["targets"]["record"].update(dead_letter="morgue", max_queue={"bytes": "4KiB"})
        config["targets"]["morgue"] = self.morgue
        self.d.stop()
        self.d.write_config(config)
        self.d.start()
        self.d.cli("pause", "target", "record")
        for n in range(3):
            self.post(n, pad="x" * 1500)
        [r] = harness.wait_for("the letter", self.buried)
        self.assertEqual((r["event"]["ERROR_CODE"], r["event"]["RETRY_ATTEMPTS"]), ("QUEUE_FULL", 0))
        self.assertEqual(r["event"]["input"]["detail"]["n"], 2)
        self.d.cli("resume", "target", "record")
        self.d.settle()
        self.assertEqual(sorted(r["n"] for r in self.d.attempts() if r not in self.buried()), [0, 1])
        self.d.audit()

    def never_dies(self, mood):
        self.d.broken.write_text(mood)
        self.post(1, reject=True)
        harness.wait_for("many attempts", lambda: len(self.buried()) > 8)
        self.d.kill()
        self.d.start()
        before = len(self.buried())
        harness.wait_for("more of them after a restart", lambda: len(self.buried()) > before + 8)
        self.assertEqual(self.d.letters(), [])
        self.assertEqual(self.d.target("morgue")["dead"], 0)
        self.d.broken.unlink()
        harness.wait_for("its delivery", lambda: self.buried(ok=True))
        self.d.settle("morgue")
        self.assertEqual(len({r["id"] for r in self.buried()}), 1)
        audit = self.d.audit()
        self.assertEqual((audit["delivered"], audit["dead_lettered"]), (1, 1))

    def test_failures_without_end_do_not_kill_it(self):
        self.never_dies("fail")

    def test_nor_do_rejections(self):
        self.never_dies("reject")


if __name__ == "__main__":
    harness.main()
