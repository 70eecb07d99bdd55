#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The redis-server of the tests does what the tests rely on."""
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]
import harness
import redis


class TheServer(unittest.TestCase):
    def test_what_was_appended_survives_a_kill(self):
        with redis.Server(appendonly="yes", appendfsync="always") as r:
            r.fill("s", [{"n": n} for n in range(1200)])
            r.kill()
            r.start()
            self.assertEqual([int(f["n"]) for _, f in r.entries("s")], list(range(1200)))

    def test_a_replica_follows(self):
        with redis.Server() as primary, redis.Server(replica_of=primary) as replica:
            primary("XADD", "s", "*", "n", 1)
            harness.wait_for("the entry on the replica", lambda: replica.entries("s"))
            with self.assertRaisesRegex(redis.Error, "READONLY"):
                replica("XADD", "s", "*", "n", 2)

    def test_nothing_is_left_behind(self):
        with redis.Server() as r:
            folder = r.folder
        self.assertFalse(folder.exists())
        self.assertIsNotNone(r.process.poll())


if __name__ == "__main__":
    harness.main()
