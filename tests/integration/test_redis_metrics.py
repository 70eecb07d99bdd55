#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What docs/redis-metrics.md promises: two daemons, a real Redis, and the numbers of `status` beside those in Redis."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import redis

PAGE = (harness.ROOT / "docs/redis-metrics.md").read_text()
P = "signalbox:{demo}"
OTHER = {"source": "com.nobody", "detail-type": "Nothing", "detail": {}}


def blocks(kind):
    """The lines of every block of this kind on the page."""
    return [line for block in re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines() if line]


def pairs(answer):
    return dict(zip(answer[::2], answer[1::2]))


def config(server, instance, **changes):
    of_redis = {"url": server.url, "cluster": "demo", "instance": instance, "flush": "100ms", "rollup": "1s", **changes}
    base = harness.simple_config()
    base["targets"]["record"]["retry"]["max_retries"] = 1
    return {**base, "metrics": {"redis": of_redis}}


def own_counts(daemons):
    """What the daemons count themselves, added up, under the names that Redis has for it."""
    sums = dict.fromkeys(("in", "unmatched", "matched", "delivered", "retried", "dlq"), 0)
    for d in daemons:
        s = d.status()
        target = harness.named(s["targets"], "record")
        sums["in"] += s["counts"]["events"]
        sums["unmatched"] += s["counts"]["unmatched"]
        sums["matched"] += sum(rule["matched"] for rule in s["rules"])
        sums["delivered"] += target["delivered"]
        sums["retried"] += target["retries"]
        sums["dlq"] += target["dead"]
    sums["failed"] = sums["retried"] + sums["dlq"]
    return sums


def samples(text):
    """Of /metrics: name, labels, value."""
    rows = re.findall(r"^(signalbox_\w+)(?:\{(.*)\})? ([0-9.e+-]+)$", text, re.M)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in rows]


def matches(matcher, labels):
    """A selector's {label="value",label=~"pattern"}; as much of them as the dashboards have."""
    wanted = re.findall(r'(\w+)(=~?)"([^"]*)"', matcher)
    return all(re.fullmatch(v if op == "=~" else re.escape(v), labels.get(k, "")) for k, op, v in wanted)


class Metrics(unittest.TestCase):
    def server(self, **rows):
        server = redis.Server(**rows)
        self.addCleanup(server.close)
        return server.start()

    def daemon(self, server, instance, rules=harness.ORDERS, **changes):
        return self.enterContext(harness.Daemon(config(server, instance, **changes), rules)).start()

    def two(self, server):
        return [self.daemon(server, "a"), self.daemon(server, "b")]

    def traffic(self, daemons):
        """Some that pass, some that pass at the second attempt, some that die, some that nobody wants."""
        for n, d in enumerate(daemons):
            events = [harness.order(i) for i in range(10 + 7 * n)] + [harness.order(100, fail=1)] * 3
            self.assertEqual(d.post(events + [harness.order(200, reject=True)] * 2 + [OTHER] * 4).status, 202)
            d.settle()

    def totals(self, server):
        return {k: int(v) for k, v in pairs(server("HGETALL", f"{P}:tot")).items() if not k.startswith("_")}

    def wait_totals(self, server, daemons, timeout=20, **plus):
        want = own_counts(daemons)
        want = {k: v + plus.get(k, 0) for k, v in want.items()}

        def agree():
            have = self.totals(server)
            return all(have.get(k) == v for k, v in want.items())
        try:
            harness.wait_for("the numbers in Redis", agree, timeout)
        except AssertionError:
            self.fail(f"counted {want}\nin Redis {self.totals(server)}\n{daemons[0].log_tail()}")
        return want

    def sum_of(self, server, stream, field):
        return sum(int(f[field]) for _, f in server.entries(f"{P}:{stream}"))

    def wait_sum(self, server, stream, field, want):
        try:
            harness.wait_for("a stream", lambda: self.sum_of(server, stream, field) == want, 20)
        except AssertionError:
            self.fail(f"{stream} {field}: {self.sum_of(server, stream, field)}, not {want}")

    def leader(self, server):
        return harness.wait_for("a leader", lambda: server("GET", f"{P}:lead"))

    # ------------------------------------------------------------------------------------------ numbers

    def test_redis_has_what_status_counts(self):
        r = self.server()
        ds = self.two(r)
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        self.assertEqual((want["in"], want["unmatched"], want["dlq"]), (27 + 18, 8, 4))
        for field, value in want.items():
            self.wait_sum(r, "1s", field, value)
            self.wait_sum(r, "1m", field, value)
        self.wait_sum(r, "r:orders:1m", "matches", want["matched"])
        for field, of in (("ok", "delivered"), ("fail", "failed"), ("retry", "retried"), ("dlq", "dlq")):
            self.wait_sum(r, "t:record:1m", field, want[of])
            self.assertEqual(int(r("HGET", f"{P}:t:record", field)), want[of])
        self.wait_sum(r, "s:events:1m", "in", want["in"])
        self.assertEqual(int(r("HGET", f"{P}:r:orders", "matches")), want["matched"])
        self.assertEqual(int(r("HGET", f"{P}:s:events", "in")), want["in"])
        [cells] = {len(r("BITFIELD", k, *sum((["GET", "u32", f"#{i}"] for i in range(32)), []))) for k in self.keys(r, ":h:t:record:")}
        self.assertEqual(cells, 32)
        self.assertGreater(max(float(f["p50_ms"]) for _, f in r.entries(f"{P}:t:record:1m")), 0)

    def keys(self, server, begin=""):
        found, cursor = [], "0"
        while True:
            cursor, some = server("SCAN", cursor, "MATCH", f"{P}{begin}*", "COUNT", 1000)
            found += some
            if cursor == "0":
                return sorted(found)

    def test_status_needs_nothing_but_redis(self):
        r = self.server()
        ds = self.two(r)
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        s = ds[0].cli_json("status", "--redis", r.url, "--cluster", "demo")
        self.assertEqual({i["name"][:2] for i in s["instances"]}, {"a.", "b."})
        self.assertEqual(sum(i["in"] for i in s["instances"]), want["in"])
        self.assertEqual(s["totals"]["delivered"], want["delivered"])
        self.assertEqual(harness.named(s["targets"], "record")["delivered"], want["delivered"])
        self.assertEqual(harness.named(s["sources"], "events")["in"], want["in"])
        self.assertEqual(harness.named(s["rules"], "orders")["matched"], want["matched"])
        text = ds[0].cli("status", "--redis", r.unix_url, "--cluster", "demo").stdout
        self.assertRegex(text, rf"record +function +0 +0 +0 +{want['delivered']} +{want['dlq']} +ok")
        self.assertIn("no daemon tells", ds[0].cli("status", "--redis", r.url, ok=(4,)).stderr)
        self.assertIn("127.0.0.1:1", ds[0].cli("status", "--redis", "redis://:pw@127.0.0.1:1", ok=(4,)).stderr)
        ds[0].cli("status", "--redis", "http://x", ok=(2,))
        ds[0].cli("status", "--cluster", "demo", ok=(2,))

    def test_what_was_done_leaves_marks(self):
        r = self.server()
        d = self.daemon(r, "a")
        d.cli("pause", "target", "record")
        d.cli("resume", "target", "record")
        d.cli("reload")
        d.post([harness.order(1, reject=True)])
        harness.wait_for("a letter", d.letters)
        d.cli("dlq", "redrive")

        def marks():
            return {f["what"]: (f["name"], f["detail"]) for _, f in r.entries(f"{P}:marks")}
        harness.wait_for("marks", lambda: {"start", "leader", "pause", "resume", "reload", "redrive"} <= set(marks()), 20)
        self.assertEqual(marks()["pause"], ("record", "target"))
        self.assertEqual(marks()["redrive"], ("", "1 letters"))

    def test_other_rules_are_a_deployment(self):
        r = self.server()
        d = self.daemon(r, "a")
        before = harness.wait_for("the rules' hash", lambda: r("HGET", f"{P}:meta", "rules_hash"))
        d.write_rules({"rules": [{"name": "orders", "pattern": {"source": ["com.other"]}, "targets": [{"target": "record"}]}]})
        d.cli("reload")

        def deploys():
            return [(f["name"], f["detail"]) for _, f in r.entries(f"{P}:marks") if f["what"] == "deploy"]
        harness.wait_for("its mark", deploys, 20)
        harness.wait_for("the new hash", lambda: r("HGET", f"{P}:meta", "rules_hash") != before, 20)
        d.cli("reload")
        harness.wait_for("two reloads", lambda: [f["what"] for _, f in r.entries(f"{P}:marks")].count("reload") == 2, 20)
        self.assertEqual(deploys(), [(r("HGET", f"{P}:meta", "rules_hash"), f"was {before}")])

    def test_samples_show_the_shape_and_no_value(self):
        r = self.server()
        d = self.daemon(r, "a", flush="1s")
        d.post([{"source": "com.nobody", "detail-type": "Lost", "detail": {"card": "s3cret-4111", "sum": 12, "to": {"paid": True, "by": [None, "s3cret"]}}}])
        d.post([harness.order(1, fail=2, card="s3cret-4111")])
        d.settle()
        [entry] = harness.wait_for("what nobody wanted", lambda: r.entries(f"{P}:ev:unmatched"), 20)
        fields = entry[1]
        self.assertEqual(json.loads(fields["detail"]), {"card": "string", "sum": "number", "to": {"paid": "boolean", "by": [None, "string"]}})
        self.assertEqual((fields["source"], fields["detail_type"], fields["bus"], fields["origin"]), ("com.nobody", "Lost", "default", "events"))
        harness.wait_for("both failures", lambda: {f["what"] for _, f in r.entries(f"{P}:ev:errors")} == {"retry", "dead"}, 20)
        for _, fields in r.entries(f"{P}:ev:errors"):
            self.assertEqual((fields["rule"], fields["target"], json.loads(fields["detail"])["card"]), ("orders", "record", "string"))
            self.assertRegex(fields["reason"], "^[A-Z_]+$")
        self.assertEqual([k for k in self.keys(r) if "s3cret" in str(r("DUMP", k))], [])

    def test_samples_are_few_and_may_be_none(self):
        r = self.server()
        d, none = self.daemon(r, "a", flush="1s"), self.daemon(r, "b", samples=0)
        for n in range(20):
            d.post([OTHER] * 100)
            none.post([OTHER] * 100)
        self.wait_totals(r, [d, none])
        flushes = d.metric("redis_flushes_total") + d.metric("redis_flush_dropped_total")
        sampled = [f["instance"] for _, f in r.entries(f"{P}:ev:unmatched")]
        self.assertEqual({i[:2] for i in sampled}, {"a."})
        self.assertLessEqual(len(sampled), 10 * (flushes + 1))

    def test_a_circuit_that_opens_and_closes_is_seen(self):
        r, far = self.server(), redis.Server()
        self.addCleanup(far.close)
        c = config(r, "a")
        c["targets"]["record"] = {"redis": {"url": far.url, "stream": "done"}, "retry": {"base": "10ms", "cap": "100ms"}}
        d = self.enterContext(harness.Daemon(c)).start()
        d.post([harness.order(1)])

        def flips():
            return [f["detail"] for _, f in r.entries(f"{P}:marks") if (f["what"], f["name"]) == ("circuit", "record")]
        harness.wait_for("the open circuit", lambda: flips() == ["open"], 20)
        harness.wait_for("its state", lambda: r("HGET", f"{P}:t:record", "circuit") == "open", 20)
        far.start()
        harness.wait_for("the closed circuit", lambda: flips() == ["open", "closed"], 20)
        d.settle()
        self.wait_totals(r, [d])
        harness.wait_for("its state", lambda: r("HGET", f"{P}:t:record", "circuit") == "closed", 20)

    def test_rules_beyond_the_bound_are_told_together(self):
        r = self.server()
        rules = {"rules": [{"name": f"r{n:04}", "pattern": {"source": ["com.shop"], "detail": {"n": [n]}},
                            "targets": [{"target": "record"}]} for n in range(1005)]}
        d = self.daemon(r, "a", rules)
        d.post([harness.order(n) for n in (0, 1001, 1002, 1004)])
        d.settle()
        self.wait_totals(r, [d])
        self.wait_sum(r, "r:_other:1m", "matches", 3)
        self.wait_sum(r, "r:r0000:1m", "matches", 1)
        self.assertEqual(r("HLEN", self.keys(r, ":i:a.*:r")[0]), 1001)

    def test_a_reload_counts_nothing_anew(self):
        """Who has a name keeps it, whatever stands before it; what is gone is told until the leader has seen the last of it."""
        def rules(numbers):
            return {"rules": [{"name": f"r{n:04}", "pattern": {"source": ["com.shop"], "detail": {"n": [n]}},
                               "targets": [{"target": "record"}]} for n in numbers]}
        r = self.server()
        d = self.daemon(r, "a", rules(range(1005)))
        d.post([harness.order(n) for n in (0, 0, 1004, 1004)])
        d.settle()
        self.wait_sum(r, "r:_other:1m", "matches", 2)
        d.write_rules(rules([*range(1004, 1, -1)]))
        d.cli("reload")
        d.post([harness.order(n) for n in (0, 2, 1004)])
        d.settle()
        want = self.wait_totals(r, [d], matched=2)  # `status` does not have those of r0000 any more
        self.assertEqual(want["matched"], 6)
        self.wait_sum(r, "r:r0002:1m", "matches", 1)
        self.wait_sum(r, "r:_other:1m", "matches", 3)
        self.wait_sum(r, "r:r0000:1m", "matches", 2)
        told = pairs(r("HGETALL", self.keys(r, ":i:a.*:r")[0]))
        self.assertEqual((len(told), told["r0000"], told["r0002"]), (1001, "2 0 - -", "1 0 enabled default"))

    def test_one_that_flushes_rarely_is_not_gone(self):
        r = self.server()
        self.daemon(r, "a")
        self.daemon(r, "slow", flush="8s")
        harness.wait_for("its first flush", lambda: self.keys(r, ":i:slow"), 40)
        [whole] = [k for k in self.keys(r, ":i:slow") if not k.endswith((":r", ":t", ":s"))]
        self.assertGreater(r("TTL", whole), 16)
        self.assertGreater(r("TTL", f"{whole}:t"), 16)

    def strangers(self, server, n, fields):
        """Daemons whose every target has been at work, as they would tell it."""
        names = [f"s{i:02}.00000000" for i in range(n)]
        durations = ",".join(f"{i}:{1000000000 + i}" for i in range(31))
        told = [w for f in range(fields) for w in (f"target-with-a-long-name-{f:040}", f"7 0 0 0 0 9 {durations} 0 0 0 0 0 0 0 0 function ok")]
        client = redis.Client(server.path)
        self.addCleanup(client.close)
        whole = [w for k in ("in", "matched", "unmatched", "delivered", "failed", "retried", "dlq", "bytes", "queued", "inflight", "retrying",
                             "held", "letters", "outstanding", "lag_ms") for w in (k, 0)]
        for name in names:
            client.pipeline([("HSET", f"{P}:i:{name}", *whole), ("HSET", f"{P}:i:{name}:t", *told),
                             ("ZADD", f"{P}:inst", int(time.time() * 1000), name)])
        return names

    def test_a_leader_with_too_much_to_account_for_takes_it_in_turns(self):
        r = self.server()
        d = self.daemon(r, "a")
        self.leader(r)
        strangers = self.strangers(r, 25, 1000)

        def accounted():
            return [s for s in strangers if r("HLEN", f"{P}:a:{s}:t") == 1000]
        harness.wait_for("the first of them", accounted, 20)
        self.assertLess(len(accounted()), len(strangers))
        harness.wait_for("all of them", lambda: len(accounted()) == len(strangers), 60)
        self.wait_sum(r, f"t:target-with-a-long-name-{7:040}:1m", "ok", 7 * len(strangers))
        self.assertNotIn("metrics are not written", d.log_tail(100000))
        key = f"{P}:i:{strangers[0]}:t"
        r("HDEL", key, f"target-with-a-long-name-{7:040}")
        harness.wait_for("its account to be closed", lambda: r("HLEN", f"{P}:a:{strangers[0]}:t") == 999, 60)

    # ------------------------------------------------------------------------------------------ trouble

    def test_a_leader_that_dies_has_a_successor(self):
        r = self.server()
        ds = self.two(r)
        self.traffic(ds)
        before = self.wait_totals(r, ds)
        self.wait_sum(r, "t:record:1m", "ok", before["delivered"])
        first = self.leader(r)
        dead, alive = (ds[0], ds[1]) if first.startswith("a.") else (ds[1], ds[0])
        gone = own_counts([dead])
        dead.kill()
        alive.post([harness.order(n) for n in range(11)])
        alive.settle()
        harness.wait_for("another leader", lambda: r("GET", f"{P}:lead") not in (None, first), 20)
        self.assertEqual(self.wait_totals(r, [alive], **gone)["in"], before["in"] + 11)
        self.wait_sum(r, "1s", "delivered", before["delivered"] + 11)
        self.wait_sum(r, "t:record:1m", "ok", before["delivered"] + 11)
        ids = [int(i.partition("-")[0]) for i, _ in r.entries(f"{P}:1s")]
        self.assertEqual(ids, sorted(set(ids)))
        dead.start()  # another instance by the same name
        dead.post([harness.order(1)])
        dead.settle()
        self.wait_totals(r, [alive, dead], **gone)

    def test_no_redis_no_delay(self):
        r = self.server(appendonly="yes", appendfsync="always")
        d = self.daemon(r, "a")
        d.post([harness.order(0)])
        d.settle()
        self.wait_totals(r, [d])
        for away, back in ((r.stop, r.start), (r.freeze, r.thaw)):
            away()
            dropped = d.metric("redis_flush_dropped_total")
            slowest = 0
            for n in range(50):
                begin = time.monotonic()
                self.assertEqual(d.post([harness.order(n)]).status, 202)
                slowest = max(slowest, time.monotonic() - begin)
            d.settle()
            self.assertLess(slowest, 2)  # the time-out of a command is 5 s
            harness.wait_for("dropped flushes", lambda: d.metric("redis_flush_dropped_total") > dropped + 2)
            back()
            self.wait_totals(r, [d], 30)
        self.assertEqual(d.metric("redis_metrics_up"), 1)
        self.assertEqual(d.target()["delivered"], 101)

    def test_a_daemon_needs_no_redis_to_start_and_to_stop(self):
        r = self.server()
        r.stop()
        d = self.daemon(r, "a")
        d.post([harness.order(0)])
        d.settle()
        self.assertEqual(d.stop(), 0)
        self.assertEqual(d.log_tail(100000).count("metrics: no Redis"), 1)

    def test_the_url_is_checked_and_never_shown(self):
        r = self.server()
        d = self.enterContext(harness.Daemon(config(r, "a", url="http://u:s3cret@x", cluster="no {braces}")))
        said = d.cli("check", ok=(1, 3)).stdout
        self.assertIn("not the URL of a Redis", said)
        self.assertIn("`no {braces}` is not a name", said)
        self.assertNotIn("s3cret", said)

    # ------------------------------------------------------------------------------------------ bounds, the page

    def test_every_key_ends_and_every_stream_is_bounded(self):
        r = self.server()
        ds = self.two(r)
        watcher = redis.Client(r.path)
        self.addCleanup(watcher.close)
        watcher("MONITOR")
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        self.wait_sum(r, "t:record:1m", "ok", want["delivered"])
        self.wait_sum(r, "s:events:1m", "in", want["in"])
        missing = {f"{P}:{n}" for n in ("meta", "lead", "inst", "tot", "1s", "1m", "r:orders", "r:orders:1m", "t:record", "t:record:1m",
                                        "s:events", "s:events:1m", "top:rules", "top:errors", "marks", "ev:unmatched", "ev:errors")}

        def all_seen():
            ds[0].post([harness.order(1)])  # :top:rules is of the last roll-up alone
            keys = self.keys(r)
            self.assertEqual([k for k in r("KEYS", "*") if not k.startswith(f"{P}:")], [])
            self.assertEqual([k for k in keys if r("TTL", k) == -1], [])
            missing.difference_update(keys)
            return not missing
        harness.wait_for("every key of the page", all_seen, 20)
        r("SET", "the-end", 1)
        seen = []
        while not seen or "the-end" not in seen[-1]:
            seen.append(watcher.answer())
        added = [line for line in seen if '"XADD"' in line]
        self.assertTrue(added)
        self.assertEqual([line for line in added if '"MAXLEN" "~"' not in line], [])
        self.assertEqual([line for line in seen if "EVAL" in line or "FCALL" in line], [])

    def test_every_query_of_the_page_for_a_user_that_can_only_read(self):
        r = self.server()
        for line in blocks("acl"):
            self.assertEqual(r(*shlex.split(line)), "OK")
        r("ACL", "SETUSER", "default", "nopass")
        ds = [self.daemon(r, "a", user="signalbox", password="secret"), self.daemon(r, "b", user="signalbox", password="secret")]
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        self.wait_sum(r, "t:record:1m", "ok", want["delivered"])
        self.wait_sum(r, "s:events:1m", "in", want["in"])
        reader = redis.Client(r.path)
        self.addCleanup(reader.close)
        reader("AUTH", "dashboards", "secret")
        queries = blocks("redis")
        self.assertGreater(len(queries), 12)

        def all_answered():
            ds[0].post([harness.order(1)])
            queries[:] = [q for q in queries if not reader(*shlex.split(q.replace("INSTANCE", self.leader(r))))]
            return not queries
        harness.wait_for("all of the page to have an answer", all_answered, 20)
        for d in ds:
            d.settle()
        want = self.wait_totals(r, ds)
        for refused in (("SET", f"{P}:x", "1"), ("DEL", f"{P}:tot"), ("KEYS", "*"), ("GET", "elsewhere"), ("FLUSHALL",)):
            with self.assertRaisesRegex(redis.Error, "NOPERM"):
                reader(*refused)
        url = f"redis://dashboards:secret@127.0.0.1:{r.port}"
        s = ds[0].cli_json("status", "--redis", url, "--cluster", "demo")
        self.assertEqual(s["totals"]["in"], want["in"])

    def panel_answer(self, reader, query):
        """What the plug-in would ask: whole streams, whole hashes, ranges by index."""
        key = query["keyName"]
        for name, value in (("cluster", "demo"), ("rule", "orders"), ("target", "record"), ("source", "events")):
            key = key.replace("${%s}" % name, value)
        more = {"xrange": ("-", "+"), "hgetall": (), "zrange": (query.get("min"), query.get("max"), "WITHSCORES")}[query["command"]]
        return reader(query["command"], key, *more)

    def test_panels_show_what_the_daemons_counted(self):
        r = self.server()
        self.assertEqual(r(*shlex.split(blocks("acl")[0])), "OK")
        ds = self.two(r)
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        for stream, field, of in (("1m", "in", "in"), ("t:record:1m", "ok", "delivered"), ("s:events:1m", "in", "in")):
            self.wait_sum(r, stream, field, want[of])
        reader = redis.Client(r.path)
        self.addCleanup(reader.close)
        reader("AUTH", "dashboards", "secret")
        names = {"matches": "matched", "ok": "delivered", "fail": "failed", "retry": "retried"}
        compared = set()
        for panel in json.loads((harness.ROOT / "deploy/grafana/redis.json").read_text())["panels"]:
            [query] = panel["targets"]
            answer = self.panel_answer(reader, query)
            if not query["keyName"].endswith(":top:rules"):  # of the last minute alone
                self.assertTrue(answer, panel["title"])
            shown = [n for t in panel.get("transformations", []) for n in t["options"]["include"]["names"] if n != "$time"]
            rows = [pairs(f) for _, f in answer] if query["command"] == "xrange" else [pairs(answer)]
            for field in shown:
                self.assertIn(field, rows[0], panel["title"])
                if names.get(field, field) in want:
                    self.assertEqual(sum(int(row[field]) for row in rows), want[names.get(field, field)], (panel["title"], field))
                    compared.add(field)
        self.assertEqual(compared, set(want) | set(names))

    def test_the_twin_panels_show_the_same(self):
        """Each expression's selector over what both daemons show, under the labels that it groups by: the counts are those of `status`."""
        r = self.server()
        ds = self.two(r)
        self.traffic(ds)
        want = self.wait_totals(r, ds)
        shown = samples("\n".join(d.request("GET", "/metrics/detailed").text for d in ds))
        counted = {"signalbox_events_total": want["in"], "signalbox_events_unmatched_total": want["unmatched"], "signalbox_events_received_total": want["in"],
                   "signalbox_rule_matches_total": want["matched"], "signalbox_dlq_events": want["dlq"], "signalbox_redis_metrics_up": 2,
                   'signalbox_deliveries_total{outcome=~"retry|dead"}': want["failed"], "signalbox_queued_events": 0}
        compared = set()
        for panel in json.loads((harness.ROOT / "deploy/grafana/prometheus.json").read_text())["panels"]:
            for expression in (t["expr"] for t in panel["targets"]):
                groups = {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")}
                for metric, matcher in re.findall(r"(signalbox_\w+)(\{[^}]*\})?", expression):
                    rows = [(labels, value) for name, labels, value in shown if name == metric and matches(matcher, labels)]
                    self.assertTrue(rows or "rejected" in metric, (panel["title"], expression))
                    self.assertTrue(all(groups <= labels.keys() for labels, _ in rows), (panel["title"], expression))
                    if metric + matcher in counted:
                        self.assertEqual(sum(value for _, value in rows), counted[metric + matcher], (panel["title"], expression))
                        compared.add(metric + matcher)
        self.assertEqual(compared, set(counted))
        delivered = sum(v for name, labels, v in shown if name == "signalbox_deliveries_total" and labels["outcome"] == "delivered")
        self.assertEqual(delivered, want["delivered"])

    def test_the_pages_lines_for_a_shell_as_they_stand(self):
        """With redis-cli, which only knows where the server is."""
        if not shutil.which("redis-cli"):
            self.skipTest("redis-cli is not installed: deploy/install-deps test")
        r = self.server()
        self.assertEqual(r(*shlex.split(blocks("acl")[0])), "OK")
        d = self.daemon(r, "a")
        self.traffic([d])
        want = self.wait_totals(r, [d])
        bin = r.folder / "bin"
        bin.mkdir()
        for name, line in (("redis-cli", f'exec {shutil.which("redis-cli")} -s {r.path} "$@"'), ("clear", "echo cleared")):
            (bin / name).write_text(f"#!/bin/sh\n{line}\n")
            (bin / name).chmod(0o700)
        environment = {"PATH": f"{bin}:{os.environ['PATH']}"}
        queries = "\n".join(blocks("redis")).replace("INSTANCE", self.leader(r))
        out = subprocess.run(["redis-cli", "--user", "dashboards", "--pass", "secret", "--no-auth-warning"], env=environment, input=queries, text=True,
                             capture_output=True, timeout=60, check=True).stdout
        self.assertNotRegex(out, r"(?m)^(ERR|NOPERM|NOAUTH|WRONGTYPE) ")
        self.assertIn(str(want["in"]), out.split())
        [script] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
        self.assertEqual(script.count("while sleep 1; do"), 1)
        once = script.replace("while sleep 1; do", "for once in 1; do")
        shown = subprocess.run(["sh", "-c", once], env=environment, text=True, capture_output=True, timeout=60, check=True).stdout.split()
        self.assertEqual(shown[:4], ["cleared", *(str(want[n]) for n in ("in", "delivered", "dlq"))])
        self.assertIn("p99_ms", shown)

    def test_the_keys_on_the_page_are_those_there_are(self):
        r = self.server()
        d = self.daemon(r, "a")
        self.traffic([d])
        self.wait_totals(r, [d])
        self.wait_sum(r, "t:record:1m", "dlq", 2)
        row = re.compile(r"^\| `:(1s|1m|t:TARGET:1m|r:RULE:1m|s:SOURCE:1m)` \| stream \| `([^`]*)`", re.M)
        names = {"t:TARGET:1m": "t:record:1m", "r:RULE:1m": "r:orders:1m", "s:SOURCE:1m": "s:events:1m"}
        told = dict(row.findall(PAGE))
        self.assertEqual(len(told) + 1, 5)  # :1m has words instead
        for stream, fields in told.items():
            for _, entry in r.entries(f"{P}:{names.get(stream, stream)}"):
                self.assertEqual(list(entry), fields.split())
                self.assertTrue(all(re.fullmatch(r"[0-9.]+", v) for v in entry.values()))


if __name__ == "__main__":
    harness.main()
