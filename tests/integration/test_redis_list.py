#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A list as a reliable queue: nothing is lost, in order, whatever dies. Channels: at most once, and what was dropped is counted."""
import json
import pathlib
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import proxy
import redis
from test_redis_source import JOBS, RETRY

setUpModule = redis.needed

READERS, TRIES = "{jobs}:signalbox:readers", "{jobs}:signalbox:tries"


def taken(consumer):
    return f"{{jobs}}:signalbox:taken:{consumer}"


def config(server, source=None, target=None, **of_source):
    read = {"url": server.url, **({} if "channels" in (source or {}) else {"list": "jobs"}), **(source or {})}
    write = {"url": server.url, "stream": "done", "connect_timeout": "1s", **(target or {})}
    return harness.simple_config(
        sources={"jobs": {"redis": read, "envelope": "raw", "source": "com.jobs", "detail_type": "Job", **of_source}},
        targets={"done": {"redis": write, "concurrency": 500, "timeout": "2s", "retry": RETRY}})


class Case(unittest.TestCase):
    def server(self, **rows):
        return self.enterContext(redis.Server(**rows))

    def daemon(self, server, source=None, target=None, **of_source):
        return self.enterContext(harness.Daemon(config(server, source, target, **of_source), JOBS)).start()

    def push(self, server, numbers, **more):
        server.client.pipeline(("LPUSH", "jobs", json.dumps({"n": n, **more})) for n in numbers)

    def events(self, server):
        return [json.loads(f["event"]) for _, f in server.entries("done")]

    def numbers(self, server):
        return [e["detail"]["n"] for e in self.events(server)]

    def left(self, server):
        """Elements that somebody has taken and not finished."""
        return sum(server("LLEN", key) for key in server("KEYS", taken("*")))

    def wait_done(self, server, numbers, at=None):
        """Every number has arrived, and nothing is left. Gives how many arrived more than once."""
        numbers, at = set(numbers), at or server
        harness.wait_for(f"{len(numbers)} events", lambda: set(self.numbers(at)) >= numbers)
        harness.wait_for("nothing to be left", lambda: self.left(server) == 0 and server("LLEN", "jobs") == 0)
        return len(self.numbers(at)) - len(set(self.numbers(at)))

    def instances(self, daemon):
        return harness.named(daemon.status()["sources"], "jobs")["instances"]

    def status(self, daemon, what="lists"):
        """What the instances of all shards say of it."""
        return next(i[what] for i in self.instances(daemon) if i.get(what))


class Reading(Case):
    def test_in_order_and_with_meta(self):
        r = self.server()
        self.push(r, range(1000))
        d = self.daemon(r, target={"fields": {"event": "<event>", "list": "<$.meta.redis.list>"}})
        self.push(r, range(1000, 2000))
        self.assertEqual(self.wait_done(r, range(2000)), 0)
        self.assertEqual(self.numbers(r), list(range(2000)))
        self.assertEqual({f["list"] for _, f in r.entries("done")}, {"jobs"})
        self.assertEqual(len({e["id"] for e in self.events(r)}), 2000)
        self.assertEqual(self.status(d)["jobs"]["acked"], 2000)
        self.assertEqual(d.audit()["events"], 2000)

    def test_from_the_left_and_from_a_tagged_name(self):
        r = self.server()
        for n in range(10):
            r("RPUSH", "a{jobs}b", json.dumps({"n": n}))
        self.daemon(r, {"list": "a{jobs}b", "take": "left", "consumer": "me"})
        harness.wait_for("the events", lambda: self.numbers(r) == list(range(10)))
        harness.wait_for("the reader", lambda: r("ZRANGE", "a{jobs}b:signalbox:readers", 0, -1) == ["me"])

    def test_equal_elements_are_events_of_their_own(self):
        r = self.server()
        for _ in range(300):
            self.push(r, [7])
        self.daemon(r)
        harness.wait_for("the events", lambda: self.numbers(r) == [7] * 300)
        harness.wait_for("nothing to be left", lambda: self.left(r) == 0)
        self.assertEqual(len({f["id"] for _, f in r.entries("done")}), 300)

    def test_what_is_no_event_is_a_dead_letter_and_holds_nobody_up(self):
        r = self.server()
        self.push(r, [1])
        r("LPUSH", "jobs", '{"n": ', "nothing")
        self.push(r, [2])
        d = self.daemon(r)
        self.assertEqual(self.wait_done(r, [1, 2]), 0)
        letters = harness.wait_for("two letters", lambda: len(d.letters()) == 2 and d.letters())
        self.assertEqual({letter["error_code"] for letter in letters}, {"INVALID_JSON"})

    def test_the_window_bounds_what_is_taken(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        self.daemon(r, {"window": {"entries": 300}}, {"url": dead.url}, overflow="pause")
        self.push(r, range(2000))
        harness.wait_for("the window to be full", lambda: self.left(r) == 300)
        self.assertEqual(r("LLEN", "jobs"), 1700)
        dead.start()
        self.assertEqual(self.wait_done(r, range(2000), dead), 0)

    def test_a_dead_target_holds_what_it_can_and_heals(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        d = self.daemon(r, {"window": {"entries": 500}}, {"url": dead.url})
        self.push(r, range(3000))
        harness.wait_for("the journal to take over", lambda: self.left(r) == 0 and r("LLEN", "jobs") == 0)
        dead.start()
        self.assertEqual(self.wait_done(r, range(3000), dead), 0)
        d.settle("done")
        self.assertEqual(d.audit()["events"], 3000)


class Trouble(Case):
    def test_a_killed_daemon_loses_nothing_and_repeats_little(self):
        r = self.server()
        n, kills, window = 12000, 4, 500
        d = self.daemon(r, {"window": {"entries": window}})
        for k in range(kills):
            self.push(r, range(k * n // kills, (k + 1) * n // kills))
            harness.wait_for("some work", lambda k=k: r("XLEN", "done") > k * n // kills + 300)
            d.kill()
            d.start()
        self.assertLessEqual(self.wait_done(r, range(n)), kills * window)
        self.assertEqual(d.letters(), [])
        harness.wait_for("the counts to be gone", lambda: r("EXISTS", TRIES) == 0)

    def test_a_clean_stop_and_a_reload_repeat_nothing(self):
        r = self.server()
        self.push(r, range(12000))
        d = self.daemon(r, {"window": {"entries": 300}})
        for at in (500, 4000):
            harness.wait_for("some work", lambda at=at: r("XLEN", "done") > at)
            self.assertEqual(d.stop(), 0)
            d.start()
            d.write_config(config(r, {"window": {"entries": 300 + at}}))
            d.cli("reload")
        self.assertEqual(self.wait_done(r, range(12000)), 0)

    def test_redis_restarts_and_connections_break(self):
        r = self.server(appendonly="yes", appendfsync="always")
        d = self.daemon(r)
        for k in range(4):
            self.push(r, range(k * 1000, k * 1000 + 1000))
            harness.wait_for("some work", lambda k=k: r("XLEN", "done") > k * 1000)
            if k == 1:
                r.kill()
                r.start()
            else:
                r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.wait_done(r, range(4000))
        self.assertEqual(d.letters(), [])

    def test_lost_answers_take_no_equal_element_away(self):
        """Acknowledgements by bytes: what was acknowledged without an answer must not take an equal one's place."""
        r = self.server()
        d = self.daemon(r, {"window": {"entries": 50}})
        for _ in range(20):
            for _ in range(100):
                self.push(r, [7])
            r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        harness.wait_for("the events", lambda: len({e["id"] for e in self.events(r)}) >= 2000)
        harness.wait_for("nothing to be left", lambda: self.left(r) == 0)
        doubts = self.status(d)["jobs"]["in_doubt"]
        self.assertIn(len({e["id"] for e in self.events(r)}), range(2000, 2000 + doubts + 1))
        self.assertEqual(d.letters(), [])

    def push_unseen(self, r, way, numbers, taken):
        """A read that waits brings it, and nobody hears of that; again, where the read has ended just before."""
        waits = lambda: any("flags=b" in line and "cmd=blmove" in line for line in r("CLIENT", "LIST").splitlines())
        for _ in range(10):
            harness.wait_for("a read that waits", waits)
            way.hold()
            self.push(r, numbers)
            try:
                harness.wait_for("it to be taken", taken, timeout=3)
                return
            except AssertionError:
                r("RPOP", "jobs")
                way.cut()
        self.fail("it was never taken")

    def test_of_an_acknowledged_element_and_an_equal_unseen_one_none_is_lost(self):
        r = self.server()
        read, write = (self.enterContext(proxy.Proxy(r.port)) for _ in range(2))
        d = self.daemon(r, {"url": f"redis://127.0.0.1:{read.port}"}, {"url": f"redis://127.0.0.1:{write.port}"})
        key = lambda: [r("LLEN", k) for k in r("KEYS", taken("*"))]
        self.push(r, [1])
        self.wait_done(r, [1])
        write.hold()
        self.push(r, [7])
        harness.wait_for("one to be written, which is not known yet", lambda: r("XLEN", "done") == 2)
        self.push_unseen(r, read, [7], lambda: key() == [2])
        write.release()
        harness.wait_for("the first to be acknowledged, which is not known yet", lambda: key() == [1])
        read.cut()
        harness.wait_for("both", lambda: len({e["id"] for e in self.events(r)}) == 3)
        harness.wait_for("nothing to be left", lambda: self.left(r) == 0)
        self.assertEqual(self.status(d)["jobs"]["in_doubt"], 1)

    def test_a_frozen_redis_is_left_and_found_again(self):
        r = self.server()
        d = self.daemon(r, {"timeout": "200ms"}, {"url": r.unix_url})
        self.push(r, range(10))
        self.wait_done(r, range(10))
        r.freeze()
        harness.wait_for("the time-out", lambda: "no answer in time" in d.log_tail(100000))
        r.thaw()
        self.push(r, range(10, 20))
        self.wait_done(r, range(20))

    def test_what_a_reader_that_is_gone_had_is_taken_over(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        one = self.daemon(r, {"consumer": "one", "claim_after": "1s"}, {"url": dead.url}, overflow="pause")
        self.push(r, range(400))
        harness.wait_for("the elements in work", lambda: r("LLEN", taken("one")) == 400)
        two = self.daemon(r, {"consumer": "two", "claim_after": "1s", "window": {"entries": 150}, "forget_after": "3s"})
        harness.wait_for("both", lambda: r("ZCARD", READERS) == 2)
        one.kill()
        self.assertEqual(self.wait_done(r, range(400)), 0)
        self.assertEqual(self.status(two)["jobs"]["taken_over"], 400)
        harness.wait_for("it to be forgotten", lambda: r("ZRANGE", READERS, 0, -1) == ["two"])

    def test_what_is_in_work_is_not_taken_over(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        self.daemon(r, {"consumer": "one", "claim_after": "1s"}, {"url": dead.url}, overflow="pause")
        self.push(r, range(20))
        harness.wait_for("the elements in work", lambda: r("LLEN", taken("one")) == 20)
        two = self.daemon(r, {"consumer": "two", "claim_after": "1s"})
        beats = []

        def beaten():
            beats.append(r("ZSCORE", READERS, "one"))
            return len(set(beats)) > 12  # 3 s, a quarter of a second each
        harness.wait_for("it to say often that it is there", beaten)
        self.assertEqual((r("LLEN", taken("one")), r("XLEN", "done")), (20, 0))
        self.assertEqual(self.status(two)["jobs"]["taken_over"], 0)

    def test_what_was_left_too_often_is_a_dead_letter(self):
        r = self.server()
        r("LPUSH", taken("me"), '{"n": 1}', '{"n": 2}')
        fnv = 0xcbf29ce484222325
        for byte in b'{"n": 1}':
            fnv = (fnv ^ byte) * 0x100000001b3 % 2 ** 64
        r("HSET", TRIES, f"{fnv:016x}", 5)
        d = self.daemon(r, {"consumer": "me", "max_deliveries": 5})
        [letter] = harness.wait_for("the letter", d.letters)
        self.assertIn("delivered 7 times", letter["error"])
        self.assertEqual(self.wait_done(r, [2]), 0)
        harness.wait_for("the counts to be gone", lambda: r("EXISTS", TRIES) == 0)

    def test_more_is_left_than_the_window_has_room_for(self):
        r = self.server()
        r.client.pipeline(("LPUSH", taken("me"), json.dumps({"n": n})) for n in range(1000))
        self.push(r, range(1000, 1100))
        self.daemon(r, {"consumer": "me", "window": {"entries": 64}})
        self.assertEqual(self.wait_done(r, range(1100)), 0)
        self.assertEqual(self.numbers(r), list(range(1100)))

    def test_an_element_that_is_too_large_stays_where_it_is(self):
        r = self.server()
        self.push(r, [1])
        r("LPUSH", "jobs", "x" * (70 << 20))
        self.push(r, [2])
        d = self.daemon(r, {"consumer": "me"})
        harness.wait_for("the events", lambda: set(self.numbers(r)) == {1, 2})
        harness.wait_for("the count", lambda: d.metric('events_rejected_total{via="jobs",reason="too_large"}') >= 1)
        harness.wait_for("it alone to be left", lambda: self.left(r) == 1)
        self.assertEqual(d.letters(), [])

    def test_a_redis_without_memory_still_hears_what_is_finished(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        self.daemon(r, {"consumer": "me"}, {"url": dead.url}, overflow="pause")
        self.push(r, range(200))
        harness.wait_for("the elements in work", lambda: r("LLEN", taken("me")) == 200)
        r("CONFIG", "SET", "maxmemory", 1)
        r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        dead.start()
        harness.wait_for("the acknowledgements", lambda: r("LLEN", taken("me")) == 0)
        self.assertEqual(sorted(self.numbers(dead)), list(range(200)))
        r("CONFIG", "SET", "maxmemory", 0)
        self.push(r, range(200, 300))
        self.assertEqual(self.wait_done(r, range(300), dead), 0)

    def test_something_else_under_the_key_is_waited_out(self):
        r = self.server()
        r("SET", "jobs", "a string")
        d = self.daemon(r)
        harness.wait_for("the refusal", lambda: "WRONGTYPE" in d.log_tail(100000))
        r("DEL", "jobs")
        self.push(r, range(10))
        self.assertEqual(self.wait_done(r, range(10)), 0)


class Channels(Case):
    def subscribed(self, server, n):
        harness.wait_for("the subscription", lambda: server("PUBSUB", "NUMSUB", "news")[1] == 1 and server("PUBSUB", "NUMPAT") == n)

    def test_messages_of_channels_and_patterns(self):
        r = self.server()
        d = self.daemon(r, {"channels": ["news", "shop.*"]}, {"fields": {"event": "<event>", "channel": "<$.meta.redis.channel>"}})
        self.subscribed(r, 1)
        for n in range(500):
            r("PUBLISH", ("news", "shop.orders")[n % 2], json.dumps({"n": n}))
        r("PUBLISH", "other", '{"n": 500}')
        harness.wait_for("the events", lambda: self.numbers(r) == list(range(500)))
        self.assertEqual([f["channel"] for _, f in r.entries("done")][:2], ["news", "shop.orders"])
        r("PUBLISH", "news", "{")
        self.assertEqual(harness.wait_for("the letter", d.letters)[0]["error_code"], "INVALID_JSON")
        said = self.status(d, "channels")
        self.assertEqual((said["received"], said["unreadable"], said["dropped"], said["gaps"]), (501, 1, 0, 0))
        self.assertEqual({i["guarantee"] for i in self.instances(d)}, {"at-most-once"})

    def test_a_dead_peer_is_noticed_though_nothing_is_due(self):
        r = self.server()
        self.daemon(r, {"channels": ["news"]})
        self.subscribed(r, 0)

        def kept_alive():
            """Connections to Redis on which the kernel's timer is the one that asks whether the peer is there (2)."""
            rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return [row for row in rows if row[2].endswith(f":{r.port:04X}") and row[3] == "01" and row[5].startswith("02:")]
        harness.wait_for("both connections to be watched", lambda: len(kept_alive()) == 2)

    def test_a_gap_is_counted_and_what_is_not_taken_too(self):
        r = self.server()
        d = self.daemon(r, {"channels": ["news"]})
        self.subscribed(r, 0)
        r("CLIENT", "KILL", "TYPE", "pubsub")
        harness.wait_for("the gap", lambda: self.status(d, "channels")["gaps"] == 1)
        self.subscribed(r, 0)
        d.cli("pause", "source", "jobs")
        r("PUBLISH", "news", '{"n": 1}')
        harness.wait_for("the count", lambda: self.status(d, "channels")["dropped"] == 1)
        self.assertEqual(d.metric('events_rejected_total{via="jobs",reason="not_taken"}'), 1)
        d.cli("resume", "source", "jobs")
        r("PUBLISH", "news", '{"n": 2}')
        harness.wait_for("the event", lambda: self.numbers(r) == [2])


class Configuration(unittest.TestCase):
    def check(self, source):
        class Nowhere:
            url = "redis://nowhere"
        with harness.Daemon(config(Nowhere, source), JOBS) as d:
            done = d.cli("check", ok=None)
            return done.returncode, done.stdout + done.stderr

    def test_what_is_wrong_is_said_with_its_place(self):
        for source, said in [
            ({"streams": ["a"], "group": "g"}, "name one of `streams`, `list` and `channels`"),
            ({"channels": ["a"], "group": "g"}, "`group` means nothing beside `channels`"),
            ({"channels": ["a", "a"]}, "`a` stands twice"),
            ({"group": "g"}, "`group` means nothing beside `list`"),
            ({"take": "middle"}, "take"),
        ]:
            with self.subTest(said):
                code, text = self.check(source)
                self.assertNotEqual(code, 0)
                self.assertIn(said, text)

    def test_channels_are_labelled(self):
        code, text = self.check({"channels": ["news"]})
        self.assertEqual(code, 0, text)
        self.assertIn("at-most-once", text)


if __name__ == "__main__":
    harness.main()
