#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publishes the demo's records with kcat, waits until each has its outcomes, and tells what happened.

    story.py PID_OF_THE_DAEMON      SIGNALBOX_DEMO_KAFKA names the broker

Everything it shows comes from the broker and the daemon: records read back with kcat, the lines that workers printed, `signalbox
status`, `signalbox dlq list` and `signalbox audit`. Exit code 0 only if everything happened as it should.
"""
import collections
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BROKER = os.environ.get("SIGNALBOX_DEMO_KAFKA", "127.0.0.1:9092")
PATIENCE_S = 30

# what it is, the value, and what should become of it: rule (None: it becomes no event) -> outcome
Sample = collections.namedtuple("Sample", "what value wanted")
SAMPLES = [
    Sample("a big order", {"id": 1, "customer": "ada", "total": 250},
           {"every-order": "record in routed", "big-orders": "invoice INV-1 written"}),
    Sample("a small order", {"id": 2, "customer": "bob", "total": 5}, {"every-order": "record in routed"}),
    Sample("a big order of nobody", {"id": 3, "total": 700},
           {"every-order": "record in routed", "big-orders": "record in refused after 1 attempt"}),
    Sample("a big order whose function always fails", {"id": 4, "customer": "broken", "total": 900},
           {"every-order": "record in routed", "big-orders": "record in refused after 3 attempts"}),
    Sample("something that is not JSON", '{"id": 5, "total": ', {None: "dead letter INVALID_JSON"}),
]


def run(*words, stdin=None):
    done = subprocess.run(words, cwd=HERE, input=stdin, text=True, capture_output=True, timeout=PATIENCE_S)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def signalbox(*words):
    return json.loads(run("./signalbox", words[0], "-c", "signalbox.yaml", *words[1:], "-o", "json"))


def text_of(sample):
    return sample.value if isinstance(sample.value, str) else json.dumps(sample.value)


def publish():
    lines = "".join(f"order-{n}|{text_of(sample)}\n" for n, sample in enumerate(SAMPLES, 1))
    run("kcat", "-q", "-P", "-b", BROKER, "-t", "orders", "-K", "|", stdin=lines)


def records(topic):
    """What is in the topic: (partition, offset, key, headers, value) each."""
    lines = run("kcat", "-q", "-C", "-b", BROKER, "-t", topic, "-J", "-e", "-o", "beginning").splitlines()
    for r in map(json.loads, lines):
        words = r.get("headers", [])
        yield r["partition"], r["offset"], r["key"], dict(zip(words[::2], words[1::2])), r["payload"]


def worker_lines():
    """What the workers printed: texts."""
    for line in (HERE / "daemon.log").read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "line" in entry:
            yield entry["line"]


def outcomes(places):
    """(number of the sample, rule) -> (what became of it, more), as far as it is known now."""
    found = {}
    for partition, offset, key, headers, value in records("routed"):
        order = json.loads(value)["detail"]["id"]
        found[order, headers["signalbox-rule"]] = "record in routed", f"routed/{partition}/{offset}, key {key}"
    for partition, offset, key, headers, value in records("refused"):
        attempts = int(headers["RETRY_ATTEMPTS"]) + 1
        found[json.loads(value)["detail"]["id"], headers["signalbox-rule"]] = (
            f"record in refused after {attempts} attempt{'s' * (attempts > 1)}",
            f"refused/{partition}/{offset}, {headers['ERROR_CODE']}: {headers['ERROR_MESSAGE']}")
    for line in worker_lines():
        text, written, attempt = line.partition(", attempt ")
        if written and text.startswith("invoice INV-"):
            found[int(text.split("-")[1].split()[0]), "big-orders"] = text, f"attempt {attempt}"
    for letter in signalbox("dlq", "list")["letters"]:
        number = next(n for n, place in places.items() if place == letter["event_id"])
        found[number, None] = f"dead letter {letter['error_code']}", f"{letter['error']}; signalbox dlq show {letter['id']}"
    return found


def source_of():
    return next(s for s in signalbox("status")["sources"] if s["name"] == "orders")


def partitions():
    return [p for instance in source_of()["instances"] for p in instance["partitions"]]


def wait_for_all(places):
    """The outcomes, the partitions and the audit, once nothing is open any more."""
    wanted = {(number, rule) for number, sample in enumerate(SAMPLES, 1) for rule in sample.wanted}
    end = time.monotonic() + PATIENCE_S
    while True:
        found, read, audit = outcomes(places), partitions(), signalbox("audit")
        if wanted <= found.keys() and audit["in_flight"] == 0 and sum(max(p["position"], 0) for p in read) == len(SAMPLES):
            return found, read, audit
        if time.monotonic() > end:
            sys.exit(f"after {PATIENCE_S} s there is still something open: {wanted - found.keys()}\n{read}\n{json.dumps(audit, indent=1)}")
        time.sleep(0.2)


def tell(places, found):
    """Prints what happened to each; gives the number of outcomes that were not as they should be."""
    surprises = 0
    for number, sample in enumerate(SAMPLES, 1):
        print(f"\n  {sample.what}\n    record    {places[number]}  {text_of(sample)}")
        for rule, should in sample.wanted.items():
            got, more = found[number, rule]
            print(f"    rule      {rule}" if rule else "    event     none: it never became one")
            print(f"    outcome   {got}: {more}")
            if got != should:
                print(f"    EXPECTED  {should}")
                surprises += 1
    return surprises


def tell_accounts(read, audit):
    print("\n  signalbox status")
    for p in sorted(read, key=lambda p: p["partition"]):
        print(f"    {p['topic']}/{p['partition']}  position {p['position']}  lag {max(p['lag'], 0)}  under way {p['under_way']}")
    print(f"\n  signalbox audit: {audit['accepted']} deliveries accepted = {audit['delivered']} delivered + "
          f"{audit['dead_lettered']} dead letters + {audit['in_flight']} in flight")


def tell_next_steps():
    print(f"""
  Kafka listens on {BROKER}; the daemon's folder is {HERE}. Try, in another shell:

    echo '{{"id": 7, "customer": "eve", "total": 300}}' | kcat -P -b {BROKER} -t orders
    kcat -C -b {BROKER} -t routed -e
    kcat -C -b {BROKER} -t refused -e -f '%k %h\\n%s\\n'
    cd {HERE} && ./signalbox status && ./signalbox dlq list""", flush=True)


def main():
    facts = json.loads((HERE / "data/ready.json").read_text())
    if facts["pid"] != int(sys.argv[1]):
        sys.exit("data/ready.json is of another daemon")
    publish()
    places = {int(key.removeprefix("order-")): f"orders/{partition}/{offset}" for partition, offset, key, _, _ in records("orders")}
    found, read, audit = wait_for_all(places)
    surprises = tell(places, found)
    tell_accounts(read, audit)
    tell_next_steps()
    return 1 if surprises or not audit["adds_up"] else 0


if __name__ == "__main__":
    sys.exit(main())
