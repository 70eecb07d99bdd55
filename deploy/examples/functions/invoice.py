#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes an invoice for an order: a jsonl worker. Its input is {"order": <id>}."""
import json
import os
import sys


def invoice(event, attempt):
    order = event["order"]
    print(f"invoice INV-{order} written, attempt {attempt}", flush=True)  # standard output is a log line
    return {"invoice": f"INV-{order}"}


def main():
    channel = os.fdopen(int(os.environ.get("SIGNALBOX_FD", "3")), "w", buffering=1)
    print('{"ready":true}', file=channel)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": True, "result": invoice(request["event"], request["attempt"])}
        except KeyError as missing:
            # an event without an order will never have one: no use in trying again
            answer = {"ok": False, "error": f"the input has no {missing}", "retry": False}
        print(json.dumps({"id": request["id"], **answer}), file=channel)


if __name__ == "__main__":
    main()
