# SPDX-License-Identifier: Apache-2.0
"""A real redis-server for the tests: one process, a unix socket and a free port, in a scratch folder.

`with Server() as redis:` is a running one; `redis("XADD", "s", "*", "k", "v")` speaks to it. Server(appendonly="yes") survives kill(),
Server(replica_of=other) follows another. Any row of redis.conf can be given, with `_` for `-`.

    redis.py run        one on a socket of its own, until SIGTERM; prints its URL when it answers
"""
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from servers import die_with_parent, free_ports

START_S = 30  # 20 ms on an idle machine


class Error(Exception):
    """What the server answers with a minus."""


class Client:
    """As much of the protocol (RESP2) as the tests need. An answer that is an error is raised."""

    def __init__(self, where, timeout=START_S):
        """The path of a socket, or a port of this machine."""
        self.socket = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            return None if int(rest) < 0 else [self.answer() for _ in range(int(rest))]
        return rest.decode()

    def __call__(self, *words):
        self.send(*words)
        answer = self.answer()
        if isinstance(answer, Error):
            raise answer
        return answer

    def pipeline(self, commands):
        """Many commands at one go; their answers."""
        commands = list(commands)
        for at in range(0, len(commands), 500):
            for words in commands[at:at + 500]:
                self.send(*words)
            for _ in commands[at:at + 500]:
                answer = self.answer()
                if isinstance(answer, Error):
                    raise answer


def needed():
    """A script that says `setUpModule = redis.needed` is skipped as a whole where there is no redis-server."""
    if not shutil.which("redis-server"):
        raise unittest.SkipTest("redis-server is not installed: deploy/install-deps test")


class Server:
    def __init__(self, replica_of=None, **rows):
        needed()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-redis-"))
        self.path, self.log, self.port = self.folder / "redis.sock", self.folder / "redis.log", free_ports(1)[0]
        self.rows = {"save": "", "appendonly": "no", **{k.replace("_", "-"): v for k, v in rows.items()}}
        if replica_of:
            self.rows["replicaof"] = f"127.0.0.1 {replica_of.port}"
        self.process = self.client = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        return f"unix:{self.path}"

    def configuration(self):
        fixed = {"port": self.port, "bind": "127.0.0.1", "unixsocket": self.path, "dir": self.folder, "daemonize": "no",
                 "repl-diskless-sync-delay": 0}
        return "".join(f"{k} {v if v != '' else chr(34) * 2}\n" for k, v in {**fixed, **self.rows}.items())

    @property
    def where(self):
        return self.path

    def launch(self, *words):
        (self.folder / "redis.conf").write_text(self.configuration())
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["redis-server", str(self.folder / "redis.conf"), *words], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.folder, preexec_fn=die_with_parent)

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"redis-server ended with {self.process.returncode}\n{self.log.read_text()[-4000:]}")
        if self.client:
            self.client.close()
        try:
            self.client = Client(self.where)
            self.client("PING")
            return True
        except Error as e:  # NOAUTH and the like are answers too; LOADING is not
            return not str(e).startswith("LOADING")
        except OSError:
            return False

    def start(self):
        self.launch()
        end = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > end:
                raise AssertionError(f"redis-server did not start in {START_S} s\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)
        return self

    def stop(self, sig=signal.SIGTERM):
        if self.client:
            self.client.close()
            self.client = None
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(START_S)

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def freeze(self):
        """The connections stay, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

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

    # ------------------------------------------------------------------------------------------ speaking

    def __call__(self, *words):
        return self.client(*words)

    def fill(self, stream, entries):
        """XADD of every dict of fields."""
        self.client.pipeline([("XADD", stream, "*", *(x for kv in e.items() for x in kv)) for e in entries])

    def entries(self, stream):
        """Everything that is in the stream now: (id, fields)."""
        return [(i, dict(zip(f[::2], f[1::2]))) for i, f in self("XRANGE", stream, "-", "+")]

    def pending(self, stream, group):
        return self("XPENDING", stream, group)[0]


class Sentinel(Server):
    """Watches a primary under the name `mine` and is a quorum by itself: half a second of silence is its end."""

    def __init__(self, primary, password=None):
        super().__init__()
        self.primary, self.password = primary, password

    @property
    def where(self):
        return self.port

    def configuration(self):
        rows = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", f"sentinel monitor mine 127.0.0.1 {self.primary.port} 1",
                "sentinel down-after-milliseconds mine 500", "sentinel failover-timeout mine 3000", "daemonize no"]
        if self.password:
            rows.append(f"requirepass {self.password}")
        return "".join(f"{row}\n" for row in rows)

    def launch(self):
        super().launch("--sentinel")

    def primary_port(self):
        return int(self("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mine")[1])


# ------------------------------------------------------------------------------------------------ from a shell

def run():
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(0))
    with Server(port=0) as server:
        print(server.unix_url, flush=True)
        while True:
            signal.pause()


def main(words):
    try:
        if words == ["run"]:
            run()
        else:
            sys.exit(__doc__)
    except (AssertionError, unittest.SkipTest) as e:
        sys.exit(f"redis.py: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
