#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A jsonl worker that records every attempt in the file $RECORD and then does what the event's detail asks for:

    fail: N      the first N attempts fail; -1: all of them     reject: true   answers that it never will
    sleep: S     takes so long                                  exit: CODE     dies without an answer, once
    fail_while: FILE   fails as long as that file exists        sleep_while: FILE   takes as long as that file exists
    slots: N     is crowded (recorded, and a failure) when N others that said so are at work, in whatever process

and, at the first attempt only,

    flood: N     so many bytes on stdout    fork: true      leaves a process with a session of its own
    twice: true  answers twice              stranger: true  answers for an id that it was not given

While the file $BROKEN exists, everything fails; with the word "reject" in it everything is rejected.
"""
import fcntl
import json
import os
import subprocess
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


def take_slot(n):
    """A lock that the kernel gives back when its holder dies; None: all are taken."""
    for i in range(n):
        slot = open(f"slot-{i}", "w")
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot
        except OSError:
            slot.close()
    return None


def misbehave(detail):
    if detail.get("flood"):
        print("flood " * (detail["flood"] // 6), flush=True)
    if detail.get("fork"):
        subprocess.Popen(["setsid", "--fork", "sleep", "1000"]).wait()
    if detail.get("stranger"):
        answers.write('{"id":"somebody-else","ok":true}\n')


def handle(delivery):
    event = delivery["event"]
    detail = event.get("detail", {}) if isinstance(event, dict) else {}
    first = delivery["attempt"] == 1
    answer = verdict(delivery["attempt"], detail)
    slot = take_slot(detail["slots"]) if "slots" in detail else True
    if first:
        misbehave(detail)
    if detail.get("sleep"):
        time.sleep(detail["sleep"])
    while os.path.exists(detail.get("sleep_while", "")):
        time.sleep(0.01)
    dies = "exit" in detail and first
    line = {"pid": os.getpid(), "id": delivery["id"], "attempt": delivery["attempt"], "n": detail.get("n"),
            "ok": answer["ok"] and not dies and slot is not None, "at": time.time(), "event": event, "crowded": slot is None}
    os.write(record, (json.dumps(line) + "\n").encode())
    if dies:
        os._exit(detail["exit"])
    slot = None
    for _ in range(2 if first and detail.get("twice") else 1):
        answers.write(json.dumps({"id": delivery["id"], **answer}) + "\n")


answers.write('{"ready":true}\n')
for text in sys.stdin:
    handle(json.loads(text))
