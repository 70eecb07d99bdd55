#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reserves the items of an order in the warehouse: a jsonl worker that fails for some input.

Its input is the whole event. An item whose sku begins with `unknown-` is rejected (a dead letter at once); one that begins with
`late-` fails the first two attempts and succeeds on the third; one that begins with `broken-` fails every time, until a file
`repaired` lies in the folder of the configuration.
"""
import json
import os
import sys


class Rejected(Exception):
    """Trying again will not help."""


def reserve(event, attempt):
    items = event["detail"].get("items", [])
    for item in items:
        sku = item["sku"]
        if sku.startswith("unknown-"):
            raise Rejected(f"there is no item {sku}")
        broken = sku.startswith("broken-") and not os.path.exists("repaired")
        if broken or (sku.startswith("late-") and attempt < 3):
            print(f"the shelf of {sku} does not answer", file=sys.stderr)
            raise RuntimeError(f"{sku} cannot be reserved now")
    print(f"{len(items)} reserved, attempt {attempt}", flush=True)
    return {"reserved": len(items)}


def main():
    channel = os.fdopen(int(os.environ.get("SIGNALBOX_FD", "3")), "w", buffering=1)
    print('{"ready":true}', file=channel)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": True, "result": reserve(request["event"], request["attempt"])}
        except Rejected as e:
            answer = {"ok": False, "error": str(e), "retry": False}
        except Exception as e:
            answer = {"ok": False, "error": f"{type(e).__name__}: {e}"}
        sys.stderr.flush()
        print(json.dumps({"id": request["id"], **answer}), file=channel)


if __name__ == "__main__":
    main()
