# SPDX-License-Identifier: Apache-2.0
"""What the demo's stories share: asking the installation that they stand in, and telling what became of each sample.

`deploy/demo` puts this file beside the story. Whatever goes wrong ends the story, with the reason.
"""
import collections
import json
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_S = 30

# what it is, the value, and what should become of it: rule (None: it becomes no event) -> outcome
Sample = collections.namedtuple("Sample", "what value wanted")


def orders(kind):
    """The samples of a story whose orders are of this kind: a record of a topic, an entry of a stream."""
    every = {"every-order": f"{kind} in routed"}
    return [
        Sample("a big order", {"id": 1, "customer": "ada", "total": 250}, {**every, "big-orders": "invoice INV-1 written"}),
        Sample("a small order", {"id": 2, "customer": "bob", "total": 5}, every),
        Sample("a big order of nobody", {"id": 3, "total": 700}, {**every, "big-orders": f"{kind} in refused after 1 attempt"}),
        Sample("a big order whose function always fails", {"id": 4, "customer": "broken", "total": 900},
               {**every, "big-orders": f"{kind} in refused after 3 attempts"}),
        Sample("something that is not JSON", '{"id": 5, "total": ', {None: "dead letter INVALID_JSON"}),
    ]


def text_of(sample):
    return sample.value if isinstance(sample.value, str) else json.dumps(sample.value)


def run(*words, stdin=None):
    done = subprocess.run(words, cwd=HERE, input=stdin, text=True, capture_output=True, timeout=PATIENCE_S)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def signalbox(*words, stdin=None):
    return json.loads(run("./signalbox", words[0], "-c", "signalbox.yaml", *words[1:], "-o", "json", stdin=stdin))


def ready(pid):
    """The facts of data/ready.json, when it is this daemon's."""
    facts = json.loads((HERE / "data/ready.json").read_text())
    if facts["pid"] != int(pid):
        sys.exit("data/ready.json is of another daemon")
    return facts


def printed():
    """What the workers printed: the log's entries, with `line` and, while they had one, `event_id`."""
    for line in (HERE / "daemon.log").read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "line" in entry:
            yield entry


def source(name):
    return next(s for s in signalbox("status")["sources"] if s["name"] == name)


def written_and_dead(places):
    """(number of the sample, rule) -> (what became of it, more): invoices, and records of which no event could be made."""
    found = {}
    for entry in printed():
        text, written, attempt = entry["line"].partition(", attempt ")
        if written and text.startswith("invoice INV-"):
            found[int(text.split("-")[1].split()[0]), "big-orders"] = text, f"attempt {attempt}"
    for letter in signalbox("dlq", "list")["letters"]:
        number = next(n for n, place in places.items() if place == letter["event_id"])
        found[number, None] = f"dead letter {letter['error_code']}", f"{letter['error']}; signalbox dlq show {letter['id']}"
    return found


def refused(attempts):
    return f"in refused after {attempts} attempt{'s' * (attempts > 1)}"


def wait_for(condition, say):
    """What `condition` gives, once it gives something; else `say()` tells what is missing."""
    end = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            sys.exit(f"after {PATIENCE_S} s there is still something open: {say()}")
        time.sleep(0.2)


def tell(samples, kind, places, found):
    """Prints what happened to each; gives the number of outcomes that were not as they should be."""
    surprises = 0
    for number, sample in enumerate(samples, 1):
        print(f"\n  {sample.what}\n    {kind:<9} {places[number]}  {text_of(sample)}")
        for rule, should in sample.wanted.items():
            got, more = found[number, rule]
            print(f"    rule      {rule}" if rule else "    event     none: it never became one")
            print(f"    outcome   {got}: {more}")
            if got != should:
                print(f"    EXPECTED  {should}")
                surprises += 1
    return surprises


def tell_audit(audit, more=""):
    print(f"\n  signalbox audit: {audit['accepted']} deliveries accepted = {audit['delivered']} delivered + "
          f"{audit['dead_lettered']} dead letters + {audit['in_flight']} in flight{more}")
