#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An exec command that records its run in the file $RECORD and then does what the event's detail asks for:

    exit: CODE    signal: N   kills itself    sleep: S   takes so long    flood: N   so many bytes on stdout
    fork: true   leaves a process in its group, and one in a session of its own
"""
import json
import os
import subprocess
import sys
import time

event = json.load(sys.stdin)
detail = event["detail"]
if detail.get("fork"):
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1001"], start_new_session=True)
line = {"pid": os.getpid(), "n": detail["n"], "ok": not (detail.get("exit") or detail.get("signal") or detail.get("sleep")),
        "at": time.time(), "argv": sys.argv[1:]}
record = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(record, (json.dumps(line) + "\n").encode())
print("x" * detail.get("flood", 0), flush=True)
print("last words", file=sys.stderr, flush=True)
time.sleep(detail.get("sleep", 0))
if detail.get("signal"):
    os.kill(os.getpid(), detail["signal"])
sys.exit(detail.get("exit", 0))
