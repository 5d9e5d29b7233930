"""What a scenario can have done to the lab itself: power, cables, daemons that stand still. Each deed says what it has done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from xenlab import network, remote
from xenlab.headnode import LENGTH_S, HeadNode
from xenlab.processes import Failed

if TYPE_CHECKING:
    from xenlab.lab import Lab

# the client and its guard: what is left is Xen, the kernel, and the watchdog that nobody feeds
STAND_STILL = """
for each in /proc/[0-9]*; do
    case $(tr '\\0' ' ' <$each/cmdline) in *"-m "vmclient*) kill -STOP ${each#/proc/};; esac
done 2>/dev/null; true
"""


class Deeds:
    """By the word that a scenario says after `lab`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._head = HeadNode(lab)
        self._questions: dict[str, Callable[[str], str]] = {
            "power": lambda host: f"{host} {'on' if lab.processes.runs(host) else 'off'}",
            "console": lab.console,
        }
        self._deeds: dict[str, Callable[[str], None]] = {
            "kill": lab.processes.forget,
            "start": self._start,
            "freeze": self._freeze,
            "thaw": lambda host: lab.processes.signal(host, signal.SIGCONT),
            "cut": self._cut,
            "heal": lambda host: network.plug(self._number(host), True),
            "stand-still": self._stand_still,
        }

    def do(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Exit code, and what there is to say. Raises Failed."""
        verb, *names = words
        if verb == "twice":
            return self._twice()
        if verb in ("environments", "submit", "jobs"):
            return self._batch(verb, names)
        if verb == "sleep" and names:
            time.sleep(float(names[0]))
            return 0, ""
        if verb == "where":
            return 0, "\n".join(f"{vm} {self._lab.beats.where(vm)}" for vm in names)
        if verb == "in" and names and names[0] in self._lab.guests:
            done = remote.run(self._lab.guests[names[0]].agent, " ".join(names[1:]))
            return done.status, done.output
        found = [self._named(name) for name in names]
        known = self._lab.names if verb not in ("kill", "start") else [*self._lab.names, *self._lab.managers]
        if not found or not set(found) <= set(known):
            return 2, f"the lab cannot `{' '.join(words)}`"
        if verb in self._questions:
            return 0, "\n".join(self._questions[verb](host) for host in found)
        if verb not in self._deeds:
            return 2, f"the lab cannot `{' '.join(words)}`"
        for one in found:
            self._deeds[verb](one)
        return 0, f"{verb} {' '.join(found)}"

    def _named(self, name: str) -> str:
        """`leader`, `host-of:VM`, or a machine by its name. Raises Failed."""
        if name == "leader":
            return self._lab.operator.leader()
        return self._lab.beats.where(name.removeprefix("host-of:")) if name.startswith("host-of:") else name

    def _batch(self, verb: str, words: list[str]) -> tuple[int, str]:
        """`environments`, `submit QUEUE short|long`, `jobs`."""
        if verb == "jobs":
            return 0, self._head.jobs()
        if verb == "environments":
            self._head.start()
        elif len(words) == 2 and words[1] in LENGTH_S:
            self._head.submit(*words)
        else:
            return 2, f"the lab cannot `submit {' '.join(words)}`"
        return 0, f"{verb} {' '.join(words)}"

    def _number(self, host: str) -> int:
        return self._lab.names.index(host) + 1

    def _start(self, host: str) -> None:
        """The power is back, or the machine has reset itself: it boots anew. A manager: if it is down."""
        if host in self._lab.managers:
            if not self._lab.processes.runs(host):
                self._lab.start_manager(host)
            return
        self._lab.processes.forget(host)
        self._lab.start_host(host)
        self._lab.wait_host(host)

    def _cut(self, host: str) -> None:
        """If its guard is too slow, its watchdog resets it."""
        self._lab.processes.may_end(host)
        network.plug(self._number(host), False)

    def _freeze(self, host: str) -> None:
        """When it goes on, its watchdog may reset it."""
        self._lab.processes.may_end(host)
        self._lab.processes.signal(host, signal.SIGSTOP)

    def _stand_still(self, host: str) -> None:
        """From now on it may reset itself."""
        self._lab.processes.may_end(host)
        done = remote.run(self._lab.guests[host].agent, STAND_STILL)
        if done.status:
            raise Failed(f"{host}: {done.output}")

    def _twice(self) -> tuple[int, str]:
        """Was any domain ever seen alive on two hosts? 1 when it was."""
        beats = self._lab.beats
        return (1, "\n".join(beats.twice)) if beats.twice else (0, f"never, in {beats.looks} looks")
