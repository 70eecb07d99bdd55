#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A jsonl worker for many events: writes the number of each to a file of its own, $RECORD.PID, and rejects those that say `refuse`."""
import json
import os
import sys

answers = os.fdopen(int(os.environ["SIGNALBOX_FD"]), "w", buffering=1)
ledger = open(f"{os.environ['RECORD']}.{os.getpid()}", "w", buffering=1)
answers.write('{"ready":true}\n')
for line in sys.stdin:
    delivery = json.loads(line)
    detail = delivery["event"]["detail"]
    ledger.write(f"{detail['n']}\n")
    verdict = '"ok":false,"retry":false,"error":"refused"' if detail.get("refuse") else '"ok":true'
    answers.write(f'{{"id":"{delivery["id"]}",{verdict}}}\n')
