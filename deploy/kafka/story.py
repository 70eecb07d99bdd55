#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publishes the demo's records with kcat, waits until each has its outcomes, and tells what happened.

    story.py PID_OF_THE_DAEMON      SIGNALBOX_DEMO_KAFKA names the broker

Everything it shows comes from the broker and the daemon: records read back with kcat, the lines that workers printed, `signalbox
status`, `signalbox dlq list` and `signalbox audit`. Exit code 0 only if everything happened as it should.
"""
import json
import os
import sys

import telling

BROKER = os.environ.get("SIGNALBOX_DEMO_KAFKA", "127.0.0.1:9092")
SAMPLES = telling.orders("record")


def publish():
    lines = "".join(f"order-{n}|{telling.text_of(sample)}\n" for n, sample in enumerate(SAMPLES, 1))
    telling.run("kcat", "-q", "-P", "-b", BROKER, "-t", "orders", "-K", "|", stdin=lines)


def records(topic):
    """What is in the topic: (partition, offset, key, headers, value) each."""
    lines = telling.run("kcat", "-q", "-C", "-b", BROKER, "-t", topic, "-J", "-e", "-o", "beginning").splitlines()
    for r in map(json.loads, lines):
        words = r.get("headers", [])
        yield r["partition"], r["offset"], r["key"], dict(zip(words[::2], words[1::2])), r["payload"]


def outcomes(places):
    """(number of the sample, rule) -> (what became of it, more), as far as it is known now."""
    found = telling.written_and_dead(places)
    for partition, offset, key, headers, value in records("routed"):
        order = json.loads(value)["detail"]["id"]
        found[order, headers["signalbox-rule"]] = "record in routed", f"routed/{partition}/{offset}, key {key}"
    for partition, offset, key, headers, value in records("refused"):
        found[json.loads(value)["detail"]["id"], headers["signalbox-rule"]] = (
            f"record {telling.refused(int(headers['RETRY_ATTEMPTS']) + 1)}",
            f"refused/{partition}/{offset}, {headers['ERROR_CODE']}: {headers['ERROR_MESSAGE']}")
    return found


def partitions():
    return [p for instance in telling.source("orders")["instances"] for p in instance["partitions"]]


def wait_for_all(places):
    """The outcomes, the partitions and the audit, once nothing is open any more."""
    wanted = {(number, rule) for number, sample in enumerate(SAMPLES, 1) for rule in sample.wanted}
    now = {}

    def done():
        now.update(found=outcomes(places), read=partitions(), audit=telling.signalbox("audit"))
        committed = sum(max(p["position"], 0) for p in now["read"])
        return wanted <= now["found"].keys() and now["audit"]["in_flight"] == 0 and committed == len(SAMPLES)
    telling.wait_for(done, lambda: f"{wanted - now['found'].keys()}\n{now['read']}\n{json.dumps(now['audit'], indent=1)}")
    return now["found"], now["read"], now["audit"]


def tell_accounts(read, audit):
    print("\n  signalbox status")
    for p in sorted(read, key=lambda p: p["partition"]):
        print(f"    {p['topic']}/{p['partition']}  position {p['position']}  lag {max(p['lag'], 0)}  under way {p['under_way']}")
    telling.tell_audit(audit)


def tell_next_steps():
    print(f"""
  Kafka listens on {BROKER}; the daemon's folder is {telling.HERE}. Try, in another shell:

    echo '{{"id": 7, "customer": "eve", "total": 300}}' | kcat -P -b {BROKER} -t orders
    kcat -C -b {BROKER} -t routed -e
    kcat -C -b {BROKER} -t refused -e -f '%k %h\\n%s\\n'
    cd {telling.HERE} && ./signalbox status && ./signalbox dlq list""", flush=True)


def main():
    telling.ready(sys.argv[1])
    publish()
    places = {int(key.removeprefix("order-")): f"orders/{partition}/{offset}" for partition, offset, key, _, _ in records("orders")}
    found, read, audit = wait_for_all(places)
    surprises = telling.tell(SAMPLES, "record", places, found)
    tell_accounts(read, audit)
    tell_next_steps()
    return 1 if surprises or not audit["adds_up"] else 0


if __name__ == "__main__":
    sys.exit(main())
