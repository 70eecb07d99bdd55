# SPDX-License-Identifier: Apache-2.0
"""A way to a server on which answers can be withheld and connections be cut, so that a test decides what is known and what is not."""
import contextlib
import socket
import threading


class Proxy:
    """What clients say goes through at once; what the server says waits while answers are held."""

    def __init__(self, port):
        self.to, self.pairs, self.open = port, [], True
        self.threads = []
        self.go = threading.Event()
        self.go.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()
        return self

    def __exit__(self, *_):
        self.open = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.cut()
        for t in self.threads:
            t.join()
        self.listener.close()

    def hold(self):
        self.go.clear()

    def release(self):
        self.go.set()

    def cut(self):
        """Every connection, with whatever answers wait for it."""
        pairs, self.pairs = self.pairs, []
        for s in (s for pair in pairs for s in pair):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.release()

    def accept(self):
        with contextlib.suppress(OSError):
            while self.open:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self.pairs.append((client, server))
                self.threads.append(threading.Thread(target=self.serve, args=(client, server), daemon=True))
                self.threads[-1].start()

    def serve(self, client, server):
        with client, server:
            back = threading.Thread(target=self.carry, args=(server, client, self.go), daemon=True)
            back.start()
            self.carry(client, server)
            back.join()

    def carry(self, here, there, gate=None):
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                if gate:
                    gate.wait()
                there.sendall(data)
        for s in (here, there):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
