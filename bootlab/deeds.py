"""What a scenario can have done in the boot lab, after the word `lab`; each deed says what it has done."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bootlab import ping
from bootlab.machines import MACHINES
from vmprovision.target import Target
from xenlab import share

if TYPE_CHECKING:
    from bootlab.lab import Lab

PENDING = "pending"
UPDATE_S = 3600.0
BROKEN = "etc/vmherd-image/services/vmclient"
SILENT = " is silent"  # provision/files/domu-init


class Deeds:
    """By the word that a scenario says after `lab`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._began: dict[str, float] = {}
        self._consoles: dict[str, int] = {}  # how much was on its console before
        self._told: dict[str, int] = {}
        self._took: dict[str, float] = {}  # until it was first seen connected
        self._deeds: dict[str, Callable[..., tuple[int, str]]] = {
            "power-on": self._power_on,
            "on": self._on,
            "kill": self._kill,
            "console": self._console,
            "joined": self._joined,
            "back": self._back,
            "server": self._server,
            "dhcp": self._dhcp,
            "damage": self._damage,
            "mend": self._mend,
            "nfs": self._nfs,
            "ping": self._ping,
            "change-root": self._change_root,
            "break-root": self._break_root,
            "outage": self._outage,
            "vmprovision": self._vmprovision,
        }

    def do(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Exit code, and what there is to say. Raises Failed."""
        verb, *rest = words
        if verb == "sleep" and rest:
            time.sleep(float(rest[0]))
            return 0, ""
        if verb not in self._deeds:
            return 2, f"the lab cannot `{' '.join(words)}`"
        return self._deeds[verb](*rest)

    def _power_on(self, *names: str) -> tuple[int, str]:
        for name in names:
            self._began[name] = time.monotonic()
            self._took.pop(name, None)
            self._consoles[name] = len(self._lab.console(name))
            self._lab.processes.forget(name)
            self._lab.power_on(name)
        return 0, f"power-on {' '.join(names)}"

    def _on(self, *names: str) -> tuple[int, str]:
        """Power on where there is none."""
        return self._power_on(*(name for name in names if not self._lab.processes.runs(name)))

    def _kill(self, *names: str) -> tuple[int, str]:
        """The power is gone."""
        for name in names:
            self._lab.processes.forget(name)
        return 0, f"kill {' '.join(names)}"

    def _console(self, name: str, pattern: str) -> tuple[int, str]:
        """Was it on this machine's console since it was powered on, and when?"""
        text = self._lab.console(name)[self._consoles.get(name, 0) :]
        found = [line for line in text.splitlines() if re.search(pattern, line)]
        return (0, "\n".join(found[-3:])) if found else (1, text[-1500:])

    def _joined(self, *names: str) -> tuple[int, str]:
        """Accepts keys that wait, and says who is connected, and how long after it was powered on."""
        waiting = [
            row["name"] for row in self._lab.ask("key", "list") if row.get("state") == PENDING and row["name"] in MACHINES
        ]
        for name in waiting:
            self._lab.vmctl(("key", "accept", name, "-y")).communicate()
        return self._connected("joined", names)

    def _back(self, *names: str) -> tuple[int, str]:
        """The same for machines whose keys are known: nobody accepts anything."""
        return self._connected("back", names)

    def _connected(self, word: str, names: tuple[str, ...]) -> tuple[int, str]:
        # what a machine said before it was powered on does not count
        on = {name: time.monotonic() - began for name, began in self._began.items()}
        ages = {row["name"]: row["age"] for row in self._lab.ask("clients") if row["state"] == "connected"}
        connected = {name for name, age in ages.items() if age < on.get(name, 0)}
        for name in sorted(connected - self._took.keys()):
            self._took[name] = on[name]
            # how long it took depends on what else this machine has to do; the computing does not
            self._lab.figures |= {
                f"{name} {word}": round(on[name], 1),
                f"{name} {word}, seconds of a core": round(self._lab.processes.cpu_s(name), 1),
            }
        if not set(names) <= connected:
            return 1, f"connected: {', '.join(sorted(connected)) or 'nobody'}"
        return 0, "\n".join(f"{name} {word} {self._took[name]:.0f} s after power-on" for name in names)

    def _server(self, key: str, value: str) -> tuple[int, str]:
        self._lab.change_server(key, value)
        return 0, f"[server] {key} = {value}"

    def _dhcp(self) -> tuple[int, str]:
        """DHCP and TFTP start anew with the files that are there now."""
        self._lab.start_dhcp()
        return 0, "dhcp is started anew"

    def _image(self, profile: str) -> Path:
        """The newest root of this profile, as machines fetch it."""
        target = Target(self._lab.folder / "boot")
        return self._lab.boot / "images" / profile / target.builds().current[profile] / "root"

    def _damage(self, profile: str) -> tuple[int, str]:
        """One byte of the root that machines fetch is another one."""
        with open(self._image(profile), "r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
        return 0, f"the root of {profile} is damaged, or mended"

    def _mend(self, profile: str) -> tuple[int, str]:
        return self._damage(profile)

    def _nfs(self, what: str) -> tuple[int, str]:
        if what == "stop":
            self._lab.processes.kill(share.NAME)
        else:
            self._lab.start_nfs()
        return 0, f"nfs {what}"

    def _ping(self, address: str) -> tuple[int, str]:
        return (0, f"{address} answers") if ping.answers(address) else (1, f"{address} is silent")

    def _change_root(self, text: str) -> tuple[int, str]:
        """What the next build of every root has in it."""
        (self._lab.folder / "overlay" / "etc" / "motd").write_text(f"{text}\n")
        (self._lab.folder / "overlay" / BROKEN).unlink(missing_ok=True)
        return 0, f"motd: {text}"

    def _break_root(self) -> tuple[int, str]:
        """The next build's client does not start."""
        path = self._lab.folder / "overlay" / BROKEN
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
        return 0, "vmclient does not start in the next root"

    def _vmprovision(self, *words: str) -> tuple[int, str]:
        began = time.monotonic()
        done = self._lab.provisioned(*words, limit_s=UPDATE_S)
        self._lab.figures[f"vmprovision {' '.join(words)}"] = round(time.monotonic() - began, 1)
        return done

    def _outage(self, vm: str, what: str) -> tuple[int, str]:
        """The longest time without an answer that the VM has told of since this was last asked; by its own clock."""
        console = self._lab.ask("vm", "console-log", vm)["text"]
        told = [float(seconds) for seconds in re.findall(r"was silent for ([\d.]+) s", console)]
        fresh = told[self._told.get(vm, 0) :]
        if not fresh or SILENT in console.splitlines()[-1]:
            return 1, console[-1500:]
        self._told[vm] = len(told)
        self._lab.figures[f"{vm} silent, {what}"] = max(fresh)
        return 0, f"{vm} was silent for {max(fresh)} s: {what}"
