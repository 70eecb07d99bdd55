# SPDX-License-Identifier: Apache-2.0
"""The plain jsonl worker of docs/functions.md: one line in, one line out."""
import json
import os
import sys

out = os.fdopen(3, "w")
out.write('{"ready":true}\n')
out.flush()
for line in sys.stdin:
    request = json.loads(line)
    out.write(json.dumps({"id": request["id"], "ok": True}) + "\n")
    out.flush()
