#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes an invoice for an order: a jsonl worker whose input is the whole event.

An order without a customer is rejected: a dead letter at once. The books of the customer `broken` never answer: a dead letter
when the retries are used up.
"""
import json
import os
import sys


def invoice(event, attempt):
    order = event["detail"]
    if order["customer"] == "broken":
        raise RuntimeError(f"the books of {order['customer']} do not answer")
    print(f"invoice INV-{order['id']} written, attempt {attempt}", flush=True)  # standard output is a log line
    return {"invoice": f"INV-{order['id']}"}


def main():
    channel = os.fdopen(int(os.environ.get("SIGNALBOX_FD", "3")), "w", buffering=1)
    print('{"ready":true}', file=channel)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": True, "result": invoice(request["event"], request["attempt"])}
        except KeyError as missing:
            answer = {"ok": False, "error": f"the order has no {missing}", "retry": False}
        except RuntimeError as e:
            answer = {"ok": False, "error": str(e)}
        print(json.dumps({"id": request["id"], **answer}), file=channel)


if __name__ == "__main__":
    main()
