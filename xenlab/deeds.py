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
        self._deeds: dict[str, Callable[[str], None]] = {
            "kill": lambda host: lab.processes.kill(host),
            "start": self._start,
            "freeze": lambda host: lab.processes.signal(host, signal.SIGSTOP),
            "thaw": lambda host: lab.processes.signal(host, signal.SIGCONT),
            "cut": lambda host: network.plug(self._number(host), False),
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
        if verb not in self._deeds or not names or not set(names) <= set(self._lab.names):
            return 2, f"the lab cannot `{' '.join(words)}`"
        for host in names:
            self._deeds[verb](host)
        return 0, f"{verb} {' '.join(names)}"

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
        """The power is back, or the machine has reset itself: it boots anew."""
        self._lab.processes.forget(host)
        self._lab.start_host(host)
        self._lab.wait_host(host)

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
