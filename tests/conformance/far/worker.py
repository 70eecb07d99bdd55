#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The far side of `function` with jsonl: does what the file `act` says, writes what it takes behind the file `got`."""
import json
import os
import sys
import time

folder = sys.argv[1]
channel = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "wb", buffering=0)
got = open(folder + "/got", "ab", buffering=0)


def say(**answer):
    channel.write(json.dumps(answer).encode() + b"\n")


say(ready=True)
for line in sys.stdin.buffer:
    request = json.loads(line)
    with open(folder + "/act", encoding="ascii") as file:
        act = file.read()
    if act == "takes":
        event = line[line.index(b'"event":') + len(b'"event":') : line.rindex(b"}")]
        got.write(event + b"\n")
        say(id=request["id"], ok=True)
    elif act == "fails":
        say(id=request["id"], ok=False, error="out of stock")
    elif act == "rejects":
        say(id=request["id"], ok=False, error="no such order", retry=False)
    elif act == "stalls":
        time.sleep(1000)
    else:
        sys.exit(1)
