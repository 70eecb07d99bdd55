# SPDX-License-Identifier: Apache-2.0
"""A librdkafka that is newer than the system's: the one that the PyPI wheel `confluent-kafka` carries.

The binary that was built with the system's runs on it unchanged: `LD_LIBRARY_PATH=$(rdkafka.py)`. It is fetched with pip, kept where the broker's
jars are, and compared with its checksum at every use.
"""
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import kafka

WHEEL, VERSION = "confluent-kafka==2.16.1", (2, 16, 0)
NAME = "librdkafka.so.1"
SHA256 = {"x86_64": "2cabc03797de87512aa91effc6cd6ae8b07be37b1ac99344b3d18f68ce10b1fa"}


def wrong(folder):
    """Why the folder does not hold the library; None when it does."""
    file = folder / NAME
    if not file.exists():
        return "it is not there"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return None if digest == SHA256[platform.machine()] else f"its checksum is {digest}"


def fetch(folder):
    part = pathlib.Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--implementation=cp",
                               "--python-version=3.11", f"--platform=manylinux_2_28_{platform.machine()}", f"--dest={part}", WHEEL],
                              timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            said = done.stdout.strip().splitlines() or ["no reason given"]
            raise unittest.SkipTest(f"A NEWER LIBRDKAFKA COULD NOT BE DOWNLOADED, NOTHING IS TESTED ON IT: {said[-1][:300]}")
        [wheel] = part.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [member] = [name for name in archive.namelist() if "/librdkafka" in name and ".so" in name]
            (part / NAME).write_bytes(archive.read(member))
        wheel.unlink()
        if wrong(part):
            raise AssertionError(f"{WHEEL} does not carry the expected library: {wrong(part)}")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def folder():
    """To be put into LD_LIBRARY_PATH."""
    if platform.machine() not in SHA256:
        raise unittest.SkipTest(f"NO NEWER LIBRDKAFKA IS KNOWN FOR {platform.machine()}, NOTHING IS TESTED ON IT")
    return kafka.kept("librdkafka-" + ".".join(map(str, VERSION)), wrong, fetch)


def run_on_it(skip=77):
    """The program again, on the newer library, if this is not it already."""
    if kafka.library_version() >= VERSION:
        return
    try:
        path = folder()
    except unittest.SkipTest as why:
        print(f"SKIP: {why}")
        sys.exit(skip)
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(path), os.environ.get("LD_LIBRARY_PATH")]))
    os.execv(sys.executable, [sys.executable, "-B", *sys.argv])


if __name__ == "__main__":
    print(folder())
