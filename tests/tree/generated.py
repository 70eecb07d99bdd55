#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pages that are printed from the tables of the configuration are what the tables print.

    generated.py --binary build/ci/signalbox [--update]
"""
import argparse
import difflib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = {"docs/config.md": "--print-config-docs", "schemas/config.schema.json": "--print-schema"}


def printed(binary, option):
    return subprocess.run([binary, "check", option], capture_output=True, text=True, check=True, timeout=60).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--update", action="store_true", help="write the pages")
    args = parser.parse_args()
    stale = 0
    for name, option in PAGES.items():
        page, text = ROOT / name, printed(args.binary, option)
        if args.update:
            page.write_text(text, encoding="utf-8")
            continue
        old = page.read_text(encoding="utf-8")
        stale += old != text
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), name, f"check {option}", n=1))
    if stale:
        print(f"\nwrite them with: tests/tree/generated.py --binary {args.binary} --update")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
