#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example connector in a daemon: one folder and one line make it a source and a target like every other."""
import socket
import unittest

import harness


def config():
    retry = {"max_retries": 3, "base": "10ms", "cap": "50ms", "max_age": "1h"}
    return {"version": 1, "data_dir": "./data", "listeners": {"main": {"address": "127.0.0.1:0"}}, "rules": "rules.d",
            "sources": {"in": {"datagram": {"path": "in.sock"}, "source": "com.shop", "detail_type": "OrderPlaced"}},
            "targets": {"out": {"datagram": {"path": "out.sock"}, "retry": retry}}}


RULES = {"rules": [{"name": "orders", "pattern": {"source": ["com.shop"]}, "targets": [{"target": "out", "input_path": "$.detail"}]}]}


class Datagram(unittest.TestCase):
    def setUp(self):
        self.d = self.enterContext(harness.Daemon(config(), RULES)).start()
        self.sender = self.socket("sender.sock")
        self.sender.connect(str(self.d.folder / "in.sock"))

    def socket(self, name):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(s.close)
        s.bind(str(self.d.folder / name))
        s.settimeout(harness.PATIENCE_S)
        return s

    def send(self, body):
        self.sender.send(body)
        return self.sender.recv(1000).decode()

    def test_messages_go_in_and_out(self):
        out = self.socket("out.sock")
        bodies = [b'{"n": 1}', '{"text": "\u20ac"}'.encode(), b'{"n": 2e0}']
        for body in bodies:
            self.assertEqual(self.send(body), "ok")
        self.assertEqual(sorted(out.recv(100000) for _ in bodies), sorted(bodies))
        self.d.settle("out")
        self.assertEqual(self.d.target("out")["detail"], {"sent": 3})

    def test_what_is_no_json_is_refused_and_counted(self):
        self.assertRegex(self.send(b'{"n": '), "^no: ")
        source = harness.named(self.d.status()["sources"], "in")
        self.assertEqual(source["rejected"], {"invalid_json": 1})

    def test_a_target_that_is_not_there_is_waited_for_over_a_crash(self):
        self.assertEqual(self.send(b"7"), "ok")
        harness.wait_for("a vain attempt", lambda: self.d.target("out")["unreachable_for_ms"])
        self.d.kill()
        self.d.start()
        out = self.socket("out.sock")
        self.assertEqual(out.recv(100), b"7")
        self.d.settle("out")

    def test_wrong_configuration_is_shown_with_its_place(self):
        wrong = config()
        wrong["targets"]["out"]["datagram"] = {"path": "out.sock", "max_bites": 5}
        self.d.write_config(wrong)
        done = self.d.cli("check", ok=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("max_bytes", done.stdout + done.stderr)


if __name__ == "__main__":
    harness.main()
