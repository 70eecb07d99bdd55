# SPDX-License-Identifier: Apache-2.0
"""A real Apache Kafka for the tests: KRaft, one process a node, on free ports, in a scratch folder.

The jars come from Maven Central by the user's own Maven settings, are kept in a cache folder (SB_KAFKA_CACHE, else
XDG_CACHE_HOME/signalbox, else ~/.cache/signalbox), and are compared with broker/jars.sha256 at every use. Topics are made through
librdkafka's admin calls and read with kcat: a Java tool takes seconds.

For people and scripts:  kafka.py jars                        downloads what is missing
                         kafka.py run [TOPIC[:PARTITIONS]...] a broker until SIGTERM; prints its address when it answers
"""
import base64
import collections
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

from servers import die_with_parent, free_ports

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "4.3.1"
START_S = 90  # 6 s on an idle machine
RETRY_S = 900  # tests of one run do not each try a download that has failed
DOWNLOAD = ("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DincludeScope=runtime")
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info")

Record = collections.namedtuple("Record", "partition offset key headers value")


# ------------------------------------------------------------------------------------------------ the jars

def cache():
    named = os.environ.get("SB_KAFKA_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(named) if named else pathlib.Path(base) / "signalbox"


def expected():
    lines = (HERE / "broker" / "jars.sha256").read_text().split("\n")
    return {name: digest for digest, name in (line.split() for line in lines if line)}


def wrong_jars(folder):
    """Names of what is missing, damaged or not ours in the folder."""
    want = expected()
    have = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.jar")} if folder.is_dir() else {}
    return sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))


def download(folder):
    part = pathlib.Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        done = subprocess.run(["mvn", "-q", "-B", "-C", "-f", str(HERE / "broker" / "pom.xml"), *DOWNLOAD, f"-DoutputDirectory={part}"],
                              timeout=900, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["no reason given"]
            raise unittest.SkipTest(f"KAFKA'S JARS COULD NOT BE DOWNLOADED, NOTHING OF KAFKA IS TESTED: {errors[0][:300]}")
        if wrong_jars(part):
            raise AssertionError(f"the download does not have the expected checksums: {wrong_jars(part)}")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def kept(name, wrong, fetch):
    """A folder of the cache that holds what it should; one process fetches, others wait for it."""
    folder = cache() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failed = folder.with_suffix(".failed")
        if wrong(folder):
            if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_S:
                raise unittest.SkipTest(failed.read_text())
            try:
                fetch(folder)
            except unittest.SkipTest as why:
                failed.write_text(str(why))
                raise
    return folder


def jars():
    """The folder with the jars."""
    for tool in ("java", "mvn", "kcat"):
        if not shutil.which(tool):
            raise unittest.SkipTest(f"{tool} is not installed: deploy/install-deps test")
    return kept(f"kafka-{VERSION}", wrong_jars, download)


# ------------------------------------------------------------------------------------------------ processes

USER, PASSWORD = "alice", "alice's password"
SCRAM_USER, SCRAM_PASSWORD, SCRAM = "bob", "bob's-password", "SCRAM-SHA-256"


class Authority:
    """A certificate authority of our own, and what a broker on this machine needs of it."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.ca, self.broker = folder, folder / "ca.crt", folder / "broker.pem"
        self.client, self.client_key = folder / "c.crt", folder / "c.key"
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
                     "-subj", "/CN=signalbox tests")
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.sign("b", "/CN=localhost", "-extfile", "names")
        self.sign("c", "/CN=signalbox")
        self.broker.write_text("".join((folder / name).read_text() for name in ("b.key", "b.crt", "ca.crt")))

    def sign(self, name, subject, *extra):
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt",
                     "-days", "2", *extra)

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=60)


class Node:
    """One process, broker and controller. With an authority it also listens for TLS, for TLS with a certificate of the client's, and
    for SASL (PLAIN, SCRAM) over TLS."""

    def __init__(self, number, folder, ports, authority):
        self.number, self.folder, self.authority = number, folder, authority
        self.port, self.controller, self.tls, self.mtls, self.sasl = ports
        self.log, self.process = folder / "broker.log", None

    def properties(self, nodes):
        few, synced = min(3, len(nodes)), min(2, len(nodes))
        rows = {
            "process.roles": "broker,controller", "node.id": self.number,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller}" for n in nodes),
            "log.dirs": self.folder / "data", "auto.create.topics.enable": "false",
            "default.replication.factor": few, "min.insync.replicas": synced,
            "group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000,
            "num.network.threads": 2, "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 16777216,  # the default does not fit the small heap
            "broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500, "controller.quorum.fetch.timeout.ms": 1000,
            "replica.lag.time.max.ms": 3000,
        }
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            rows.update({f"{topic}.replication.factor": few, f"{topic}.num.partitions": 4})
        for topic in ("transaction.state.log", "share.coordinator.state.topic"):
            rows[f"{topic}.min.isr"] = synced
        return {**rows, **(self.secure(rows) if self.authority else {})}

    def secure(self, rows):
        listen = f",TLS://127.0.0.1:{self.tls},MTLS://127.0.0.1:{self.mtls},SASLTLS://127.0.0.1:{self.sasl}"
        return {
            "listeners": rows["listeners"] + listen, "advertised.listeners": rows["advertised.listeners"] + listen,
            "listener.security.protocol.map": rows["listener.security.protocol.map"] + ",TLS:SSL,MTLS:SSL,SASLTLS:SASL_SSL",
            "listener.name.mtls.ssl.client.auth": "required", "sasl.enabled.mechanisms": f"PLAIN,{SCRAM}", "ssl.keystore.type": "PEM", "ssl.keystore.location": self.authority.broker,
            "ssl.truststore.type": "PEM", "ssl.truststore.location": self.authority.ca,
            "listener.name.sasltls.plain.sasl.jaas.config":
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            f"listener.name.sasltls.{SCRAM.lower()}.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        }

    def java(self, jar_folder, *words, heap="256m"):
        return ["java", f"-Xms{heap}", f"-Xmx{heap}", *JVM, "-cp", f"{jar_folder}/*", *words]

    def format(self, jar_folder, cluster_id, nodes, extra):
        self.folder.mkdir()
        rows = {**self.properties(nodes), **extra}
        self.file = self.folder / "server.properties"
        self.file.write_text("".join(f"{k}={v}\n" for k, v in rows.items()))
        users = ["--add-scram", f"{SCRAM}=[name={SCRAM_USER},password={SCRAM_PASSWORD}]"] if self.authority else []
        done = subprocess.run(self.java(jar_folder, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self.file), *users),
                              capture_output=True, text=True, timeout=START_S)
        if done.returncode:
            raise AssertionError(f"the broker's folder could not be formatted\n{done.stdout}{done.stderr}")

    def launch(self, jar_folder):
        self.log.unlink(missing_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.java(jar_folder, "kafka.Kafka", str(self.file)), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.folder, preexec_fn=die_with_parent)

    def started(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the broker ended with {self.process.returncode}\n{self.log.read_text()[-4000:]}")
        return b"Kafka Server started" in self.log.read_bytes()

    def signal(self, sig):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)

    def wait_end(self):
        if self.process:
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()


class Cluster:
    """`with Cluster() as kafka:` is a running broker; Cluster(3) are three that replicate; secure: with TLS and SASL listeners too."""

    def __init__(self, nodes=1, secure=False, **properties):
        self.jars = jars()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-kafka-"))
        self.authority = Authority(self.folder / "tls") if secure else None
        ports = free_ports(5 * nodes)
        self.nodes = [Node(i + 1, self.folder / f"node{i + 1}", ports[5 * i:5 * i + 5], self.authority) for i in range(nodes)]
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for node in self.nodes:
            node.format(self.jars, cluster_id, self.nodes, {k.replace("_", "."): v for k, v in properties.items()})

    @property
    def brokers(self):
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    @property
    def tls_brokers(self):
        return [f"127.0.0.1:{node.tls}" for node in self.nodes]

    @property
    def mtls_brokers(self):
        return [f"127.0.0.1:{node.mtls}" for node in self.nodes]

    @property
    def sasl_brokers(self):
        return [f"127.0.0.1:{node.sasl}" for node in self.nodes]

    def start(self):
        for node in self.nodes:
            node.launch(self.jars)
        return self.wait_ready()

    def wait_ready(self):
        end = time.monotonic() + START_S
        while not all(node.started() for node in self.nodes):
            if time.monotonic() > end:
                raise AssertionError(f"the broker did not start in {START_S} s\n{self.nodes[0].log.read_text()[-4000:]}")
            time.sleep(0.05)
        return self

    def stop(self, sig=signal.SIGTERM):
        for node in self.nodes:
            node.signal(sig)
            node.signal(signal.SIGCONT)
        for node in self.nodes:
            node.wait_end()

    def kill(self):
        self.stop(signal.SIGKILL)

    def freeze(self):
        """The connections stay, and nobody answers."""
        for node in self.nodes:
            node.signal(signal.SIGSTOP)

    def thaw(self):
        for node in self.nodes:
            node.signal(signal.SIGCONT)

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    # ------------------------------------------------------------------------------------------ who we are

    def ways(self):
        """Every way into a secure broker: its name -> (brokers, properties of librdkafka)."""
        tls = {"security.protocol": "ssl", "ssl.ca.location": str(self.authority.ca)}
        sasl = {**tls, "security.protocol": "sasl_ssl"}
        return {
            "tls": (self.tls_brokers, tls),
            "mtls": (self.mtls_brokers, {**tls, "ssl.certificate.location": str(self.authority.client),
                                         "ssl.key.location": str(self.authority.client_key)}),
            "plain": (self.sasl_brokers, {**sasl, "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD}),
            "scram": (self.sasl_brokers, {**sasl, "sasl.mechanism": SCRAM, "sasl.username": SCRAM_USER, "sasl.password": SCRAM_PASSWORD}),
        }

    # ------------------------------------------------------------------------------------------ topics and records

    def create(self, topic, partitions=1, **config):
        with Admin(self.brokers) as admin:
            admin.create(topic, partitions, {k.replace("_", "."): v for k, v in config.items()})

    def grow(self, topic, partitions):
        with Admin(self.brokers) as admin:
            admin.grow(topic, partitions)

    def delete(self, topic):
        with Admin(self.brokers) as admin:
            admin.delete(topic)

    def trim(self, topic, partition, before):
        """What retention does: records below this offset are gone."""
        with Admin(self.brokers) as admin:
            admin.trim(topic, partition, before)

    def kcat(self, *words, stdin=None):
        """What is produced keeps its order, also when the broker has only just begun and says "again" to the first of two batches."""
        if "-P" in words:
            words = (*words, "-X", "enable.idempotence=true")
        done = subprocess.run(["kcat", "-q", "-b", ",".join(self.brokers), *words], input=stdin, capture_output=True, timeout=START_S)
        if done.returncode:
            raise AssertionError(f"kcat {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def records(self, topic):
        """Everything that is in the topic now, by partition and offset."""
        lines = self.kcat("-C", "-t", topic, "-J", "-e", "-o", "beginning", "-X", "isolation.level=read_committed").splitlines()
        return sorted((record(json.loads(line)) for line in lines), key=lambda r: (r.partition, r.offset))


def library_version():
    """Of the librdkafka that programs started from here get; (2, 0, 2)."""
    lib = ctypes.CDLL("librdkafka.so.1")
    n = lib.rd_kafka_version()
    return (n >> 24 & 255, n >> 16 & 255, n >> 8 & 255)


def record(j):
    h = j.get("headers", [])
    return Record(j["partition"], j["offset"], j["key"], dict(zip(h[::2], h[1::2])), j["payload"])


# ------------------------------------------------------------------------------------------------ librdkafka's admin calls

class Admin:
    """As much of rdkafka.h as makes and unmakes topics."""

    def __init__(self, brokers):
        self.lib = lib = ctypes.CDLL("librdkafka.so.1")
        for name in ("conf_new", "new", "queue_new", "NewTopic_new", "NewPartitions_new", "DeleteTopic_new", "queue_poll",
                     "DeleteRecords_new", "topic_partition_list_new", "topic_partition_list_add", "event_CreateTopics_result", "event_CreatePartitions_result", "event_DeleteTopics_result",
                     "CreateTopics_result_topics", "CreatePartitions_result_topics", "DeleteTopics_result_topics"):
            getattr(lib, "rd_kafka_" + name).restype = ctypes.c_void_p
        lib.rd_kafka_topic_result_error_string.restype = ctypes.c_char_p
        lib.rd_kafka_event_error_string.restype = ctypes.c_char_p
        self.error = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
        lib.rd_kafka_conf_set(conf, b"bootstrap.servers", ",".join(brokers).encode(), self.error, ctypes.c_size_t(512))
        self.handle = ctypes.c_void_p(lib.rd_kafka_new(0, conf, self.error, ctypes.c_size_t(512)))
        self.queue = ctypes.c_void_p(lib.rd_kafka_queue_new(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.rd_kafka_queue_destroy(self.queue)
        self.lib.rd_kafka_destroy(self.handle)

    def ask(self, call, result, thing):
        lib, things = self.lib, (ctypes.c_void_p * 1)(thing)
        getattr(lib, "rd_kafka_" + call)(self.handle, things, ctypes.c_size_t(1), None, self.queue)
        event = ctypes.c_void_p(lib.rd_kafka_queue_poll(self.queue, 30000))
        if not event:
            raise AssertionError(f"{call}: no answer")
        if lib.rd_kafka_event_error(event):
            raise AssertionError(f"{call}: {lib.rd_kafka_event_error_string(event).decode()}")
        n = ctypes.c_size_t()
        typed = ctypes.c_void_p(getattr(lib, f"rd_kafka_event_{result}")(event))
        topics = ctypes.cast(getattr(lib, f"rd_kafka_{result}_topics")(typed, ctypes.byref(n)), ctypes.POINTER(ctypes.c_void_p))
        for i in range(n.value):
            one = ctypes.c_void_p(topics[i])
            if lib.rd_kafka_topic_result_error(one):
                raise AssertionError(f"{call}: {(lib.rd_kafka_topic_result_error_string(one) or b'refused').decode()}")
        lib.rd_kafka_event_destroy(event)

    def create(self, topic, partitions, config):
        new = ctypes.c_void_p(self.lib.rd_kafka_NewTopic_new(topic.encode(), partitions, -1, self.error, ctypes.c_size_t(512)))
        for key, value in config.items():
            self.lib.rd_kafka_NewTopic_set_config(new, key.encode(), str(value).encode())
        self.ask("CreateTopics", "CreateTopics_result", new)

    def grow(self, topic, partitions):
        new = ctypes.c_void_p(self.lib.rd_kafka_NewPartitions_new(topic.encode(), ctypes.c_size_t(partitions), self.error,
                                                                  ctypes.c_size_t(512)))
        self.ask("CreatePartitions", "CreatePartitions_result", new)

    def delete(self, topic):
        self.ask("DeleteTopics", "DeleteTopics_result", ctypes.c_void_p(self.lib.rd_kafka_DeleteTopic_new(topic.encode())))

    def end(self, topic, partitions):
        """How many records the topic has, counted from its beginning. One that was just made may not have its leaders yet."""
        low, high, total, until = ctypes.c_int64(), ctypes.c_int64(), 0, time.monotonic() + 20
        for p in range(partitions):
            while self.lib.rd_kafka_query_watermark_offsets(self.handle, topic.encode(), p, ctypes.byref(low), ctypes.byref(high), 5000):
                if time.monotonic() > until:
                    raise AssertionError(f"the end of {topic}/{p}: no answer")
                time.sleep(0.05)
            total += high.value
        return total

    def trim(self, topic, partition, before):
        lib = self.lib
        parts = ctypes.c_void_p(lib.rd_kafka_topic_partition_list_new(1))
        lib.rd_kafka_topic_partition_list_add(parts, topic.encode(), partition)
        lib.rd_kafka_topic_partition_list_set_offset(parts, topic.encode(), partition, ctypes.c_int64(before))
        things = (ctypes.c_void_p * 1)(lib.rd_kafka_DeleteRecords_new(parts))
        lib.rd_kafka_DeleteRecords(self.handle, things, ctypes.c_size_t(1), None, self.queue)
        event = ctypes.c_void_p(lib.rd_kafka_queue_poll(self.queue, 30000))
        if not event or lib.rd_kafka_event_error(event):
            raise AssertionError(f"DeleteRecords: {lib.rd_kafka_event_error_string(event).decode() if event else 'no answer'}")
        lib.rd_kafka_event_destroy(event)


# ------------------------------------------------------------------------------------------------ from a shell

def run(topics):
    """Until SIGTERM or SIGINT; what it was told to make is there when its address is printed."""
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(0))
    with Cluster() as broker:
        for topic in topics:
            name, _, partitions = topic.partition(":")
            broker.create(name, int(partitions or 1))
        print(broker.brokers[0], flush=True)
        while True:
            signal.pause()


def main(words):
    try:
        if words[:1] == ["jars"]:
            print(jars())
        elif words[:1] == ["run"]:
            run(words[1:])
        else:
            sys.exit(__doc__)
    except (AssertionError, unittest.SkipTest, subprocess.CalledProcessError) as e:
        sys.exit(f"kafka.py: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
