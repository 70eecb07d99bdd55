#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The unit stays hardened: systemd's own exposure score is at most 2.0 (a bare unit has 9.2)."""
import shutil
import subprocess
import sys

import source

if not shutil.which("systemd-analyze"):
    print("SKIP: systemd-analyze is not installed")
    sys.exit(77)
done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20",
                       str(source.ROOT / "deploy/systemd/signalbox.service")], capture_output=True, text=True)
print(done.stdout[-400:] + done.stderr)
sys.exit(done.returncode)
