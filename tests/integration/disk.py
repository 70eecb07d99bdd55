# SPDX-License-Identifier: Apache-2.0
"""File systems to break: ext4 on a loop file whose power can be cut, and a small one that fills up. As root."""
import fcntl
import os
import shutil
import struct
import subprocess
import unittest

import harness

# _IOR('X', 125, __u32): shut the file system down; 2: without flushing the log. What was not synced is gone, as when the
# power fails. It stays dead until it is mounted again.
EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2


def run(*words):
    return subprocess.run(words, capture_output=True, text=True)


class Disk:
    """ext4 in a file. `mount` is the folder; power_cut() loses what was not synced; remount() brings it back."""

    def __init__(self, folder, megabytes=256):
        harness.need_root("a file system of our own")
        if not shutil.which("mkfs.ext4"):
            raise unittest.SkipTest("mkfs.ext4 is not installed")
        self.image, self.mount = folder / "disk.img", folder / "disk"
        self.mount.mkdir()
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        made = run("mkfs.ext4", "-q", "-F", str(self.image))
        if made.returncode:
            raise unittest.SkipTest(f"mkfs.ext4: {made.stderr.strip()}")
        self.remount()

    def remount(self):
        self.unmount()
        done = run("mount", "-o", "loop", str(self.image), str(self.mount))
        if done.returncode:
            raise unittest.SkipTest(f"no loop mount here: {done.stderr.strip()}")

    def power_cut(self):
        fd = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        except OSError as e:
            raise unittest.SkipTest(f"this kernel has no file system shutdown: {e}") from None
        finally:
            os.close(fd)

    def unmount(self):
        if os.path.ismount(self.mount):
            harness.wait_for("the unmount", lambda: run("umount", str(self.mount)).returncode == 0)

    def close(self):
        if os.path.ismount(self.mount):
            run("umount", "-l", str(self.mount))
