#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A jsonl worker that records every attempt in the file $RECORD and then does what the event's detail asks for:

    fail: N      the first N attempts fail; -1: all of them     reject: true   answers that it never will
    sleep: S     takes so long                                  exit: CODE     dies without an answer, once
    fail_while: FILE   fails as long as that file exists

While the file $BROKEN exists, everything fails; with the word "reject" in it everything is rejected.
"""
import json
import os
import sys
import time

answers = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "w", buffering=1)
record = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
broken = os.environ.get("BROKEN", "")


def mood():
    """What $BROKEN says; None: all is well."""
    try:
        with open(broken) as f:
            return f.read()
    except OSError:
        return None


def verdict(attempt, detail):
    mishap = mood()
    if detail.get("reject") or mishap == "reject":
        return {"ok": False, "error": "asked to reject", "retry": False}
    fails = detail.get("fail", 0)
    if mishap is not None or fails < 0 or attempt <= fails or os.path.exists(detail.get("fail_while", "")):
        return {"ok": False, "error": f"asked to fail, attempt {attempt}"}
    return {"ok": True, "result": detail.get("n")}


def handle(delivery):
    event = delivery["event"]
    detail = event.get("detail", {}) if isinstance(event, dict) else {}
    answer = verdict(delivery["attempt"], detail)
    if detail.get("sleep"):
        time.sleep(detail["sleep"])
    dies = "exit" in detail and delivery["attempt"] == 1
    line = {"pid": os.getpid(), "id": delivery["id"], "attempt": delivery["attempt"], "n": detail.get("n"),
            "ok": answer["ok"] and not dies, "at": time.time(), "event": event}
    os.write(record, (json.dumps(line) + "\n").encode())
    if dies:
        os._exit(detail["exit"])
    answers.write(json.dumps({"id": delivery["id"], **answer}) + "\n")


answers.write('{"ready":true}\n')
for text in sys.stdin:
    handle(json.loads(text))
