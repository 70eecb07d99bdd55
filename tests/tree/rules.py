#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that a grep can hold: licence lines, banned functions, own header first, file length, top folders."""
import re

import source

TOP = {"broker", "connectors", "deploy", "docs", "executor", "rules", "schemas", "tests"}
TOP_HIDDEN = {".ci", ".git"}
# Unbounded, locale-bound, not thread-safe, or chance and processes behind the back of sb_rand and sb_procs.
BANNED = ("strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "gets", "localtime", "gmtime", "rand", "srand", "system", "popen")
BANNED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
MAX_LINES = 800


def licence(root):
    for path in source.files(root):
        if source.is_code(path) and path.name != "CMakeLists.txt":
            head = path.read_text(encoding="utf-8").splitlines()[:3]
            if not any("SPDX-License-Identifier: Apache-2.0" in line for line in head):
                yield f"{path.relative_to(root)}:1: no SPDX line"


def banned(root):
    for path in source.c_files(root):
        text = source.bare(path.read_text(encoding="utf-8"))
        for n, line in enumerate(text.splitlines(), 1):
            for call in BANNED_CALL.finditer(line):
                yield f"{path.relative_to(root)}:{n}: {call.group(1)}() is banned"


def own_header_first(root):
    for path in source.c_files(root, (".c",)):
        own = path.with_suffix(".h")
        if not own.exists() or path.is_relative_to(root / "tests"):
            continue  # cmocka's headers want to come first
        first = next((name for _, name in source.includes(path)), "")
        if first not in (own.name, str(own.relative_to(root))):
            yield f"{path.relative_to(root)}:1: includes \"{first}\" before its own {own.name}"


def length(root):
    for path in source.c_files(root):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_LINES:
            yield f"{path.relative_to(root)}: {lines} lines, at most {MAX_LINES}"


def folders(root):
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in TOP | TOP_HIDDEN | source.SKIPPED:
            yield f"{path.name}/: not a folder of this project"


def check(root):
    for rule in (licence, banned, own_header_first, length, folders):
        yield from rule(root)


if __name__ == "__main__":
    source.main(check)
