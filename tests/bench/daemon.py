#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole daemon beside what others know, in one run and in alternating rounds; prints medians, ratios and processor time.

  tests/bench/daemon.py [--binary B] [--seconds S] [--rounds N] post|batch|invoke|memory ...

  post    durable single POSTs of 500 bytes, 64 connections, ten rules, one match each to a no-op sink; nginx `return 202`
  batch   the same in batches of 100
  invoke  warm no-op calls of a Python worker, webhook in to result recorded; uWSGI with the same function in both of its ways, and a
          bare C driver with two of the same workers
  memory  resident memory: idle, with 10,000 and with 1,000,000 events queued for a target that always fails
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 64
EVENT = '{"source":"com.shop","detail-type":"T%d","detail":{"id":"o-1","total":120,"pad":"%s"}}'
PAD = 500 - len(EVENT % (0, ""))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """The process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += tree(int(child))
    return found


def cpu(pid):
    """Seconds of processor time of the process and all that live below it."""
    total = 0
    for p in tree(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def peak_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Daemon:
    """signalbox run in a folder of its own."""

    def __init__(self, args, targets, rules, **more):
        self.args, self.folder = args, pathlib.Path(tempfile.mkdtemp(prefix="sb-bench-", dir=args.folder))
        config = {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
                  "targets": targets, **more}
        (self.folder / "rules.d").mkdir()
        (self.folder / "signalbox.yaml").write_text(json.dumps(config))
        (self.folder / "rules.d" / "rules.yaml").write_text(json.dumps({"rules": rules}))

    def __enter__(self):
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([self.args.binary, "run", "-c", "signalbox.yaml"], cwd=self.folder, stdout=self.log, stderr=self.log)
        ready = self.folder / "data" / "ready.json"
        while not (ready.exists() and json.loads(ready.read_text())["pid"] == self.process.pid):
            if self.process.poll() is not None:
                said = (self.folder / "log").read_text()
                shutil.rmtree(self.folder)
                sys.exit(said)
            time.sleep(0.02)
        self.port = int(json.loads(ready.read_text())["listeners"]["main"].rsplit(":", 1)[1])
        return self

    @property
    def pid(self):
        return self.process.pid

    def cli(self, *words):
        return json.loads(subprocess.run([self.args.binary, *words, "-c", "signalbox.yaml", "-o", "json"], cwd=self.folder, check=True,
                                         capture_output=True).stdout)

    def target(self, name):
        return next(t for t in self.cli("status")["targets"] if t["name"] == name)

    def wait_empty(self):
        while any(t["queued"] + t["in_flight"] + t["retrying"] for t in self.cli("status")["targets"]):
            time.sleep(0.1)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def process(words, port, **more):
    """A server of somebody else's, until it answers."""
    p = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **more)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if p.poll() is not None:
                sys.exit(f"{words[0]} does not start")
            time.sleep(0.05)
        yield p
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()


@contextlib.contextmanager
def nginx():
    with tempfile.TemporaryDirectory() as d:
        port = free_port()
        pathlib.Path(d, "conf").write_text(f"""
            worker_processes auto; daemon off; pid {d}/pid; error_log stderr crit; events {{ worker_connections 1024; }}
            http {{ access_log off; keepalive_requests 1000000000; client_body_buffer_size 128k;
                   client_body_temp_path {d}; proxy_temp_path {d}; fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d};
                   server {{ listen 127.0.0.1:{port}; client_max_body_size 10m; location / {{ return 202; }} }} }}""")
        with process([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-p", d, "-c", f"{d}/conf"], port) as p:
            yield port, p.pid


def wrk(args, port, path, bodies, media="application/json", connections=CONNECTIONS):
    """Requests a second, and the latencies p50 and p99 in ms; every answer must be a success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write("local bodies = {\n" + ",\n".join(f"[==[{b}]==]" for b in bodies) + "}\nlocal n = 0\n"
                  f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{media}"\n'
                  "request = function() n = n % #bodies + 1; return wrk.format(nil, nil, nil, bodies[n]) end\n")
        lua.flush()
        out = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{args.seconds}s", "--latency", "-s", lua.name,
                              f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        print(f"  {bad[1]} answers were no success", file=sys.stderr)
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}
    late = [float(m[1]) * unit[m[2]] for q in ("50%", "99%") if (m := re.search(rf"{q}\s+([\d.]+)(us|ms|s)", out))]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), late


def measured(pid, work):
    """What `work` gives, and the processor seconds a second meanwhile."""
    before, start = cpu(pid), time.monotonic()
    value = work()
    return value, (cpu(pid) - before) / (time.monotonic() - start)


def show(name, rates, shares=None, unit="requests/s"):
    line = f"{name}: median {statistics.median(rates):,.0f} {unit} ({min(rates):,.0f}-{max(rates):,.0f})"
    if shares:
        line += f", {statistics.median(shares):.2f} cores, {1e6 * statistics.median(s / r for s, r in zip(shares, rates)):.1f} us each"
    print(line, flush=True)
    return statistics.median(rates)


def ten_rules(target):
    return [{"name": f"r{i}", "pattern": {"source": ["com.shop"], "detail-type": [f"T{i}"], "detail": {"total": [{"numeric": [">=", 100]}]}},
             "targets": [{"target": target}]} for i in range(10)]


# ------------------------------------------------------------------------------------------------ durable POSTs

def post(args, batch=1):
    events = [EVENT % (i % 10, "x" * PAD) for i in range(10 * batch)]
    bodies = events if batch == 1 else ["[" + ",".join(events[i::10]) + "]" for i in range(10)]
    connections = CONNECTIONS if batch == 1 else 16
    ours, theirs, our_cpu, their_cpu = [], [], [], []
    with nginx() as (port, pid), Daemon(args, {"sink": {"null": {}, "concurrency": 1000}}, ten_rules("sink")) as d:
        for n in range(args.rounds):
            for rates, shares, p, where, path in ((theirs, their_cpu, pid, port, "/"), (ours, our_cpu, d.pid, d.port, "/v1/events")):
                (rate, late), share = measured(p, lambda: wrk(args, where, path, bodies, connections=connections))
                rates.append(rate * batch)
                shares.append(share)
                print(f"round {n + 1}: {path} {rate * batch:,.0f}/s, p50 {late[0]:.2f} ms, p99 {late[1]:.2f} ms", flush=True)
        d.wait_empty()
        audit = d.cli("audit")
        segments = d.cli("status")["journal"]["segments"]
        print(f"audit: {audit['accepted']:,} accepted, {audit['delivered']:,} delivered, adds up: {audit['adds_up']}; "
              f"RSS {rss_mib(d.pid):.1f} MiB, {segments} segments on the disk")
    what = "events/s" if batch > 1 else "requests/s"
    print(f"ratio {show('signalbox', ours, our_cpu, what) / show('nginx', theirs, their_cpu, what):.2f} of nginx")


# ------------------------------------------------------------------------------------------------ invocations

WORKER = """import json, os, sys
out = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "w", buffering=1)
out.write('{"ready":true}\\n')
for line in sys.stdin:
    d = json.loads(line)
    out.write('{"id":"%s","ok":true,"result":%s}\\n' % (d["id"], json.dumps(d["event"]["detail"]["id"])))
"""
FAILS = """import json, os, sys
out = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "w", buffering=1)
out.write('{"ready":true}\\n')
for line in sys.stdin:
    out.write('{"id":"%s","ok":false,"error":"no"}\\n' % json.loads(line)["id"])
"""
WSGI = """import json
def application(env, start):
    d = json.loads(env["wsgi.input"].read(int(env.get("CONTENT_LENGTH") or 0)))
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(d["detail"]["id"]).encode()]
"""


@contextlib.contextmanager
def uwsgi(folder, way):
    port = free_port()
    (folder / "wsgi.py").write_text(WSGI)
    how = {"http-socket": ["--http-socket", f"127.0.0.1:{port}", "--add-header", "Connection: close"],
           "http": ["--http", f"127.0.0.1:{port}", "--http-keepalive"]}[way]
    plugins = ["--plugin", "python3" if way == "http-socket" else "python3,http"]
    with process([shutil.which("uwsgi-core") or "uwsgi", *plugins, *how, "--master", "--processes", "2", "--disable-logging", "--listen", "128",
                  "--wsgi-file", str(folder / "wsgi.py")], port, cwd=folder) as p:
        yield port, p.pid


def invocations(args, d):
    """Events posted one by one, from the first request until the last result is recorded: how many a second."""
    before, start = d.target("f")["delivered"], time.monotonic()
    posted, _ = wrk(args, d.port, "/v1/events", [EVENT % (i, "x" * PAD) for i in range(10)])
    meanwhile = (d.target("f")["delivered"] - before) / (time.monotonic() - start)
    d.wait_empty()
    took, calls = time.monotonic() - start, d.target("f")["delivered"] - before
    print(f"  posted {posted:,.0f}/s, meanwhile recorded {meanwhile:,.0f}/s; all {calls:,} in {took:.1f} s", flush=True)
    return calls / took


def bare_driver(args, script, depth):
    """What a bare C driver gets out of two of the same workers over pipes."""
    words = [args.bare, "bare", str(script), str(depth), str(1000 * args.seconds)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def invoke(args):
    rates, shares = {}, {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        (folder / "worker.py").write_text(WORKER)
        sides = {}
        for way in ("http-socket", "http"):
            port, pid = stack.enter_context(uwsgi(folder, way))
            sides[f"uwsgi {way}"] = (pid, lambda port=port: wrk(args, port, "/", [EVENT % (i, "x" * PAD) for i in range(10)])[0])
        for depth in (1, 8):
            function = {"command": ["python3", str(folder / "worker.py")], "protocol": "jsonl", "workers": {"min": 2, "max": 2, "in_flight": depth}}
            d = stack.enter_context(Daemon(args, {"f": {"function": function, "concurrency": 2 * depth}}, ten_rules("f")))
            sides[f"signalbox depth {depth}"] = (d.pid, lambda d=d: invocations(args, d))
            sides[f"bare driver depth {depth}"] = (None, lambda depth=depth: bare_driver(args, folder / "worker.py", depth))
        for n in range(args.rounds):
            for name, (pid, work) in sides.items():
                rate, share = measured(pid, work) if pid else (work(), None)
                rates.setdefault(name, []).append(rate)
                shares.setdefault(name, []).append(share)
                print(f"round {n + 1}: {name} {rate:,.0f}/s", flush=True)
    medians = {name: show(name, rates[name], shares[name] if all(shares[name]) else None, "calls/s") for name in rates}
    best = max(medians["uwsgi http-socket"], medians["uwsgi http"])
    for depth in (1, 8):
        ours = medians[f"signalbox depth {depth}"]
        print(f"depth {depth}: {ours / best:.2f} times the better of uWSGI, {100 * ours / medians[f'bare driver depth {depth}']:.0f} % of the bare driver")


# ------------------------------------------------------------------------------------------------ memory

def fill(d, n, batch=200):
    body = ("[" + ",".join(EVENT % (i % 10, "x" * PAD) for i in range(batch)) + "]").encode()
    connection = socket.create_connection(("127.0.0.1", d.port))
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    stream = connection.makefile("rb")
    for _ in range(n // batch):
        connection.sendall(head + body)
        status = stream.readline()
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        stream.read(length)
        if b" 202 " not in status:
            sys.exit(f"not accepted: {status}")
    connection.close()


def memory(args):
    function = {"command": ["python3", "-c", FAILS], "protocol": "jsonl", "workers": {"min": 2, "max": 2, "in_flight": 16}}
    with Daemon(args, {"dead": {"function": function, "concurrency": 32, "retry": {"base": "10m", "cap": "16m", "max_age": "24h"}}},
                ten_rules("dead")) as d:
        time.sleep(1)
        print(f"idle: RSS {rss_mib(d.pid):.1f} MiB", flush=True)
        fill(d, 10000)
        while d.target("dead")["retrying"] < 10000:
            time.sleep(0.2)
        few = rss_mib(d.pid)
        print(f"10,000 queued, each has failed once: RSS {few:.1f} MiB", flush=True)
        start = time.monotonic()
        fill(d, 990000)
        took = time.monotonic() - start
        time.sleep(2)
        many, t = rss_mib(d.pid), d.target("dead")
        print(f"1,000,000 queued ({990000 / took:,.0f}/s in): RSS {many:.1f} MiB, {many - few:+.1f} MiB; "
              f"{t['queued'] + t['retrying'] + t['in_flight']:,} owed, at max_retrying: {t['at_max_retrying']}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=str(ROOT / "build/release/signalbox"), type=os.path.abspath)
    p.add_argument("--bare", default=str(ROOT / "build/ci/bench_pool"), type=os.path.abspath, help="bench_pool, for invoke")
    p.add_argument("--seconds", type=int, default=10)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--folder", help="where daemons keep their data; default: the folder for temporary files")
    p.add_argument("what", nargs="+", choices=["post", "batch", "invoke", "memory"])
    args = p.parse_args()
    for what in args.what:
        print(f"{what}:", flush=True)
        {"post": post, "batch": lambda a: post(a, 100), "invoke": invoke, "memory": memory}[what](args)


if __name__ == "__main__":
    main()
