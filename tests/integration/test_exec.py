#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The exec protocol in the daemon: what each end of a command means, and that nothing of it stays behind."""
import signal
import unittest

import harness


class Exec(unittest.TestCase):
    def daemon(self, command=("python3", "functions/command.py"), **target):
        config = harness.simple_config()
        config["targets"] = {"record": {
            "function": {"command": list(command), "protocol": "exec", "env": {"RECORD": "${env:RECORD}"}, "kill_grace": "50ms"},
            "concurrency": 4, "timeout": "20s", "retry": {"max_retries": 2, "base": "10ms", "cap": "20ms", "max_age": "1h"}, **target}}
        return self.enterContext(harness.Daemon(config)).start()

    def post(self, d, n, **detail):
        self.assertEqual(d.post(harness.order(n, **detail)).status, 202)

    def letter(self, d):
        [letter] = harness.wait_for("the dead letter", d.letters)
        return d.cli_json("dlq", "show", letter["id"])

    def wait_unreachable(self, d, times):
        harness.wait_for(f"the command to be missed {times} times", lambda: self.outcomes(d, "unreachable") >= times)

    def outcomes(self, d, outcome):
        return d.metric(f'deliveries_total{{target="record",outcome="{outcome}"}}')

    def test_exit_0_is_delivered_once_and_the_event_is_no_argument(self):
        d = self.daemon()
        self.post(d, 1)
        d.settle()
        self.assertEqual([(r["n"], r["argv"]) for r in d.attempts()], [(1, [])])
        self.assertEqual(d.audit()["delivered"], 1)
        self.assertEqual(d.letters(), [])

    def test_how_it_ends_decides(self):
        for detail, attempts, code, message in [
            ({"exit": 64}, 1, "ERROR_FROM_TARGET", "64"),
            ({"exit": 65}, 1, "ERROR_FROM_TARGET", "65"),
            ({"exit": 1}, 3, "ERROR_FROM_TARGET", "exited with status 1"),
            ({"exit": 127}, 3, "ERROR_FROM_TARGET", "exited with status 127"),
            ({"signal": signal.SIGSEGV}, 3, "ERROR_FROM_TARGET", "signal 11"),
            ({"signal": signal.SIGKILL}, 3, "ERROR_FROM_TARGET", "signal 9"),
        ]:
            with self.subTest(str(detail)):
                d = self.daemon()
                self.post(d, 1, **detail)
                letter = self.letter(d)
                self.assertEqual((letter["attempts"], letter["error_code"]), (attempts, code))
                self.assertIn(message, letter["error"])
                self.assertIn("last words", letter["stderr_tail"])
                self.assertEqual(len(d.attempts(n=1)), attempts)

    def test_a_timeout_kills_the_command_and_all_that_it_started(self):
        d = self.daemon(timeout="400ms", retry={"max_retries": 1, "base": "10ms", "cap": "10ms"})
        self.post(d, 1, sleep=1000, fork=True)
        harness.wait_for("it to run with its children", lambda: len(d.workers("sleep")) == 2)
        letter = self.letter(d)
        self.assertEqual((letter["attempts"], letter["error_code"]), (2, "TIMEOUT"))
        harness.wait_for("nothing of it to be left", lambda: not d.workers(""), timeout=5)

    def test_what_a_finished_command_leaves_behind_is_killed(self):
        d = self.daemon()
        self.post(d, 1, fork=True)
        d.settle()
        self.assertEqual(d.audit()["delivered"], 1)
        harness.wait_for("nothing of it to be left", lambda: not d.workers(""), timeout=5)

    def test_the_daemon_takes_commands_and_their_children_along(self):
        d = self.daemon()
        self.post(d, 1, sleep=1000, fork=True)
        harness.wait_for("it to run with its children", lambda: len(d.workers("sleep")) == 2)
        d.kill()
        harness.wait_for("nothing of it to be left", lambda: not d.workers(""), timeout=5)

    def test_a_flood_on_stdout_fails_that_attempt_alone(self):
        d = self.daemon()
        self.post(d, 1, flood=3_000_000)
        self.post(d, 2)
        letter = self.letter(d)
        self.assertEqual(letter["attempts"], 3)
        self.assertIn("max_line", letter["error"])
        self.assertEqual(len(d.attempts(n=2)), 1)
        self.assertEqual(d.audit()["delivered"], 1)

    def test_a_command_that_is_not_there_pauses_the_target_and_heals_when_it_comes(self):
        d = self.daemon(command=["./late-command"])
        for n in range(3):
            self.post(d, n)
        self.wait_unreachable(d, 3)
        target = d.target()
        self.assertEqual((target["retrying"], target["retries"], target["dead"]), (0, 0, 0), "an attempt was counted")
        harness.wait_for("the circuit to be seen open", lambda: d.metric('target_circuit_state{target="record",state="open"}') == 1)
        late = d.folder / "late-command"
        late.write_text("#!/bin/sh\nexec python3 functions/command.py\n")
        late.chmod(0o755)
        d.settle()
        self.assertEqual(sorted(r["n"] for r in d.attempts()), [0, 1, 2])
        self.assertEqual(d.audit()["delivered"], 3)
        self.assertEqual(d.metric('target_circuit_state{target="record",state="open"}'), 0)

    def test_so_does_one_that_may_not_be_executed(self):
        d = self.daemon(command=["./late-command"])
        late = d.folder / "late-command"
        late.write_text("#!/bin/sh\nexec python3 functions/command.py\n")
        self.post(d, 1)
        self.wait_unreachable(d, 1)
        self.assertIn("Permission denied", d.log_tail())
        late.chmod(0o755)
        d.settle()
        self.assertEqual(d.audit()["delivered"], 1)


if __name__ == "__main__":
    harness.main()
