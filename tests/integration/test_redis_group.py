#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three daemons in one consumer group, while everything around them dies: nothing is lost, nothing stays pending, little is repeated.

SB_ENTRIES how many entries go through; the default makes a short run. The long one, a quarter of an hour:

  SB_ENTRIES=1000000 SIGNALBOX=build/ci/signalbox tests/integration/test_redis_group.py
"""
import collections
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
PAUSE_S = min(3, ENTRIES / 24000)  # between two deeds, at most
PAGE = 10000


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


class Reader:
    """What has been added to a stream, read once each."""

    def __init__(self, server, stream):
        self.server, self.stream, self.last, self.n, self.texts = server, stream, "-", 0, collections.Counter()

    def read(self, of):
        """Counts of(field by name) of what is new."""
        while page := self.server("XRANGE", self.stream, self.last, "+", "COUNT", PAGE):
            self.last = f"({page[-1][0]}"
            self.n += len(page)
            self.texts.update(of(dict(zip(f[::2], f[1::2]))) for _, f in page)
        return self.texts


def number_and_entry(fields):
    event = json.loads(fields["event"])
    return event["detail"]["n"], event["id"]


class Group(unittest.TestCase):
    def setUp(self):
        self.rand = harness.seed()
        self.done = self.enterContext(redis.Server())
        self.arrived = Reader(self.done, "done")

    def daemons(self, server):
        made = []
        for _ in range(DAEMONS):
            c = test_redis_source.config(server, {"window": {"entries": WINDOW}, "claim_after": "2s", "timeout": "1s"}, {"url": self.done.url})
            made.append(self.enterContext(harness.Daemon(c, test_redis_source.JOBS)).start())
        return made

    def results(self):
        """How often each has arrived: its number and the entry that it was made of."""
        return self.arrived.read(number_and_entry)

    def settle(self, server):
        """Everything that the server has is done, and nothing is pending any more."""
        want = set(Reader(server, "jobs").read(lambda f: json.loads(f["body"])["n"]))
        harness.wait_for(f"{len(want)} events", lambda: want <= {n for n, _ in self.results()}, progress=lambda: self.arrived.n)
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
            time.sleep(self.rand.uniform(0, 0.6 * PAUSE_S))
        want = self.settle(r)
        self.assertEqual(len(want), ENTRIES)
        results = self.results()
        twice = self.arrived.n - r("XLEN", "jobs")
        print(f"{self.arrived.n} deliveries of {r('XLEN', 'jobs')} entries, {kills} kills, {destroyed} groups destroyed, {twice} twice", flush=True)
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
            time.sleep(self.rand.uniform(0, PAUSE_S))
            servers[-1].close()
            second("REPLICAOF", "NO", "ONE")
            second("CONFIG", "SET", "port", port)
            second.port = port
            servers.append(second)
            failovers += 1
        want = self.settle(servers[-1])
        twice = self.arrived.n - len({i for _, i in self.results()})
        print(f"{self.arrived.n} deliveries of {len(want)} numbers, {failovers} failovers, {twice} twice", flush=True)
        self.assertGreater(failovers, 0)
        self.assertLessEqual(twice, failovers * DAEMONS * 2 * WINDOW)


if __name__ == "__main__":
    harness.main()
