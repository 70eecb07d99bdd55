#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people wait for: `check` of 1,000 rules, `help` and `match`, in processor time, which neighbours do not change."""
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import unittest

import harness

RULE = """  - name: rule-{n}
    pattern:
      source: [com.shop, com.shop{n}]
      detail: {{total: [{{numeric: [">=", {n}]}}], customer: {{country: [de, {{prefix: "x{n}"}}]}}, sku: [{{wildcard: "a*{n}*z"}}]}}
    targets:
      - trail
      - {{target: record, input_transformer: {{paths: {{id: $.detail.id}}, template: '{{"order": <id>}}'}}}}
"""


def processor_ms(words, folder, runs=9):
    """The median of a few runs, user and system, of the process and its children."""
    took = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([harness.BINARY, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    print(f"{words[0]}: {statistics.median(took):.1f} ms", flush=True)
    return statistics.median(took)


class Startup(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "rules.d").mkdir()

    def test_a_thousand_rules_are_checked_in_100_ms(self):
        config = harness.simple_config()
        config["targets"]["record"]["function"].pop("env")
        config["targets"]["trail"] = {"log": {}}
        (self.folder / "signalbox.yaml").write_text(json.dumps(config))
        for part in range(20):
            text = "rules:\n" + "".join(RULE.format(n=n) for n in range(part * 50, part * 50 + 50))
            (self.folder / "rules.d" / f"{part}.yaml").write_text(text)
        self.assertLessEqual(processor_ms(["check"], self.folder), 100)

    def test_help_and_match_take_10_ms(self):
        (self.folder / "p").write_text('{"detail":{"n":[1]}}')
        (self.folder / "e").write_text(json.dumps(harness.order(1)))
        self.assertLessEqual(processor_ms(["help"], self.folder), 10)
        self.assertLessEqual(processor_ms(["match", "-p", "p", "-e", "e"], self.folder), 10)


if __name__ == "__main__":
    harness.main()
