#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deliveries become entries of a stream, whatever happens to the Redis that keeps it."""
import json
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import redis

setUpModule = redis.needed

RETRY = {"max_retries": 50, "base": "10ms", "cap": "100ms", "max_age": "1h"}
TO_DONE = {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "done"}]}]}


def config(server, target=None, **changes):
    of_redis = {"url": server.url, "stream": "done", "connect_timeout": "1s", **(target or {})}
    return harness.simple_config(targets={"done": {"redis": of_redis, "concurrency": 200, "timeout": "2s", "retry": RETRY, **changes}})


class Target(unittest.TestCase):
    def daemon(self, server, target=None, **changes):
        return self.enterContext(harness.Daemon(config(server, target, **changes), TO_DONE)).start()

    def server(self, **rows):
        return self.enterContext(redis.Server(**rows))

    def post(self, d, *numbers):
        answer = d.post([harness.order(n) for n in numbers])
        self.assertEqual(answer.status, 202)
        return answer.json["ids"]

    def numbers(self, server, stream="done"):
        return [json.loads(f["event"])["detail"]["n"] for _, f in server.entries(stream)]

    def test_an_entry_says_what_who_and_why(self):
        r = self.server()
        d = self.daemon(r)
        [event_id] = self.post(d, 7)
        d.settle("done")
        [(_, fields)] = r.entries("done")
        self.assertEqual(json.loads(fields["event"])["id"], event_id)
        self.assertEqual((fields["rule"], fields["attempt"]), ("orders", "1"))
        self.assertTrue(fields["id"])
        self.assertEqual(set(fields), {"event", "id", "rule", "attempt"})
        self.assertTrue(d.target("done")["detail"]["connected"])

    def test_fields_of_ones_own_on_a_socket_with_a_bound(self):
        r = self.server()
        d = self.daemon(r, {"url": f"{r.unix_url}?db=3", "maxlen": 5, "exact": True,
                            "fields": {"n": "<$.detail.n>", "what": "order <$.detail.n> by <rule>", "gone": "<$.detail.nothing>"}})
        self.post(d, *range(20))
        d.settle("done")
        r("SELECT", 3)
        entries = r.entries("done")
        self.assertEqual(len(entries), 5)
        for _, f in entries:
            self.assertEqual(f, {"n": f["n"], "what": f"order {f['n']} by orders"})

    def test_a_name_with_several_addresses(self):
        harness.need_name("localhost")
        r = self.server()
        d = self.daemon(r, {"url": f"redis://localhost:{r.port}"})
        self.post(d, 7)
        d.settle("done")
        self.assertEqual(self.numbers(r), [7])

    def test_a_name_that_nobody_has(self):
        r = self.server()
        d = self.daemon(r, {"url": "redis://nobody.invalid"})
        self.post(d, 7)
        harness.wait_for("the failure", lambda: d.target("done")["unreachable_for_ms"])

    def test_the_node_that_has_the_slot(self):
        one, two = (self.server(cluster_enabled="yes", cluster_port=redis.free_ports(1)[0]) for _ in range(2))
        one("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        two("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        two("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        one("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        one("CLUSTER", "MEET", "127.0.0.1", two.port, two.rows["cluster-port"])
        harness.wait_for("the cluster", lambda: all("cluster_state:ok" in s("CLUSTER", "INFO") for s in (one, two)))
        here, there = (one, two) if one("CLUSTER", "KEYSLOT", "done") <= 8191 else (two, one)
        d = self.daemon(there)
        self.post(d, 1, 2, 3)
        d.settle("done")
        self.assertEqual(sorted(self.numbers(here)), [1, 2, 3])
        self.assertEqual(d.letters(), [])

    def test_user_and_password(self):
        r = self.server(user="bob on >s3cret ~done +xadd +ping")
        r("CONFIG", "SET", "requirepass", "other")
        d = self.enterContext(harness.Daemon(config(r, {"user": "bob", "password": "${env:PW}"}), TO_DONE))
        d.start(env={"PW": "s3cret"})
        self.post(d, 1)
        d.settle("done")
        self.assertNotIn("s3cret", d.log_tail(100000))

    def test_a_wrong_password_waits_and_is_never_shown(self):
        r = self.server(requirepass="right")
        d = self.daemon(r, {"url": f"redis://:wr0ng@127.0.0.1:{r.port}"})
        self.post(d, 1)
        harness.wait_for("the failure", lambda: d.target("done")["unreachable_for_ms"])
        r("AUTH", "right")
        r("CONFIG", "SET", "requirepass", "wr0ng")
        d.settle("done")
        self.assertEqual(self.numbers(r), [1])
        self.assertNotIn("wr0ng", d.log_tail(100000) + d.cli("status").stdout)

    def test_what_passes_is_tried_again(self):
        for what, begin, end in [
            ("OOM", ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            ("READONLY", ("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            ("NOREPLICAS", ("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
        ]:
            with self.subTest(what), redis.Server() as r, harness.Daemon(config(r), TO_DONE) as d:
                d.start()
                r(*begin)
                self.post(d, 1, 2)
                harness.wait_for("a retry", lambda: d.target("done")["retries"] >= 2)
                r(*end)
                d.settle("done")
                self.assertEqual(sorted(self.numbers(r)), [1, 2])

    def test_what_cannot_pass_is_a_dead_letter(self):
        r = self.server()
        d = self.daemon(r)
        r("SET", "done", "a string")
        self.post(d, 1)
        letter = harness.wait_for("the letter", d.letters)[0]
        self.assertEqual(letter["error_code"], "INVALID_PARAMETER")
        self.assertIn("WRONGTYPE", letter["error"])

    def test_a_redis_that_comes_late_goes_and_comes_back(self):
        r = redis.Server(appendonly="yes", appendfsync="always")
        self.addCleanup(r.close)
        d = self.daemon(r)
        self.post(d, 1)
        harness.wait_for("the failure", lambda: d.target("done")["unreachable_for_ms"])
        r.start()
        d.settle("done")
        r.kill()
        self.post(d, 2)
        r.start()
        d.settle("done")
        r.freeze()
        self.post(d, 3)
        harness.wait_for("the time-out", lambda: d.target("done")["retries"] > 0)
        r.thaw()
        d.settle("done")
        self.assertEqual(sorted(set(self.numbers(r))), [1, 2, 3])
        self.assertEqual(d.letters(), [])

    def test_a_loss_between_command_and_answer_is_repeated_under_the_same_id(self):
        r = self.server(appendonly="yes", appendfsync="always")
        d = self.daemon(r)
        load = harness.Load(2, batch=20).start(d)
        for _ in range(3):
            load.wait_acked(300)
            r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        load.stop()
        d.settle("done")
        entries = r.entries("done")
        self.assertEqual({json.loads(f["event"])["detail"]["n"] for _, f in entries}, set(load.acked))
        again = [f for _, f in entries if f["attempt"] != "1"]
        self.assertLessEqual(len(entries) - len({f["id"] for _, f in entries}), len(again))
        self.assertEqual(len({f["id"] for _, f in entries}), len(load.acked))
        self.assertEqual(d.letters(), [])

    def test_copies_are_waited_for(self):
        r = self.server()
        d = self.daemon(r, {"wait": {"replicas": 1, "timeout": "50ms"}})
        self.post(d, 1)
        harness.wait_for("a retry for lack of a replica", lambda: d.target("done")["retries"] >= 2)
        with redis.Server(replica_of=r) as replica:
            d.settle("done")
            self.assertIn(1, self.numbers(replica))
        self.assertEqual(d.letters(), [])

    def test_a_server_that_cannot_wait_so_gets_nothing(self):
        r = self.server(appendonly="no")
        d = self.daemon(r, {"wait": {"aof": True, "timeout": "50ms"}})
        self.post(d, 1)
        harness.wait_for("the failure", lambda: d.target("done")["unreachable_for_ms"])
        self.assertEqual(r.entries("done"), [])
        self.assertEqual(d.letters(), [])


class Configuration(unittest.TestCase):
    def test_what_is_wrong_is_said_with_its_place(self):
        for change, said in [
            ({"url": "http://x"}, "not the URL of a Redis"),
            ({"minid": "soon"}, "neither an age"),
            ({"minid": "1h", "maxlen": 5}, "exclude each other"),
            ({"fields": {}}, "1 to 64 fields"),
            ({"fields": {"a": "<nobody>"}}, "unknown name <nobody>"),
        ]:
            with self.subTest(said), harness.Daemon(harness.simple_config(targets={"done": {"redis": {
                    "url": "redis://x", "stream": "s", **change}}}), TO_DONE) as d:
                done = d.cli("check", ok=None)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(said, done.stdout + done.stderr)


if __name__ == "__main__":
    harness.main()
