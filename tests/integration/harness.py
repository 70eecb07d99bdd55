# SPDX-License-Identifier: Apache-2.0
"""The daemon from outside: a folder with a configuration, the process in it, senders, and the ledger of what was promised.

Everything is on port 0 and in a temporary folder, so that tests run beside each other. Nothing sleeps for luck: what a test
waits for, it waits for with `wait_for`, which says what was missing when the time is up.

Environment: SIGNALBOX the binary; SB_SHARDS how many shards the daemons run; SB_CYCLES how often loops go round.
"""
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BINARY = os.path.abspath(os.environ.get("SIGNALBOX", ROOT / "build/ci/signalbox"))
SKIP = 77
# Sanitized binaries on a busy machine are slow; a test that passes does not wait.
PATIENCE_S = 60


def cycles(default):
    return int(os.environ.get("SB_CYCLES", default))


def wait_for(what, condition, timeout=PATIENCE_S, progress=None):
    """Polls until `condition()` is true and returns its value. As long as what `progress()` gives changes, patience begins anew."""
    end, last = time.monotonic() + timeout, None
    while True:
        value = condition()
        if value:
            return value
        now = progress() if progress else last
        if now != last:
            end, last = time.monotonic() + timeout, now
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for: {what}{f' (it stands at {last})' if progress else ''}")
        time.sleep(0.01)


def order(n, **detail):
    return {"source": "com.shop", "detail-type": "OrderPlaced", "detail": {"n": n, **detail}}


def recorder(**function):
    """A function target whose worker writes every attempt to a file; see functions/recorder.py."""
    return {"command": ["python3", "functions/recorder.py"], "protocol": "jsonl", "workers": {"min": 0, "max": 2},
            "env": {"RECORD": "${env:RECORD}", "BROKEN": "${env:BROKEN}"}, **function}


def simple_config(**changes):
    """One function target that every order goes to, with retries that do not make tests wait."""
    target = {"function": recorder(), "concurrency": 2, "timeout": "10s",
              "retry": {"max_retries": 3, "base": "10ms", "cap": "50ms", "max_age": "1h"}}
    return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
            "targets": {"record": target}, **changes}


ORDERS = {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "record"}]}]}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.text = status, headers, body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"<{self.status} {self.text[:300]}>"


class Daemon:
    """One installation in a folder of its own. The configuration is a dict; JSON is YAML."""

    def __init__(self, config=None, rules=ORDERS, data_dir=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-it-"))
        self.record = self.folder / "record.jsonl"
        self.broken = self.folder / "broken"
        self.log = self.folder / "daemon.log"
        shutil.copytree(HERE / "functions", self.folder / "functions")
        (self.folder / "rules.d").mkdir()
        self.process = None
        config = dict(config or simple_config())
        if data_dir:
            config["data_dir"] = str(data_dir)
        self.data = (self.folder / config["data_dir"]).resolve()
        self.write_config(config)
        self.write_rules(rules)

    # ------------------------------------------------------------------------------------------ files

    def write_config(self, config):
        if os.environ.get("SB_SHARDS") and not isinstance(config, str):
            config = {"shards": int(os.environ["SB_SHARDS"]), **config}
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        (self.folder / "signalbox.yaml").write_text(text)

    def write_rules(self, rules, name="orders.yaml"):
        """In one step, as an editor does: a reload never sees half a file."""
        part = self.folder / ".rules"
        part.write_text(rules if isinstance(rules, str) else json.dumps(rules, indent=1))
        part.rename(self.folder / "rules.d" / name)

    def attempts(self, **want):
        """What the workers recorded, oldest first: dicts with pid, id, attempt, n, ok; only those with the given members."""
        if not self.record.exists():
            return []
        lines = self.record.read_text().splitlines()
        records = [json.loads(line) for line in lines if line.endswith("}")]
        return [r for r in records if all(r.get(k) == v for k, v in want.items())]

    # ------------------------------------------------------------------------------------------ the process

    def environment(self, extra=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SB_")}
        return {**env, "RECORD": str(self.record), "BROKEN": str(self.broken), **(extra or {})}

    def launch(self, env=None, words=()):
        """Starts the process and does not wait for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BINARY, "run", "-c", "signalbox.yaml", *words], cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.environment(env))

    def start(self, env=None, words=()):
        self.launch(env, words)
        wait_for(f"the daemon to be ready\n{self.log_tail()}", self.ready_or_dead)
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}\n{self.log_tail()}")
        return self

    def ready_or_dead(self):
        return self.process.poll() is not None or self.ready()

    def ready(self):
        """The facts of ready.json once it is the running process's own, else None."""
        try:
            facts = json.loads((self.data / "ready.json").read_text())
        except (OSError, ValueError):
            return None
        return facts if facts.get("pid") == self.process.pid else None

    def log_tail(self, n=4000):
        return self.log.read_text(errors="replace")[-n:] if self.log.exists() else ""

    def kill(self):
        """kill -9, and nothing else."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def freeze(self):
        """Nothing more is said or done by any of its threads, wherever they are; kill() ends it."""
        self.process.send_signal(signal.SIGSTOP)

    def stop(self, sig=signal.SIGTERM):
        """Asks the process to end; gives its exit code."""
        self.process.send_signal(sig)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not end on signal {sig}\n{self.log_tail()}") from None

    def workers(self, command="recorder.py"):
        """Process ids of the workers of this installation, whoever is their parent; "": and of what they have started."""
        mark = f"RECORD={self.record}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or self.process and int(entry) == self.process.pid:
                continue
            try:
                if mark in slurp(f"/proc/{entry}/environ").split(b"\0") and command.encode() in slurp(f"/proc/{entry}/cmdline"):
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def spawner(self):
        """Process id of the spawner, 0 while there is none."""
        for entry in slurp(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split():
            try:
                if b"__spawner" in slurp(f"/proc/{int(entry)}/cmdline"):
                    return int(entry)
            except OSError:
                continue
        return 0

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind and kind is not unittest.SkipTest:
            print(f"--- log of the daemon\n{self.log_tail()}\n---", flush=True)
        self.close()

    # ------------------------------------------------------------------------------------------ talking to it

    @property
    def address(self):
        host, _, port = self.ready()["listeners"]["main"].rpartition(":")
        return host, int(port)

    def connect(self):
        return http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)

    def request(self, method, path, body=None, headers=None, connection=None):
        c = connection or self.connect()
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        c.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = c.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if not connection:
            c.close()
        return answer

    def post(self, events, path="/v1/events", **kw):
        return self.request("POST", path, events, **kw)

    def cli(self, *words, ok=(0,), stdin=None):
        """Runs a verb; gives its completed process. An exit code that is not among `ok` fails the test."""
        done = subprocess.run([BINARY, words[0], "-c", "signalbox.yaml", *words[1:]], cwd=self.folder, input=stdin, text=True,
                              capture_output=True, timeout=PATIENCE_S, env=self.environment())
        if ok is not None and done.returncode not in ok:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}\n{self.log_tail()}")
        return done

    def cli_json(self, *words, **kw):
        return json.loads(self.cli(*words, "-o", "json", **kw).stdout)

    def control(self, path, body):
        """One call of the control socket, past the command line and what that makes sure of."""
        c = http.client.HTTPConnection("control", timeout=PATIENCE_S)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(str(self.data / "control.sock"))
        return self.request("POST", path, body, connection=c)

    def status(self):
        return self.cli_json("status")

    def target(self, name="record"):
        return named(self.status()["targets"], name)

    def metric(self, name, **kw):
        """The value of one line of /metrics, by its name with its labels."""
        for line in self.request("GET", "/metrics", **kw).text.splitlines():
            if line.startswith(f"signalbox_{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def letters(self):
        return self.cli_json("dlq", "list", "--limit", "1000000")["letters"]

    def audit(self):
        """The recount. What was accepted must have one outcome, whatever happened before."""
        audit = self.cli_json("audit")
        total = audit["delivered"] + audit["dead_lettered"] + audit["in_flight"]
        assert audit["accepted"] == total, audit
        assert audit["adds_up"], audit
        return audit

    def settle(self, name="record"):
        """Waits until the target owes nothing."""
        def owed():
            t = self.target(name)
            return [t["queued"], t["in_flight"], t["retrying"]]
        wait_for(f"target {name} to have nothing left\n", lambda: owed() == [0, 0, 0], progress=owed)


def slurp(path):
    with open(path, "rb") as f:
        return f.read()


def resident_bytes(pid):
    return int(slurp(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(pid):
    """The most that has ever been resident."""
    return 1024 * int(re.search(rb"VmHWM:\s+(\d+)", slurp(f"/proc/{pid}/status"))[1])


def named(rows, name):
    """Finds a row by name in a list of objects, or a member in an object of objects."""
    return rows[name] if isinstance(rows, dict) else next(row for row in rows if row["name"] == name)


class Load:
    """Threads that post numbered events over keep-alive connections until told to stop; knows what was acknowledged.

    The ledger is in this process, which the tests never kill. With a rest after each answer the workers can keep up: else what is
    owed grows for as long as a slow machine takes for the test, and with it the time that the test takes.
    """

    def __init__(self, threads=4, batch=1, rest=0):
        self.threads, self.batch, self.rest = threads, batch, rest
        self.acked, self.refused, self.broken = {}, 0, 0  # acked: number -> id of the event
        self.next_n, self.lock = 0, threading.Lock()
        self.running, self.stopping = [], threading.Event()

    def numbers(self):
        with self.lock:
            self.next_n += self.batch
            return list(range(self.next_n - self.batch, self.next_n))

    def sender(self, daemon, detail):
        connection = None
        while not self.stopping.is_set():
            numbers = self.numbers()
            try:
                connection = connection or daemon.connect()
                answer = daemon.post([order(n, **detail(n)) for n in numbers], connection=connection)
            except (OSError, http.client.HTTPException, TypeError, KeyError):
                self.broken += 1  # no answer: nothing was promised. TypeError: no ready.json while it is down
                connection = hang_up(connection)
                time.sleep(0.005)
                continue
            with self.lock:
                if answer.status == 202:
                    self.acked.update(zip(numbers, answer.json["ids"]))
                else:
                    self.refused += 1
            time.sleep(0.005 if answer.status == 503 else self.rest)
        hang_up(connection)

    def start(self, daemon, detail=lambda n: {}):
        """`detail(n)` says what the worker is to do with number n."""
        self.stopping.clear()
        self.running = [threading.Thread(target=self.sender, args=(daemon, detail), daemon=True) for _ in range(self.threads)]
        for thread in self.running:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.running:
            thread.join()

    def wait_acked(self, more):
        goal = len(self.acked) + more
        wait_for(f"{more} more acknowledged events", lambda: len(self.acked) >= goal)


def hang_up(connection):
    if connection:
        connection.close()


def lost(load, daemon):
    """Acknowledged, but neither delivered nor a dead letter."""
    delivered = {r["n"] for r in daemon.attempts() if r["ok"]}
    dead = {letter["event_id"] for letter in daemon.letters()}
    return sorted(n for n, event_id in load.acked.items() if n not in delivered and event_id not in dead)


def duplicates(daemon):
    """How many deliveries reached a worker more than once although they had succeeded."""
    ok = [r["id"] for r in daemon.attempts() if r["ok"]]
    return len(ok) - len(set(ok))


def fault_points():
    """The names of all fault points in the sources."""
    names = set()
    for folder in ("broker", "executor", "connectors", "rules"):
        for path in (ROOT / folder).rglob("*.c"):
            names.update(re.findall(r'SB_FAULT(?:_ERR)?\("([^"]+)"\)', path.read_text()))
    return sorted(names)


def seed():
    """Chance is repeatable: the seed is printed, and SB_SEED sets it."""
    value = int(os.environ.get("SB_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {value} (SB_SEED repeats it)", flush=True)
    return random.Random(value)


def need_root(what):
    if os.geteuid() != 0:
        raise unittest.SkipTest(f"{what} needs root")


def need_name(name):
    """A bare system has no /etc/hosts."""
    try:
        socket.getaddrinfo(name, None)
    except OSError as e:
        raise unittest.SkipTest(f"{name} has no address here: {e}") from None


def main():
    """unittest.main, but a script of which everything was skipped exits with 77 and says why."""
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    for _, reason in result.skipped:
        print(f"SKIP: {reason}")
    sys.exit(SKIP if result.skipped and len(result.skipped) >= result.testsRun else 0)  # a class that is skipped runs none
