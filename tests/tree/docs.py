#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Links between the documents lead somewhere, and the tests that a document names exist."""
import fnmatch
import re

import source

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`((?:unit|integration|cli|conformance|tree|mutant-[a-z-]+)[./][a-z0-9_.]+)`")
UNIT = re.compile(r"\bsb_test\(\s*([\w${}]+)|\badd_test\(NAME unit\.([\w${}]+)")


def tests(root):
    """Names of the tests that the CMake files and folders would register; a CMake variable in one stands for anything."""
    names = {"unit." + re.sub(r"\$\{\w+\}", "*", "".join(name)) for path in source.files(root) if path.name == "CMakeLists.txt"
             for name in UNIT.findall(path.read_text())}
    names |= {f"integration.{p.stem[5:]}" for p in root.glob("tests/integration/test_*.py")}
    names |= {f"cli.{p.parent.name}" for p in root.glob("tests/cli/*/cmd")}
    names |= {f"conformance.{p.parent.name}" for p in root.glob("connectors/*/*.c")}
    names |= {f"tree.{p.stem}" for p in root.glob("tests/tree/*.py")}
    return names | {"mutant-no-sync/powercut", "mutant-ack-early/powercut"}


def check(root):
    known = tests(root)
    for path in source.files(root):
        if path.suffix != ".md":
            continue
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            at = f"{path.relative_to(root)}:{n}"
            for link in LINK.findall(line):
                if "://" not in link and not (path.parent / link).exists():
                    yield f"{at}: leads nowhere: {link}"
            for name in TEST.findall(line):
                if not any(fnmatch.fnmatchcase(name, k) for k in known) and not path.is_relative_to(root / "tests"):
                    yield f"{at}: no such test: {name}"


if __name__ == "__main__":
    source.main(check)
