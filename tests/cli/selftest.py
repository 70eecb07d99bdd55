#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The golden runner: what matches, what it complains of, what --update writes."""
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

import run

FAKE = "#!/bin/sh\n[ \"$1\" != version ] || { echo signalbox 1.2.3; exit 0; }\ncat input; echo in $PWD >&2; exit 3\n"

MATCHES = [
    ("plain text", "a.b\n", "a.b\n", True),
    ("a dot is a dot", "a.b\n", "axb\n", False),
    ("a uuid", "id <UUID>\n", "id 01234567-89ab-7def-8123-456789abcdef\n", True),
    ("not a uuid", "id <UUID>\n", "id 0123\n", False),
    ("a number", "took <NUM> ms\n", "took 1.25 ms\n", True),
    ("the folder", "<DIR>/x\n", "/tmp/here/x\n", True),
    ("the rest of a line", "error: <ANY>\n", "error: no such file\n", True),
    ("not beyond the line", "error: <ANY>\n", "error: a\nb\n", False),
    ("any lines", "first\n<...>\nlast\n", "first\na\nb\nlast\n", True),
    ("no lines", "first\n<...>\nlast\n", "first\nlast\n", True),
    ("unknown names stand for themselves", "<FILE>\n", "<FILE>\n", True),
    ("a missing line", "a\nb\n", "a\n", False),
]


class Runner(unittest.TestCase):
    def test_placeholders(self):
        for what, golden, text, expected in MATCHES:
            with self.subTest(what):
                self.assertEqual(bool(run.to_regex(golden, "/tmp/here").fullmatch(text)), expected)

    def test_a_case_fails_until_it_is_updated_and_holds_after(self):
        with tempfile.TemporaryDirectory() as scratch:
            root = pathlib.Path(scratch)
            binary = root / "fake"
            binary.write_text(FAKE)
            binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
            case = root / "cases" / "one"
            case.mkdir(parents=True)
            (case / "cmd").write_text("signalbox show\n")
            (case / "input").write_text("at 2026-01-02T03:04:05Z with 1.2.3\n")
            command = [sys.executable, os.path.abspath(run.__file__), "--binary", str(binary), "--cases", str(case.parent)]
            self.assertEqual(subprocess.run(command, capture_output=True).returncode, 1)
            self.assertEqual(subprocess.run([*command, "--update"], capture_output=True).returncode, 0)
            self.assertEqual((case / "stdout").read_text(), "at <TIME> with <VERSION>\n")
            self.assertEqual((case / "stderr").read_text(), "in <DIR>\n")
            self.assertEqual((case / "exit").read_text(), "3\n")
            self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
            (case / "exit").write_text("0\n")
            self.assertEqual(subprocess.run(command, capture_output=True).returncode, 1)


if __name__ == "__main__":
    unittest.main()
