#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up ctest's JUnit files of one run: failures, skipped tests with their reason, and the last line with the counts.

    summary.py [--failed "build.asan ..."] RESULTS_FOLDER

A test skips itself with exit code 77 and a line "SKIP: reason". No test at all is a failure.
"""
import argparse
import pathlib
import sys
import xml.etree.ElementTree as ET


def skip_reason(case):
    output = case.findtext("system-out") or ""
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith("SKIP:")]
    if lines:
        return lines[-1][len("SKIP:"):].strip()
    element = case.find("skipped")
    return element.get("message", "no reason given") if element is not None else "did not run"


def read(path):
    """Yields (name, "passed" | "failed" | "skipped", reason) for one JUnit file; `asan/` stands before the names of asan.xml."""
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed", default="")
    parser.add_argument("results", type=pathlib.Path)
    args = parser.parse_args()

    outcomes = [(name, "failed", "did not build") for name in args.failed.split()]
    for path in sorted(args.results.glob("*.xml")):
        outcomes += read(path)
    by = {verdict: [o for o in outcomes if o[1] == verdict] for verdict in ("passed", "failed", "skipped")}
    if not outcomes:
        by["failed"].append(("no test", "failed", "nothing was run"))
    for name, _, reason in by["skipped"]:
        print(f"SKIPPED {name}: {reason}")
    for name, _, reason in by["failed"]:
        print(f"FAILED {name}" + (f": {reason}" if reason else ""))
    if by["skipped"]:
        print(f"{len(by['skipped'])} SKIPPED (not counted below)")
    print(f"{len(by['passed'])} passed, {len(by['failed'])} failed")
    return 1 if by["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
