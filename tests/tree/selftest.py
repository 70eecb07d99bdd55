#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of the tree finds the fault that is planted for it, and finds nothing in a tree without one."""
import pathlib
import tempfile
import unittest

import arrows
import docs
import readmes
import rules

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


if __name__ == "__main__":
    unittest.main()
