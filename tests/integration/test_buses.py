#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several buses: rules see their own bus only, events go on from one to another, loops end. And rules that send nothing."""
import unittest

import harness

HOPS = 3


def rule(name, targets, bus="default", **more):
    return {"name": name, "bus": bus, "pattern": {"source": ["com.shop"]}, "targets": [{"target": t} for t in targets], **more}


class Buses(unittest.TestCase):
    def daemon(self, *rules):
        config = harness.simple_config(buses={"audit": {}, "lonely": {}}, limits={"hops": HOPS})
        config["targets"].update({"to-audit": {"bus": {"name": "audit"}}, "to-default": {"bus": {"name": "default"}},
                                  "elsewhere": {"null": {}}})
        return self.enterContext(harness.Daemon(config, {"rules": list(rules)})).start()

    def matched(self, d):
        return {r["name"]: r["matched"] for r in d.status()["rules"]}

    def post(self, d, n, status=202, **event):
        self.assertEqual(d.post({**harness.order(n), **event}).status, status)

    def test_rules_see_the_events_of_their_own_bus_only(self):
        d = self.daemon(rule("mine", ["record"]), rule("theirs", ["elsewhere"], "audit"))
        self.post(d, 1)
        self.post(d, 2, bus="audit")
        self.post(d, 3, bus="lonely")
        self.post(d, 4, status=404, bus="nowhere")
        self.assertEqual(d.post(harness.order(5), "/v1/events?bus=nowhere").status, 404)
        d.settle()
        self.assertEqual([r["n"] for r in d.attempts()], [1])
        self.assertEqual(self.matched(d), {"mine": 1, "theirs": 1})
        audit = d.audit()
        self.assertEqual((audit["events"], audit["unmatched"]), (3, 1))

    def test_an_event_goes_on_to_another_bus_as_it_is(self):
        d = self.daemon(rule("forward", ["to-audit"]), rule("arrived", ["record"], "audit"))
        answer = d.post({**harness.order(1, text="\u00e9 1.0e2"), "id": "my-own", "resources": ["a", "b"]})
        self.assertEqual(answer.json["ids"], ["my-own"])
        [got] = harness.wait_for("the delivery from the other bus", d.attempts)
        self.assertEqual((got["event"]["id"], got["event"]["resources"]), ("my-own", ["a", "b"]))
        self.assertEqual(got["event"]["detail"], {"n": 1, "text": "\u00e9 1.0e2"})
        d.settle()
        d.settle("to-audit")
        audit = d.audit()
        self.assertEqual((audit["events"], audit["delivered"]), (2, 2))

    def test_what_is_owed_to_another_bus_gets_there_over_a_crash(self):
        d = self.daemon(rule("forward", ["to-audit"]), rule("arrived", ["record"], "audit"))
        d.cli("pause", "target", "to-audit")
        for n in range(20):
            self.post(d, n)
        d.kill()
        d.start()
        d.cli("resume", "target", "to-audit")
        harness.wait_for("all of them", lambda: {r["n"] for r in d.attempts(ok=True)} == set(range(20)))
        d.settle()
        d.audit()

    def test_buses_that_feed_each_other_end_in_a_dead_letter(self):
        d = self.daemon(rule("there", ["to-audit", "record"]), rule("back", ["to-default"], "audit"))
        self.post(d, 1)
        [letter] = harness.wait_for("the dead letter", d.letters)
        self.assertEqual((letter["error_code"], letter["target"]), ("LOOP_DETECTED", "to-default"))
        d.settle()
        self.assertEqual(len(d.attempts(n=1)), 2, "once before, and once after it came round")
        audit = d.audit()
        self.assertEqual((audit["events"], audit["dead_lettered"], audit["in_flight"]), (1 + HOPS, 1, 0))


class States(unittest.TestCase):
    def test_shadow_counts_and_sends_nothing_disabled_does_neither(self):
        rules = {"rules": [rule("on", ["record"]), rule("shadow", ["record"], state="shadow"),
                           rule("off", ["record"], state="disabled")]}
        with harness.Daemon(rules=rules) as d:
            d.start()
            self.assertEqual(d.post([harness.order(n) for n in range(3)]).status, 202)
            d.settle()
            self.assertEqual({r["name"]: (r["state"], r["matched"]) for r in d.status()["rules"]},
                             {"on": ("enabled", 3), "shadow": ("shadow", 3), "off": ("disabled", 0)})
            self.assertEqual(len(d.attempts()), 3)
            self.assertEqual(d.audit()["delivered"], 3)

    def test_an_event_that_only_a_shadow_matches_is_unmatched(self):
        with harness.Daemon(rules={"rules": [rule("shadow", ["record"], state="shadow")]}) as d:
            d.start()
            self.assertEqual(d.post(harness.order(1)).status, 202)
            audit = d.audit()
            self.assertEqual((audit["events"], audit["unmatched"], audit["accepted"]), (1, 1, 0))
            d.write_rules({"rules": [rule("shadow", ["record"])]})
            d.cli("reload")
            self.assertEqual(d.post(harness.order(2)).status, 202)
            d.settle()
            self.assertEqual([r["n"] for r in d.attempts()], [2])


if __name__ == "__main__":
    harness.main()
