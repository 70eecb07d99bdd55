#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, and twice.   headers.py BUILD_FOLDER [ROOT]

The include paths and definitions are those of the whole build, read from its compile_commands.json.
"""
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

import source

WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-function", "-Werror"]


def flags(build):
    """(compiler, flags) that any file of the build may have been compiled with."""
    commands = json.loads((build / "compile_commands.json").read_text())
    compiler, found = "cc", {}
    for entry in commands:
        words = shlex.split(entry["command"])
        compiler = next(w for w in words if not w.endswith("ccache"))
        for i, word in enumerate(words):
            if word.startswith(("-I", "-D", "-std")):
                found[word] = None
            elif word == "-isystem":
                found[word + words[i + 1]] = None
    return compiler, list(found)


def compile_alone(compiler, options, header):
    text = f'#include "{header}"\n#include "{header}"\nextern int used;\n'
    done = subprocess.run([compiler, *options, *WARNINGS, "-fsyntax-only", "-x", "c", "-"], input=text, capture_output=True,
                          text=True)
    return None if done.returncode == 0 else f"{header}: does not compile alone\n{done.stderr.strip()}"


def check(root, build):
    compiler, options = flags(build)
    headers = [path for path in source.c_files(root, (".h",))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for answer in pool.map(lambda header: compile_alone(compiler, options, header), headers):
            if answer:
                yield answer


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else source.ROOT
    sys.exit(source.report(check(where, pathlib.Path(sys.argv[1]).resolve())))
