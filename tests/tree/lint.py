#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy 14 with the repository's .clang-tidy over every .c that is in the build.   lint.py BUILD_FOLDER

A file that was clean is not looked at again until something it is made of changes: the stamp under BUILD_FOLDER/lint holds
the hash of its preprocessed text and of the rules.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import source

SKIP = 77
TIDY = "clang-tidy-14"


def fingerprint(entry, rules):
    words = shlex.split(entry["command"])
    out = words.index("-o")
    command = [w for i, w in enumerate(words) if w != "-c" and i not in (out, out + 1)] + ["-E"]
    done = subprocess.run(command, cwd=entry["directory"], capture_output=True)
    return hashlib.sha256(rules + done.stdout).hexdigest()


def lint(entry, build, rules):
    path = pathlib.Path(entry["file"])
    relative = path.relative_to(source.ROOT)
    stamp = build / "lint" / (str(relative).replace("/", "_") + ".ok")
    mark = fingerprint(entry, rules)
    if stamp.exists() and stamp.read_text() == mark:
        return None
    done = subprocess.run([TIDY, "--quiet", "-p", str(build), str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        return f"{relative}:\n{done.stdout.strip()}"
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(mark)
    return None


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    if not shutil.which(TIDY):
        print(f"SKIP: {TIDY} is not installed")
        return SKIP
    rules = (source.ROOT / ".clang-tidy").read_bytes()
    entries = json.loads((build / "compile_commands.json").read_text())
    ours = {e["file"]: e for e in entries if str(source.ROOT) + "/" in e["file"] and str(build) not in e["file"]
            and not e["file"].startswith(str(source.ROOT / "tests") + "/")}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return source.report(a for a in pool.map(lambda e: lint(e, build, rules), ours.values()) if a)


if __name__ == "__main__":
    sys.exit(main())
