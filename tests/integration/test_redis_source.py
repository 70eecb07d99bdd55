#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Entries of a stream become events: none is lost, none stays pending, whatever happens to the daemon, the group or Redis."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import redis

setUpModule = redis.needed

RETRY = {"max_retries": 50, "base": "10ms", "cap": "100ms", "max_age": "1h"}
JOBS = {"rules": [{"name": "jobs", "pattern": {"source": ["com.jobs"]}, "targets": [{"target": "done"}]}]}

DOCS = harness.ROOT / "docs" / "redis.md"


def config(server, source=None, target=None, **of_source):
    read = {"url": server.url, "streams": ["jobs"], "group": "signalbox", "field": "body", **(source or {})}
    write = {"url": server.url, "stream": "done", "connect_timeout": "1s", **(target or {})}
    return harness.simple_config(
        sources={"jobs": {"redis": read, "envelope": "raw", "source": "com.jobs", "detail_type": "Job", **of_source}},
        targets={"done": {"redis": write, "concurrency": 500, "timeout": "2s", "retry": RETRY}})


def bodies(numbers):
    return ({"body": json.dumps({"n": n})} for n in numbers)


class Case(unittest.TestCase):
    def server(self, **rows):
        return self.enterContext(redis.Server(**rows))

    def daemon(self, server, source=None, target=None, **of_source):
        return self.enterContext(harness.Daemon(config(server, source, target, **of_source), JOBS)).start()

    def events(self, server):
        return [json.loads(f["event"]) for _, f in server.entries("done")]

    def numbers(self, server):
        return [e["detail"]["n"] for e in self.events(server)]

    def wait_done(self, server, numbers, stream="jobs", group="signalbox"):
        """Every number has arrived, and nothing is pending. Gives how many arrived more than once."""
        numbers = set(numbers)
        harness.wait_for(f"{len(numbers)} events", lambda: set(self.numbers(server)) >= numbers)
        harness.wait_for("nothing to be pending", lambda: server.pending(stream, group) == 0)
        return len(self.numbers(server)) - len(set(self.numbers(server)))

    def wait_remembered(self, server, daemon):
        """The journal has the stream's last entry as the group's position."""
        about = server("XINFO", "STREAM", "jobs")
        last = about[about.index("last-generated-id") + 1]
        harness.wait_for("the position to be remembered", lambda: re.search(b"jobs/position.{0,8}" + last.encode(), b"".join(
            p.read_bytes() for p in (daemon.data / "journal").rglob("*") if p.is_file()), re.DOTALL))


class Reading(Case):
    def type_in(self, server, line):
        """What a shell makes of the line when its redis-cli speaks to this server."""
        cli = server.folder / "bin" / "redis-cli"
        if not cli.exists():
            cli.parent.mkdir()
            cli.write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -s {server.path} "$@"\n')
            cli.chmod(0o700)
        return subprocess.run(["sh", "-c", line], env={"PATH": f"{cli.parent}:{os.environ['PATH']}"}, text=True, check=True,
                              capture_output=True, timeout=harness.PATIENCE_S).stdout

    def test_the_example_of_the_documentation(self):
        section = DOCS.read_text().split("\n## The whole way\n")[1].split("\n## ")[0]
        (configuration, rules), [commands] = (re.findall(rf"```{kind}\n(.*?)```", section, re.S) for kind in ("yaml", "sh"))
        r = self.server()
        self.assertEqual(configuration.count("redis://127.0.0.1:6379"), 3)
        with harness.Daemon(rules=rules) as d:
            d.write_config(configuration.replace("redis://127.0.0.1:6379", r.url))
            d.start()
            told = iter(self.type_in(r, line) for line in commands.splitlines())
            for _ in range(2):
                self.assertRegex(next(told), r"^\d+-\d+\n$")
            harness.wait_for("the events", lambda: d.audit()["events"] == 2 and d.audit()["in_flight"] == 0)
            harness.wait_for("nothing to be pending", lambda: r.pending("jobs", "signalbox") == 0)
            entry = next(told).splitlines()
            self.assertEqual(json.loads(entry[entry.index("event") + 1])["detail"], {"size": 12})
            self.assertEqual(entry[entry.index("rule") + 1], "large-jobs")
            self.assertEqual(next(told).split(), ["0"])
            harness.wait_for("the numbers", lambda: r("HGET", "signalbox:{demo}:tot", "in") == "2")
            self.assertEqual(next(told).split(), ["2", "1", "1"])
            self.assertIsNone(next(told, None))

    def test_what_was_there_before_and_what_comes(self):
        r = self.server()
        r.fill("jobs", bodies(range(3000)))
        d = self.daemon(r)
        r.fill("jobs", bodies(range(3000, 6000)))
        self.assertEqual(self.wait_done(r, range(6000)), 0)
        self.assertEqual(d.audit()["events"], 6000)

    def test_from_new_and_from_an_id(self):
        r = self.server()
        old = r("XADD", "jobs", "*", "body", '{"n": 1}')
        r("XADD", "jobs", "*", "body", '{"n": 2}')
        with harness.Daemon(config(r, {"group": "late", "from": "new"}), JOBS) as late:
            late.start()
            harness.wait_for("the group", lambda: r("XINFO", "GROUPS", "jobs"))
            r("XADD", "jobs", "*", "body", '{"n": 3}')
            self.wait_done(r, [3], group="late")
            self.assertEqual(self.numbers(r), [3])
        r("DEL", "done")
        self.daemon(r, {"group": "behind", "from": old})
        self.wait_done(r, [2, 3], group="behind")
        self.assertEqual(sorted(self.numbers(r)), [2, 3])

    def test_all_fields_become_the_detail(self):
        r = self.server()
        c = config(r, target={"fields": {"detail": "<event>", "id": "<$.meta.redis.id>", "stream": "<meta.redis.stream>"}})
        del c["sources"]["jobs"]["redis"]["field"]
        with harness.Daemon(c, JOBS) as d:
            d.start()
            i = r("XADD", "jobs", "*", "a", "1", "b\"\n", "x\u00e4", "c", b"\xff")
            harness.wait_for("the event", lambda: r.entries("done"))
            [(_, f)] = r.entries("done")
            self.assertEqual(json.loads(f["detail"])["detail"], {"a": "1", "b\"\n": "x\u00e4", "c": "\u00ff"})
            self.assertEqual((f["id"], f["stream"]), (i, "jobs"))

    def test_several_streams_and_shards(self):
        r = self.server()
        streams = [f"jobs{i}" for i in range(6)]
        for i, s in enumerate(streams):
            r.fill(s, bodies(range(i * 100, i * 100 + 100)))
        self.daemon(r, {"streams": streams})
        for s in streams:
            self.wait_done(r, range(600), s)

    def test_what_is_no_event_is_a_dead_letter_and_holds_nobody_up(self):
        r = self.server()
        r("XADD", "jobs", "*", "body", '{"n": 1}')
        r("XADD", "jobs", "*", "body", '{"n": ')
        r("XADD", "jobs", "*", "other", "7")
        r("XADD", "jobs", "*", "body", '{"n": 2}')
        d = self.daemon(r)
        self.assertEqual(self.wait_done(r, [1, 2]), 0)
        letters = harness.wait_for("two letters", lambda: len(d.letters()) == 2 and d.letters())
        said = "\n".join(letter["error"] for letter in letters)
        self.assertIn("expected a value, at byte 6", said)
        self.assertIn("no field `body`", said)
        for how in ((), ("--rematch",)):  # no event: neither a target nor a rule can have it
            refused = d.cli("dlq", "redrive", *how, "-o", "json", ok=(6,))
            self.assertIn("source 'jobs' could make no event of it", json.loads(refused.stdout)["error"]["message"])
        self.assertEqual([(l["state"], l["lives"]) for l in d.letters()], [("dead", 1)] * 2)

    def test_large_entries_and_one_that_is_too_large(self):
        r = self.server()
        d = self.daemon(r)
        r.fill("jobs", ({"body": json.dumps({"n": n, "pad": "x" * 900000})} for n in range(100)))
        r("XADD", "jobs", "*", "body", "x" * (70 << 20))
        r.fill("jobs", bodies(range(100, 200)))
        harness.wait_for("200 events", lambda: r("XLEN", "done") >= 200)
        harness.wait_for("the count", lambda: d.metric('events_rejected_total{via="jobs",reason="too_large"}') >= 1)
        harness.wait_for("it alone to be pending", lambda: r.pending("jobs", "signalbox") == 1)
        self.assertEqual(d.letters(), [])


class Trouble(Case):
    def test_a_killed_daemon_loses_nothing_and_repeats_little(self):
        r = self.server()
        n, kills, window = 20000, 4, 500
        d = self.daemon(r, {"window": {"entries": window}})
        for k in range(kills):
            r.fill("jobs", bodies(range(k * n // kills, (k + 1) * n // kills)))
            harness.wait_for("some work", lambda k=k: r("XLEN", "done") > k * n // kills + 500)
            d.kill()
            d.start()
        twice = self.wait_done(r, range(n))
        self.assertLessEqual(twice, kills * window)
        ids = [f["id"] for _, f in r.entries("done")]
        self.assertEqual(len(set(ids)), n, "a repeated entry has the delivery id that it had before")
        self.assertEqual(d.letters(), [])

    def test_a_clean_stop_repeats_nothing(self):
        r = self.server()
        r.fill("jobs", bodies(range(20000)))
        d = self.daemon(r)
        for at in (1000, 8000):
            harness.wait_for("some work", lambda at=at: r("XLEN", "done") > at)
            self.assertEqual(d.stop(), 0)
            d.start()
        self.assertEqual(self.wait_done(r, range(20000)), 0)

    def test_redis_restarts_and_connections_break(self):
        r = self.server(appendonly="yes", appendfsync="always")
        d = self.daemon(r)
        for k in range(3):
            r.fill("jobs", bodies(range(k * 1000, k * 1000 + 1000)))
            harness.wait_for("some work", lambda k=k: r("XLEN", "done") > k * 1000)
            r.kill() if k == 1 else r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            if k == 1:
                r.start()
        self.wait_done(r, range(3000))
        self.assertEqual(len({f["id"] for _, f in r.entries("done")}), 3000)
        self.assertEqual(d.letters(), [])

    def test_a_frozen_redis_is_left_and_found_again(self):
        r = self.server()
        d = self.daemon(r, {"timeout": "200ms"}, {"url": r.unix_url})
        r.fill("jobs", bodies(range(10)))
        self.wait_done(r, range(10))
        r.freeze()
        harness.wait_for("the time-out", lambda: "no answer in time" in d.log_tail(100000))
        r.thaw()
        r.fill("jobs", bodies(range(10, 20)))
        self.wait_done(r, range(20))

    def test_a_destroyed_group_is_made_anew_where_it_was(self):
        r = self.server()
        d = self.daemon(r)
        for k in range(4):
            r.fill("jobs", bodies(range(k * 1000, k * 1000 + 1000)))
            harness.wait_for("some work", lambda k=k: r("XLEN", "done") > k * 1000 + 100)
            r("XGROUP", "DESTROY", "jobs", "signalbox")
            harness.wait_for("the group", lambda: r("XINFO", "GROUPS", "jobs"))
            twice = self.wait_done(r, range(k * 1000 + 1000))
            self.wait_remembered(r, d)
        self.assertLessEqual(twice, 4 * 1000)
        self.assertEqual(len({f["id"] for _, f in r.entries("done")}), 4000)
        self.assertEqual(d.letters(), [])

    def test_a_group_that_was_destroyed_while_nobody_looked(self):
        r = self.server()
        r.fill("jobs", bodies(range(2000)))
        d = self.daemon(r)
        self.wait_done(r, range(2000))
        self.wait_remembered(r, d)
        d.stop()
        r("XGROUP", "DESTROY", "jobs", "signalbox")
        r.fill("jobs", bodies(range(2000, 2100)))
        d.start()
        self.assertEqual(self.wait_done(r, range(2100)), 0)

    def test_a_stream_that_was_deleted_begins_anew(self):
        r = self.server()
        self.daemon(r)
        r.fill("jobs", bodies(range(100)))
        self.wait_done(r, range(100))
        r("DEL", "jobs")
        r("XADD", "jobs", "1-1", "body", '{"n": 100}')
        self.wait_done(r, range(101))

    def test_a_dead_target_holds_what_it_can_and_heals(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        d = self.daemon(r, {"window": {"entries": 1000}}, {"url": dead.url})
        r.fill("jobs", bodies(range(5000)))
        harness.wait_for("the journal to take over", lambda: r.pending("jobs", "signalbox") == 0 and d.target("done")["queued"] > 4000
                         if r("EXISTS", "jobs") and r("XINFO", "GROUPS", "jobs") else False)
        dead.start()
        harness.wait_for("the events", lambda: len(set(self.numbers(dead))) == 5000)
        d.settle("done")
        self.assertEqual(d.audit()["events"], 5000)

    def test_with_pause_a_dead_target_is_back_pressure(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        self.daemon(r, {"window": {"entries": 300}}, {"url": dead.url}, overflow="pause")
        r.fill("jobs", bodies(range(2000)))
        harness.wait_for("the window to be full", lambda: r("EXISTS", "jobs") and r("XINFO", "GROUPS", "jobs")
                         and r.pending("jobs", "signalbox") == 300)
        dead.start()
        harness.wait_for("the events", lambda: len(set(self.numbers(dead))) == 2000)
        harness.wait_for("nothing to be pending", lambda: r.pending("jobs", "signalbox") == 0)

    def test_what_a_vanished_member_left_is_taken_over(self):
        r = self.server()
        r.fill("jobs", bodies(range(50)))
        r("XGROUP", "CREATE", "jobs", "signalbox", "0")
        r("XREADGROUP", "GROUP", "signalbox", "gone", "COUNT", 30, "STREAMS", "jobs", ">")
        self.daemon(r, {"claim_after": "1s"})
        self.assertEqual(self.wait_done(r, range(50)), 0)

    def test_what_is_in_work_is_not_taken_over(self):
        r = self.server()
        slow = redis.Server()
        self.addCleanup(slow.close)
        one = self.daemon(r, {"claim_after": "1s", "consumer": "one"}, {"url": slow.url}, overflow="pause")
        r.fill("jobs", bodies(range(20)))
        harness.wait_for("the entries in work", lambda: r("XINFO", "GROUPS", "jobs") and r.pending("jobs", "signalbox") == 20)
        self.daemon(r, {"claim_after": "1s", "consumer": "two"})
        idle = []
        harness.wait_for("their idle time to go back several times",
                         lambda: idle.append(r("XPENDING", "jobs", "signalbox", "-", "+", 1)[0][2]) or
                         sum(b < a for a, b in zip(idle, idle[1:])) >= 4)
        self.assertEqual({row[1] for row in r("XPENDING", "jobs", "signalbox", "-", "+", 50)}, {"one"})
        self.assertEqual(r("XLEN", "done"), 0)
        self.assertIsNone(one.process.poll())

    def test_members_that_are_gone_are_removed_unless_they_own_something(self):
        r = self.server()
        r.fill("jobs", bodies(range(2)))
        r("XGROUP", "CREATE", "jobs", "signalbox", "0")
        r("XREADGROUP", "GROUP", "signalbox", "owner", "COUNT", 1, "STREAMS", "jobs", ">")
        r("XGROUP", "CREATECONSUMER", "jobs", "signalbox", "gone")
        self.daemon(r, {"consumer": "me", "claim_after": "4s", "forget_after": "2s"})

        def members():
            return {m[1] for m in r("XINFO", "CONSUMERS", "jobs", "signalbox")}
        harness.wait_for("its removal", lambda: "gone" not in members())
        self.assertEqual(self.wait_done(r, range(2)), 0)  # removed with what it owned, the owner would have taken an entry with it
        harness.wait_for("the other's removal", lambda: members() == {"me"})

    def test_a_stream_that_is_trimmed_too_early_is_told_on(self):
        r, dead = self.server(), redis.Server()
        self.addCleanup(dead.close)
        d = self.daemon(r, {"claim_after": "1s"}, {"url": dead.url}, overflow="pause")
        r.fill("jobs", bodies(range(10)))
        harness.wait_for("the entries in work", lambda: r("XINFO", "GROUPS", "jobs") and r.pending("jobs", "signalbox") == 10)
        r("XTRIM", "jobs", "MAXLEN", 0)
        harness.wait_for("the warning", lambda: "trimmed faster" in d.log_tail(100000))
        dead.start()
        harness.wait_for("the events", lambda: len(set(self.numbers(dead))) == 10)

    def test_trimmed_entries_are_counted(self):
        r = self.server()
        r.fill("jobs", bodies(range(10)))
        r("XGROUP", "CREATE", "jobs", "signalbox", "0")
        r("XREADGROUP", "GROUP", "signalbox", "me", "COUNT", 6, "STREAMS", "jobs", ">")
        r("XREADGROUP", "GROUP", "signalbox", "gone", "COUNT", 2, "STREAMS", "jobs", ">")
        r("XTRIM", "jobs", "MAXLEN", 2)
        d = self.daemon(r, {"consumer": "me", "claim_after": "1s"})
        self.wait_done(r, [8, 9])
        harness.wait_for("the count", lambda: d.metric('events_rejected_total{via="jobs",reason="lost_by_trim"}') == 8)

    def test_what_was_delivered_too_often_is_a_dead_letter(self):
        r = self.server()
        r.fill("jobs", bodies([1]))
        r("XGROUP", "CREATE", "jobs", "signalbox", "0")
        [[_, [[i, _]]]] = r("XREADGROUP", "GROUP", "signalbox", "me", "STREAMS", "jobs", ">")
        for _ in range(5):
            r("XCLAIM", "jobs", "signalbox", "me", 0, i)
        d = self.daemon(r, {"consumer": "me", "max_deliveries": 5})
        letters = harness.wait_for("the letter", d.letters)
        self.assertIn("delivered 7 times", letters[0]["error"])
        harness.wait_for("nothing to be pending", lambda: r.pending("jobs", "signalbox") == 0)
        self.assertEqual(r("XLEN", "done"), 0)

    def test_readonly_loading_and_a_changed_password(self):
        r = self.server()
        d = self.daemon(r, {"url": f"redis://:one@127.0.0.1:{r.port}"}, {"url": f"redis://:one@127.0.0.1:{r.port}"})
        harness.wait_for("the refusal", lambda: "AUTH" in d.log_tail(100000))
        r("CONFIG", "SET", "requirepass", "one")
        r("AUTH", "one")
        r.fill("jobs", bodies(range(10)))
        self.wait_done(r, range(10))
        r("REPLICAOF", "127.0.0.1", "1")
        r("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        harness.wait_for("the refusal", lambda: "READONLY" in d.log_tail(100000) or "MASTERDOWN" in d.log_tail(100000))
        r("REPLICAOF", "NO", "ONE")
        r.fill("jobs", bodies(range(10, 20)))
        self.wait_done(r, range(20))
        self.assertNotIn(":one@", d.log_tail(1000000))

    def test_something_else_under_the_key_is_waited_out(self):
        r = self.server()
        r("SET", "jobs", "a string")
        d = self.daemon(r)
        harness.wait_for("the refusal", lambda: "WRONGTYPE" in d.log_tail(100000))
        met = r("INFO", "stats")
        time.sleep(1)
        connections = [int(re.search(r"total_connections_received:(\d+)", s)[1]) for s in (met, r("INFO", "stats"))]
        self.assertLess(connections[1] - connections[0], 20, "it is hammered")
        r("DEL", "jobs")
        r.fill("jobs", bodies(range(10)))
        self.assertEqual(self.wait_done(r, range(10)), 0)

    def test_a_replica_becomes_the_primary(self):
        first = redis.Server(appendonly="yes")
        self.addCleanup(first.close)
        first.start()
        second = self.enterContext(redis.Server(replica_of=first))
        d = self.daemon(first)
        first.fill("jobs", bodies(range(2000)))
        self.wait_done(first, range(2000))
        harness.wait_for("the replica to have it", lambda: second("XLEN", "done") == first("XLEN", "done") and second.pending("jobs", "signalbox") == 0)
        first.kill()
        port, second_port = first.port, second.port
        second("REPLICAOF", "NO", "ONE")
        second("CONFIG", "SET", "port", port)
        second.fill("jobs", bodies(range(2000, 3000)))
        self.wait_done(second, range(3000))
        self.assertNotEqual(port, second_port)
        self.assertEqual(d.letters(), [])

    def test_a_reload_hands_the_stream_on(self):
        r = self.server()
        r.fill("jobs", bodies(range(5000)))
        d = self.daemon(r, {"window": {"entries": 200}})
        for k, at in enumerate((500, 2000)):
            harness.wait_for("some work", lambda at=at: r("XLEN", "done") > at)
            d.write_config(config(r, {"window": {"entries": 300 + k}}))
            d.cli("reload")
        self.assertEqual(self.wait_done(r, range(5000)), 0)


class Configuration(unittest.TestCase):
    def test_what_is_wrong_is_said_with_its_place(self):
        class Nowhere:
            url = "redis://nowhere"
        for change, said in [
            ({"from": "yesterday"}, "neither `beginning`"),
            ({"streams": []}, "streams"),
            ({"streams": ["a", "a"]}, "stands twice"),
            ({"window": {"entries": 0}}, "window"),
        ]:
            with self.subTest(said), harness.Daemon(config(Nowhere, change), JOBS) as d:
                done = d.cli("check", ok=None)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(said, done.stdout + done.stderr)


if __name__ == "__main__":
    harness.main()
