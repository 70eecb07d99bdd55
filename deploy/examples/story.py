#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Posts the demo's events, waits until each has its outcome, and tells what happened.   story.py PID_OF_THE_DAEMON

Everything it shows comes from the daemon: the ids of the answers, the lines that workers printed, `signalbox dlq list`, and
`signalbox audit`. Exit code 0 only if everything happened as it should.
"""
import json
import sys
import urllib.request

import telling
from telling import HERE, PATIENCE_S, signalbox

# what it is, how it is sent, the detail, and what should happen: (rule, target, outcome) each
INVOICED = ("big-orders", "invoice", "delivered at attempt 1")
SAMPLES = [
    ("a big order, by webhook", "webhook", {"id": 1001, "total": 250}, [INVOICED]),
    ("a big order of something that is on the shelf", "send", {"id": 1002, "total": 120, "items": [{"sku": "lamp-7"}]},
     [INVOICED, ("reservations", "reserve", "delivered at attempt 1")]),
    ("a small order", "send", {"id": 1003, "total": 5}, []),
    ("an order whose reservation fails twice", "send", {"id": 1004, "total": 20, "items": [{"sku": "late-3"}]},
     [("reservations", "reserve", "delivered at attempt 3")]),
    ("an order whose reservation always fails", "send", {"id": 1005, "total": 30, "items": [{"sku": "broken-1"}]},
     [("reservations", "reserve", "dead letter after 4 attempts")]),
]


def post_webhook(address, body):
    request = urllib.request.Request(f"http://{address}/hooks/shop", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "X-Shop-Topic": "OrderPlaced"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def post(address, how, detail):
    """Sends one event; gives its id."""
    if how == "webhook":
        return post_webhook(address, detail)["id"]
    event = {"source": "com.shop", "detail-type": "OrderPlaced", "detail": detail}
    return signalbox("send", "-", stdin=json.dumps(event))["ids"][0]


def worker_lines():
    """(event id, target) -> the last line that a worker printed while it had the event."""
    return {(entry["event_id"], entry["target"]): entry["line"] for entry in telling.printed() if "event_id" in entry}


def outcome(key, lines, letters):
    """(what became of it, more) as far as it is known now; None while it is open."""
    if key in letters:
        return f"dead letter after {letters[key]['attempts']} attempts", letters[key]["error"]
    text, found, attempt = lines.get(key, "").rpartition(", attempt ")
    return (f"delivered at attempt {attempt}", text) if found else None


def wait_for_outcomes(sent):
    """Outcomes by (event id, target), the dead letters, and the audit, once nothing is in flight any more."""
    wanted = [(event_id, target) for event_id, sample in zip(sent, SAMPLES) for _, target, _ in sample[3]]
    now = {}

    def done():
        lines = worker_lines()
        now["letters"] = {(letter["event_id"], letter["target"]): letter for letter in signalbox("dlq", "list")["letters"]}
        now["outcomes"] = {key: outcome(key, lines, now["letters"]) for key in wanted}
        now["audit"] = signalbox("audit")
        return all(now["outcomes"].values()) and now["audit"]["in_flight"] == 0
    telling.wait_for(done, lambda: f"{now['outcomes']}\n{json.dumps(now['audit'], indent=1)}")
    return now["outcomes"], now["letters"], now["audit"]


def tell(sent, outcomes):
    """Prints what happened to each; gives the number of outcomes that were not as they should be."""
    surprises = 0
    for event_id, (what, how, detail, wanted) in zip(sent, SAMPLES):
        print(f"\n  {what}, {'posted to /hooks/shop' if how == 'webhook' else 'signalbox send'}\n"
              f"    event     {event_id}  {json.dumps(detail)}")
        for rule, target, should in wanted:
            got, more = outcomes[event_id, target]
            print(f"    rule      {rule} -> {target}\n    outcome   {got}: {more}")
            if got.startswith("dead"):
                print(f"    redrive   signalbox dlq redrive --target {target}")
            if got != should:
                print(f"    EXPECTED  {should}")
                surprises += 1
        if not wanted:
            print("    rule      none matched; counted, kept for nobody")
    return surprises


def tell_next_steps(address, letter):
    print(f"""
  Listening on http://{address}; control socket {HERE}/data/control.sock (0600). Try, in another shell:

    cd {HERE}
    ./signalbox status
    ./signalbox dlq show {letter}
    touch repaired; ./signalbox dlq redrive --target reserve      # mends the function, and sends the dead letter again
    ./signalbox send --source com.shop --detail-type OrderPlaced --detail '{{"id": 2001, "total": 700}}'
    curl -i http://{address}/hooks/shop -H 'X-Shop-Topic: OrderPlaced' -H 'Content-Type: application/json' \\
      -d '{{"id": 2002, "total": 900}}'
    curl http://{address}/metrics
    $EDITOR rules.d/orders.yaml; ./signalbox check && ./signalbox reload""", flush=True)


def main():
    address = telling.ready(sys.argv[1])["listeners"]["main"]
    sent = [post(address, how, detail) for _, how, detail, _ in SAMPLES]
    outcomes, letters, audit = wait_for_outcomes(sent)
    surprises = tell(sent, outcomes)
    telling.tell_audit(audit, f"; {audit['unmatched']} of {audit['events']} events matched no rule")
    tell_next_steps(address, next(iter(letters.values()))["id"])
    unmatched = sum(not sample[3] for sample in SAMPLES)
    return 1 if surprises or not audit["adds_up"] or audit["unmatched"] != unmatched else 0


if __name__ == "__main__":
    sys.exit(main())
