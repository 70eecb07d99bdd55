#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three daemons in one consumer group, while everything around them dies: nothing is lost, nothing stays pending, little is repeated.

SB_ENTRIES how many entries go through; the default makes a short run.
"""
import json
import os
import pathlib
import random
import sys
import threading
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import redis
import test_redis_source

setUpModule = redis.needed

ENTRIES = int(os.environ.get("SB_ENTRIES", 12000))
WINDOW = 400
DAEMONS = 3


class Filler:
    """Adds numbered entries until it has added all, to whatever server is there at the moment."""

    def __init__(self, server):
        self.server, self.added, self.failed = server, 0, 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        client = None
        while self.added < ENTRIES:
            numbers = range(self.added, min(self.added + 50, ENTRIES))
            try:
                client = client or redis.Client(self.server().path)
                client.pipeline(("XADD", "jobs", "*", "body", json.dumps({"n": n})) for n in numbers)
                self.added += len(numbers)
            except (OSError, redis.Error):  # some of them may be there: then they are there twice
                self.failed += 1
                if client:
                    client.close()
                client = None
                time.sleep(0.01)
            time.sleep(0.002)
        client.close()


class Group(unittest.TestCase):
    def setUp(self):
        self.rand = harness.seed()
        self.done = self.enterContext(redis.Server())

    def daemons(self, server):
        made = []
        for _ in range(DAEMONS):
            c = test_redis_source.config(server, {"window": {"entries": WINDOW}, "claim_after": "2s", "timeout": "1s"}, {"url": self.done.url})
            made.append(self.enterContext(harness.Daemon(c, test_redis_source.JOBS)).start())
        return made

    def results(self):
        """Of every event that has arrived: its number and the entry that it was made of."""
        return [(e["detail"]["n"], e["id"]) for e in (json.loads(f["event"]) for _, f in self.done.entries("done"))]

    def settle(self, server):
        """Everything that the server has is done, and nothing is pending any more."""
        want = {json.loads(f["body"])["n"] for _, f in server.entries("jobs")}
        harness.wait_for(f"{len(want)} events", lambda: want <= {n for n, _ in self.results()}, progress=lambda: len(self.results()))
        harness.wait_for("nothing to be pending", lambda: server.pending("jobs", "signalbox") == 0)
        return want

    def test_daemons_are_killed_and_groups_destroyed(self):
        r = self.enterContext(redis.Server(appendonly="yes"))
        daemons, filler = self.daemons(r), Filler(lambda: r)
        filler.thread.start()
        kills = destroyed = 0
        while filler.thread.is_alive():
            deed = self.rand.choice(("kill", "kill", "destroy", "hang up"))
            if deed == "kill":
                d = self.rand.choice(daemons)
                d.kill()
                d.start()
                kills += 1
            elif deed == "destroy":
                r("XGROUP", "DESTROY", "jobs", "signalbox")
                destroyed += 1
            else:
                r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(self.rand.uniform(0, 0.3))
        want = self.settle(r)
        self.assertEqual(len(want), ENTRIES)
        results = self.results()
        twice = len(results) - r("XLEN", "jobs")
        print(f"{len(results)} deliveries of {r('XLEN', 'jobs')} entries, {kills} kills, {destroyed} groups destroyed, {twice} twice", flush=True)
        self.assertEqual(len({i for _, i in results}), r("XLEN", "jobs"), "what is repeated has the id that it had")
        self.assertLessEqual(twice, kills * WINDOW + destroyed * DAEMONS * 2 * WINDOW)
        for d in daemons:
            self.assertEqual(d.letters(), [])

    def test_the_primary_dies_again_and_again(self):
        first = redis.Server(appendonly="yes")
        self.addCleanup(first.close)
        first.start()
        servers, port = [first], first.port
        self.daemons(first)
        filler = Filler(lambda: servers[-1])
        filler.thread.start()
        failovers = 0
        while filler.thread.is_alive():
            second = redis.Server(replica_of=servers[-1], appendonly="yes")
            self.addCleanup(second.close)
            second.start()
            harness.wait_for("the replica to follow", lambda s=second: "master_link_status:up" in s("INFO", "replication"))
            time.sleep(self.rand.uniform(0, 0.5))
            servers[-1].kill()
            second("REPLICAOF", "NO", "ONE")
            second("CONFIG", "SET", "port", port)
            second.port = port
            servers.append(second)
            failovers += 1
        want = self.settle(servers[-1])
        results = self.results()
        print(f"{len(results)} deliveries of {len(want)} numbers, {failovers} failovers", flush=True)
        self.assertGreater(failovers, 0)


if __name__ == "__main__":
    harness.main()
