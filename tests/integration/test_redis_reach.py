#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a Redis is reached: users and databases, TLS where the library has it, and Sentinels, over real failovers."""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import redis
import servers
from test_redis_source import JOBS, RETRY

setUpModule = redis.needed


def version():
    return json.loads(subprocess.run([harness.BINARY, "version", "-o", "json"], capture_output=True, text=True, check=True).stdout)


def has_tls():
    return "no TLS" not in version()["libraries"]["redis"]


def config(at, source=None, target=None):
    """A stream in and one out, at the same place."""
    return harness.simple_config(
        sources={"jobs": {"redis": {**at, "streams": ["jobs"], "group": "g", "field": "body", **(source or {})}, "envelope": "raw",
                          "source": "com.jobs", "detail_type": "Job"}},
        targets={"done": {"redis": {**at, "stream": "done", "connect_timeout": "1s", **(target or {})}, "concurrency": 500,
                          "timeout": "2s", "retry": RETRY}})


class Case(unittest.TestCase):
    def server(self, **rows):
        return self.enterContext(redis.Server(**rows))

    def daemon(self, at, **more):
        return self.enterContext(harness.Daemon(config(at, **more), JOBS))

    def fill(self, server, numbers):
        server.fill("jobs", ({"body": json.dumps({"n": n})} for n in numbers))

    def numbers(self, server):
        return [json.loads(f["event"])["detail"]["n"] for _, f in server.entries("done")]

    def check(self, at, *words):
        with harness.Daemon(config(at), JOBS) as d:
            done = d.cli("check", *words, ok=None)
            return done.returncode, done.stdout + done.stderr


class Users(Case):
    def test_a_user_with_the_least_rights_and_a_database(self):
        r = self.server(databases=4)
        r("ACL", "SETUSER", "bob", "on", ">s3cret", "~jobs", "~done", "+@stream", "+select", "+ping")
        d = self.daemon({"url": f"redis://bob@127.0.0.1:{r.port}/3", "password": "${env:PW}"})
        d.start(env={"PW": "s3cret"})
        r("SELECT", 3)
        self.fill(r, range(100))
        harness.wait_for("the events", lambda: sorted(self.numbers(r)) == list(range(100)))
        harness.wait_for("nothing to be pending", lambda: r.pending("jobs", "g") == 0)
        self.assertNotIn("s3cret", d.log_tail(100000))

    def test_a_database_that_is_not_there_is_waited_for(self):
        r = self.server(databases=2)
        d = self.daemon({"url": f"{r.url}/7"}).start()
        harness.wait_for("the refusal", lambda: "DB index is out of range" in d.log_tail(100000))
        self.assertIsNone(d.process.poll())


class Tls(Case):
    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def certify(self, name, alternative):
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.folder / "alternative").write_text(f"subjectAltName={alternative}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out",
                     f"{name}.crt", "-extfile", "alternative")

    def setUp(self):
        if not has_tls():
            self.skipTest(f"{version()['libraries']['redis']}: rediss:// needs hiredis 1.0 or later")
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed: deploy/install-deps test")
        self.keys = self.server()  # a folder that goes by itself
        self.folder = self.keys.folder
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=CA")
        self.certify("server", "DNS:localhost,IP:127.0.0.1")
        self.certify("client", "DNS:client")
        [self.port] = servers.free_ports(1)
        self.r = self.server(tls_port=self.port, tls_cert_file=self.folder / "server.crt", tls_key_file=self.folder / "server.key",
                             tls_ca_cert_file=self.folder / "ca.crt")

    def file(self, name):
        return str(self.folder / name)

    def test_both_sides_are_verified(self):
        ours = {"ca": self.file("ca.crt"), "cert": self.file("client.crt"), "key": self.file("client.key")}
        harness.need_name("localhost")
        for host in ("127.0.0.1", "localhost"):
            with self.subTest(host):
                self.r("FLUSHALL")
                d = self.daemon({"url": f"rediss://{host}:{self.port}", "tls": ours}).start()
                self.fill(self.r, range(2000))
                harness.wait_for("the events", lambda: sorted(self.numbers(self.r)) == list(range(2000)))
                self.fill(self.r, [2000])
                self.r("XADD", "jobs", "*", "body", json.dumps({"n": 2001, "pad": "x" * 900000}))
                harness.wait_for("a large one", lambda: self.r("XLEN", "done") == 2002)
                self.assertEqual(d.stop(), 0)

    def test_who_is_not_trusted_gets_nothing(self):
        self.fill(self.r, range(10))
        self.r("CONFIG", "SET", "tls-auth-clients", "no")
        d = self.daemon({"url": f"rediss://127.0.0.1:{self.port}"}).start()
        harness.wait_for("the refusal", lambda: "certificate verify failed" in d.log_tail(100000))
        self.certify("other", "DNS:elsewhere")
        self.r("CONFIG", "SET", "tls-cert-file", self.file("other.crt"), "tls-key-file", self.file("other.key"))
        e = self.daemon({"url": f"rediss://127.0.0.1:{self.port}", "tls": {"ca": self.file("ca.crt")}}).start()
        harness.wait_for("the refusal", lambda: "certificate verify failed" in e.log_tail(100000))
        self.assertEqual(self.r("XLEN", "done"), 0)

    def test_files_that_are_no_good_are_told(self):
        code, said = self.check({"url": f"rediss://127.0.0.1:{self.port}", "tls": {"ca": self.file("ca.key")}})
        self.assertNotEqual(code, 0)
        self.assertIn("no certificates of authorities", said)


class Sentinels(Case):
    def both(self):
        primary = redis.Server(appendonly="yes")
        self.addCleanup(primary.close)
        primary.start()
        replica = redis.Server(replica_of=primary, appendonly="yes")
        self.addCleanup(replica.close)
        return primary, replica.start()

    def sentinel(self, primary, password=None):
        s = redis.Sentinel(primary, password)
        self.addCleanup(s.close)
        s.start()
        if password:
            s("AUTH", password)
        harness.wait_for("the Sentinel to know the replica", lambda: len(s("SENTINEL", "REPLICAS", "mine")) == 1)
        return s

    def at(self, *sentinels, **more):
        return {"sentinels": [f"redis://{f':{s.password}@' if s.password else ''}127.0.0.1:{s.port}" for s in sentinels], "master": "mine", **more}

    def role(self, server):
        """On a new connection: Sentinel hangs up on everybody when it changes a role."""
        try:
            return server.answers() and server("ROLE")[0]
        except OSError:
            return None

    def fail_over(self, sentinel, to):
        harness.wait_for("the failover", lambda: sentinel.primary_port() == to.port)
        harness.wait_for("it to be a primary", lambda: self.role(to) == "master")

    def test_failovers_are_followed_and_lose_nothing(self):
        primary, replica = self.both()
        s = self.sentinel(primary)
        d = self.daemon(self.at(s), source={"timeout": "1s"}).start()
        self.fill(primary, range(1000))
        harness.wait_for("the events", lambda: len(set(self.numbers(primary))) == 1000)
        harness.wait_for("the replica to have it", lambda: replica("XLEN", "done") == primary("XLEN", "done")
                         and replica.pending("jobs", "g") == 0)
        primary.kill()
        self.fail_over(s, replica)
        self.fill(replica, range(1000, 2000))
        harness.wait_for("the events", lambda: set(self.numbers(replica)) == set(range(2000)))
        harness.wait_for("nothing to be pending", lambda: replica.pending("jobs", "g") == 0)
        self.assertEqual(d.letters(), [])

    def test_a_failover_that_is_ordered_while_both_live(self):
        primary, replica = self.both()
        s = self.sentinel(primary)
        d = self.daemon(self.at(s), source={"timeout": "1s"}).start()
        self.fill(primary, range(500))
        harness.wait_for("the events", lambda: len(set(self.numbers(primary))) == 500)
        harness.wait_for("the replica to have it", lambda: replica("XLEN", "done") == primary("XLEN", "done")
                         and replica.pending("jobs", "g") == 0)
        harness.wait_for("the order to be taken", lambda: self.ordered(s))
        self.fail_over(s, replica)
        harness.wait_for("the roles to change", lambda: (self.role(primary), self.role(replica)) == ("slave", "master"))
        self.fill(replica, range(500, 1000))
        harness.wait_for("the events", lambda: set(self.numbers(replica)) == set(range(1000)))
        self.assertEqual(d.letters(), [])

    def ordered(self, sentinel):
        try:
            return sentinel("SENTINEL", "FAILOVER", "mine") == "OK"
        except redis.Error:  # it finds no good replica yet
            return False

    def test_one_that_is_dead_and_one_that_knows_nothing_are_passed_over(self):
        primary, _ = self.both()
        s = self.sentinel(primary, password="s3cret")
        dead, ignorant = redis.Sentinel(primary), self.server()
        self.addCleanup(dead.close)
        dead.password = ignorant.password = None
        d = self.daemon(self.at(dead, ignorant, s, db=2)).start()
        primary("SELECT", 2)
        self.fill(primary, range(10))
        harness.wait_for("the events", lambda: sorted(self.numbers(primary)) == list(range(10)))
        self.assertNotIn("s3cret", d.log_tail(100000) + d.cli("status").stdout)
        self.assertIn(f"127.0.0.1:{primary.port}/2", d.target("done")["detail"]["redis"])
        code, said = self.check(self.at(dead, ignorant, s), "--connect")
        self.assertEqual(code, 0, said)

    def test_a_name_that_nobody_knows(self):
        primary, _ = self.both()
        s = self.sentinel(primary)
        d = self.daemon({**self.at(s), "master": "other"}).start()
        harness.wait_for("the reason", lambda: "knows no primary of this name" in d.log_tail(100000))


class Configuration(Case):
    def test_what_is_wrong_is_said_with_its_place(self):
        there = {"url": "redis://there"}
        for at, said in [
            ({}, "name either a `url`, or `sentinels`"),
            ({**there, "sentinels": ["redis://a"], "master": "m"}, "name either a `url`, or `sentinels`"),
            ({"sentinels": ["redis://a"]}, "`sentinels` and `master` go together"),
            ({**there, "master": "m"}, "`sentinels` and `master` go together"),
            ({**there, "db": 3}, "stands in the URL"),
            ({"sentinels": ["http://a"], "master": "m"}, "not the URL of a Redis"),
            ({**there, "tls": {"ca": "/x"}}, "means nothing without rediss://"),
        ]:
            with self.subTest(said):
                code, text = self.check(at)
                self.assertNotEqual(code, 0)
                self.assertIn(said, text)

    def test_tls_without_the_library_is_an_error_that_says_so(self):
        code, said = self.check({"url": "rediss://there"})
        if has_tls():
            self.assertEqual(code, 0, said)
        else:
            self.assertNotEqual(code, 0)
            self.assertRegex(said, r"rediss:// needs TLS, which hiredis 0\.\d+\.\d+ of this build does not have")
            self.assertIn("hiredis 1.0 or later", said)


if __name__ == "__main__":
    harness.main()
