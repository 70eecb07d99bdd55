#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three daemons in one group on a real broker, while members are killed, leave and come back, the broker freezes and restarts, and a
target is dead for a while: nothing is lost, what comes twice has the same delivery id, and the order of a key holds.

The ledger is the topic that they read: each number is sent once at most, and what is in there must have its outcomes.
"""
import collections
import json
import pathlib
import sys
import threading
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka  # noqa: E402

PARTITIONS = 12
WINDOW = 60  # records of a partition that may be read and not committed: what a kill may bring twice
CONCURRENCY = 100
BATCH = 500
EACH = 10  # every tenth also goes to the function, which rejects every fiftieth
DEAD = 50
QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50, "auto.commit.interval.ms": 200}
PATIENT = {"max_retries": 100000, "base": "20ms", "cap": "500ms", "max_age": "1h"}


class Publisher(threading.Thread):
    """Sends numbers until told to stop. kcat gives up when the broker is away; what it had may be there or not, and is not sent again."""

    def __init__(self, broker, topic, keys):
        super().__init__(daemon=True)
        self.broker, self.topic, self.keys = broker, topic, keys
        self.sent, self.acked, self.unsure, self.stopping = 0, set(), 0, threading.Event()

    def line(self, n):
        detail = {"n": n, "key": f"k{n % self.keys}", "function": n % EACH == 0, "reject": n % DEAD == 0}
        return f"k{n % self.keys}\t{json.dumps(detail)}\n"

    def run(self):
        while not self.stopping.is_set():
            numbers = range(self.sent, self.sent + BATCH)
            self.sent += BATCH
            try:
                self.broker.kcat("-P", "-t", self.topic, "-K", "\t", "-X", "enable.idempotence=true", stdin="".join(map(self.line, numbers)).encode())
                self.acked.update(numbers)
            except AssertionError:
                self.unsure += BATCH
            self.stopping.wait(0.1)

    def wait_acked(self, more):
        goal = len(self.acked) + more
        harness.wait_for(f"{more} more records acknowledged by the broker", lambda: len(self.acked) >= goal)

    def stop(self):
        self.stopping.set()
        self.join()


class Chaos(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = kafka.Cluster()
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def begin(self, members, keys, **out):
        """Daemons that read topics of this test's own, and a publisher."""
        self.into, self.out, self.refused = (f"{topic}-{self.id().rpartition('_')[2]}" for topic in ("in", "out", "refused"))
        for topic in (self.into, self.out, self.refused):
            self.broker.create(topic, PARTITIONS)
        self.chance, self.done = harness.seed(), collections.Counter()
        self.publisher = Publisher(self.broker, self.into, keys)
        daemons = [self.daemon(**out).start() for _ in range(members)]
        self.publisher.start()
        return daemons

    def daemon(self, **out):
        own = {"brokers": self.broker.brokers, "topics": [self.into], "group": self.into, "window": {"records": WINDOW}, "properties": QUICK}
        to = lambda topic: {"brokers": self.broker.brokers, "topic": topic, "key": "<$.detail.key>"}
        config = {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                  "sources": {"in": {"kafka": own, "envelope": "raw", "source": "com.shop", "detail_type": "Order"}},
                  "targets": {"out": {"kafka": to(self.out), "concurrency": CONCURRENCY, "timeout": "10s", "retry": PATIENT, **out},
                              "refused": {"kafka": to(self.refused), "timeout": "10s", "retry": PATIENT},
                              "record": {"function": harness.recorder(), "timeout": "10s", "retry": PATIENT, "dead_letter": "refused"}}}
        rules = [{"name": "all", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out"}]},
                 {"name": "some", "pattern": {"detail": {"function": [True]}}, "targets": [{"target": "record"}]}]
        return self.enterContext(harness.Daemon(config, {"rules": rules}))

    # ------------------------------------------------------------------------------------------ what happens to them

    def kill(self, daemons):
        d = self.chance.choice(daemons)
        d.kill()
        self.publisher.wait_acked(self.chance.randrange(BATCH))  # some of it while it is away
        d.start()

    def leave(self, daemons):
        d = self.chance.choice(daemons)
        self.assertEqual(d.stop(), 0, d.log_tail())
        self.publisher.wait_acked(BATCH)
        d.start()

    def freeze_broker(self, _):
        self.broker.freeze()
        time.sleep(self.chance.uniform(0.5, 3))
        self.broker.thaw()

    def restart_broker(self, _):
        self.broker.stop() if self.chance.randrange(2) else self.broker.kill()
        self.broker.start()

    def break_target(self, daemons):
        for d in daemons:
            d.broken.write_text("")
        self.publisher.wait_acked(3 * BATCH)
        for d in daemons:
            d.broken.unlink()

    def storm(self, daemons, deeds):
        """Each deed once a cycle, in any order, under load."""
        for _ in range(harness.cycles(1)):
            for deed in self.chance.sample(deeds, len(deeds)):
                began = time.monotonic()
                deed(daemons)
                self.done[deed.__name__] += 1
                self.publisher.wait_acked(2 * BATCH)
                time.sleep(self.chance.uniform(0, 2))
                print(f"  {deed.__name__}: {time.monotonic() - began:.1f} s, {len(self.publisher.acked)} records", flush=True)

    # ------------------------------------------------------------------------------------------ the account

    def source(self, daemon):
        return harness.named(daemon.status()["sources"], "in")

    def caught_up(self, daemons, ends):
        """Every partition has one owner, whose position is the end."""
        have = [(p["partition"], p["position"]) for d in daemons for i in self.source(d)["instances"] for p in i["partitions"]]
        return sorted(have) == sorted(ends.items())

    def owes_nothing(self, daemon):
        s = daemon.status()
        return all(x["held"] == 0 for x in s["sources"]) and all(t["queued"] + t["in_flight"] + t["retrying"] == 0 for t in s["targets"])

    def finish(self, daemons):
        """All that was read has its outcome. Gives the ledger: the numbers that are in the topic."""
        self.publisher.stop()
        began, ledger = time.monotonic(), self.broker.records(self.into)
        ends = collections.Counter(r.partition for r in ledger)
        harness.wait_for(f"positions at {dict(ends)}", lambda: self.caught_up(daemons, ends))
        harness.wait_for("nothing owed", lambda: all(self.owes_nothing(d) for d in daemons))
        print(f"  all of it: {time.monotonic() - began:.1f} s", flush=True)
        numbers = [json.loads(r.value)["n"] for r in ledger]
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertEqual(self.publisher.acked - set(numbers), set())
        for d in daemons:
            self.assertEqual(d.audit()["in_flight"], 0)
            self.assertEqual(d.letters(), [])
        return set(numbers)

    def count(self, topic, wanted, header):
        """0 lost, and one delivery id for each number. Gives how many came twice."""
        records = self.broker.records(topic)
        ids = collections.defaultdict(set)
        for r in records:
            ids[json.loads(r.value)["detail"]["n"]].add(r.headers[header])
        self.assertEqual(sorted(wanted - set(ids)), [], f"lost on the way to {topic}")
        self.assertEqual(sorted(set(ids) - wanted), [])
        self.assertEqual({n: i for n, i in ids.items() if len(i) != 1}, {})
        return len(records) - len(ids)

    def most_twice(self):
        """What a broker away longer than a session may cost is what a kill of all may cost."""
        away = self.done["freeze_broker"] + self.done["restart_broker"]
        return (self.done["kill"] + away) * PARTITIONS * WINDOW + away * 3 * CONCURRENCY

    def test_three_members_in_a_storm(self):
        daemons = self.begin(3, 997)
        self.storm(daemons, [self.kill, self.kill, self.kill, self.kill, self.leave, self.leave, self.freeze_broker, self.restart_broker, self.break_target])
        ledger = self.finish(daemons)
        twice = self.count(self.out, ledger, "signalbox-delivery-id")
        again = self.count(self.refused, {n for n in ledger if n % DEAD == 0}, "signalbox-failed-delivery-id")
        invoked = {a["n"]: a["id"] for d in daemons for a in d.attempts() if a["ok"]}
        self.assertEqual(set(invoked), {n for n in ledger if n % EACH == 0 and n % DEAD})
        told = ("records", "abandoned", "stale", "rebalances", "errors")
        print([{name: sum(i[name] for i in self.source(d)["instances"]) for name in told} for d in daemons])
        print(f"{dict(self.done)}: {len(ledger)} records, {twice} delivered twice, {again} refused twice; at most {self.most_twice()}", flush=True)
        self.assertLessEqual(twice, self.most_twice())
        self.assertLess(self.most_twice(), len(ledger))  # or it would say nothing
        self.assertEqual([d.stop() for d in daemons], [0, 0, 0])

    def test_the_order_of_a_key_holds(self):
        [daemon] = self.begin(1, 29, order_by="$.detail.key")
        self.storm([daemon], [self.kill, self.kill, self.leave, self.freeze_broker, self.restart_broker])
        ledger = self.finish([daemon])
        twice = self.count(self.out, ledger, "signalbox-delivery-id")
        first = collections.defaultdict(dict)  # key -> its numbers, as they came first
        for r in self.broker.records(self.out):
            first[r.key].setdefault(json.loads(r.value)["detail"]["n"])
        came = collections.defaultdict(list)
        for r in self.broker.records(self.into):
            came[r.key].append(json.loads(r.value)["n"])
        self.assertLessEqual(twice, self.most_twice())
        self.assertLess(self.most_twice(), len(ledger))
        for key, numbers in came.items():
            self.assertEqual(list(first[key]), numbers, f"the order of {key}")
        print(f"{dict(self.done)}: {len(ledger)} records of {len(came)} keys in order, {twice} delivered twice", flush=True)


if __name__ == "__main__":
    harness.main()
