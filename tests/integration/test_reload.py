#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reload swaps everything or nothing, under load, and a pause outlives the process."""
import json
import os
import signal
import unittest

import harness


def rule(name, to="record"):
    return {"rules": [{"name": name, "pattern": {"source": ["com.shop"]}, "targets": [{"target": to}]}]}


class Reload(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()

    def generation(self):
        return self.d.status()["generation"]

    def test_reload_under_load_loses_and_doubles_nothing(self):
        load = harness.Load(threads=2).start(self.d)
        load.wait_acked(20)
        for n in range(harness.cycles(10)):
            before = self.generation()
            self.d.write_rules(rule(f"orders-{n}"))
            self.d.cli("reload")
            self.assertGreater(self.generation(), before)
            load.wait_acked(10)
        load.stop()
        self.d.settle()
        self.assertEqual(harness.lost(load, self.d), [])
        self.assertEqual(harness.duplicates(self.d), 0)
        self.assertEqual(load.refused, 0)
        self.d.audit()

    def test_an_event_sees_all_rules_of_one_generation(self):
        """By SIGHUP and by reload, under load: what two rules of an event say is always of the same generation."""
        self.d.write_rules(twin_rules(0))
        self.d.cli("reload")
        load = harness.Load(threads=3).start(self.d)
        reloads = harness.cycles(12)
        for g in range(1, reloads + 1):
            load.wait_acked(5)
            before = self.generation()
            self.d.write_rules(twin_rules(g))
            if g % 2:
                self.d.process.send_signal(signal.SIGHUP)
                harness.wait_for("a new generation", lambda before=before: self.generation() > before)
            else:
                self.d.cli("reload")
            # what is posted from now on is matched by it, whichever shard it comes to
            for k in range(3):
                self.assertEqual(self.d.post(harness.order(10 ** 6 + 10 * g + k)).status, 202)
        load.stop()
        self.d.settle()
        seen = {}
        for attempt in self.d.attempts():
            seen.setdefault(attempt["n"], []).append((attempt["event"]["detail"]["by"], attempt["event"]["detail"]["g"]))
        for n, by in seen.items():
            self.assertEqual(len(by), 2, (n, by))
            self.assertEqual({rule for rule, _ in by}, {"one", "two"}, (n, by))
            self.assertEqual(len({g for _, g in by}), 1, (n, by))
            if n >= 10 ** 6:
                self.assertEqual(by[0][1], (n - 10 ** 6) // 10)
        self.assertEqual({n for n in load.acked} - set(seen), set())
        self.assertEqual(len({g for by in seen.values() for _, g in by}), reloads + 1)  # there was load in every one of them
        self.d.audit()

    def test_a_changed_connector_changes_over_under_load(self):
        """Its queue and what is in flight notice nothing: nothing is lost, doubled or released."""
        load = harness.Load(threads=2).start(self.d, lambda n: {"sleep": 0.002} if n % 3 else {"fail": 1})
        load.wait_acked(20)
        for n in range(harness.cycles(8)):
            before = {a["pid"] for a in self.d.attempts()}
            [change] = self.reopen(f"v{n}").json["changes"]
            self.assertEqual((change["what"], change["name"], change["kind"]), ("target", "record", "reopen"))
            load.wait_acked(5)
            harness.wait_for("the new workers to work", lambda: {a["pid"] for a in self.d.attempts()} - before)
        load.stop()
        self.d.settle()
        self.assertEqual((harness.lost(load, self.d), harness.duplicates(self.d), load.refused), ([], 0, 0))
        self.assertIn('outcome="released"} 0', self.d.request("GET", "/metrics").text)
        harness.wait_for("the workers before to be gone", lambda: len(self.d.workers()) <= 2)
        self.d.audit()

    def reopen(self, mark, drain="10s", **function):
        config = harness.simple_config(drain_timeout=drain)
        config["targets"]["record"]["function"] = harness.recorder(**function)
        config["targets"]["record"]["function"]["env"]["MARK"] = mark
        self.d.write_config(config)
        return self.d.control("/v1/reload", {})

    def test_what_a_changed_connector_does_not_finish_in_time_goes_to_the_next(self):
        self.reopen("before", drain="100ms")
        slow = self.d.folder / "slow"
        slow.touch()
        self.assertEqual(self.d.post(harness.order(1, sleep_while=str(slow))).status, 202)
        harness.wait_for("it to be in flight", lambda: self.d.target()["in_flight"] == 1)
        self.assertEqual(self.reopen("after", drain="100ms").status, 200)
        self.assertEqual(self.d.post(harness.order(2)).status, 202)
        harness.wait_for("the next one to deliver beside it", lambda: self.d.attempts(n=2, ok=True))
        slow.unlink()
        [attempt] = harness.wait_for("the released one to be delivered", lambda: self.d.attempts(n=1, ok=True))
        self.assertEqual(attempt["attempt"], 1)  # it was not its fault
        self.d.settle()
        self.d.audit()

    def test_a_broken_command_is_mended_by_a_reload(self):
        self.reopen("broken", command=["/no/such/program"])
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        harness.wait_for("it to be unreachable", lambda: self.d.target()["unreachable_for_ms"])
        self.reopen("mended")
        harness.wait_for("the delivery", lambda: self.d.attempts(n=1, ok=True))
        self.d.settle()

    def test_a_reload_that_fails_half_way_leaves_everything_as_it_was(self):
        """Wherever it fails: at the first or the last target or source, on the first or the last shard."""
        shards = int(os.environ.get("SB_SHARDS", "1"))
        for point, hits in (("target.open", (2, 3)), ("source.open", range(2 * shards + 1, 5 * shards + 1))):
            for hit in hits:
                with self.subTest(f"{point} {hit}"), harness.Daemon(webhooks({"a": "/hooks/a"})) as d:
                    self.fails_half_way(d, f"{point}:{hit}:err")

    def fails_half_way(self, d, fault):
        d.start(env={"SB_FAULT": fault})
        before = d.status()
        load = harness.Load(threads=2).start(d)
        load.wait_acked(5)
        self.assertEqual(d.post({"n": 1}, path="/hooks/a").status, 202)
        config = webhooks({"a": "/hooks/other", "b": "/hooks/a", "c": "/hooks/c"}, mark="new")
        config["targets"]["more"] = {"log": {}}
        d.write_config(config)
        d.write_rules(rule("new", "more"))
        failed = d.cli("reload", ok=(5,))
        self.assertIn("injected", failed.stderr)
        load.wait_acked(5)
        load.stop()
        after = d.status()
        self.assertEqual(after["generation"], before["generation"])
        for what in ("sources", "targets", "rules"):
            self.assertEqual([x["name"] for x in after[what]], [x["name"] for x in before[what]])
        self.assertEqual(d.post({"n": 2}, path="/hooks/a").status, 202)
        self.assertEqual([d.post({}, path=p).status for p in ("/hooks/other", "/hooks/c")], [404, 404])
        d.settle()
        self.assertEqual(harness.named(d.status()["sources"], "a")["received"], 2)
        self.assertEqual((harness.lost(load, d), harness.duplicates(d), load.refused), ([], 0, 0))
        self.assertEqual(d.cli("reload", ok=(0,)).returncode, 0)  # the fault is spent
        self.assertEqual([d.post({}, path=p).status for p in ("/hooks/a", "/hooks/other", "/hooks/c")], [202] * 3)
        self.assertEqual([x["name"] for x in d.status()["targets"]], ["more", "record"])
        self.assertEqual(harness.named(d.status()["sources"], "a")["received"], 3)
        d.settle()
        d.audit()
        self.assertEqual(d.stop(), 0)

    def test_a_target_that_a_failed_reload_brought_is_forgotten(self):
        """One that came behind the one that failed was never opened: nothing of its configuration is used later."""
        with harness.Daemon() as d:
            d.start(env={"SB_FAULT": "target.open:2:err"})
            config = harness.simple_config()
            config["targets"].update({"x": {"log": {}}, "y": {"log": {}}})
            d.write_config(config)
            self.assertIn("injected", d.cli("reload", ok=(5,)).stderr)
            d.write_config(harness.simple_config())
            d.cli("reload", "--orphans", "dead-letter")
            config["targets"]["y"] = {"function": harness.recorder()}
            d.write_config(config)
            d.write_rules(rule("orders", "y"))
            d.cli("reload")
            self.assertEqual(d.target("y")["type"], "function")
            self.assertEqual(d.post(harness.order(1)).status, 202)
            harness.wait_for("the delivery", lambda: d.attempts(n=1, ok=True))
            d.settle("y")
            self.assertEqual(d.stop(), 0)

    def test_a_target_that_comes_back_under_load_has_what_was_owed(self):
        """After a restart without it: what the journal owes it stands before what comes now."""
        with harness.Daemon() as d:
            d.start()
            d.cli("pause", "target", "record")
            for n in range(1000000, 1000050):
                self.assertEqual(d.post(harness.order(n)).status, 202)
            d.stop()
            for _ in range(5):
                config = harness.simple_config()
                config["targets"] = {"trail": {"log": {}}}
                d.write_config(config)
                d.write_rules(rule("orders", "trail"))
                d.start()
                load = harness.Load(threads=4).start(d)
                load.wait_acked(20)
                d.write_config(harness.simple_config())
                d.write_rules(rule("orders", "record"))
                d.cli("reload")
                load.wait_acked(20)
                load.stop()
                self.assertEqual(d.stop(), 0)
            d.start()
            d.cli("resume", "target", "record")
            harness.wait_for("what was owed first", lambda: {a["n"] for a in d.attempts(ok=True)} >= set(range(1000000, 1000050)))
            d.settle()
            self.assertEqual(harness.duplicates(d), 0)
            d.audit()

    def test_sources_change_under_load(self):
        with harness.Daemon(webhooks({"a": "/hooks/a"})) as d:
            d.start()
            load = harness.Load(threads=2).start(d)
            d.cli("pause", "source", "a")
            for n in range(harness.cycles(8)):
                d.write_config(webhooks({"a": f"/hooks/{n}", "b": f"/hooks/{n + 1}"}))
                d.cli("reload")
                self.assertEqual(d.post({}, path=f"/hooks/{n + 1}").status, 202)
                self.assertEqual(d.post({}, path=f"/hooks/{n}").status, 503)  # the pause is the source's, not the instance's
                load.wait_acked(2)
            load.stop()
            d.settle()
            self.assertEqual(harness.named(d.status()["sources"], "b")["received"], harness.cycles(8))
            self.assertEqual((harness.lost(load, d), harness.duplicates(d), load.refused), ([], 0, 0))
            d.audit()
            self.assertEqual(d.stop(), 0)

    def test_an_event_keeps_the_generation_that_matched_it(self):
        self.d.cli("pause", "target", "record")
        matched_by = self.generation()
        self.assertEqual(self.d.post(harness.order(1, reject=True)).status, 202)
        self.d.write_rules(rule("renamed"))
        self.d.cli("reload")
        self.assertEqual(self.d.post(harness.order(2, reject=True)).status, 202)
        then_by = self.generation()
        self.assertNotEqual(matched_by, then_by)
        self.d.kill()
        self.d.start()  # and one more generation
        self.d.cli("resume", "target", "record")
        harness.wait_for("both letters", lambda: len(self.d.letters()) == 2)
        letters = sorted(self.d.letters(), key=lambda letter: letter["generation"])  # two workers: either may be the first
        self.assertEqual([(a["rule"], a["generation"]) for a in letters], [("orders", matched_by), ("renamed", then_by)])
        self.d.cli("dlq", "redrive", letters[0]["id"])
        letter = harness.wait_for("the redriven one to die again", lambda: [a for a in self.d.letters() if a["lives"] == 2])[0]
        self.assertEqual((letter["rule"], letter["generation"]), ("orders", matched_by))

    def test_a_bad_file_keeps_the_old_generation_and_says_where(self):
        before = self.generation()
        self.d.write_rules("rules:\n  - name: orders\n    pattern: {source: [{prefx: a}]}\n    targets: [{target: record}]\n")
        done = self.d.cli("reload", ok=(3,))
        self.assertIn("orders.yaml:3:", done.stdout + done.stderr)
        self.assertIn("prefix", done.stdout + done.stderr)
        self.assertEqual(self.generation(), before)
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        harness.wait_for("the old rule to deliver", lambda: self.d.attempts(n=1))

    def test_sighup_reloads(self):
        before = self.generation()
        self.d.write_rules(rule("renamed"))
        self.d.process.send_signal(signal.SIGHUP)
        harness.wait_for("a new generation", lambda: self.generation() > before)

    def test_a_target_that_still_owes_is_not_removed_unless_told_how(self):
        self.d.cli("pause", "target", "record")
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        config = harness.simple_config()
        config["targets"] = {"trail": {"log": {}}}
        self.d.write_config(config)
        self.d.write_rules(rule("orders", "trail"))
        self.assertIn("record", (lambda p: p.stdout + p.stderr)(self.d.cli("reload", ok=(1, 3, 5))))
        self.d.cli("reload", "--orphans", "dead-letter")
        [letter] = harness.wait_for("the dead letter", self.d.letters)
        self.assertEqual(letter["target"], "record")
        self.d.audit()

    def without_record(self):
        """The configuration has lost the target that two deliveries are owed to."""
        self.d.cli("pause", "target", "record")
        self.assertEqual(self.d.post([harness.order(1), harness.order(2)]).status, 202)
        config = harness.simple_config()
        config["targets"] = {"trail": {"log": {}}}
        self.d.write_config(config)
        self.d.write_rules(rule("orders", "trail"))

    def put_back(self):
        self.d.write_config(harness.simple_config())
        self.d.write_rules(harness.ORDERS)

    def assert_waiting(self):
        target = self.d.target()
        self.assertEqual((target["removed"], target["queued"], target["in_flight"]), (True, 2, 0), target)
        self.assertGreater(target["oldest_ms"], 0)
        self.assertRegex(self.d.cli("status").stdout, r"record .* 2 .* removed")

    def test_what_is_owed_to_a_removed_target_drains(self):
        self.d.cli("resume", "target", "record")
        slow = self.d.folder / "slow"
        slow.touch()
        self.assertEqual(self.d.post([harness.order(n, sleep_while=str(slow)) for n in range(5)]).status, 202)
        harness.wait_for("two in flight", lambda: self.d.target()["in_flight"] == 2)
        config = harness.simple_config()
        config["targets"] = {"trail": {"log": {}}}
        self.d.write_config(config)
        self.d.write_rules(rule("orders", "trail"))
        told = self.d.cli("reload", "--orphans", "drain")
        self.assertIn("record", told.stdout)
        self.assertEqual((self.d.target()["removed"], self.d.target()["in_flight"]), (True, 2))
        slow.unlink()
        harness.wait_for("all five", lambda: len(self.d.attempts(ok=True)) == 5)
        harness.wait_for("its workers to be gone", lambda: not self.d.workers())
        self.assertEqual([t["name"] for t in self.d.status()["targets"]], ["trail"])
        self.assertEqual(harness.duplicates(self.d), 0)
        self.d.audit()

    def test_a_removed_target_that_is_paused_can_be_resumed(self):
        self.without_record()
        self.d.cli("reload", "--orphans", "drain")
        self.assertRegex(self.d.cli("status").stdout, r"record .* 2 .* removed, paused")
        self.d.cli("resume", "target", "record")
        harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
        harness.wait_for("its workers to be gone", lambda: not self.d.workers())
        self.d.audit()

    def test_a_removed_target_that_comes_back_has_its_queue(self):
        """By reload while it still drains, and after it has drained: there is never a second queue of its name."""
        self.without_record()
        self.d.cli("reload", "--orphans", "drain")
        self.assertEqual(self.d.target()["queued"], 2)
        self.put_back()
        self.d.cli("reload")
        self.assertFalse(self.d.target()["removed"])
        self.d.cli("resume", "target", "record")
        harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
        self.d.settle()
        for n in (3, 4):
            config = harness.simple_config()
            config["targets"] = {"trail": {"log": {}}}
            self.d.write_config(config)
            self.d.write_rules(rule("orders", "trail"))
            self.d.cli("reload")
            harness.wait_for("its workers to be gone", lambda: not self.d.workers())
            self.put_back()
            self.d.cli("reload")
            self.assertEqual(self.d.post(harness.order(n)).status, 202)
            harness.wait_for("the delivery", lambda n=n: self.d.attempts(n=n, ok=True))
        self.d.settle()
        self.assertEqual(harness.duplicates(self.d), 0)
        self.assertEqual(len(self.d.attempts()), 4)
        self.d.audit()

    def test_orphans_are_seen_and_wait_after_a_restart(self):
        self.without_record()
        self.d.kill()
        self.d.start()
        self.assert_waiting()
        self.assertIn("is not configured", self.d.log_tail())
        told = self.d.cli("reload")  # says what waits, and refuses nothing: it did not cause it
        self.assertIn("record", told.stdout)
        self.assert_waiting()
        self.put_back()
        self.d.cli("reload")
        self.assertFalse(self.d.target()["removed"])
        self.d.cli("resume", "target", "record")
        harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
        self.d.settle()
        self.assertEqual(harness.duplicates(self.d), 0)
        self.d.audit()
        self.d.kill()
        self.d.start()
        self.assertEqual(self.d.target()["queued"], 0)
        self.assertEqual(len(self.d.attempts()), 2)

    def test_orphans_of_a_restart_become_dead_letters(self):
        for how in ("reload", "run"):
            with self.subTest(how), harness.Daemon() as self.d:
                self.d.start()
                self.without_record()
                self.d.kill()
                if how == "run":
                    self.d.start(words=("--orphans", "dead-letter"))
                else:
                    self.d.start()
                    self.assert_waiting()
                    told = self.d.cli_json("reload", "--orphans", "dead-letter")
                    self.assertEqual(told["orphans"], [{"target": "record", "owed": 2, "fate": "dead-letter"}])
                letters = harness.wait_for("both letters", lambda: len(self.d.letters()) == 2 and self.d.letters())
                self.assertEqual({a["error_code"] for a in letters}, {"TARGET_REMOVED"})
                self.assertEqual([t["name"] for t in self.d.status()["targets"]], ["trail"])
                audit = self.d.audit()
                self.assertEqual((audit["in_flight"], audit["dead_lettered"]), (0, 2))
                self.put_back()
                self.d.cli("reload")
                self.d.cli("resume", "target", "record")
                self.d.cli("dlq", "redrive", "--target", "record")
                harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
                harness.wait_for("the letters to go", lambda: not self.d.letters())
                self.d.audit()

    def test_a_pause_holds_deliveries_over_a_restart(self):
        self.d.cli("pause", "target", "record")
        self.assertEqual(self.d.post([harness.order(1), harness.order(2)]).status, 202)
        self.assertTrue(self.d.target()["paused"])
        self.d.kill()
        self.d.start()
        self.assertTrue(self.d.target()["paused"])
        self.assertEqual(self.d.attempts(), [])
        self.d.cli("resume", "target", "record")
        harness.wait_for("both deliveries", lambda: len(self.d.attempts(ok=True)) == 2)
        self.d.settle()

    def test_a_paused_source_refuses_with_a_reason(self):
        source = named_source(self.d.status())
        self.d.cli("pause", "source", source)
        self.assertEqual(self.d.post(harness.order(1)).status, 503)
        self.d.cli("resume", "source", source)
        self.assertEqual(self.d.post(harness.order(1)).status, 202)


def twin_rules(g):
    """Two rules for every order, which mark what they give with their names and the number of their generation."""
    template = '{"detail": {"n": <n>, "by": "<aws.events.rule-name>", "g": %d}}' % g
    target = {"target": "record", "input_transformer": {"paths": {"n": "$.detail.n"}, "template": template}}
    return {"rules": [{"name": name, "pattern": {"source": ["com.shop"]}, "targets": [target]} for name in ("one", "two")]}


def webhooks(paths, mark=""):
    """Sources with the given paths beside /v1/events, and the one target."""
    sources = {name: {"webhook": {"path": path}, "source": "com.hook", "detail_type": "Hook"}
               for name, path in paths.items()}
    config = harness.simple_config(sources=sources)
    config["targets"]["record"]["function"]["env"]["MARK"] = mark
    return config


def named_source(status):
    """The source behind /v1/events, under whatever name it is shown."""
    rows = status["sources"]
    names = list(rows) if isinstance(rows, dict) else [row["name"] for row in rows]
    assert len(names) == 1, json.dumps(rows)
    return names[0]


if __name__ == "__main__":
    harness.main()
