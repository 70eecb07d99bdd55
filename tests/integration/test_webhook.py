#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Signed webhooks through the daemon: who is let in, how secrets are rotated, and that nothing secret reaches the disk."""
import base64
import hashlib
import hmac
import json
import unittest

import harness

BODY = b'{"n": 1,  "reject": true}'
NEW, OLD = "the-new-secret", "the-old-secret"


def digest(secret, body=BODY):
    return hmac.new(secret.encode(), body, hashlib.sha256)


def signed(secret, body=BODY):
    return {"X-Shop-Signature": "sha256=" + digest(secret, body).hexdigest()}


def config(secrets, **verify):
    c = harness.simple_config()
    c["sources"] = {
        "shop": {"webhook": {"path": "/hooks/shop", "verify": {"header": "X-Shop-Signature", "prefix": "sha256=",
                                                               "secrets": secrets, **verify}}, "source": "com.shop"},
        "open": {"webhook": {"path": "/hooks/open"}, "source": "com.shop", "auth": {"tokens": ["a-bearer-token"]}}}
    c["sources"]["both"] = {**c["sources"]["shop"], "auth": {"tokens": ["its-own-token"]}}
    c["sources"]["both"]["webhook"] = {**c["sources"]["shop"]["webhook"], "path": "/hooks/both"}
    return c


class Webhook(unittest.TestCase):
    def daemon(self, secrets=(NEW, OLD), **verify):
        return self.enterContext(harness.Daemon(config(list(secrets), **verify))).start()

    def status(self, d, headers, body=BODY, path="/hooks/shop"):
        return d.post(body, path, headers=headers).status

    def test_only_what_is_signed_over_its_raw_bytes_is_taken(self):
        d = self.daemon()
        good = signed(NEW)["X-Shop-Signature"]
        for what, headers, body, status in [
            ("the newest secret", signed(NEW), BODY, 202),
            ("one that is still valid", signed(OLD), BODY, 202),
            ("none", {}, BODY, 401),
            ("another secret", signed("guessed"), BODY, 401),
            ("another body", signed(NEW), BODY.replace(b"1", b"2"), 401),
            ("the same value in other bytes", signed(NEW), BODY.replace(b"  ", b" "), 401),
            ("no prefix", {"X-Shop-Signature": good.removeprefix("sha256=")}, BODY, 401),
            ("cut", {"X-Shop-Signature": good[:-2]}, BODY, 401),
            ("empty", {"X-Shop-Signature": ""}, BODY, 401),
            ("a token instead", {"Authorization": "Bearer a-bearer-token"}, BODY, 401),
        ]:
            with self.subTest(what):
                self.assertEqual(self.status(d, headers, body), status)
        self.assertEqual(d.audit()["events"], 2)
        self.assertEqual(d.metric('events_received_total{via="shop"}'), 2)
        self.assertEqual(d.metric('events_rejected_total{via="shop",reason="unauthorized"}'), 8)

    def test_a_source_with_tokens_of_its_own_wants_both(self):
        d = self.daemon()
        token = {"Authorization": "Bearer its-own-token"}
        for what, headers, status in [("signature and token", {**signed(NEW), **token}, 202), ("a signature alone", signed(NEW), 401),
                                      ("a token alone", token, 401), ("another's token", {**signed(NEW), "Authorization": "Bearer a-bearer-token"}, 401)]:
            with self.subTest(what):
                self.assertEqual(self.status(d, headers, path="/hooks/both"), status)

    def test_base64(self):
        d = self.daemon(prefix="", encoding="base64")
        value = base64.b64encode(digest(NEW).digest()).decode()
        self.assertEqual(self.status(d, {"X-Shop-Signature": value}), 202)
        self.assertEqual(self.status(d, {"X-Shop-Signature": digest(NEW).hexdigest()}), 401)

    def test_secrets_are_rotated_by_a_reload(self):
        d = self.daemon(secrets=[OLD])
        for secrets, new, old in [([OLD], 401, 202), ([NEW, OLD], 202, 202), ([NEW], 202, 401)]:
            d.write_config(config(secrets))
            d.cli("reload")
            self.assertEqual((self.status(d, signed(NEW)), self.status(d, signed(OLD))), (new, old), secrets)

    def test_a_source_with_tokens_of_its_own(self):
        d = self.daemon()
        self.assertEqual(self.status(d, {"Authorization": "Bearer a-bearer-token"}, path="/hooks/open"), 202)
        self.assertEqual(self.status(d, {"Authorization": "Bearer another"}, path="/hooks/open"), 401)
        self.assertEqual(self.status(d, {}, path="/hooks/open"), 401)

    def test_nothing_secret_is_stored_logged_or_delivered(self):
        d = self.daemon()
        secrets = {"Authorization": "Bearer a-bearer-token", "Cookie": "session=cookie-value", "Proxy-Authorization": "Basic proxy-value",
                   "X-Hub-Signature": "sha1=hub-value", "Shop-Signature": "t=1,v1=stripe-value", "X-Shopify-Hmac-Sha256": "shopify-value",
                   "X-Gitlab-Token": "gitlab-value", "X-Api-Key": "key-value", "X-Client-Secret": "client-value"}
        kept = {"X-Shop-Topic": "kept-value"}
        self.assertEqual(self.status(d, {**secrets, **signed(NEW), **kept}), 202)
        self.assertEqual(self.status(d, {**secrets, **kept}, path="/hooks/open"), 202)
        self.assertEqual(self.status(d, {**secrets, **signed("wrong"), **kept}), 401)
        self.assertEqual(d.post(harness.order(1), headers=secrets).status, 202)
        ce = {"ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0"}
        self.assertEqual(d.post({"n": 1}, "/v1/cloudevents", headers={**secrets, **ce}).status, 202)
        harness.wait_for("the dead letters", lambda: len(d.letters()) == 2)
        files = [p for p in d.data.rglob("*") if p.is_file()] + [d.log, d.record]
        stored = b"".join(harness.slurp(p) for p in files) + json.dumps(d.letters()).encode()
        self.assertGreaterEqual(stored.count(b"kept-value"), 4, "headers are not found where they are: this proves nothing")
        values = [v.partition("=")[2] or v for v in (*secrets.values(), *signed(NEW).values(), *signed("wrong").values())]
        for value in [*values, "a-bearer-token", "proxy-value", NEW, OLD, "stripe-value"]:
            self.assertEqual(stored.count(value.encode()), 0, value)


if __name__ == "__main__":
    harness.main()
