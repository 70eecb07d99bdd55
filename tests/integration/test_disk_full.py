#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up: 503 before anything is lost, retries and dead letters go on, and service comes back by itself."""
import os
import pathlib
import tempfile
import unittest

import disk
import harness

PAD = "x" * 60_000
# What is held is owed to a paused target too, so that no segment it lies in can go.
HELD = {"rules": [*harness.ORDERS["rules"],
                  {"name": "held", "pattern": {"detail": {"held": [True]}}, "targets": [{"target": "held"}]}]}


class DiskFull(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="signalbox-disk-")))
        self.disk = disk.Disk(self.scratch, megabytes=64)
        self.addCleanup(self.disk.close)
        config = harness.simple_config(journal={"segment_bytes": "2MiB", "min_free": "16MiB"})
        config["targets"]["record"]["function"]["env"].pop("BROKEN")
        config["targets"]["held"] = {"log": {}}
        self.d = self.enterContext(harness.Daemon(config, HELD, data_dir=self.disk.mount / "data")).start()
        self.d.cli("pause", "target", "held")

    def fill(self):
        """Posts until it is refused; gives the numbers that were taken and the refusal."""
        taken, connection = [], self.d.connect()
        for n in range(2000):
            answer = self.d.post(harness.order(n, pad=PAD), connection=connection)
            if answer.status != 202:
                return taken, answer
            taken.append(n)
        raise AssertionError("64 MiB took 120 MB")

    def test_refused_in_time_and_served_again_by_itself(self):
        self.d.cli("pause", "target", "record")
        taken, refusal = self.fill()
        self.assertEqual(refusal.status, 503)
        self.assertIn("Retry-After", refusal.headers)
        self.assertEqual(self.d.request("GET", "/livez").status, 200)
        self.d.cli("resume", "target", "record")
        self.d.settle()
        self.assertEqual(sorted({r["n"] for r in self.d.attempts(ok=True)}), taken)
        harness.wait_for("intake to open again", lambda: self.d.post(harness.order(9999)).status == 202)
        self.d.settle()
        self.d.audit()
        self.d.stop()

    def metric(self, name):
        for line in self.d.request("GET", "/metrics").text.splitlines():
            if line.startswith(f"signalbox_{name} "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def take_what_is_left(self):
        filler = self.disk.mount / "filler"
        with open(filler, "wb", buffering=0) as f:
            for size in (1 << 20, 1 << 12, 1 << 12):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:
                    os.fsync(f.fileno())  # what was set aside for its metadata is free again
        return filler

    def test_not_even_outcomes_find_room_and_everything_goes_on_by_itself(self):
        letters = 200
        self.d.cli("pause", "target", "record")
        for n in range(letters):
            self.assertEqual(self.d.post(harness.order(n, reject=True, held=True, pad=PAD)).status, 202)
        filler = self.take_what_is_left()
        self.d.cli("resume", "target", "record")
        harness.wait_for("the reserve to be used up", lambda: self.metric("journal_waiting_bytes") > 0)
        self.assertEqual(self.d.request("GET", "/readyz").status, 503)
        self.assertEqual(self.d.request("GET", "/livez").status, 200)
        filler.unlink()
        harness.wait_for("outcomes to find room", lambda: self.metric("journal_waiting_bytes") == 0)
        harness.wait_for("the daemon to be ready", lambda: self.d.request("GET", "/readyz").status == 200)
        self.d.settle()
        self.d.cli("resume", "target", "held")
        self.d.settle("held")
        harness.wait_for("every letter", lambda: len(self.d.letters()) == letters)
        self.d.audit()
        self.d.stop()


if __name__ == "__main__":
    harness.main()
