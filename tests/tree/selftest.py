#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of the tree finds the fault that is planted for it, and nothing in a tree without one; the summary counts right."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import arrows
import docs
import readmes
import rules
import source

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def plant(root, **changes):
    """A small clean tree; `changes` are file texts by path, None takes a file away."""
    tree = {
        "broker/README.md": "x", "broker/base/README.md": "x", "rules/README.md": "x", "executor/README.md": "x",
        "broker/base/buf.h": SPDX, "broker/base/buf.c": SPDX + '#include "broker/base/buf.h"\n',
        "rules/rules.h": SPDX + '#include "broker/base/buf.h"\n', "rules/private.h": SPDX,
        "rules/rules.c": SPDX + '#include "rules/rules.h"\n#include "private.h"\n',
        "executor/pool.c": SPDX + '#include "rules/rules.h"\nint f(struct r *r) { return r->rand(); } /* strcpy(a, b) */\n',
        **changes,
    }
    for name, text in tree.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


FAULTS = [
    ("an arrow to the right", {"rules/rules.c": SPDX + '#include "rules/rules.h"\n#include "executor/x.h"\n', "executor/x.h": SPDX},
     "rules must not see executor"),
    ("base that sees a room", {"broker/base/buf.c": SPDX + '#include "broker/base/buf.h"\n#include "rules/rules.h"\n'},
     "broker/base must not see rules"),
    ("another room's private header", {"executor/pool.c": SPDX + '#include "rules/private.h"\n'}, "private to rules"),
    ("a header that is not there", {"executor/pool.c": SPDX + '#include "gone.h"\n'}, "no such header"),
    ("no licence line", {"executor/pool.c": "int a;\n"}, "no SPDX line"),
    ("a banned function", {"executor/pool.c": SPDX + "void f(char *a) { strcpy(a, a); }\n"}, "strcpy() is banned"),
    ("a header before its own", {"broker/base/buf.c": SPDX + '#include "rules/rules.h"\n#include "buf.h"\n'}, "before its own buf.h"),
    ("a file that is too long", {"executor/pool.c": SPDX + "\n" * 800}, "801 lines"),
    ("a folder nobody planned", {"lib/README.md": "x"}, "lib/: not a folder"),
    ("a link to nowhere", {"rules/README.md": "see [this](gone.md)"}, "leads nowhere: gone.md"),
    ("a test that is not there", {"rules/README.md": "proven by `unit.rules_gone`"}, "no such test: unit.rules_gone"),
    ("a folder without README", {"rules/README.md": None}, "rules/: no README.md"),
]


class Rules(unittest.TestCase):
    def findings(self, changes):
        with tempfile.TemporaryDirectory() as scratch:
            root = pathlib.Path(scratch)
            plant(root, **changes)
            return [*arrows.check(root), *rules.check(root), *readmes.check(root), *docs.check(root)]

    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual(self.findings({}), [])

    def test_each_fault_is_found(self):
        for what, changes, expected in FAULTS:
            with self.subTest(what):
                self.assertTrue(any(expected in f for f in self.findings(changes)), self.findings(changes))

    def test_a_unit_test_may_see_the_private_headers_of_its_room_only(self):
        with tempfile.TemporaryDirectory() as scratch:
            root = pathlib.Path(scratch)
            plant(root)
            self.assertIsNone(arrows.wrong(root, "tests/unit/rules/test_a.c", "rules/private.h"))
            self.assertIn("private", arrows.wrong(root, "tests/unit/executor/test_a.c", "rules/private.h"))


CASES = {
    "passed": '<testcase name="unit.a" status="run"><system-out>x</system-out></testcase>',
    "failed": '<testcase name="unit.b" status="fail"><failure message="Failed"/></testcase>',
    "not built": '<testcase name="unit.c" status="notrun"><skipped message="Unable to find executable"/></testcase>',
    "skipped": '<testcase name="unit.d" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>'
               "<system-out>SKIP: no root here</system-out></testcase>",
    "in part": '<testcase name="unit.e" status="run"><system-out>ok\nSKIP: no loop mount\nSKIP: no cat, no dog\nSKIP: no loop mount\n'
               "[  SKIPPED ] a_case\nwe do not SKIP: this</system-out></testcase>",
}
COUNTS = [  # what, files, lines there must be, the last line, exit code, arguments
    ("all is well", {"ci.xml": ["passed"], "asan.xml": ["passed"]}, [], "2 passed, 0 failed", 0, []),
    ("a failure names its preset", {"asan.xml": ["failed"]}, ["FAILED asan/unit.b"], "0 passed, 1 failed", 1, []),
    ("what could not start has failed", {"ci.xml": ["passed", "not built"]}, ["FAILED unit.c"], "1 passed, 1 failed", 1, []),
    ("a skip is told with its reason and not counted", {"ci.xml": ["passed", "skipped"]},
     ["SKIPPED unit.d: no root here", "1 SKIPPED"], "1 passed, 0 failed", 0, []),
    ("what a test left out is told, each reason once", {"tsan.xml": ["in part"]},
     ["SKIPPED in part: tsan/unit.e: no loop mount", "SKIPPED in part: tsan/unit.e: no cat, no dog", "SKIPPED in part: tsan/unit.e: a_case"],
     "1 passed, 0 failed", 0, []),
    ("what was not even built is told", {"ci.xml": ["passed"]}, ["SKIPPED fuzz: there is no clang-14", "1 SKIPPED"],
     "1 passed, 0 failed", 0, ["--skipped", "fuzz", "there is no clang-14"]),
    ("a preset that did not build has failed", {"ci.xml": ["passed"]}, ["FAILED build.asan: did not build"],
     "1 passed, 1 failed", 1, ["--failed", "build.asan"]),
    ("nothing run is a failure", {}, ["FAILED no test"], "0 passed, 1 failed", 1, []),
    ("a broken result is a failure", {"ci.xml": None}, ["FAILED results"], "0 passed, 1 failed", 1, []),
]


class Summary(unittest.TestCase):
    def test_counts(self):
        for what, files, lines, last, code, arguments in COUNTS:
            with self.subTest(what), tempfile.TemporaryDirectory() as scratch:
                for name, cases in files.items():
                    text = "<testsuite" if cases is None else f"<testsuite>{''.join(CASES[c] for c in cases)}</testsuite>"
                    pathlib.Path(scratch, name).write_text(text)
                command = [sys.executable, source.ROOT / "tests/summary.py", *arguments, scratch]
                done = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual((done.stdout.splitlines()[-1], done.returncode), (last, code), done.stdout + done.stderr)
                for line in lines:
                    self.assertEqual(done.stdout.count(line), 1, done.stdout)


if __name__ == "__main__":
    unittest.main()
