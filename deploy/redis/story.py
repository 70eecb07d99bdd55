#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds the demo's entries with redis-cli, waits until each has its outcomes, and tells what happened.

    story.py PID_OF_THE_DAEMON      SIGNALBOX_DEMO_REDIS names the Redis

Everything it shows comes from Redis and the daemon: entries and metrics read back with redis-cli, the lines that workers printed,
`signalbox status`, `signalbox dlq list` and `signalbox audit`. Exit code 0 only if everything happened as it should.
"""
import json
import os
import sys

import telling

REDIS = os.environ.get("SIGNALBOX_DEMO_REDIS", "redis://127.0.0.1:6379")
CLI = ["redis-cli", *(["-s", REDIS.removeprefix("unix:")] if REDIS.startswith("unix:") else ["-u", REDIS])]
SAMPLES = telling.orders("entry")
METRICS = "signalbox:{demo}:"


def redis(*words):
    return json.loads(telling.run(*CLI, "--json", *words))


def add():
    """number of the sample -> the entry's place"""
    return {n: f"orders/{redis('XADD', 'orders', '*', 'body', telling.text_of(sample))}" for n, sample in enumerate(SAMPLES, 1)}


def entries(stream):
    """What is in the stream: (id, fields) each."""
    for place, fields in redis("XRANGE", stream, "-", "+"):
        yield place, dict(zip(fields[::2], fields[1::2]))


def outcomes(places):
    """(number of the sample, rule) -> (what became of it, more), as far as it is known now."""
    found = telling.written_and_dead(places)
    for place, fields in entries("routed"):
        found[json.loads(fields["event"])["detail"]["id"], fields["rule"]] = "entry in routed", f"routed/{place}, delivery {fields['id']}"
    for place, fields in entries("refused"):
        letter = json.loads(fields["letter"])
        found[letter["input"]["detail"]["id"], fields["rule"]] = (
            f"entry {telling.refused(int(letter['RETRY_ATTEMPTS']) + 1)}",
            f"refused/{place}, {letter['ERROR_CODE']}: {letter['ERROR_MESSAGE']}")
    return found


def stream():
    return next(i["streams"]["orders"] for i in telling.source("orders")["instances"] if "orders" in i.get("streams", {}))


def wait_for_all(places):
    """The outcomes, what `status` says of the stream, and the audit, once nothing is open any more."""
    wanted = {(number, rule) for number, sample in enumerate(SAMPLES, 1) for rule in sample.wanted}
    now = {}

    def done():
        now.update(found=outcomes(places), read=stream(), audit=telling.signalbox("audit"))
        acknowledged = places[len(SAMPLES)] == f"orders/{now['read']['position']}"
        return wanted <= now["found"].keys() and now["audit"]["in_flight"] == 0 and acknowledged
    telling.wait_for(done, lambda: f"{wanted - now['found'].keys()}\n{now['read']}\n{json.dumps(now['audit'], indent=1)}")
    return now["found"], now["read"], now["audit"]


def totals():
    words = redis("HGETALL", METRICS + "tot")
    return words if isinstance(words, dict) else dict(zip(words[::2], words[1::2]))


def wait_for_metrics(audit):
    """The cluster's totals, once the daemon has told Redis what it told us."""
    wanted = {"delivered": str(audit["delivered"]), "dlq": str(audit["dead_lettered"])}
    return telling.wait_for(lambda: (lambda t: wanted.items() <= t.items() and t)(totals()), lambda: f"{totals()}, wanted {wanted}")


def tell_stream(read):
    print("\n  signalbox status")
    print(f"    orders as {read['consumer']}  position {read['position']}  read {read['read']}  acknowledged {read['acked']}  pending {read['pending']}")


def tell_metrics(numbers):
    print("\n  metrics, by " + " ".join(CLI))
    for key in sorted(telling.run(*CLI, "--scan", "--pattern", METRICS + "*").split()):
        print(f"    {redis('TYPE', key):<7} {key}")
    print("    HGETALL " + METRICS + "tot: " + " ".join(f"{k} {v}" for k, v in sorted(numbers.items()) if not k.startswith("_")))


def tell_next_steps():
    cli = " ".join(CLI)
    print(f"""
  Redis listens on {REDIS}; the daemon's folder is {telling.HERE}. Try, in another shell:

    {cli} XADD orders '*' body '{{"id": 7, "customer": "eve", "total": 300}}'
    {cli} XREVRANGE routed + - COUNT 1
    {cli} XRANGE refused - +
    {cli} XREVRANGE '{METRICS}1s' + - COUNT 10
    cd {telling.HERE} && ./signalbox status --redis {REDIS} --cluster demo
    cd {telling.HERE} && ./signalbox status && ./signalbox dlq list""", flush=True)


def main():
    telling.ready(sys.argv[1])
    places = add()
    found, read, audit = wait_for_all(places)
    surprises = telling.tell(SAMPLES, "entry", places, found)
    tell_stream(read)
    telling.tell_audit(audit)
    tell_metrics(wait_for_metrics(audit))
    tell_next_steps()
    return 1 if surprises or not audit["adds_up"] else 0


if __name__ == "__main__":
    sys.exit(main())
