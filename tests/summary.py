#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up ctest's JUnit files of one run: failures, skipped tests with their reason, and the last line with the counts.

    summary.py [--failed "build.asan ..."] [--skipped NAME REASON]... RESULTS_FOLDER

A test skips itself with exit code 77 and a line "SKIP: reason". One that passed and printed such lines (or cmocka's "[  SKIPPED ] case")
has left out a part of itself: it counts as passed, and what it left out is told. No test at all is a failure.
"""
import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ET


def left_out(case):
    """The reasons in the output of one test, each once, in their order."""
    output = case.findtext("system-out") or ""
    return list(dict.fromkeys(re.findall(r"^\s*(?:SKIP:|\[ +SKIPPED +\])\s*(.*\S)\s*$", output, re.M)))


def skip_reason(case):
    lines = left_out(case)
    if lines:
        return lines[-1]
    element = case.find("skipped")
    return element.get("message", "no reason given") if element is not None else "did not run"


def read(path):
    """Yields (name, "passed" | "failed" | "skipped" | "part", reason) for one JUnit file; `asan/` stands before the names of asan.xml.
    A "part" is no test of its own: it says what the one that passed has left out."""
    prefix = "" if path.stem == "ci" else path.stem + "/"
    try:
        cases = list(ET.parse(path).iter("testcase"))
    except ET.ParseError as e:
        yield prefix + "results", "failed", f"{path}: {e}"
        return
    for case in cases:
        name = prefix + case.get("name", "?")
        if case.find("failure") is not None or case.get("status") == "fail":
            yield name, "failed", (case.find("failure").get("message") or "") if case.find("failure") is not None else ""
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            message = case.find("skipped").get("message", "") if case.find("skipped") is not None else ""
            verdict = "skipped" if "SKIP" in message or case.get("status") == "disabled" else "failed"
            yield name, verdict, skip_reason(case)
        else:
            yield name, "passed", ""
            for reason in left_out(case):
                yield name, "part", reason


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed", default="")
    parser.add_argument("--skipped", nargs=2, action="append", default=[], metavar=("NAME", "REASON"))
    parser.add_argument("results", type=pathlib.Path)
    args = parser.parse_args()

    outcomes = [(name, "failed", "did not build") for name in args.failed.split()]
    outcomes += [(name, "skipped", reason) for name, reason in args.skipped]
    for path in sorted(args.results.glob("*.xml")):
        outcomes += read(path)
    by = {verdict: [o for o in outcomes if o[1] == verdict] for verdict in ("passed", "failed", "skipped", "part")}
    if not by["passed"] and not by["failed"] and not by["skipped"]:
        by["failed"].append(("no test", "failed", "nothing was run"))
    for name, _, reason in by["skipped"]:
        print(f"SKIPPED {name}: {reason}")
    for name, _, reason in by["part"]:
        print(f"SKIPPED in part: {name}: {reason}")
    for name, _, reason in by["failed"]:
        print(f"FAILED {name}" + (f": {reason}" if reason else ""))
    if by["skipped"]:
        print(f"{len(by['skipped'])} SKIPPED (not counted below)")
    print(f"{len(by['passed'])} passed, {len(by['failed'])} failed")
    return 1 if by["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
