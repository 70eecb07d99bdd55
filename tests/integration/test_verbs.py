#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every verb answers in JSON when asked to, with and without a daemon, and when it fails."""
import json
import unittest

import harness

WITH_DAEMON = [
    ("check",), ("status",), ("audit",), ("dlq", "list"), ("send", "{event}"), ("pause", "target", "record"),
    ("resume", "target", "record"), ("reload",), ("dlq", "redrive", "--dry-run", "--target", "record"),
    ("dlq", "purge", "--yes", "--target", "record"), ("version",), ("help",),
]
WITHOUT_DAEMON = [("check",), ("audit",), ("dlq", "list"), ("version",), ("help",)]
NEEDS_DAEMON = [("status",), ("reload",), ("pause", "target", "record"), ("dlq", "redrive", "--target", "record")]

EVENT = '{"source":"a","detail-type":"b","detail":{}}'
WRONG = {  # for each verb what its words must not be
    "run": ["--orphans", "keep"], "check": ["word"], "match": ["-p", "{}"], "send": ["--source", "a"], "dlq": ["lst"], "pause": ["rule", "x"],
    "resume": ["target"], "status": ["--cluster", "x"], "audit": ["--dry-run"], "reload": ["--orphans", "keep"], "version": ["word"],
    "help": ["chck"],
}
NAMES = [  # words, exit code, code in the error: nobody has that name
    (("pause", "target", "recrd"), 1, "not_found"), (("resume", "source", "recrd"), 1, "not_found"), (("dlq", "show", "x"), 1, "missing"),
    (("dlq", "redrive", "x"), 1, "missing"), (("dlq", "purge", "x", "--yes"), 1, "missing"),
    (("send", '{"source":"a","detail-type":"b","bus":"nowhere","detail":{}}'), 1, "unknown_bus"),
    (("send", "nowhere.json"), 2, "io"), (("match", "-p", "nowhere.json", "-e", "{}"), 2, "io"), (("help", "nowhere"), 2, "usage"),
    (("match", "-p", '{"a":[{"no":1}]}', "-e", "{}"), 2, "bad-pattern"), (("send", "{"), 2, "syntax"), (("run",), 5, "busy"),
]
ALONE = [  # where no daemon is running
    (("status",), 4), (("status", "--redis", "redis://127.0.0.1:1"), 4), (("reload",), 4), (("pause", "target", "record"), 4),
    (("resume", "target", "record"), 4), (("send", EVENT), 4), (("send", "--address", "127.0.0.1:1", EVENT), 4), (("dlq", "redrive"), 4),
    (("dlq", "purge", "--yes"), 4), (("dlq", "list", "--data-dir", "nowhere"), 4), (("audit", "--data-dir", "nowhere"), 2),
]
READ_CONFIG = [("status",), ("reload",), ("pause", "target", "x"), ("resume", "target", "x"), ("send", EVENT), ("dlq", "list"),
               ("dlq", "redrive"), ("audit",), ("check",), ("run",)]


class Verbs(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon()).start()
        self.event = self.d.folder / "event.json"
        self.event.write_text(json.dumps(harness.order(1)))

    def run_verb(self, words, **kw):
        return self.d.cli(*[w.format(event=self.event) for w in words], "-o", "json", **kw)

    def test_with_a_daemon(self):
        for words in WITH_DAEMON:
            with self.subTest(" ".join(words)):
                json.loads(self.run_verb(words).stdout)

    def test_without_a_daemon(self):
        self.assertEqual(self.d.stop(), 0)
        for words in WITHOUT_DAEMON:
            with self.subTest(" ".join(words)):
                json.loads(self.run_verb(words).stdout)
        for words in NEEDS_DAEMON:
            with self.subTest(" ".join(words)):
                self.run_verb(words, ok=(4,))

    def failure(self, words, code, error=None):
        """One JSON object on stdout that says why, and the same for people on stderr."""
        done = self.d.cli(*words, "-o", "json", ok=(code,))
        answer = json.loads(done.stdout)
        self.assertEqual(answer["v"], 1)
        self.assertTrue(answer["error"]["message"] and answer["error"]["code"], done.stdout)
        if error:
            self.assertEqual(answer["error"]["code"], error)
        self.assertTrue(done.stderr or "results" in answer or "findings" in answer or "errors" in answer, done.stdout)
        return answer

    def test_bad_usage_is_told_in_json(self):
        self.assertEqual(sorted(WRONG), sorted(v["name"] for v in self.d.cli_json("help")["commands"]))
        for verb, words in WRONG.items():
            with self.subTest(verb):
                self.failure((verb, *words), 2, "usage")
                self.failure((verb, "--nonsense"), 2, "usage")
        for words in (("stats",), ("status", "-ojson", "--nonsense"), ("status", "--output=json", "a", "b")):
            self.failure(words, 2, "usage")
        done = self.d.cli("status", "--nonsense", ok=(2,))
        self.assertEqual(done.stdout, "")
        done = self.d.cli("status", "--nonsense", "--", "-o", "json", ok=(2,))
        self.assertEqual(done.stdout, "")

    def test_unknown_names_are_told_in_json(self):
        for words, code, error in NAMES:
            with self.subTest(" ".join(words)):
                self.failure(words, code, error)

    def test_nobody_there_is_told_in_json(self):
        self.assertEqual(self.d.stop(), 0)
        for words, code in ALONE:
            with self.subTest(" ".join(words)):
                answer = self.failure(words, code)
                if words[0] == "send":
                    self.assertEqual(answer.get("stored", 0), 0)

    def test_a_broken_configuration_is_told_in_json(self):
        self.d.write_config("version: 1\ndata_dir: [\n")
        for words in READ_CONFIG:
            with self.subTest(" ".join(words)):
                answer = self.failure(words, 3, "invalid-value")
                [first, *_] = answer["findings"] if words == ("check",) else answer["diagnostics"]
                self.assertEqual((first["file"], first["severity"]), ("signalbox.yaml", "error"))
        self.d.write_config(json.dumps({"version": 1, "data_dir": str(self.d.data), "targets": {"x": {"lgo": {}}}}))
        answer = self.failure(("reload",), 3, "invalid-value")
        self.assertTrue(answer["diagnostics"])
        (self.d.folder / "signalbox.yaml").unlink()
        for words in READ_CONFIG:
            with self.subTest("no configuration: " + " ".join(words)):
                self.failure(words, 3 if words == ("run",) else 2)

    def test_near_names_are_told(self):
        for words, code, near in (
                (("send", "--bus", "defalt", "--source", "a", "--detail-type", "b", "--detail", "{}"), 1, "--bus default"),
                (("pause", "target", "recrd"), 1, "`record`"), (("dlq", "lst"), 2, "`list`"), (("help", "chck"), 2, "`check`"),
                (("stats",), 2, "`status`"), (("check", "--strct"), 2, "--strict")):
            with self.subTest(" ".join(words)):
                self.assertIn(f"did you mean {near}?", self.d.cli(*words, ok=(code,)).stderr)

    def test_short_help_fits_a_screen_and_long_help_tells_all(self):
        for verb in self.d.cli_json("help")["commands"]:
            with self.subTest(verb["name"]):
                short, long = (self.d.cli(verb["name"], how).stdout for how in ("-h", "--help"))
                self.assertLessEqual(len(short.splitlines()), 24)
                self.assertTrue(short.startswith(verb["summary"] + "\n\nusage: signalbox " + verb["name"]))
                for text in (short, long):
                    for option in verb["options"]:
                        self.assertIn("--" + option["name"], text)
                self.assertIn("--output", long)
                self.assertRegex(short, "-o[ ,]")
                self.assertEqual("\n  signalbox " in long, "\n  signalbox " in short)  # examples

    def test_send_to_an_unknown_bus_fails(self):
        self.event.write_text(json.dumps({**harness.order(1), "bus": "nowhere"}))
        self.assertNotEqual(self.run_verb(("send", "{event}"), ok=None).returncode, 0)

    def test_a_filter_that_makes_no_sense_touches_nothing(self):
        self.d.broken.touch()
        self.assertEqual(self.d.post(harness.order(1)).status, 202)
        harness.wait_for("the dead letter", self.d.letters)
        for body in ({"older_than_ms": 10 ** 15}, {"older_than_ms": 2 ** 63 - 1}):
            answer = self.d.control("/v1/dlq/purge", body)
            self.assertEqual((answer.status, answer.json["purged"]), (200, 0), body)
        for body in ({"older_than_ms": "7d"}, {"older_than_ms": -1}, {"traget": "x"}, {"target": ["record"]}, {"rematch": 1}):
            answer = self.d.control("/v1/dlq/purge", body)
            self.assertEqual((answer.status, answer.json["error"]["code"]), (400, "bad_request"), body)
        self.assertEqual(len(self.d.letters()), 1)

    def test_only_what_is_stored_is_counted_as_matched(self):
        self.d.stop()
        config = harness.simple_config()
        config["targets"]["record"].update({"max_queue": {"bytes": "1KiB"}, "on_full": "refuse"})
        self.d.write_config(config)
        self.d.start()
        self.d.cli("pause", "target", "record")
        small, large = harness.order(1), harness.order(2, x="x" * 2000)
        self.assertEqual(self.d.post([small, large, small]).status, 503)
        self.assertEqual(self.d.post([small, large], headers={"Prefer": "handling=lenient"}).status, 207)
        status = self.d.status()
        self.assertEqual([r["matched"] for r in status["rules"]], [1])
        self.assertEqual(status["counts"], {"events": 1, "unmatched": 0})
        [source] = status["sources"]
        self.assertEqual((source["received"], source["refused"], source["rejected"]), (1, 2, {"not_stored": 2}))


if __name__ == "__main__":
    harness.main()
