#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden tests of the command line.

    run.py --binary build/ci/signalbox [--update] [CASE...]

A case is a folder beside this file: `cmd`, a shell script in which `signalbox` is the binary; what it must print,
`stdout` and `stderr` (absent: nothing at all); its exit code, `exit` (absent: 0); and any files that it reads. It runs in
a fresh copy of its folder, without a terminal, in the C.UTF-8 locale.

Placeholders in `stdout` and `stderr` stand for what changes from run to run:

    <UUID> <TIME> <INT> <NUM> <HASH> <DIR> <VERSION>   one such value;  <DIR> is the folder the case runs in
    <ANY>                                              anything within a line
    <...>                                              as a whole line: any number of lines

--update writes what was printed, with <UUID>, <TIME>, <DIR> and <VERSION> put in; a file that still matches is left alone.
"""
import argparse
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
OURS = ("cmd", "stdout", "stderr", "exit")
TIMEOUT_S = 60

PLACEHOLDERS = {
    "UUID": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "TIME": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "INT": r"-?\d+",
    "NUM": r"-?\d+(?:\.\d+)?",
    "HASH": r"[0-9a-f]{8,64}",
    "VERSION": r"\d+\.\d+\.\d+[-\w.+]*",
    "ANY": r"[^\n]*",
}


def to_regex(golden, folder):
    """The regular expression that a golden text stands for."""
    out = []
    for line in golden.splitlines(keepends=True):
        if line.strip() == "<...>":
            out.append(r"(?:[^\n]*\n)*")
            continue
        for part in re.split(r"(<[A-Z]+>)", line):
            name = part[1:-1]
            if part == "<DIR>":
                out.append(re.escape(folder))
            elif part.startswith("<") and name in PLACEHOLDERS:
                out.append(PLACEHOLDERS[name])
            else:
                out.append(re.escape(part))
    return re.compile("".join(out))


def generalize(text, folder, version):
    text = text.replace(folder, "<DIR>")
    text = re.sub(PLACEHOLDERS["UUID"], "<UUID>", text)
    text = re.sub(PLACEHOLDERS["TIME"], "<TIME>", text)
    return re.sub(rf"\b{re.escape(version)}\b", "<VERSION>", text) if version else text


def read(path, default=""):
    return path.read_text(encoding="utf-8") if path.exists() else default


def run_case(case, binary):
    """Runs `cmd` in a copy of the case. Returns (folder, {"stdout": ..., "stderr": ..., "exit": ...})."""
    with tempfile.TemporaryDirectory(prefix="signalbox-cli-") as scratch:
        folder = os.path.realpath(scratch)
        for entry in case.iterdir():
            if entry.name in OURS:
                continue
            copy = shutil.copytree if entry.is_dir() else shutil.copy2
            copy(entry, os.path.join(folder, entry.name))
        with tempfile.TemporaryDirectory(prefix="signalbox-bin-") as bin_dir:
            os.symlink(binary, os.path.join(bin_dir, "signalbox"))
            env = {"PATH": bin_dir + ":" + os.environ.get("PATH", "/usr/bin:/bin"), "HOME": folder, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
            env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
            done = subprocess.run(["/bin/sh", "-eu", str(case / "cmd")], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=TIMEOUT_S)
    texts = {name: getattr(done, name).decode("utf-8", "backslashreplace") for name in ("stdout", "stderr")}
    return folder, {**texts, "exit": f"{done.returncode}\n"}


def complaints(case, folder, got):
    for name in ("stdout", "stderr"):
        want = read(case / name)
        if not to_regex(want, folder).fullmatch(got[name]):
            yield "".join(difflib.unified_diff(want.splitlines(True), got[name].replace(folder, "<DIR>").splitlines(True),
                                               f"{case.name}/{name}", "printed"))
    want = read(case / "exit", "0\n").strip()
    if want != got["exit"].strip():
        yield f"{case.name}: exit code {got['exit'].strip()}, wanted {want}\n"


def update(case, folder, got, version):
    for name, default in (("stdout", ""), ("stderr", ""), ("exit", "0\n")):
        path = case / name
        if name != "exit" and to_regex(read(path), folder).fullmatch(got[name]):
            continue
        if got[name] == default:
            path.unlink(missing_ok=True)
        else:
            path.write_text(generalize(got[name], folder, version) if name != "exit" else got[name], encoding="utf-8")


def version_of(binary):
    done = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=TIMEOUT_S)
    found = re.search(PLACEHOLDERS["VERSION"], done.stdout)
    return found.group() if found else ""


def main():
    parser = argparse.ArgumentParser(description="golden tests of the command line")
    parser.add_argument("--binary", required=True, type=os.path.realpath)
    parser.add_argument("--cases", type=pathlib.Path, default=HERE, help="the folder that holds the cases")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("case", nargs="*")
    args = parser.parse_args()

    names = args.case or sorted(p.parent.name for p in args.cases.glob("*/cmd"))
    failed = 0
    for name in names:
        case = args.cases / name
        folder, got = run_case(case, args.binary)
        if args.update:
            update(case, folder, got, version_of(args.binary))
            continue
        found = list(complaints(case, folder, got))
        failed += bool(found)
        print(f"{'FAIL' if found else 'ok  '} {name}")
        sys.stdout.write("".join(found))
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
