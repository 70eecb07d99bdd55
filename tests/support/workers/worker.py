#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A jsonl worker that behaves as its event tells it to: {"do": "ok"}, {"do": "die"} ..."""
import json
import os
import signal
import subprocess
import sys
import time

channel = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "w", buffering=1)


def say(**answer):
    channel.write(json.dumps(answer) + "\n")


def die(_):
    print("about to crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def half(rq):
    channel.write('{"id":"%s","ok"' % rq["id"])
    channel.flush()
    os._exit(9)


def ignore_term(_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def fork_away(rq):
    """Double fork into a session of its own; the stray's pid is the result."""
    out = subprocess.run(["sh", "-c", "(setsid sleep 1000 >/dev/null 2>&1 & echo $!)"], stdout=subprocess.PIPE, check=True)
    say(id=rq["id"], ok=True, result=int(out.stdout))
    os._exit(0)


def flood(rq):
    line = b"x" * 1000 + b"\n"
    while True:
        os.write(1, line * 60)
        os.write(2, line * 60)


def noise(rq):
    """Wrong places to write to: nothing of it may reach the channel."""
    print('{"id":"%s","ok":false}' % rq["id"], flush=True)
    print("warning", file=sys.stderr, flush=True)
    say(id=rq["id"], ok=True, result="fine")


def large(rq):
    say(id=rq["id"], ok=True, result="y" * rq["event"]["n"])


def endless(rq):
    while True:
        channel.write("z" * 65536)


def slow(rq):
    time.sleep(rq["event"]["ms"] / 1000)
    say(id=rq["id"], ok=True)


DEEDS = {
    "ok": lambda rq: say(id=rq["id"], ok=True, result=rq["event"]),
    "pid": lambda rq: say(id=rq["id"], ok=True, result=os.getpid()),
    "fail": lambda rq: say(id=rq["id"], ok=False, error="out of stock"),
    "reject": lambda rq: say(id=rq["id"], ok=False, error="no such order", retry=False),
    "hang": lambda rq: time.sleep(1000),
    "stop": lambda rq: os.kill(os.getpid(), signal.SIGSTOP),
    "garbage": lambda rq: channel.write("Traceback\n"),
    "wrong_id": lambda rq: say(id="somebody-else.0", ok=True),
    "close": lambda rq: (channel.close(), time.sleep(1000)),
    "exit": lambda rq: os._exit(3),
    "env": lambda rq: say(id=rq["id"], ok=True, result=sorted(os.environ)),
    "die": die, "half": half, "ignore_term": ignore_term, "fork_away": fork_away, "flood": flood, "noise": noise,
    "large": large, "endless": endless, "slow": slow,
}

say(ready=True)
for text in sys.stdin:
    request = json.loads(text)
    DEEDS[request["event"].get("do", "ok")](request)
