"""`python -m xenlab.nodes FARM NAME=ADDRESS ...`: real domains as nodes of the simulated batch system, up while they answer.

The simulated batch system looks at simulated machines; here each is the shadow of a real one. A process of its own, which ends
with the lab.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from plugins.sim_world import SimDomain, SimHost, SimWorld

SHADOWS = "domains"  # the simulated host on which they all seem to be
LOOK_S = 1.0
ANSWER_S = 2.0
MISSED_MAX = 3  # looks; a busy emulation answers late
PORT = 9  # discard; nobody listens, and a kernel that is up says so
MEMORY_BYTES = 2**26


def main(words: Sequence[str]) -> int:
    world, addresses = SimWorld(Path(words[0])), dict(word.split("=", 1) for word in words[1:])
    world.add_host(SHADOWS, SimHost())
    missed = dict.fromkeys(addresses, MISSED_MAX)
    while True:
        for name, address in addresses.items():
            missed[name] = 0 if answers(address) else missed[name] + 1
        shadow(world, missed, time.time())
        time.sleep(LOOK_S)


def shadow(world: SimWorld, missed: Mapping[str, int], now: float) -> None:
    """`missed`: how many looks in a row each has not answered."""
    with world.changed(SHADOWS) as (host,):
        for name, looks in missed.items():
            if looks == 0 and name not in host.domains:
                host.domains[name] = SimDomain(name, "", MEMORY_BYTES, MEMORY_BYTES, 1, "pvh", boots_at=now)
            elif looks >= MISSED_MAX:
                host.domains.pop(name, None)


def answers(address: str) -> bool:
    """Its kernel refuses a datagram. Nothing is needed for that, in the domain or here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(ANSWER_S)
        try:
            one.connect((address, PORT))
            one.send(b"?")
            one.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
