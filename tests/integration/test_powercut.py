#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts under load: what was answered 202 is there after the file system lost everything that was not synced."""
import pathlib
import tempfile
import time
import unittest

import disk
import harness


class PowerCut(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="signalbox-disk-")))
        self.disk = disk.Disk(self.scratch, megabytes=1024)  # sparse: default settings want room in reserve
        self.addCleanup(self.disk.close)

    def test_what_was_acknowledged_is_there_after_the_power_fails(self):
        chance, rounds = harness.seed(), harness.cycles(30)
        data = self.disk.mount / "data"
        with harness.Daemon(data_dir=data) as d:
            load = harness.Load(threads=4)
            for _ in range(rounds):
                d.start()
                load.start(d)
                load.wait_acked(1)
                time.sleep(chance.uniform(0, 0.15))  # the time of the cut is the experiment
                # Frozen first: an fdatasync that the shutdown of the file system overtakes may return 0 (seen on ext4, once in
                # some hundred cuts), which with real power nobody would live to hear.
                d.freeze()
                self.disk.power_cut()
                d.kill()
                load.stop()
                harness.wait_for("workers to be gone", lambda: not d.workers(), timeout=5)
                self.disk.remount()
            d.start()
            d.settle()
            self.assertEqual(harness.lost(load, d), [], "acknowledged and lost")
            d.audit()
            print(f"{len(load.acked)} acknowledged events, {rounds} power cuts, {harness.duplicates(d)} delivered twice", flush=True)
            d.stop()


if __name__ == "__main__":
    harness.main()
