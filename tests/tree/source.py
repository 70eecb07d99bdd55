# SPDX-License-Identifier: Apache-2.0
"""What the tests of the tree share: which files there are, and C text without comments and literals."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = {".git", "build", "data", "__pycache__"}
CODE = {".c", ".h", ".py", ".sh", ".cmake"}

_TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(root):
    for path in sorted(root.iterdir()):
        if path.name in SKIPPED or path.is_symlink():
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def c_files(root, suffixes=(".c", ".h")):
    return [p for p in files(root) if p.suffix in suffixes]


def is_code(path):
    """Sources and scripts: what needs a licence line."""
    if path.suffix in CODE or path.name == "CMakeLists.txt":
        return True
    return path.suffix == "" and path.read_bytes()[:2] == b"#!"


def bare(text):
    """C text with comments and literals blanked; line numbers stay."""
    return _TOKENS.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def includes(path):
    """(line, name) of every #include "..." in the file."""
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            yield n, found.group(1)


def report(findings):
    """Prints what was found and gives the exit code."""
    findings = list(findings)
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def main(check):
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    sys.exit(report(check(root.resolve())))
