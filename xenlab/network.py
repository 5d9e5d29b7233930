"""The lab's network: a namespace of its own with one bridge, to which each host's cable leads. Nothing leaves the machine.

The namespace ends with the last process in it, and all that is in it with it: there is nothing to clear away.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from provision.programs import NotToBeHad, output

BRIDGE = "lab0"
NET = "10.77.0"
BITS = 24
MANAGER = f"{NET}.1"  # manager and bus
PORT = 4803
HOSTS_MAX = 3
ADDRESS_OF_FIRST_HOST, ADDRESS_OF_FIRST_DOMAIN = 11, 101
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h
IP_S = 20.0
TUN = Path("/dev/net/tun")
_libc = ctypes.CDLL(None, use_errno=True)


def address(host: int) -> str:
    """Of the host of this number, from 1."""
    return f"{NET}.{ADDRESS_OF_FIRST_HOST + host - 1}"


def domain_address(number: int) -> str:
    """Of the domain of this number, from 1."""
    return f"{NET}.{ADDRESS_OF_FIRST_DOMAIN + number - 1}"


def tap(host: int) -> str:
    """The cable of the host of this number."""
    return f"lab{host}"


def missing() -> str:
    """Why there can be no such network here; empty where there can."""
    if not shutil.which("ip"):
        return "the program ip is missing (package iproute2)"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} is missing, or not for this user"
    return ""


def enter() -> None:
    """This process, and all it starts from now on, into a new namespace; only while it has one thread. Raises NotToBeHad.

    Who is not root becomes root of a user namespace, and nobody outside it. (os.unshare comes with Python 3.12.)"""
    user, group = os.geteuid(), os.getegid()
    flags = CLONE_NEWNET | (CLONE_NEWUSER if user else 0)
    if _libc.unshare(flags):
        raise NotToBeHad(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def make(hosts: int) -> None:
    """Bridge and cables. Raises NotToBeHad."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0")
    _ip("address", "add", f"{MANAGER}/{BITS}", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for number in range(1, hosts + 1):
        _ip("tuntap", "add", tap(number), "mode", "tap")
        _ip("link", "set", tap(number), "master", BRIDGE)
        plug(number, True)


def plug(host: int, plugged: bool) -> None:
    """Puts a host's cable in, or pulls it."""
    _ip("link", "set", tap(host), "up" if plugged else "down")


def _ip(*words: str) -> None:
    try:
        output(["ip", *words], limit_s=IP_S)
    except NotToBeHad as fault:
        raise NotToBeHad(f"the lab's network: ip {' '.join(words)}: {fault}") from None
