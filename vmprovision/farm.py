"""Hosts that run: restarted one after the other through `vmctl`, each emptied first, looked at after. Knows no image, no file.

The first that fails ends it; the rest of the farm stays as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmprovision.acquaintance import PROPERTIES, strangers, told

Say = Callable[[str], None]
ASK_S = 120.0
EVACUATE_S = 3600.0
KNOWN_S = 180.0  # the manager's rule hears of new keys within a minute
LOOK_S = 3.0
_BOOT_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_IMAGE = re.compile(r"\bvmherd\.image=images/[\w-]+/(\w+)/root\b")


class FarmFault(Exception):
    """A host could not be restarted as asked: one sentence that says how far it came."""


@dataclass(frozen=True, slots=True)
class Booted:
    """Which boot this is, and of which build. Both empty where the host does not say."""

    boot: str
    digest: str


class Farm:
    """`program`: vmctl and its options. `limit_s`: what a host may take from the order to restart until it has joined again."""

    def __init__(self, say: Say, limit_s: float = 900.0, program: tuple[str, ...] = ()) -> None:
        self._say = say
        self._limit_s = limit_s
        self._program = program or (str(Path(sys.executable).parent / "vmctl"),)

    def booted(self, host: str) -> Booted | None:
        """None where the host does not answer."""
        code, said = self._vmctl(ASK_S, "exec", "exec", "program=booted", "--on", host, "-y")
        boot, image = _BOOT_ID.search(said), _IMAGE.search(said)
        return Booted(boot[0] if boot else "", image[1] if image else "") if code == 0 else None

    def restart(self, host: str, why: str, switch: Callable[[], str], *, evacuate: bool = True) -> None:
        """Empties the host, calls `switch` (which says what it is to boot from), restarts it, waits for it, takes it back.

        Raises FarmFault; the host then stays in maintenance."""
        before = self.booted(host)
        if before is None:
            raise FarmFault(f"{host} does not answer; nothing was done to it")
        if evacuate:
            self._say(f"{host}: its VMs move away")
            self._order(f"{host} was not emptied", EVACUATE_S, "host", "evacuate", host, "--why", why, "-y")
        digest = switch()
        self._say(f"{host}: restarts, to boot {digest}")
        self._order(f"{host} was not restarted", ASK_S, "exec", "exec", "program=reboot", "--on", host, "-y")
        self._wait(host, before, digest)
        self._acquainted(host, digest)
        if evacuate:
            self._order(f"{host} runs {digest}, but was not taken back", EVACUATE_S, "host", "return", host)
        self._say(f"{host}: runs {digest}")

    def revive(self, host: str, switch: Callable[[], str]) -> None:
        """Of a host that does not answer only what it boots from next can be changed; somebody must reset it.

        Raises FarmFault."""
        digest = switch()
        self._say(f"{host} does not answer: reset it, it then boots {digest}; it is waited for")
        self._wait(host, Booted("", ""), digest)
        self._acquainted(host, digest)
        self._order(f"{host} runs {digest}, but was not taken back", EVACUATE_S, "host", "return", host)
        self._say(f"{host}: runs {digest}")

    def _wait(self, host: str, before: Booted, digest: str) -> None:
        end = time.monotonic() + self._limit_s
        while time.monotonic() < end:
            now = self.booted(host)
            if now and now.boot != before.boot:
                if now.digest == digest:
                    return
                raise FarmFault(f"{host} has restarted, but runs {now.digest or 'something unknown'}, not {digest}")
            time.sleep(LOOK_S)
        raise FarmFault(f"{host} has not joined again within {self._limit_s:.0f} s (see its console, and vmctl key list)")

    def _acquainted(self, host: str, digest: str) -> None:
        """Domains move to it and from it only when hosts know each other's new ssh keys."""
        end = time.monotonic() + KNOWN_S
        while names := strangers(host, told(self._vmctl(ASK_S, "get", *PROPERTIES, "--on", "all", "--fetch", "--json")[1])):
            if time.monotonic() >= end:
                raise FarmFault(
                    f"{host} runs {digest}, but it and {', '.join(names)} do not know each other's ssh keys "
                    "(is triggers/hosts.ini in the manager's triggers.d? See vmctl get ssh_known)"
                )
            time.sleep(LOOK_S)

    def _order(self, fault: str, limit_s: float, *words: str) -> None:
        code, said = self._vmctl(limit_s, *words)
        if code:
            raise FarmFault(f"{fault}: {said.strip().splitlines()[-1] if said.strip() else f'vmctl ended with {code}'}")

    def _vmctl(self, limit_s: float, *words: str) -> tuple[int, str]:
        try:
            done = subprocess.run(
                [*self._program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            return 124, f"vmctl {words[0]} has not ended within {limit_s:.0f} s"
        except OSError as fault:
            return 127, f"{self._program[0]}: {fault.strerror}"
        return done.returncode, done.stdout
