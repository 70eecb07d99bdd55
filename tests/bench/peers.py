# SPDX-License-Identifier: Apache-2.0
"""Programs of others that route Kafka topics, with the same ten conditions: each is a context manager that gives its process id.

What is not there is missing, and whoever measures says so:
  rsyslog  Debian's rsyslog and rsyslog-kafka
  bento    built here once with Go, from the module proxy, or $BENTO
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BENTO_VERSION = "v1.10.0"
RSYSLOG_MODULES = pathlib.Path("/usr/lib/x86_64-linux-gnu/rsyslog")


class Missing(Exception):
    """Why a peer cannot be measured."""


@contextlib.contextmanager
def started(words, log):
    with open(log, "wb") as out:
        p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        yield p.pid
        if p.poll() is not None:
            raise AssertionError(f"{words[0]} has ended with {p.returncode}: {pathlib.Path(log).read_text()[-2000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()


# ------------------------------------------------------------------------------------------------ rsyslog

RSYSLOG = """
module(load="imkafka") module(load="omkafka") module(load="mmjsonparse")
global(workDirectory="{folder}" maxMessageSize="64k")
main_queue(queue.type="LinkedList" queue.size="200000" queue.workerThreads="2" queue.dequeueBatchSize="1024")
template(name="value" type="string" string="%msg%")
ruleset(name="route" queue.type="LinkedList" queue.size="200000" queue.workerThreads="2" queue.dequeueBatchSize="1024") {{
  action(type="mmjsonparse" cookie="" container="!e")
  {conditions}
  if $.hit == "1" then
    action(type="omkafka" broker=["{broker}"] topic="{out}" template="value" partitions.auto="on"
           confParam=["acks=all", "enable.idempotence=true", "linger.ms=5"])
}}
input(type="imkafka" broker=["{broker}"] topic="{into}" consumergroup="{group}" confParam=["auto.offset.reset=earliest"] ruleset="route")
"""


@contextlib.contextmanager
def rsyslog(broker, into, out, group):
    program = shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin")
    if not program or not (RSYSLOG_MODULES / "imkafka.so").exists():
        raise Missing("rsyslog: apt-get install rsyslog rsyslog-kafka")
    conditions = "\n  else ".join(f'if $!e!type == "T{i}" and $!e!total >= 100 then set $.hit = "1";' for i in range(10))
    with tempfile.TemporaryDirectory(prefix="sb-rsyslog-") as d:
        conf = pathlib.Path(d, "conf")
        conf.write_text(RSYSLOG.format(folder=d, broker=broker, into=into, out=out, group=group, conditions=conditions))
        with started([program, "-n", "-f", str(conf), "-i", f"{d}/pid"], f"{d}/log") as pid:
            yield pid


# ------------------------------------------------------------------------------------------------ Bento

BENTO = """
http: {{enabled: false}}
logger: {{level: WARN}}
input:
  kafka_franz:
    seed_brokers: ["{broker}"]
    topics: ["{into}"]
    consumer_group: "{group}"
    start_from_oldest: true
    checkpoint_limit: 16384
    commit_period: 1s
    batching: {{count: 500, period: 20ms}}
pipeline:
  threads: -1
  processors:
    - mapping: |
        root = match {{
{conditions}
          _ => deleted()
        }}
output:
  kafka_franz: {{seed_brokers: ["{broker}"], topic: "{out}", max_in_flight: 64, idempotent_write: true}}
"""


def bento_program():
    named = os.environ.get("BENTO")
    if named and not os.access(named, os.X_OK):
        raise Missing(f"Bento: there is no {named}")
    if named:
        return named
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "signalbox"
    program = cache / f"bento-{BENTO_VERSION}"
    if program.exists():
        return str(program)
    if not shutil.which("go"):
        raise Missing("Bento: no Go to build it with, and $BENTO names none")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sb-bento-") as d:
        shutil.copy(HERE / "peers" / "bento.go", pathlib.Path(d, "main.go"))
        pathlib.Path(d, "go.mod").write_text(f"module bench\n\ngo 1.23\n\nrequire github.com/warpstreamlabs/bento {BENTO_VERSION}\n")
        print("building Bento, which takes minutes", file=sys.stderr, flush=True)
        env = {**os.environ, "GOFLAGS": "-mod=mod"}
        for words in (["tidy"], None):
            command = ["go", "mod", *words] if words else ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(program), "."]
            done = subprocess.run(command, cwd=d, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                raise Missing(f"Bento: {' '.join(command[:3])}: {done.stdout.strip()[-300:]}")
    return str(program)


@contextlib.contextmanager
def bento(broker, into, out, group):
    program = bento_program()
    conditions = "\n".join(f'          this.type == "T{i}" && this.total >= 100 => this' for i in range(10))
    with tempfile.TemporaryDirectory(prefix="sb-bento-") as d:
        conf = pathlib.Path(d, "conf.yaml")
        conf.write_text(BENTO.format(broker=broker, into=into, out=out, group=group, conditions=conditions))
        with started([program, "-c", str(conf)], f"{d}/log") as pid:
            yield pid


ALL = {"rsyslog": rsyslog, "bento": bento}
