#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`deploy/demo --exit` ends with 0 only if everything it tells of has happened; here with the binary that is tested."""
import pathlib
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import redis


class Demo(unittest.TestCase):
    def tell(self, *words):
        done = subprocess.run([str(harness.ROOT / "deploy" / "demo"), "--binary", harness.BINARY, "--exit", *words], text=True, cwd="/",
                              capture_output=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("EXPECTED", done.stdout)
        return done.stdout

    def test_by_itself(self):
        self.assertIn("dead letter after 4 attempts", self.tell())

    def test_with_redis(self):
        redis.needed()
        told = self.tell("--with", "redis")
        for part in ("outcome   invoice INV-1 written", "outcome   entry in refused after 3 attempts", "signalbox:{demo}:tot", "delivered 7",
                     "pending 0"):
            self.assertIn(part, told)

    def test_with_kafka(self):
        kafka.jars()
        told = self.tell("--with", "kafka")
        for part in ("outcome   invoice INV-1 written", "outcome   record in refused after 3 attempts"):
            self.assertIn(part, told)

    def test_what_it_does_not_know_it_does_not_start(self):
        done = subprocess.run([str(harness.ROOT / "deploy" / "demo"), "--with", "nothing"], text=True, capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("--with redis", done.stderr)


if __name__ == "__main__":
    harness.main()
