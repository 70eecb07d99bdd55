# SPDX-License-Identifier: Apache-2.0
"""What kafka.py and redis.py share: how a server of a test is started so that it disturbs nobody."""
import ctypes
import signal
import socket


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def die_with_parent():
    """For preexec_fn: no server outlives its test."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
