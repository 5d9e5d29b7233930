"""The lab's network: a namespace of its own with one bridge, to which each host's cable leads. Nothing leaves the machine.

The namespace ends with the last process in it, and all that is in it with it: there is nothing to clear away.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from provision.programs import NotToBeHad, output

BRIDGE = "lab0"
NET = "10.77.0"
BITS = 24
MANAGER = f"{NET}.1"  # manager and bus
PORT = 4803
HOSTS_MAX = 3
ADDRESS_OF_FIRST_HOST, ADDRESS_OF_FIRST_DOMAIN = 11, 101
INSIDE = "VMHERD_XENLAB_NET"  # says that this process is in the namespace already
IP_S = 20.0
TUN = Path("/dev/net/tun")


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
    for program in ("ip", "unshare"):
        if not shutil.which(program):
            return f"the program {program} is missing"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} is missing, or not for this user"
    return ""


def enter(argv: Sequence[str]) -> None:
    """Goes on as a fresh process inside a new namespace, unless this is one already. `argv`: of `python -m xenlab`."""
    if os.environ.get(INSIDE) == str(os.getpid()):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # unshare without --fork runs the program in its own place, so the pid stays
    command = ["unshare", "--net", *user, sys.executable, "-m", "xenlab", *argv]
    os.execvpe(command[0], command, {**os.environ, INSIDE: str(os.getpid())})


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
