#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The spawner process is killed: its workers go with it, another one is started, and all that is lost is a moment."""
import contextlib
import os
import signal
import unittest

import harness

CONCURRENCY = 2
SECRET = "correct-horse-battery-staple"


class Spawner(unittest.TestCase):
    def daemon(self, config=None):
        return self.enterContext(harness.Daemon(config)).start(env={"SOME_SECRET": SECRET})

    def kill(self, d):
        """Gives the workers that the dead one had, and waits for the next one."""
        old, workers, restarts = harness.wait_for("a spawner", d.spawner), d.workers(""), d.metric("spawner_restarts_total")
        os.kill(old, signal.SIGKILL)
        # What it had forked and not yet executed looks like a spawner, and is the daemon's child for a moment: the count tells.
        harness.wait_for("another spawner", lambda: d.metric("spawner_restarts_total") > restarts and d.spawner() not in (0, old))
        return [pid for pid in workers if pid != old]

    def gone(self, pids):
        return [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []

    def test_under_load_nothing_is_lost_or_counted_and_no_worker_survives(self):
        rounds = harness.cycles(4)
        d = self.daemon()
        load = harness.Load(threads=1, rest=0.002).start(d, lambda n: {"sleep": 0.002})
        for _ in range(rounds):
            load.wait_acked(20)
            harness.wait_for("workers", d.workers)
            self.assertTrue(self.gone(self.kill(d)), "a worker is there beside the next spawner")
            done = len(d.attempts())
            harness.wait_for("deliveries by workers of the next one", lambda: len(d.attempts()) > done + 5)
        load.stop()
        d.settle()
        self.assertEqual(harness.lost(load, d), [])
        self.assertEqual(d.letters(), [])
        self.assertEqual({r["attempt"] for r in d.attempts()}, {1}, "the spawner's death was counted as an attempt")
        self.assertLessEqual(harness.duplicates(d), rounds * CONCURRENCY)
        self.assertEqual(d.metric("spawner_restarts_total"), rounds)
        self.assertEqual(d.metric('deliveries_total{target="record",outcome="unreachable"}'), 0)
        self.assertEqual(d.log_tail(1 << 20).count("the spawner has died"), rounds)
        self.assertEqual(load.refused, 0)
        d.audit()

    def test_children_of_its_workers_and_what_left_their_groups_go_too(self):
        config = harness.simple_config()
        config["targets"]["record"]["function"] = {"command": ["python3", "functions/command.py"], "protocol": "exec",
                                                   "env": {"RECORD": "${env:RECORD}"}}
        d = self.daemon(config)
        self.assertEqual(d.post(harness.order(1, sleep=1000, fork=True)).status, 202)
        harness.wait_for("the command and its children", lambda: len(d.workers("sleep")) == 2)
        pids = self.kill(d)
        self.assertEqual(len(pids), 3)
        self.assertTrue(self.gone(pids))
        harness.wait_for("the same again with the next one", lambda: len(d.workers("sleep")) == 2)
        self.assertEqual(d.target()["retries"], 0)

    def test_the_next_one_knows_as_little_and_keeps_the_lock(self):
        d = self.daemon()
        first = self.facts(d)
        self.kill(d)
        harness.wait_for(f"the next one to have no more than\n{first}", lambda: self.facts(d) == first)
        self.assertEqual(first[0], b"", "its environment")
        self.assertIn(str(d.data / "lock"), first[1])

    def links(self, pid):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(f"/proc/{pid}/fd/{fd}")

    def facts(self, d):
        pid = harness.wait_for("a spawner", d.spawner)
        # not what sanitizers and the dynamic linker look at while it starts
        links = [link for link in self.links(pid) if not link.startswith("/proc/") and ".so" not in link]
        memory = b"".join(harness.slurp(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
        self.assertNotIn(SECRET.encode(), memory)
        return harness.slurp(f"/proc/{pid}/environ"), sorted(link.partition(":[")[0] for link in links)

    def test_no_worker_of_the_next_one_outlives_the_daemon(self):
        d = self.daemon()
        self.kill(d)
        self.assertEqual(d.post([harness.order(n, sleep=1000) for n in range(2)]).status, 202)
        harness.wait_for("workers", lambda: len(d.workers()) == 2)
        d.kill()
        harness.wait_for("workers to die with the daemon", lambda: not d.workers(), timeout=5)
        d.start()
        harness.wait_for("the deliveries to be tried again", lambda: len(d.workers()) == 2)

    def test_a_clean_stop_while_there_is_none(self):
        d = self.daemon(harness.simple_config(drain_timeout="200ms"))
        self.kill(d)  # after which the next one comes after a pause
        self.assertEqual(d.post(harness.order(1, sleep=1000)).status, 202)
        harness.wait_for("a worker", d.workers)
        workers = d.workers()
        os.kill(d.spawner(), signal.SIGKILL)
        self.assertEqual(d.stop(), 0)
        self.assertTrue(self.gone(workers))
        self.assertEqual(d.audit()["in_flight"], 1)


if __name__ == "__main__":
    harness.main()
