"""A farm of real daemons in a folder: started, asked, stopped, killed, started again. Knows no story."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.files import program
from demo.processes import end_with_parent
from tests.farm.files import ClientFiles, ManagerFiles, write_client, write_manager
from vmctl.failure import Failure
from vmctl.link import Link

LIMIT_S = 40.0  # generous: what takes longer on a busy machine is stuck
LOOK_S = 0.03
TAIL_LINES = 30
BUS = "vmbus"


@dataclass(frozen=True, slots=True)
class Said:
    """What a program said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Farm:
    """Daemons by name; `vmbus` is the bus. Every one must live until a test ends it: `wait` says who died and why."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._managers: dict[str, ManagerFiles] = {}
        self._links: dict[str, Link] = {}
        (folder / "keys").mkdir(mode=0o700, exist_ok=True)

    # --- processes ------------------------------------------------------------------------------------------------------

    def start_bus(self) -> None:
        """At a port that the kernel chooses, later at the same again."""
        self.launch(BUS, ["vmbus", "--listen", f"127.0.0.1:{self.port}"])
        if not self.port:
            found = self.wait("the bus listens", lambda: re.search(r"127\.0\.0\.1:(\d+)", self.log(BUS)))
            self.port = int(found[1])

    def manager(self, name: str, managers: tuple[str, ...] = (), *, start: bool = True, **settings: Any) -> None:
        """Writes its files, starts it, and waits until it answers vmctl."""
        self._managers[name] = ManagerFiles(name, managers or (name,), **settings)
        write_manager(self.folder / name, self._managers[name], self.port)
        if start:
            self.start_manager(name)

    def start_manager(self, name: str, *, wait: bool = True) -> None:
        self.launch(name, ["vmmanager", "--config", str(self.folder / name / "vmmanager.ini")])
        if wait:
            self.wait(f"{name} answers vmctl", lambda: self.status(name))

    def client(self, name: str, *, start: bool = True, **settings: Any) -> None:
        write_client(self.folder / name, ClientFiles(name, **settings), self.port)
        if start:
            self.start_client(name)

    def start_client(self, name: str) -> None:
        self.launch(name, ["vmclient", "--config", str(self.folder / name / "vmclient.ini")])

    def launch(self, name: str, words: list[str], preexec: Callable[[], None] = end_with_parent) -> None:
        """`words`: one of our console scripts with its arguments. Its log is appended to NAME.log."""
        assert name not in self._running, f"{name} runs already"
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*program(words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=preexec,
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL. Its children are ended by what ties them to it, or not at all."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        self._forget(name)

    def stop(self, name: str) -> int:
        """SIGTERM; its exit code."""
        process = self._running.pop(name)
        process.terminate()
        code = process.wait(LIMIT_S)
        self._forget(name)
        return code

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def _forget(self, name: str) -> None:
        if name in self._links:
            self._links.pop(name).close()

    def close(self) -> None:
        """Ends all, the bus last. No process is left."""
        everybody = sorted(self._running.items(), key=lambda one: one[0] == BUS)
        for _, process in everybody:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        end = time.monotonic() + 15.0
        for _, process in everybody:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for link in self._links.values():
            link.close()
        self._running.clear()

    # --- asking ---------------------------------------------------------------------------------------------------------

    def socket(self, manager: str) -> Path:
        return self.folder / manager / "run" / "vmmanager.sock"

    def vmctl(self, manager: str, *words: str) -> Said:
        """The real vmctl, as a user runs it."""
        done = subprocess.run(
            [*program("vmctl"), "--socket", str(self.socket(manager)), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def ask(self, manager: str, op: str, **args: Any) -> Any:
        """One operation over the control socket, by vmctl's own link: for waiting, where a process each time costs too much.
        Raises Failure."""
        link = self._links.setdefault(manager, Link(self.socket(manager)))
        return link.ask(op, args)

    def status(self, manager: str) -> dict[str, Any]:
        """Empty while it does not answer."""
        try:
            return dict(self.ask(manager, "status"))
        except Failure:
            return {}

    def clients(self, manager: str) -> dict[str, str]:
        """name -> state; empty while the manager does not answer."""
        try:
            return {row["name"]: row["state"] for row in self.ask(manager, "clients")}
        except Failure:
            return {}

    def values(self, manager: str, name: str) -> dict[str, Any]:
        """The property's value at each client."""
        try:
            return {row["client"]: row["value"] for row in self.ask(manager, "props", pattern=name)}
        except Failure:
            return {}

    def leads(self, name: str) -> bool:
        return bool(self.status(name).get("leading"))

    def events(self, manager: str, kind: str | None = None) -> list[dict[str, Any]]:
        """The event history, oldest first."""
        found: list[dict[str, Any]] = []
        link = Link(self.socket(manager))
        link.ask("events", {"limit": 10_000, "kind": kind}, on_more=found.append)
        link.close()
        return found

    def texts(self, manager: str, kind: str | None = None) -> list[str]:
        """Its sentences."""
        return [str(event["text"]) for event in self.events(manager, kind)]

    def at(self, manager: str, text: str) -> float:
        """When the last event was whose sentence holds `text`: wall clock, seconds."""
        times = [float(event["at"]) for event in self.events(manager) if text in event["text"]]
        assert times, f"{manager} has no event with {text!r}: {self.texts(manager)}"
        return times[-1]

    # --- looking --------------------------------------------------------------------------------------------------------

    def log(self, name: str) -> str:
        try:
            return (self.folder / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def lines(self, name: str, text: str) -> list[str]:
        """The lines of a log that hold `text`."""
        return [line for line in self.log(name).splitlines() if text in line]

    def notes(self, client: str) -> list[str]:
        """What the program `note` wrote at this client."""
        try:
            return (self.folder / client / "notes").read_text().splitlines()
        except OSError:
            return []

    def turn(self, client: str, value: int) -> None:
        """Turns the client's knob: its property will change by itself. Replaced in one step, so that it is never half there."""
        path = self.folder / client / "knob"
        fresh = path.with_suffix(".new")
        fresh.write_text(str(value))
        fresh.replace(path)

    def wait(self, what: str, ready: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        """Looks again and again until `ready` is true, all processes being alive."""
        end = time.monotonic() + limit_s
        while not (found := ready()):
            dead = [f"{name} has ended with {p.returncode}" for name, p in self._running.items() if p.poll() is not None]
            late = time.monotonic() > end
            if dead or late:
                why = "; ".join(dead) or f"after {limit_s:.0f} s it is still not so"
                raise AssertionError(f"{what}: {why}\n{self.tails()}")
            time.sleep(LOOK_S)
        return found

    def logged(self, name: str, text: str) -> str:
        """Waits for a line of a log that holds `text`."""
        return str(self.wait(f"{name} logs {text!r}", lambda: self.lines(name, text))[-1])

    def tails(self) -> str:
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            parts += [f"--- {path.stem}", *path.read_text(errors="replace").splitlines()[-TAIL_LINES:]]
        return "\n".join(parts)


@contextlib.contextmanager
def farm(folder: Path, *, bus: bool = True) -> Iterator[Farm]:
    """A farm whose processes end with the block; a daemon that crashed fails the test."""
    made = Farm(folder)
    try:
        if bus:
            made.start_bus()
        yield made
        crashed = [path.stem for path in sorted(folder.glob("*.log")) if "Traceback" in path.read_text(errors="replace")]
        assert not crashed, f"a traceback in the log of {', '.join(crashed)}\n{made.tails()}"
    finally:
        made.close()


def run(*words: str, cwd: Path | None = None) -> Said:
    """One of our console scripts until it ends by itself."""
    done = subprocess.run(
        [*program(words[0]), *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        cwd=cwd,
        preexec_fn=end_with_parent,
    )
    return Said(done.returncode, done.stdout, done.stderr)
